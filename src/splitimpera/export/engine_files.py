"""A part -> the content of a file that an engine runs: ONNX, or PyTorch's own format."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import torch

from splitimpera.bundle.manifest import FILE_BYTES
from splitimpera.core.errors import ModelError, UnknownNameError, shown
from splitimpera.core.quiet import quiet
from splitimpera.core.registry import Registry, nearest
from splitimpera.core.units import format_bytes
from splitimpera.deploy.inference import load_program
from splitimpera.export.part_modules import Part
from splitimpera.models.imports import contained, where_it_failed

OPSET = 20
_SUFFIX = {"onnx": "onnx", "torch": "pt2"}
_TITLES = {"onnx": "ONNX Runtime", "torch": "PyTorch"}
REASON_CHARACTERS = 300

FILES: Registry[Callable[[Part], bytes]] = Registry("engine")
"""How a part becomes the content of an engine's file."""


def suffix_of(engine: str) -> str:
    """What the names of an engine's files end in; an engine of an extension's lends its own."""
    return _SUFFIX.get(engine, engine)


def title_of_engine(engine: str) -> str:
    """What people call it."""
    return _TITLES.get(engine, engine)


class CannotRunError(Exception):
    """An engine has no way to run a part; the text says why."""


def engines_called(name: str, machines: int) -> list[str]:
    """The engine of each machine: one name for all, or one for each with commas between them.

    Raises:
        UnknownNameError: there is no such engine.
        ModelError: another number of names, or what exports for this engine is not installed.
    """
    names = [part.strip() for part in name.split(",")]
    for each in names:
        if each not in FILES:
            raise UnknownNameError(
                f"no engine is called '{shown(each)}'", where="--engine", hint=nearest(each, FILES.names())
            )
    if len(names) not in (1, machines):
        raise ModelError(
            f"{len(names)} engines are named, the plan has {machines} machines",
            where="--engine",
            hint="name one for all, or one for each",
        )
    if "onnx" in names:
        try:
            import onnx  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: F401
            import onnxruntime  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: F401
            import onnxscript  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: F401
        except ImportError as failure:
            raise ModelError(
                f"ONNX files cannot be written here ({failure.name} is missing)",
                where="--engine",
                hint="pip install 'split-et-impera[design]', or take '--engine torch'",
            ) from None
    return names * machines if len(names) == 1 else names


def file_of(part: Part, engine: str) -> bytes:
    """The content of the file from which an engine runs a part; it is known to open there.

    Raises:
        CannotRunError: it cannot be written, is too large for one file, or the engine does not open it.
    """
    if part.bytes >= FILE_BYTES:
        raise CannotRunError(
            f"its weights take {format_bytes(part.bytes)}, one file may have {format_bytes(FILE_BYTES)}"
        )
    try:
        with quiet(), contained(), torch.no_grad():
            content = FILES[engine](part)
            load_program(engine, content)
    except KeyboardInterrupt:
        raise
    except BaseException as failure:  # exporters fail in many kinds, with reports of many lines
        raise CannotRunError(_reason(failure)) from failure
    if len(content) >= FILE_BYTES:
        raise CannotRunError(f"it takes {format_bytes(len(content))}, one file may have {format_bytes(FILE_BYTES)}")
    return content


def _exported(part: Part) -> Any:
    dynamic = [None if spec.batch_dim is None else {spec.batch_dim: torch.export.Dim.DYNAMIC} for spec in part.inputs]
    # the module takes any number of tensors, so that their shapes are those of one argument
    program = torch.export.export(part.module, part.examples, dynamic_shapes=(tuple(dynamic),), strict=False)
    for module in program.graph_module.modules():
        for node in getattr(module, "graph", torch.fx.Graph()).nodes:
            node.meta.pop("stack_trace", None)  # it names the files of this machine
    return program


@FILES.register("onnx")
def _onnx(part: Part) -> bytes:
    program = torch.onnx.export(
        _exported(part),
        dynamo=True,
        opset_version=OPSET,
        verbose=False,
        input_names=[f"in{index}" for index in range(len(part.inputs))],
        output_names=[f"out{index}" for index in range(len(part.outputs))],
    )
    assert program is not None
    model = program.model_proto
    content: bytes = without_notes(model).SerializeToString(deterministic=True)
    return content


@FILES.register("torch")
def _torch(part: Part) -> bytes:
    program, file = _exported(part), BytesIO()
    program._example_inputs = None  # they would be the one thing in there that is pickled
    torch.export.save(program, file)
    return file.getvalue()


def without_notes(model: Any) -> Any:
    """An ONNX model without what its exporter noted down: half of a small file, and paths of this machine."""
    model.doc_string = ""
    del model.metadata_props[:]
    for graph in (model.graph, *model.functions):
        notes = [graph, *graph.node, *graph.value_info]
        if graph is model.graph:
            notes += [*graph.input, *graph.output, *graph.initializer]
        for noted in notes:
            noted.doc_string = ""
            del noted.metadata_props[:]
    return model


def _reason(failure: BaseException) -> str:
    """The innermost cause, in one line."""
    innermost = failure
    while innermost.__cause__ is not None:
        innermost = innermost.__cause__
    return shown(where_it_failed(innermost), REASON_CHARACTERS)
