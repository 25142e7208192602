from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from splitimpera.codec.elements import ElementCodec, picture_scale
from splitimpera.codec.registry import Calibration, codec_kind, make_codec
from splitimpera.errors import CodecError, UnknownNameError
from splitimpera.records import TensorSpec

shapes = hnp.array_shapes(max_dims=3, max_side=6)
tensors = shapes.flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=st.floats(-100, 100, width=32)))


def codec_for(name, *values):
    specs = tuple(TensorSpec(f"t{i}", value.shape, str(value.dtype)) for i, value in enumerate(values))
    return make_codec(name, Calibration(specs, tuple(value[None] for value in values)))


@given(tensors)
def test_float32_is_exact(x):
    codec = codec_for("float32", x)
    payload = codec.encode([x])
    assert len(payload.data) == 4 * x.size
    assert payload.atom_bytes == 4
    np.testing.assert_array_equal(codec.decode(payload.data)[0], x)


@given(tensors)
def test_float16_errs_by_its_precision(x):
    codec = codec_for("float16", x)
    payload = codec.encode([x])
    assert len(payload.data) == 2 * x.size
    np.testing.assert_allclose(codec.decode(payload.data)[0], x, rtol=2**-11, atol=1e-7)


@given(tensors)
def test_uint8_errs_by_half_a_step(x):
    codec = codec_for("uint8", x)
    payload = codec.encode([x])
    assert len(payload.data) == x.size
    step = (float(x.max()) - float(x.min())) / 255
    assert np.abs(codec.decode(payload.data)[0] - x).max() <= step * 0.5001 + 1e-4


@given(tensors, st.data(), st.sampled_from(["float32", "float16", "uint8"]))
def test_an_erased_range_changes_only_what_it_carries(x, data, name):
    codec = codec_for(name, x)
    payload = codec.encode([x])
    whole = codec.decode(payload.data)[0].reshape(-1)
    start = data.draw(st.integers(0, len(payload.data)))
    end = data.draw(st.integers(start, len(payload.data)))
    damaged = codec.decode(payload.data, [(start, end)])[0].reshape(-1)
    size = payload.atom_bytes
    touched = np.array([start < end and start < (i + 1) * size and i * size < end for i in range(x.size)])
    np.testing.assert_array_equal(damaged[touched], 0)
    np.testing.assert_array_equal(damaged[~touched], whole[~touched])


def test_several_tensors_follow_each_other_and_a_gap_may_span_them():
    a, b, c = np.ones((2, 2), np.float32), np.arange(3, dtype=np.int64), np.full(2, 5, np.float32)
    codec = codec_for("float32", a, b, c)
    payload = codec.encode([a, b, c])
    assert len(payload.data) == 16 + 24 + 8
    x, y, z = codec.decode(payload.data, [(12, 25)])
    assert x.reshape(-1).tolist() == [1, 1, 1, 0]
    assert y.tolist() == [0, 0, 2]
    assert z.tolist() == [5, 5]


def test_pictures_come_back_exactly():
    pictures = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    scale = picture_scale((0.3,), (0.35,))
    inputs = ((pictures / 255 - 0.3) / 0.35).astype(np.float32)
    np.testing.assert_array_equal(scale.to_integers(inputs), pictures)
    np.testing.assert_allclose(scale.to_values(pictures, "float32"), inputs, atol=1e-5)


def test_damaged_payloads_are_refused():
    x = np.ones(4, np.float32)
    codec = codec_for("float32", x)
    with pytest.raises(CodecError, match="15 bytes is given, float32 writes 16"):
        codec.decode(bytes(15))
    with pytest.raises(CodecError, match="outside"):
        codec.decode(bytes(16), [(8, 17)])
    with pytest.raises(CodecError, match=r"shape \(5,\) is given, \(4,\) is expected"):
        codec.encode([np.ones(5, np.float32)])


def test_bad_calibration_and_bad_names():
    spec = TensorSpec("t", (2,))
    with pytest.raises(CodecError, match="NaN"):
        make_codec("uint8", Calibration((spec,), (np.array([[1.0, np.nan]]),)))
    with pytest.raises(UnknownNameError, match="did you mean 'float32'"):
        codec_kind("float23")
    with pytest.raises(CodecError, match="takes no argument"):
        codec_kind("float32:7")
    with pytest.raises(CodecError, match="no quality from 1 to 95"):
        codec_kind("jpeg:0")


def test_constant_tensors_have_a_scale_too():
    x = np.full((3,), 7.0, np.float32)
    assert isinstance(codec_for("uint8", x), ElementCodec)
    np.testing.assert_allclose(codec_for("uint8", x).decode(codec_for("uint8", x).encode([x]).data)[0], x)
