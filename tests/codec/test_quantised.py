from __future__ import annotations

import numpy as np
import pytest

from splitimpera.codec.codecs import Calibration, make_codec
from splitimpera.codec.elements import image_scale
from splitimpera.codec.quantised import calibrated_scale, coarser
from splitimpera.core.errors import CodecError
from splitimpera.records.graph import TensorSpec


def test_a_range_for_each_channel_wherever_the_channels_are():
    tensors = np.array([[[0, 10], [1, 30]], [[2, 20], [4, 50]]], np.float32)  # (n, tokens, channels)
    scale = calibrated_scale(tensors, TensorSpec("t", (2, 2), channel_dim=1), bits=2, per_channel=True)
    assert scale.low.tolist() == [[0, 10]]
    np.testing.assert_allclose(scale.step, [[4 / 3, 40 / 3]], rtol=1e-6)
    assert scale.levels == 3


def test_a_tensor_without_channels_has_one_range():
    scale = calibrated_scale(np.array([1, 3], np.float32), TensorSpec("t", ()), per_channel=True)
    assert scale.low.shape == scale.step.shape == ()


def test_values_beyond_the_range_take_its_ends_and_nan_the_lower_one():
    tensors = np.array([[0, 3]], np.float32)
    codec = make_codec("uint2", Calibration((TensorSpec("t", (2,)),), (tensors,)))
    for given, expected in (([-5, 9], [0, 3]), ([np.inf, -np.inf], [3, 0]), ([np.nan, 2], [0, 2])):
        assert codec.decode(codec.encode([np.array(given, np.float32)]).data)[0].tolist() == expected


def test_channels_with_ranges_of_their_own_err_less():
    rng = np.random.default_rng(0)
    tensors = (rng.normal(size=(16, 8, 10)) * np.logspace(-2, 1, 8)[:, None]).astype(np.float32)
    errors = {}
    for name in ("uint4", "uint4:channel"):
        codec = make_codec(name, Calibration((TensorSpec("t", (8, 10)),), (tensors,)))
        decoded = np.stack([codec.decode(codec.encode([x]).data)[0] for x in tensors])
        errors[name] = np.abs(decoded - tensors).mean(axis=(0, 2))
    assert errors["uint4:channel"][0] < errors["uint4"][0] / 100


def test_images_keep_their_range_in_fewer_bits():
    scale = coarser(image_scale((0.5,), (0.25,)), 4)
    images = np.arange(0, 256, 17, dtype=np.uint8).reshape(1, 4, 4)
    inputs = ((images / 255 - 0.5) / 0.25).astype(np.float32)
    np.testing.assert_array_equal(scale.to_integers(inputs).reshape(-1), np.arange(16))
    np.testing.assert_allclose(scale.to_values(scale.to_integers(inputs), "float32"), inputs, atol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["uint8", "uint2:channel", "float32+mean", "uint8+rans", "uint4+zstd"])
def test_calibration_data_that_are_not_finite_are_refused(bad, name):
    tensors = np.array([[1.0, 2.0], [bad, 3.0]], np.float32)
    with pytest.raises(
        CodecError, match=r"features\.2: the calibration data are empty or contain NaN or infinite values"
    ):
        make_codec(name, Calibration((TensorSpec("features.2", (2,)),), (tensors,)))


def test_calibration_data_that_do_not_fit_are_refused():
    spec = TensorSpec("t", (2,))
    with pytest.raises(CodecError, match="are empty"):
        make_codec("uint8", Calibration((spec,), (np.zeros((0, 2), np.float32),)))
    with pytest.raises(CodecError, match=r"shape \(4, 3\) are given, \(n, 2,\) is expected"):
        make_codec("uint8", Calibration((spec,), (np.zeros((4, 3), np.float32),)))
    with pytest.raises(CodecError, match="0 tensors are given to calibrate 1"):
        make_codec("float32", Calibration((spec,), ()))
    with pytest.raises(CodecError, match="'quint8' cannot be written"):
        make_codec("float32", Calibration((TensorSpec("t", (2,), "quint8"),), (np.zeros((1, 2)),)))
