"""Runs of blocks as ONNX programs of any number of tokens behind any past, also none."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from small_decoders import BLOCKS, VOCABULARY, small
from torch.export import Dim

from splitimpera.core.quiet import quiet
from splitimpera.language.block_runs import BlockRun
from splitimpera.language.decoder import decoder_of

LENGTHS = (3, 5), (1, 17), (9, 0), (1, 0), (1, 1), (4, 40)
"""Tokens, and tokens before them; the first is the example that is exported."""
SHAPES = ({1: Dim.DYNAMIC}, {0: Dim.DYNAMIC}, {3: Dim.DYNAMIC}, {3: Dim.DYNAMIC})


def inputs(run, tokens, past):
    chance, decoder = torch.Generator().manual_seed(tokens + past), run.decoder
    x = torch.randn(1, tokens, decoder.width, generator=chance)
    if run.first:
        x = torch.randint(0, VOCABULARY, (1, tokens), generator=chance)
    heads, size = decoder.key_value_shape
    keys, values = torch.randn(2, len(run.blocks), 1, heads, past, size, generator=chance)
    return x, torch.arange(past, past + tokens), keys, values


def session_of(run):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    with quiet():
        program = torch.onnx.export(
            run, inputs(run, *LENGTHS[0]), dynamo=True, opset_version=20, verbose=False, dynamic_shapes=SHAPES
        )
    file = BytesIO()
    program.save(file)
    return onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "start", "stop"),
    [
        *(("gpt2", 0, 2), ("llama", 0, 2), ("qwen3", 0, 2), ("own", 0, 2)),
        *(("gpt2", 2, BLOCKS), ("llama", 2, BLOCKS), ("qwen3", 2, BLOCKS), ("own", 2, BLOCKS)),
        ("own", BLOCKS, BLOCKS),
    ],
)
def test_onnx_programs_equal_the_runs(kind, start, stop):
    run = BlockRun(decoder_of(small(kind)), start, stop)
    session = session_of(run)
    names = [each.name for each in session.get_inputs()]
    for tokens, past in LENGTHS:
        given = inputs(run, tokens, past)
        with torch.inference_mode():
            expected = run(*given)
        made = session.run(None, dict(zip(names, (each.numpy() for each in given), strict=True)))
        for ours, theirs in zip(made, expected, strict=True):
            assert ours.shape == theirs.shape, (tokens, past)
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=2e-6, err_msg=f"{tokens} behind {past}")
