"""Codecs where one value, one byte or one packet more would show."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from splitimpera.codec import fec, zstd
from splitimpera.codec.codecs import Calibration, calibrate, make_codec
from splitimpera.codec.container import MAGIC, Container, read_container, write_container
from splitimpera.codec.elements import Scale
from splitimpera.codec.given import checked_specs
from splitimpera.codec.quantised import calibrated_scale
from splitimpera.core.errors import CodecError
from splitimpera.records.graph import TensorSpec
from splitimpera.records.traffic import Payload


def codec_for(name, tensors, **more):
    tensors = np.asarray(tensors)
    return make_codec(name, Calibration((TensorSpec("t", tensors.shape[1:], str(tensors.dtype)),), (tensors,), **more))


def test_nan_is_made_an_integer_before_it_is_cast():
    """What a cast makes of NaN is left to the machine, and NumPy warns of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        integers = Scale(np.float32(-1.0), np.float32(0.5)).to_integers(np.array([np.nan, 0.0, np.inf], np.float32))
    assert integers.tolist() == [0, 2, 255]


@pytest.mark.parametrize(
    ("codec", "dtype", "largest"),
    [
        ("float16", "float16", np.inf),
        ("float32", "float32", np.inf),
        ("float16", "float32", 65504.0),
        ("float32", "float64", float(np.finfo(np.float32).max)),
    ],
)
def test_an_infinity_stays_in_its_own_type_and_becomes_the_largest_of_a_smaller_one(codec, dtype, largest):
    made = codec_for(codec, [np.zeros(3, dtype)])
    read = made.decode(made.encode([np.array([np.inf, -np.inf, 1.0], dtype)]).data)[0]
    assert read.tolist() == [largest, -largest, 1.0]


def test_a_range_too_small_for_its_steps_is_kept_in_fewer():
    """255 steps of 8e-39 would be none in float32 that are exact; those of 1.2e-38 are."""
    x = np.array([0.0, 1e-36, 2e-36], np.float32)
    scale = calibrated_scale(x[None], TensorSpec("t", (3,)))
    read = scale.to_values(scale.to_integers(x), "float32")
    np.testing.assert_allclose(read, x, rtol=0, atol=0.6 * np.finfo(np.float32).tiny)
    assert calibrated_scale(np.zeros((1, 3), np.float32), TensorSpec("t", (3,))).step == 1.0


