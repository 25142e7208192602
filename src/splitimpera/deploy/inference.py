"""What runs a part of a network: ONNX Runtime, or PyTorch where it is installed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from typing import Any

import numpy as np

from splitimpera.codec.given import array_dtype
from splitimpera.core.array_types import Array
from splitimpera.core.errors import BundleError, SplitImperaError, shown
from splitimpera.core.memory import hand_back
from splitimpera.core.registry import Registry
from splitimpera.records.graph import TensorSpec

Program = Callable[[Sequence[Array]], tuple[Array, ...]]
"""Takes the tensors of some frames, stacked as their specs say, and returns those that come out."""

ENGINES: Registry[Callable[[bytes, int], Program]] = Registry("engine")
"""How the content of a file becomes a program that computes with so many threads."""


def load_program(engine: str, content: bytes, threads: int = 1) -> Program:
    """A program, ready to run.

    Args:
        content: What the engine's file holds: it must be known to be what was exported.

    Raises:
        UnknownNameError, BundleError: there is no such engine, it is not installed, or it cannot read the content.
    """
    try:
        return ENGINES[engine](content, threads)
    except SplitImperaError:
        raise
    except Exception as failure:  # engines fail in kinds of their own
        raise BundleError(f"the engine '{engine}' cannot read its program: {shown(failure, 300)}") from None


def in_a_row(programs: Sequence[Program]) -> Program:
    """Programs as one: each takes what the one before it returns.

    Example:
        >>> double = lambda tensors: tuple(2 * tensor for tensor in tensors)
        >>> in_a_row([double, double])([np.ones(1)])
        (array([4.]),)
    """
    if len(programs) == 1:
        return programs[0]

    def run(tensors: Sequence[Array]) -> tuple[Array, ...]:
        for program in programs:
            tensors = program(tensors)
        return tuple(tensors)

    return run


def stacked(frames: Sequence[Sequence[Array]], specs: Sequence[TensorSpec]) -> tuple[Array, ...]:
    """Tensors of some frames, side by side along their batch dimension; one frame where they cannot be stacked."""
    return tuple(
        np.stack([frame[place] for frame in frames], spec.batch_dim) if spec.batch_dim is not None else frames[0][place]
        for place, spec in enumerate(specs)
    )


def unstacked(tensors: Sequence[Array], specs: Sequence[TensorSpec], count: int) -> list[tuple[Array, ...]]:
    """The inverse of `stacked`."""
    columns = [
        list(np.moveaxis(tensor, spec.batch_dim, 0)) if spec.batch_dim is not None else [tensor]
        for tensor, spec in zip(tensors, specs, strict=True)
    ]
    if any(len(column) != count for column in columns):
        raise BundleError("the program returns another number of frames than it was given")
    return [tuple(row) for row in zip(*columns, strict=True)]


def can_stack(specs: Sequence[TensorSpec]) -> bool:
    return all(spec.batch_dim is not None for spec in specs)


def as_stored(tensors: Sequence[Array], specs: Sequence[TensorSpec]) -> tuple[Array, ...]:
    """Tensors in the types of their specs."""
    return tuple(np.ascontiguousarray(tensor, array_dtype(spec)) for tensor, spec in zip(tensors, specs, strict=True))


@ENGINES.register("onnx")
def _onnx(content: bytes, threads: int) -> Program:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # idle workers that spin would take the second core
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    session.disable_fallback()  # to other providers, for which it would need the file again
    session._model_bytes = None  # else it keeps the file beside the weights that it made of it
    hand_back()
    names = [given.name for given in session.get_inputs()]

    def run(tensors: Sequence[Array]) -> tuple[Array, ...]:
        return tuple(session.run(None, dict(zip(names, tensors, strict=True))))

    return run


@ENGINES.register("torch")
def _torch(content: bytes, threads: int) -> Program:
    if find_spec("torch") is None:
        raise BundleError(
            "this bundle was exported for PyTorch, which is not installed here",
            hint="pip install torch, or export it with '--engine onnx'",
        )
    torch: Any = import_module("torch")  # not seen by the import contract: the device half does without
    torch.set_num_threads(threads)
    program = torch.export.load(BytesIO(content)).module()

    def run(tensors: Sequence[Array]) -> tuple[Array, ...]:
        with torch.inference_mode():
            found = program(*(torch.from_numpy(tensor) for tensor in tensors))
        return tuple(tensor.numpy() for tensor in found)

    return run
