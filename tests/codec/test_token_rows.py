"""Codecs of a window of tokens read and write any number of them."""

from __future__ import annotations

import numpy as np
import pytest

from splitimpera.codec.codecs import Calibration, calibrate, codec_from
from splitimpera.codec.token_rows import for_tokens
from splitimpera.core.errors import CodecError
from splitimpera.records.graph import TensorSpec

SPEC = TensorSpec("blocks.0", (16, 8), channel_dim=1)
WINDOWS = np.random.default_rng(0).standard_normal((20, 16, 8)).astype(np.float32)


@pytest.mark.parametrize(
    "name", ["float16", "uint8", "uint4:channel", "uint8:channel+rans", "uint8+zstd", "uint8+mean"]
)
@pytest.mark.parametrize("tokens", [1, 5, 40])
def test_a_token_is_what_it_was_in_the_window(name, tokens):
    window = calibrate(name, Calibration((SPEC,), (WINDOWS,)))
    constants = for_tokens(window, tokens)
    codec = codec_from(constants, constants.specs)
    rows = np.resize(WINDOWS[3], (tokens, 8))
    (found,) = codec.decode(codec.encode([rows]).data)
    whole = codec_from(window, window.specs)
    (expected,) = whole.decode(whole.encode([WINDOWS[3]]).data)
    assert (found == np.resize(expected, (tokens, 8))).all()


def test_what_has_no_tokens_is_refused():
    constants = calibrate("float32", Calibration((TensorSpec("one", ()),), (np.zeros(3, np.float32),)))
    with pytest.raises(CodecError, match="no tokens"):
        for_tokens(constants, 2)
