"""What can run a part of a network: PyTorch as it is, torch.compile, ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, fx

from splitimpera.core.errors import ModelError
from splitimpera.core.registry import Registry

Inputs = tuple[Tensor, ...]
Engine = Callable[[fx.GraphModule, Inputs, int], Callable[[], object]]
"""Makes a call that runs a program on some inputs, with so many threads."""

ENGINES: Registry[Engine] = Registry("engine")


def engine_called(name: str) -> Engine:
    """An engine; its errors name it.

    Raises:
        UnknownNameError: there is none of this name.
    """
    engine = ENGINES[name]

    def call(program: fx.GraphModule, inputs: Inputs, threads: int) -> Callable[[], object]:
        if not any(node.op == "call_function" or node.op == "call_module" for node in program.graph.nodes):
            return lambda: program(*inputs)  # nothing to run
        return engine(program, inputs, threads)

    return call


@ENGINES.register("eager")
def _eager(program: fx.GraphModule, inputs: Inputs, threads: int) -> Callable[[], object]:
    return lambda: program(*inputs)


@ENGINES.register("compile")
def _compile(program: fx.GraphModule, inputs: Inputs, threads: int) -> Callable[[], object]:
    compiled = torch.compile(program)
    try:
        compiled(*inputs)
    except Exception as failure:
        raise ModelError(
            f"torch.compile cannot compile this network: {_first_line(failure)}",
            where="engine",
            hint="it needs a C++ compiler; '--engine eager' needs nothing",
        ) from failure
    return lambda: compiled(*inputs)


@ENGINES.register("onnxruntime")
def _onnxruntime(program: fx.GraphModule, inputs: Inputs, threads: int) -> Callable[[], object]:
    try:
        import onnxruntime  # type: ignore[import-not-found, import-untyped, unused-ignore]
        import onnxscript  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: F401  (for torch.onnx)
    except ImportError as failure:
        raise ModelError(
            f"ONNX Runtime is not installed here ({failure.name} is missing)",
            where="engine",
            hint="pip install 'split-et-impera[design]'",
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        with TemporaryDirectory() as folder:  # weights above 2 GB lie in files beside the model
            path = f"{folder}/part.onnx"
            torch.onnx.export(program, inputs, path, dynamo=True, verbose=False)
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as failure:
        raise ModelError(
            f"this network cannot be exported to ONNX Runtime: {_first_line(failure)}", where="engine"
        ) from failure
    names = [given.name for given in session.get_inputs()]
    feeds: dict[str, Any] = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
    return lambda: session.run(None, feeds)


def _first_line(failure: BaseException) -> str:
    return (str(failure).splitlines() or [type(failure).__name__])[0][:300]
