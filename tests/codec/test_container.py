from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from splitimpera.codec.codecs import Calibration, calibrate, codec_from
from splitimpera.codec.constants import Constants
from splitimpera.codec.container import MAGIC, START_BYTES, Container, read_container, write_container
from splitimpera.core.errors import CodecError, SplitImperaError
from splitimpera.records.graph import TensorSpec

NAMES = [
    *("float32", "bfloat16+interleaved", "uint8+mean", "uint4:channel", "uint8+zstd", "uint6+rans:channel"),
    *("uint8:channel+rans-packets+interleaved+last+fec:20", "png", "webp:50"),
]


def container_and_frames(name):
    rng = np.random.default_rng(0)
    tensors = np.cumsum(rng.normal(size=(40, 3, 8, 8)), axis=3).astype(np.float32)
    calibration = Calibration((TensorSpec("input", tensors.shape[1:]),), (tensors,), packet_bytes=64)
    constants = calibrate(name, calibration)
    codec = codec_from(constants)
    return Container(constants, tuple(codec.encode([x]).data for x in tensors[:5])), tensors[:5]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_says_by_itself_how_to_read_it(name):
    written, frames = container_and_frames(name)
    found = read_container(write_container(written))
    assert found.payloads == written.payloads
    assert found.constants.name == name
    assert found.constants.specs == written.constants.specs
    assert found.constants.plan_id == written.constants.plan_id
    here, there = codec_from(written.constants), codec_from(found.constants)
    for x, payload in zip(frames, found.payloads, strict=True):
        np.testing.assert_array_equal(there.decode(payload), here.decode(payload))
        assert there.encode([x]).data == payload


def test_plans_have_numbers_of_their_own():
    numbers = {container_and_frames(name)[0].constants.plan_id for name in NAMES}
    assert len(numbers) == len(NAMES)
    assert all(0 <= number < 2**32 for number in numbers)


def with_header(change):
    written, _ = container_and_frames("uint8+rans")
    data = write_container(written)
    length = int.from_bytes(data[START_BYTES - 4 : START_BYTES], "little")
    header = json.loads(data[START_BYTES : START_BYTES + length])
    change(header)
    text = json.dumps(header).encode()
    return data[: START_BYTES - 4] + len(text).to_bytes(4, "little") + text + data[START_BYTES + length :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: header["tensors"][0].update(shape=[1 << 20, 1 << 20]), "larger than anything"),
        (lambda header: header["tensors"][0].update(shape=[1 << 20, 2]), "tensors of 8.389 MB are claimed"),
        (lambda header: header["tensors"][0].update(shape=[-1]), "damaged"),
        (lambda header: header["tensors"][0].update(shape=[2.5]), "damaged"),
        (lambda header: header["tensors"][0].update(channel_dim=True), "damaged"),
        (lambda header: header["arrays"][0].update(dtype="|O8"), "damaged"),
        (lambda header: header["arrays"][0].update(shape=[9]), "the header speaks of"),
        (lambda header: header["frames"].append(1 << 40), "damaged"),
        (lambda header: header["frames"].append(100), "the header speaks of"),
        (lambda header: header.update(packet_bytes=0), "damaged"),
        (lambda header: header.pop("codec"), "damaged"),
        (lambda header: header.update(codec="uint9"), "did you mean"),
        (lambda header: header.update(codec="uint4+rans"), "0.counts"),
        (lambda header: header["arrays"][0].update(key="other"), "lack '0.low'"),
        (lambda header: header["tensors"][0].update(dtype="object"), "'object' cannot be written"),
    ],
)
def test_headers_that_make_no_sense_are_refused(change, message):
    with pytest.raises(SplitImperaError, match=message):
        codec_from(read_container(with_header(change)).constants)


def test_other_files_are_refused():
    data = write_container(container_and_frames("float32")[0])
    for wrong, message in (
        (b"", "no file of coded tensors"),
        (b"PK" + data[2:], "no file of coded tensors"),
        (MAGIC + b"\2\0" + data[len(MAGIC) + 2 :], "version 2, 1 can be read"),
        (data[:-1], "the header speaks of"),
        (data + b"x", "the header speaks of"),
        (data[: START_BYTES - 4] + b"\xff\xff\xff\xff" + data[START_BYTES:], "a header of 4294967295 bytes"),
        (data[:START_BYTES] + b"[" * 100 + data[START_BYTES + 100 :], "header is damaged"),
    ):
        with pytest.raises(CodecError, match=message):
            read_container(wrong)


def test_more_frames_than_a_header_holds_are_refused():
    constants = container_and_frames("float32")[0].constants
    with pytest.raises(CodecError, match="600000 frames need a header"):
        write_container(Container(constants, (b"",) * 600_000))


def large(name, shape=(64, 512, 512), dtype="float32"):
    """A file of a few kilobytes whose payload may rightly stand for 67 MB."""
    spec = TensorSpec("t", shape, dtype)
    arrays = {"0.low": np.float32(0), "0.step": np.float32(1), "0.counts": np.full((1, 256), 9, np.uint32)}
    wanted = [key for key in arrays if not name.startswith("float") and ("counts" not in key or "rans" in name)]
    constants = Constants(name, (spec,), 1400, {key: np.asarray(arrays[key]) for key in wanted})
    return spec, constants, write_container(Container(constants, (bytes(8000),)))


@pytest.mark.parametrize("name", ["uint8+rans", "uint8+rans-packets+interleaved", "float32+zstd", "float32+last"])
def test_small_files_of_large_tensors_are_refused_unless_these_are_expected(name):
    spec, constants, data = large(name)
    tracemalloc.start()
    try:
        for refuse in (lambda: read_container(data), lambda: codec_from(constants)):
            with pytest.raises(
                CodecError, match=r"67\.11 MB are claimed, and 4\.194 MB are the most .* expected=\.\.\."
            ):
                refuse()
        with pytest.raises(CodecError, match="the tensors are float32 64x512x512, float32 3x8x8 are expected"):
            read_container(data, [TensorSpec("t", (3, 8, 8))])
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert read_container(data, [spec]).constants.specs == (spec,)


def test_many_models_are_refused_unless_they_are_expected():
    spec = TensorSpec("t", (5000, 1))
    arrays = {"0.low": np.zeros(()), "0.step": np.ones(()), "0.counts": np.ones((5000, 4), np.uint8)}
    constants = Constants("uint2+rans:channel", (spec,), 1400, {key: np.asarray(arrays[key]) for key in arrays})
    with pytest.raises(CodecError, match="more than 4096 models are claimed"):
        codec_from(constants)
    codec_from(constants, [spec])


def test_packets_too_small_for_repair():
    spec = TensorSpec("t", (1 << 20,), "uint8")
    with pytest.raises(CodecError, match="1048576 packets, 131072 are the most"):
        codec_from(Constants("uint8+fec:10", (spec,), 1))
