from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from splitimpera.codec.codecs import Calibration, make_codec
from splitimpera.codec.elements import ElementCodec, image_scale, packed, unpacked
from splitimpera.core.errors import CodecError
from splitimpera.records.graph import TensorSpec

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
    assert payload.element_bytes == 4
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
    size = payload.element_bytes
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


def test_images_come_back_exactly():
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    scale = image_scale((0.3,), (0.35,))
    inputs = ((images / 255 - 0.3) / 0.35).astype(np.float32)
    np.testing.assert_array_equal(scale.to_integers(inputs), images)
    np.testing.assert_allclose(scale.to_values(images, "float32"), inputs, atol=1e-5)


def test_damaged_payloads_are_refused():
    x = np.ones(4, np.float32)
    codec = codec_for("float32", x)
    with pytest.raises(CodecError, match="15 bytes is given, float32 writes 16"):
        codec.decode(bytes(15))
    with pytest.raises(CodecError, match="outside"):
        codec.decode(bytes(16), [(8, 17)])
    with pytest.raises(CodecError, match=r"shape \(5,\) is given, \(4,\) is expected"):
        codec.encode([np.ones(5, np.float32)])


def test_numbers_of_few_bits_lie_in_the_lowest_bits_first():
    numbers = np.array([1, 2, 3, 0, 63], np.uint8)
    assert packed(numbers[:4], 2) == bytes([0b00_11_10_01])
    assert packed(numbers[:3], 4) == bytes([0x21, 0x03])
    assert packed(numbers, 6) == (1 | 2 << 6 | 3 << 12 | 63 << 24).to_bytes(4, "little")


@given(st.sampled_from([2, 4, 6, 8]), st.data())
def test_packing_is_undone_from_any_place(bits, data):
    numbers = data.draw(hnp.arrays(np.uint8, st.integers(0, 20), elements=st.integers(0, 2**bits - 1)))
    written = packed(numbers, bits)
    assert len(written) == -(-len(numbers) * bits // 8)
    found = unpacked(b"abc" + written + b"d", 3, len(numbers), bits, np.dtype(np.uint8))
    np.testing.assert_array_equal(found, numbers)


def test_atoms_hold_whole_elements_of_all_tensors():
    x, i = np.linspace(0, 1, 5, dtype=np.float32), np.array([7], np.int64)
    codec = codec_for("uint6", x, i)
    payload = codec.encode([x, i])
    assert payload.element_bytes == 24  # three bytes hold four elements of 6 bits, eight bytes one of the other
    assert len(payload.data) == 8 + 8  # 30 bits, then up to the next multiple of 8
    y, j = codec.decode(payload.data, [(0, 8)])
    assert y.tolist() == [0] * 5
    assert j.tolist() == [7]


def test_bfloat16_is_rounded_as_torch_rounds_it():
    torch = pytest.importorskip("torch")
    bits = np.random.default_rng(0).integers(0, 2**32, 20000, dtype=np.uint32)
    special = np.array([1 + 2**-8, 1 + 3 * 2**-8, np.nan, 0, -0.0], np.float32)
    x = np.concatenate([bits.view(np.float32), special])
    x = x[~(np.abs(x) > 3.38e38)]  # those become the largest value here, infinity there
    y = codec_for("bfloat16", x).decode(codec_for("bfloat16", x).encode([x]).data)[0]
    np.testing.assert_array_equal(y, torch.from_numpy(x).bfloat16().float().numpy())


@pytest.mark.parametrize(
    ("name", "largest"), [("float16", 65504.0), ("bfloat16", 3.3895314e38), ("float32", 3.4028235e38)]
)
def test_values_beyond_a_type_become_its_largest_and_nan_stays(name, largest):
    x = np.array([1e300, -1e300, np.nan])
    y = codec_for(name, x).decode(codec_for(name, x).encode([x]).data)[0]
    np.testing.assert_allclose(y, [largest, -largest, np.nan], rtol=1e-7)


def test_constant_tensors_have_a_scale_too():
    x = np.full((3,), 7.0, np.float32)
    assert isinstance(codec_for("uint8", x), ElementCodec)
    np.testing.assert_allclose(codec_for("uint8", x).decode(codec_for("uint8", x).encode([x]).data)[0], x)
