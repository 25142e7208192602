from __future__ import annotations

import numpy as np
import pytest
import zstandard

from splitimpera.codec.codecs import Calibration, calibrate, codec_from, make_codec
from splitimpera.codec.entropy import probabilities
from splitimpera.core.errors import CodecError
from splitimpera.records.graph import TensorSpec

SHAPE = (32, 14, 14)


def latents(frames, seed=0):
    """Smooth maps behind a ReLU, in channels of different strength, as a network has them: (frames, *SHAPE)."""
    rng = np.random.default_rng(seed)
    strength = np.random.default_rng(99).lognormal(0, 0.8, (SHAPE[0], 1, 1))
    maps = rng.normal(-0.3, 1, (frames, SHAPE[0], SHAPE[1] + 2, SHAPE[2] + 2))
    smooth = (maps[..., :-2, :] + maps[..., 1:-1, :] + maps[..., 2:, :])[..., 1:-1] / 2
    return np.maximum(smooth * strength, 0).astype(np.float32)


def calibration(tensors, **more):
    return Calibration((TensorSpec("t", tensors.shape[1:]),), (tensors,), **more)


def entropy_bytes(symbols):
    """Of the symbols' own frequencies."""
    counts = np.unique(symbols, return_counts=True)[1]
    return -(counts * np.log2(counts / counts.sum())).sum() / 8


@pytest.mark.parametrize("base", ["uint8", "uint6", "uint4:channel", "uint2"])
def test_a_frame_takes_hardly_more_than_its_entropy(base):
    constants = calibrate(f"{base}+rans", calibration(latents(64)))
    raw, coded = make_codec(base, calibration(latents(64))), codec_from(constants)
    shares = probabilities(constants.arrays["0.counts"])[0]
    for x in latents(4, seed=1):
        symbols = raw.numbers[0].write(x)
        bound = -np.log2(shares[symbols]).sum() / 8  # under the model
        size = len(coded.encode([x]).data)
        assert bound - 1 <= size <= bound * 1.001 + 4
        assert size <= entropy_bytes(symbols) * 1.02 + 8  # of the frame itself


def test_channels_with_models_of_their_own_take_less():
    tensors, x = latents(64), latents(1, seed=1)[0]
    shared, apart = (make_codec(f"uint8{modifier}", calibration(tensors)) for modifier in ("+rans", "+rans:channel"))
    raw = make_codec("uint8", calibration(tensors))
    own = sum(entropy_bytes(channel) for channel in raw.numbers[0].write(x).reshape(SHAPE[0], -1))
    size = len(apart.encode([x]).data)
    assert size < 0.98 * len(shared.encode([x]).data)
    assert size > own * 0.98  # which knows the frame, and would have to be sent


def test_packets_cost_little_more_than_one_stream():
    tensors, x = latents(64), latents(1, seed=1)[0]
    whole = len(make_codec("uint8+rans", calibration(tensors)).encode([x]).data)
    for modifier in ("", "+interleaved"):
        packets = make_codec(f"uint8+rans-packets{modifier}", calibration(tensors, packet_bytes=500))
        payload = packets.encode([x])
        assert payload.element_bytes == 500
        assert len(payload.data) <= whole * 1.05


@pytest.mark.parametrize("base", ["uint8", "uint8:channel"])
def test_a_latent_of_16_bytes_stays_one(base):
    rng = np.random.default_rng(0)
    tensors = rng.uniform(0, 1, (256, 16)).astype(np.float32)
    sizes = {
        modifier: max(len(codec.encode([x]).data) for x in tensors)
        for modifier in ("+rans", "+rans-packets", "+zstd")
        for codec in [make_codec(base + modifier, calibration(tensors))]
    }
    assert sizes["+rans"] <= 16
    assert sizes["+zstd"] <= 16
    assert sizes["+rans-packets"] <= 22


def test_values_that_calibration_never_saw_are_coded_all_the_same():
    tensors = np.zeros((8, 4, 50), np.float32)
    tensors[0, 0, 0] = 1
    x = np.random.default_rng(0).uniform(-1, 2, (4, 50)).astype(np.float32)
    for modifier in ("+rans", "+rans:channel", "+rans-packets", "+rans-packets:channel+interleaved"):
        codec = make_codec(f"uint8{modifier}", calibration(tensors, packet_bytes=40))
        plain = make_codec("uint8", calibration(tensors))
        expected = plain.decode(plain.encode([x]).data)
        np.testing.assert_array_equal(codec.decode(codec.encode([x]).data), expected)


