"""Runs of a language model's blocks -> programs that ONNX Runtime runs, for any number of tokens behind any past."""

from __future__ import annotations

import torch

from splitimpera.bundle.manifest import FILE_BYTES
from splitimpera.core.errors import ModelError
from splitimpera.core.quiet import quiet
from splitimpera.core.units import format_bytes
from splitimpera.deploy.inference import load_program
from splitimpera.export.engine_files import OPSET, without_notes
from splitimpera.language.block_runs import BlockRun
from splitimpera.models.imports import contained, telling

EXAMPLE_TOKENS, EXAMPLE_PAST = 3, 5
"""Sizes of 0 and 1 would be taken for constants."""


def block_program(run: BlockRun) -> bytes:
    """The content of an ONNX file: (x, positions, keys, values) -> (y, keys, values), as `BlockRun` has them.

    Raises:
        ModelError: the exporter or the engine has no way to run these blocks, or they are too large for one file.
    """
    size = sum(weight.nbytes for weight in (*run.parameters(), *run.buffers()))
    if size >= FILE_BYTES:
        raise ModelError(
            f"blocks {run.start} to {run.stop} take {format_bytes(size)}, one file may have {format_bytes(FILE_BYTES)}",
            hint="cut elsewhere, so that each machine has fewer of them",
        )
    with quiet(), contained(), telling(ModelError, "ONNX Runtime cannot run these blocks"), torch.no_grad():
        content = _exported(run)
        load_program("onnx", content)
    return content


def _exported(run: BlockRun) -> bytes:
    decoder = run.decoder
    keys, values = (past.new_zeros(*past.shape[:3], EXAMPLE_PAST, past.shape[4]) for past in run.empty())
    positions = torch.arange(EXAMPLE_PAST, EXAMPLE_PAST + EXAMPLE_TOKENS)
    x = (
        torch.zeros(1, EXAMPLE_TOKENS, dtype=torch.int64)
        if run.first
        else torch.zeros(1, EXAMPLE_TOKENS, decoder.width, dtype=decoder.dtype)
    )
    any_number = torch.export.Dim.DYNAMIC
    program = torch.onnx.export(
        run,
        (x, positions, keys, values),
        dynamo=True,
        opset_version=OPSET,
        verbose=False,
        dynamic_shapes=({1: any_number}, {0: any_number}, {3: any_number}, {3: any_number}),
        input_names=["x", "positions", "keys", "values"],
        output_names=["y", "kept_keys", "kept_values"],
    )
    assert program is not None
    content: bytes = without_notes(program.model_proto).SerializeToString(deterministic=True)
    return content
