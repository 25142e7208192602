"""A range for each token: outlier tokens cost no other ones their precision, and packets lose whole tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitimpera.codec.codec_names import parsed
from splitimpera.codec.codecs import Calibration, calibrate, codec_from, make_codec
from splitimpera.core.errors import CodecError
from splitimpera.records.graph import TensorSpec

SPEC = TensorSpec("blocks.0", (7, 10), channel_dim=1)


def codec_of(name, spec=SPEC, packet_bytes=1400):
    examples = np.random.default_rng(0).normal(size=(4, *spec.shape)).astype(spec.dtype)
    return make_codec(name, Calibration((spec,), (examples,), packet_bytes=packet_bytes))


@given(
    st.sampled_from(["uint8:token", "uint6:token", "uint4:token", "uint2:token"]),
    st.integers(0, 2**32),
    st.sampled_from([(7, 10), (3, 5), (1, 1)]),
    st.floats(1e-3, 1e3),
)
def test_the_error_is_half_a_step_of_the_token(name, seed, shape, large):
    x = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    x[0] *= large
    (found,) = (codec := codec_of(name, TensorSpec("t", shape, channel_dim=1))).decode(codec.encode([x]).data)
    levels = 2 ** int(name[4]) - 1
    reach = x.max(1) - x.min(1)
    slack = 2e-3 * np.abs(x).max(1) + 1e-4  # of the range's ends in float16
    assert (np.abs(found - x).max(1) <= reach / levels / 2 + slack).all()
    assert codec.element_bytes == 4 + -(-shape[1] * int(name[4]) // 8)


@given(st.sampled_from(["", "+mean", "+last"]), st.data())
def test_what_a_gap_touches_is_lost_as_a_whole_and_nothing_else(concealment, data):
    codec = codec_of(f"uint4:token{concealment}", packet_bytes=data.draw(st.sampled_from([5, 1400])))
    x = np.random.default_rng(1).normal(size=SPEC.shape).astype(np.float32) + 50
    payload = codec.encode([x]).data
    start = data.draw(st.integers(0, len(payload) - 1))
    end = data.draw(st.integers(start + 1, len(payload)))
    (whole,), (found,) = codec.decode(payload), codec.decode(payload, [(start, end)], (np.full_like(x, -9),))
    row = len(payload) // SPEC.shape[0]
    lost = [start < (place + 1) * row and end > place * row for place in range(SPEC.shape[0])]
    np.testing.assert_array_equal(found[np.logical_not(lost)], whole[np.logical_not(lost)])
    assert (np.abs(found[lost]) < 10).all()
    if not concealment:
        assert not found[lost].any()
    if concealment == "+last":
        assert (found[lost] == -9).all()


def test_an_outlier_token_costs_no_other_its_precision():
    x = np.random.default_rng(2).normal(size=SPEC.shape).astype(np.float32)
    x[0] *= 1000
    errors = {}
    for name in ("uint4", "uint4:token"):
        codec = make_codec(name, Calibration((SPEC,), (x[None],)))
        errors[name] = np.abs(codec.decode(codec.encode([x]).data)[0] - x)[1:].mean()
    assert errors["uint4:token"] < errors["uint4"] / 3


def test_other_tensors_of_a_cut_and_bad_numbers():
    ids = TensorSpec("ids", (7,), "int64")
    codec = make_codec(
        "uint8:token+fec:20", Calibration((SPEC, ids), (np.ones((1, 7, 10), np.float32), np.ones((1, 7), np.int64)))
    )
    x = np.full(SPEC.shape, 3.0, np.float32)
    x[0, 0], x[1, 1], x[2] = np.nan, np.inf, np.nan
    found, same = codec.decode(codec.encode([x, np.arange(7)]).data)
    np.testing.assert_array_equal(same, np.arange(7))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[3:], 3, rtol=1e-3)


def test_constants_make_the_same_codec_and_refuse_other_payloads():
    calibration = Calibration((SPEC,), (np.ones((1, 7, 10), np.float32),))
    constants = calibrate("uint8:token", calibration)
    assert not constants.arrays
    with pytest.raises(CodecError, match="a payload of 3 bytes"):
        codec_from(constants).decode(b"abc")
    for name in ("uint8:token+rans", "uint4:token+interleaved", "uint8:token+zstd", "uint8:word"):
        with pytest.raises(CodecError, match=r"does not go with :token|':word' is not understood"):
            parsed(name)
