from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from splitimpera.codec.elements import picture_scale
from splitimpera.codec.registry import Calibration, make_codec
from splitimpera.errors import CodecError
from splitimpera.records import TensorSpec


def codec_and_picture(name, channels):
    generator = np.random.default_rng(3)
    smooth = np.linspace(0, 255, 16 * 20).reshape(1, 16, 20) + generator.normal(0, 4, (channels, 16, 20))
    pictures = np.clip(smooth, 0, 255).astype(np.uint8)
    scale = picture_scale((0.5,) * channels, (0.25,) * channels)
    x = scale.to_values(pictures, "float32")
    return make_codec(name, Calibration((TensorSpec("input", x.shape),), (x[None],), scale)), x


@pytest.mark.parametrize("channels", [1, 3])
def test_png_is_exact(channels):
    codec, x = codec_and_picture("png", channels)
    np.testing.assert_array_equal(codec.decode(codec.encode([x]).data)[0], x)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_near_and_quality_costs_bytes(channels):
    good, x = codec_and_picture("jpeg:90", channels)
    poor, _ = codec_and_picture("jpeg:20", channels)
    assert len(poor.encode([x]).data) < len(good.encode([x]).data)
    assert np.abs(good.decode(good.encode([x]).data)[0] - x).mean() < 0.1


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_not_crashed_on(data):
    for name in ("png", "jpeg"):
        codec, _ = codec_and_picture(name, 1)
        with pytest.raises(CodecError):
            codec.decode(data)


def test_an_image_of_another_size_is_refused_before_it_is_read():
    codec, _ = codec_and_picture("png", 1)
    file = io.BytesIO()
    Image.new("L", (3000, 3000)).save(file, "PNG")
    with pytest.raises(CodecError, match="3000"):
        codec.decode(file.getvalue())


def test_truncated_files_and_gaps_are_refused():
    codec, x = codec_and_picture("png", 3)
    data = codec.encode([x]).data
    with pytest.raises(CodecError):
        codec.decode(data[: len(data) // 2])
    with pytest.raises(CodecError, match="parts missing"):
        codec.decode(data, [(0, 1)])


def test_only_pictures_are_written():
    spec = TensorSpec("features.3", (8, 4, 4))
    with pytest.raises(CodecError, match="1 or 3 channels"):
        make_codec("png", Calibration((spec,), (np.zeros((1, 8, 4, 4), np.float32),)))