def test_probabilities_are_those_that_were_counted_and_none_is_0():
    counts = np.array([[1000, 0, 0, 0], [0, 0, 0, 9000]], np.uint32)
    shares = probabilities(counts)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert shares.min() > 0
    assert shares[0, 0] > 0.96
    np.testing.assert_allclose(probabilities(counts[:1])[0], np.array([1000.5, 0.5, 0.5, 0.5]) / 1002)


def test_lost_packets_cost_their_own_elements():
    x = latents(1, seed=1)[0]
    codec = make_codec("uint8+rans-packets+last", calibration(latents(16), packet_bytes=300))
    data = codec.encode([x]).data
    packets = -(-len(data) // 300)
    (whole,) = codec.decode(data)
    lost = []
    for packet in range(packets):
        (values,) = codec.decode(data, [(300 * packet + 7, 300 * packet + 8)], [np.full(SHAPE, np.float32(-1))])
        lost.append(values == -1)
        np.testing.assert_array_equal(values[~lost[-1]], whole[~lost[-1]])
    np.testing.assert_array_equal(np.sum(lost, axis=0), 1)
    (none,) = codec.decode(data, [(0, len(data))], [np.full(SHAPE, np.float32(-1))])
    assert (none == -1).all()


def test_packets_that_do_not_follow_each_other_are_refused():
    x = latents(1)[0]
    codec = make_codec("uint8+rans-packets", calibration(latents(4), packet_bytes=300))
    data = codec.encode([x]).data
    for wrong in (data[300:], data[:600], data[:300] + data[600:], data[300:600] + data[:300] + data[600:]):
        with pytest.raises(CodecError):
            codec.decode(wrong)
    forged = data[:2] + b"\xff\xff" + data[4:]
    with pytest.raises(CodecError, match="symbols 0 to 65535"):
        codec.decode(forged)
    with pytest.raises(CodecError, match="packets of 16 bytes are too small"):
        make_codec("uint8+rans-packets", calibration(latents(1), packet_bytes=16))


def test_streams_that_are_cut_or_changed_are_noticed():
    x = latents(1)[0]
    codec = make_codec("uint8+rans", calibration(latents(4)))
    data = codec.encode([x]).data
    for size in range(0, len(data), 37):
        with pytest.raises(CodecError):
            codec.decode(data[:size])
        changed = bytearray(data)
        changed[size] ^= 16
        with pytest.raises(CodecError, match="damaged"):
            codec.decode(bytes(changed))
    with pytest.raises(CodecError, match="damaged"):
        codec.decode(data + b"\0")


def test_zstd_frames_that_claim_a_size_are_refused():
    codec = make_codec("uint8+zstd", calibration(latents(4)))
    claim = zstandard.ZstdCompressor().compress(bytes(1 << 22))[4:]
    assert len(claim) < 6272
    with pytest.raises(CodecError, match="claims a size"):
        codec.decode(claim)
    unknown = zstandard.ZstdCompressionParameters.from_level(
        3, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=False, window_log=20
    )
    with pytest.raises(CodecError, match="damaged"):
        codec.decode(zstandard.ZstdCompressor(compression_params=unknown).compress(bytes(1 << 22)))


def test_a_dictionary_makes_small_latents_smaller_where_they_resemble_each_other():
    rng = np.random.default_rng(0)
    patterns = rng.normal(size=(6, 400)).astype(np.float32)
    tensors = patterns[rng.integers(0, 6, 256)].reshape(256, 20, 20)
    constants = calibrate("uint8+zstd", calibration(tensors))
    assert "dictionary" in constants.arrays
    codec = codec_from(constants)
    data = codec.encode([tensors[0]]).data
    assert len(data) < 100
    np.testing.assert_allclose(codec.decode(data)[0], tensors[0], atol=0.02)
    noise = rng.uniform(size=(256, 20, 20)).astype(np.float32)
    assert "dictionary" not in calibrate("uint8+zstd", calibration(noise)).arrays
