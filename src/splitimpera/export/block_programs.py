"""Runs of a language model's blocks -> programs that ONNX Runtime runs, for any number of tokens behind any past."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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
    """The content of an ONNX file: (x, positions, keys, values) -> (y, keys, values), as `LanguageEntry` says.

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


class _TokensFirst(nn.Module):
    """A run whose past has its tokens in front, (p, B, N, H, D), and that gives the keys and values of the new ones
    alone, (n, B, N, H, D): those that it is given are neither copied as a whole nor given back.
    """

    def __init__(self, run: BlockRun) -> None:
        super().__init__()
        self.run = run

    def forward(self, x: Tensor, positions: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        past, blocks = keys.shape[0], len(self.run.blocks)
        pasts = [(keys[:, place].movedim(0, 2), values[:, place].movedim(0, 2)) for place in range(blocks)]
        y, kept = self.run.step(x, positions, pasts)
        if not kept:
            nothing = keys.new_zeros(len(positions), *keys.shape[1:])
            return y, nothing, nothing.clone()
        new_keys, new_values = (
            torch.stack([pair[which][:, :, past:] for pair in kept]).movedim(3, 0) for which in range(2)
        )
        return y, new_keys, new_values


def _exported(run: BlockRun) -> bytes:
    decoder = run.decoder
    keys, values = (past.movedim(3, 0).new_zeros(EXAMPLE_PAST, *past.shape[:3], past.shape[4]) for past in run.empty())
    positions = torch.arange(EXAMPLE_PAST, EXAMPLE_PAST + EXAMPLE_TOKENS)
    x = (
        torch.zeros(1, EXAMPLE_TOKENS, dtype=torch.int64)
        if run.first
        else torch.zeros(1, EXAMPLE_TOKENS, decoder.width, dtype=decoder.dtype)
    )
    any_number = torch.export.Dim.DYNAMIC
    program = torch.onnx.export(
        _TokensFirst(run).eval(),
        (x, positions, keys, values),
        dynamo=True,
        opset_version=OPSET,
        verbose=False,
        dynamic_shapes=({1: any_number}, {0: any_number}, {0: any_number}, {0: any_number}),
        input_names=["x", "positions", "keys", "values"],
        output_names=["y", "new_keys", "new_values"],
    )
    assert program is not None
    content: bytes = without_notes(program.model_proto).SerializeToString(deterministic=True)
    return content
