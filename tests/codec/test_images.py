from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from splitimpera.codec.codecs import Calibration, make_codec
from splitimpera.codec.elements import image_scale
from splitimpera.core.errors import CodecError
from splitimpera.records.graph import TensorSpec


def codec_and_image(name, channels):
    generator = np.random.default_rng(3)
    smooth = np.linspace(0, 255, 16 * 20).reshape(1, 16, 20) + generator.normal(0, 4, (channels, 16, 20))
    images = np.clip(smooth, 0, 255).astype(np.uint8)
    scale = image_scale((0.5,) * channels, (0.25,) * channels)
    x = scale.to_values(images, "float32")
    return make_codec(name, Calibration((TensorSpec("input", x.shape),), (x[None],), scale)), x


@pytest.mark.parametrize("channels", [1, 3])
def test_png_is_exact(channels):
    codec, x = codec_and_image("png", channels)
    np.testing.assert_array_equal(codec.decode(codec.encode([x]).data)[0], x)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_near_and_quality_costs_bytes(channels):
    good, x = codec_and_image("jpeg:90", channels)
    poor, _ = codec_and_image("jpeg:20", channels)
    assert len(poor.encode([x]).data) < len(good.encode([x]).data)
    assert np.abs(good.decode(good.encode([x]).data)[0] - x).mean() < 0.1


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_not_crashed_on(data):
    for name in ("png", "jpeg", "webp"):
        codec, _ = codec_and_image(name, 1)
        with pytest.raises(CodecError):
            codec.decode(data)


@pytest.mark.parametrize("channels", [1, 3])
def test_webp_is_exact_and_near_at_a_quality(channels):
    exact, x = codec_and_image("webp", channels)
    np.testing.assert_array_equal(exact.decode(exact.encode([x]).data)[0], x)
    near, _ = codec_and_image("webp:80", channels)
    assert len(near.encode([x]).data) < len(exact.encode([x]).data)
    # lossy WebP stores luma in the range 16 to 235
    assert np.abs(near.decode(near.encode([x]).data)[0] - x).mean() < 0.2


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "webp:50"])
def test_noise_fits_into_the_bytes_that_a_codec_accepts(name):
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64)).astype(np.uint8)
    scale = image_scale((0,), (1,))
    x = scale.to_values(images, "float32")
    codec = make_codec(name, Calibration((TensorSpec("input", x.shape),), (x[None],), scale))
    assert codec.decode(codec.encode([x]).data)[0].shape == x.shape


@pytest.mark.parametrize(("name", "format"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP"), ("webp:50", "WEBP")])
def test_an_image_of_another_size_is_refused_before_it_is_read(name, format):
    codec, _ = codec_and_image(name, 1)
    file = io.BytesIO()
    Image.new("L", (600, 500)).save(file, format, lossless=":" not in name)
    with pytest.raises(CodecError, match=r"\(600, 500\)"):
        codec.decode(file.getvalue())


def test_a_png_with_more_than_a_image_is_refused():
    codec, x = codec_and_image("png", 1)
    data = codec.encode([x]).data
    text = b"\0\0\0\4zTXta\0\0b\0\0\0\0"
    with pytest.raises(CodecError, match="not a plain image"):
        codec.decode(data[:33] + text + data[33:])


def test_an_animation_is_refused_whatever_canvas_it_claims():
    codec, _ = codec_and_image("webp", 3)
    file = io.BytesIO()
    frames = [Image.new("RGB", (20, 16), colour) for colour in ("red", "blue")]
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    data = bytearray(file.getvalue())
    data[24:30] = b"\xfe\x3f\0" * 2  # 16383 x 16383
    with pytest.raises(CodecError, match="not a single image"):
        codec.decode(bytes(data))


def test_truncated_files_and_gaps_are_refused():
    codec, x = codec_and_image("png", 3)
    data = codec.encode([x]).data
    with pytest.raises(CodecError):
        codec.decode(data[: len(data) // 2])
    with pytest.raises(CodecError, match="parts missing"):
        codec.decode(data, [(0, 1)])


def test_only_images_are_written():
    spec = TensorSpec("features.3", (8, 4, 4))
    with pytest.raises(CodecError, match="1 or 3 channels"):
        make_codec("png", Calibration((spec,), (np.zeros((1, 8, 4, 4), np.float32),)))


def test_jpeg_files_with_many_scans_are_refused_before_they_are_read():
    """Every scan of a progressive file goes over the whole image once more."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16), dtype=np.uint8)
    scale = image_scale((0.5,) * 3, (0.25,) * 3)
    x = scale.to_values(pixels, "float32")
    codec = make_codec("jpeg:75", Calibration((TensorSpec("input", x.shape),), (x[None],), scale))
    baseline = codec.encode([x]).data
    codec.decode(baseline)
    file = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(file, "JPEG", progressive=True)
    scan = baseline.index(b"\xff\xda")
    for wrong in (file.getvalue(), baseline[:-2] + baseline[scan:], baseline[:scan], baseline[2:], baseline + b"x"):
        with pytest.raises(CodecError, match="JPEG data are damaged, or not a plain image"):
            codec.decode(wrong)


def test_inputs_in_bfloat16_come_back_as_float32():
    codec, x = codec_and_image("png", 3)
    spec = TensorSpec("input", x.shape, "bfloat16")
    half = make_codec("png", Calibration((spec,), (x[None],), codec.scale))
    np.testing.assert_array_equal(half.decode(half.encode([x]).data)[0], x)