@pytest.mark.parametrize(("coder", "size"), [("zstd", 60), ("rans", 200)])
def test_whatever_its_length_a_coded_frame_is_told_from_a_plain_one(coder, size):
    """Noise that is followed by ever more zeros: at some length both are equally long."""
    for seed in range(4):
        noise = np.random.default_rng(seed).integers(0, 256, size).astype(np.float32)
        codec = codec_for(f"uint8+{coder}", [noise, np.linspace(0, 255, size, dtype=np.float32)])
        for zeros in range(size // 2):
            x = noise.copy()
            x[size - zeros :] = 0
            data = codec.encode([x]).data
            assert len(data) <= size
            np.testing.assert_allclose(codec.decode(data)[0], x, atol=1e-3)


def test_a_dictionary_must_pay_by_two_per_cent(monkeypatch):
    """Half of the frames judge it, by what they take with it and without."""

    class Sized:
        with_one = 0

        def __init__(self, name, raw, level, dictionary):
            self.size = 1000 if dictionary is None else self.with_one

        def encode(self, tensors):
            return Payload(bytes(self.size))

    monkeypatch.setattr(zstd, "ZstdCodec", Sized)
    rng = np.random.default_rng(0)
    frames = [(np.repeat(rng.integers(0, 4, 50), 8).astype(np.uint8),) for _ in range(64)]
    raw = codec_for("float32", [frame[0] for frame in frames])
    for size, pays in ((970, True), (979, True), (980, False), (1000, False)):
        monkeypatch.setattr(Sized, "with_one", size)
        assert (zstd.trained_dictionary(raw, frames, 3) is not None) is pays


def test_a_range_that_ends_with_a_packet_costs_that_packet_alone():
    tensors = np.random.default_rng(0).normal(size=(8, 600)).astype(np.float32)
    codec = codec_for("uint8+rans-packets", tensors, packet_bytes=100)
    payload = codec.encode([tensors[0]])
    whole = codec.decode(payload.data)[0]
    assert len(payload.data) > 300
    lost = [codec.decode(payload.data, [gap])[0] != whole for gap in ((0, 100), (0, 101), (100, 200))]
    assert 50 < lost[0].sum() < lost[1].sum()
    np.testing.assert_array_equal(lost[1], lost[0] | lost[2])
    assert not (lost[0] & lost[2]).any()


def test_an_element_of_which_a_packet_had_a_byte_is_missing():
    """Packets of an entropy code may end within an element; what is left of it is no number."""
    tensors = np.random.default_rng(0).integers(1, 2**24, size=(8, 400)).astype(np.int32)
    codec = codec_for("uint8+rans-packets", tensors, packet_bytes=100)
    payload = codec.encode([tensors[0]])
    packets = -(-len(payload.data) // 100)
    assert packets > 5
    for packet in range(packets):
        read = codec.decode(payload.data, [(100 * packet, min(100 * packet + 100, len(payload.data)))])[0]
        assert (read == 0).any()
        assert ((read == tensors[0]) | (read == 0)).all()


def test_what_repair_packets_cannot_give_back_is_missing_where_it_was():
    """Two data packets, one repair packet, the last data packet: with two lost, nothing can be repaired."""
    x = np.linspace(1, 255, 140, dtype=np.float32)
    codec = codec_for("uint8+fec:20", [x], packet_bytes=50)
    payload = codec.encode([x])
    assert len(payload.data) == 140 + 50
    whole = codec.decode(payload.data)[0]
    read = codec.decode(payload.data, [(0, 50), (150, 190)])[0]
    place = np.arange(140)
    np.testing.assert_array_equal(read, np.where((place < 50) | (place >= 100), 0, whole))


def test_as_many_packets_as_are_the_most(monkeypatch):
    monkeypatch.setattr(fec, "DATA_PACKETS_AT_MOST", 3)
    codec_for("uint8+fec:20", [np.zeros(150, np.float32)], packet_bytes=50)
    with pytest.raises(CodecError, match="151 bytes in packets of 50 are 4 packets, 3 are the most"):
        codec_for("uint8+fec:20", [np.zeros(151, np.float32)], packet_bytes=50)


@pytest.mark.parametrize(("name", "filled"), [("float32", 0.0), ("float32+mean", 2.0), ("float32+last", 9.0)])
def test_the_frame_before_fills_gaps_where_that_was_asked_for(name, filled):
    codec = codec_for(name, [np.full(4, 2.0, np.float32)])
    data = codec.encode([np.full(4, 5.0, np.float32)]).data
    read = codec.decode(data, [(4, 8)], previous=[np.full(4, 9.0, np.float32)])[0]
    assert read.tolist() == [5.0, filled, 5.0, 5.0]


def test_a_file_of_an_older_version_than_the_first_is_refused():
    constants = calibrate("uint8", Calibration((TensorSpec("t", (2,)),), (np.ones((1, 2), np.float32),)))
    data = bytearray(write_container(Container(constants, (b"ab",))))
    assert read_container(bytes(data)).payloads == (b"ab",)
    data[len(MAGIC)] = 0
    with pytest.raises(CodecError, match="the file has version 0, 1 can be read"):
        read_container(bytes(data))


def test_two_constants_of_one_name_are_refused():
    constants = calibrate("uint8", Calibration((TensorSpec("t", (2,)),), (np.ones((1, 2), np.float32),)))
    data = write_container(Container(constants, (b"ab",)))
    assert data.count(b'"0.step"') == 1
    with pytest.raises(CodecError, match="two of the constants have the same key"):
        read_container(data.replace(b'"0.step"', b'"0.low" '))


def test_tensors_that_nobody_expects_may_have_4_mib():
    checked_specs([TensorSpec("t", (1 << 20, 4), "uint8")], None)
    checked_specs([TensorSpec("t", (1 << 20, 1), "float32")], None)
    with pytest.raises(CodecError, match="nobody expects them"):
        checked_specs([TensorSpec("t", ((1 << 22) + 1,), "uint8")], None)
