"""Containers, constants, payloads, gaps and tensors that somebody changed or made up, for every codec."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from harness import attack, refused_or_taken
from hypothesis import strategies as st

from splitimpera.codec.codec_names import CODECS
from splitimpera.codec.codecs import Calibration, calibrate, codec_from
from splitimpera.codec.constants import Constants
from splitimpera.codec.container import START_BYTES, Container, read_container, write_container
from splitimpera.codec.elements import image_scale
from splitimpera.records.graph import DTYPE_BYTES, TensorSpec

NAMES = [
    *("float32", "float16+zstd:19", "bfloat16+interleaved+last", "uint8", "uint6+mean", "uint4:channel", "uint2"),
    *("uint8+rans", "uint4+rans:channel+fec:50", "uint8+zstd", "uint6+rans-packets", "float32+fec:200"),
    *("uint2:channel+rans-packets:channel+interleaved+last+fec:20", "uint8+interleaved+fec:10"),
    *("png", "jpeg:40", "webp", "webp:20", "png+fec:30"),
]


@cache
def written(name):
    """A container with a few frames, and what they are made of."""
    rng = np.random.default_rng(0)
    images = CODECS[name.split("+")[0].split(":")[0]].images_only
    tensors = np.cumsum(rng.normal(size=(40, 3, 8, 8)), axis=3).astype(np.float32)
    specs = (TensorSpec("input", (3, 8, 8)),)
    if images:
        tensors = image_scale((0.5,) * 3, (0.25,) * 3).to_values(rng.integers(0, 256, tensors.shape), "float32")
    constants = calibrate(name, Calibration(specs, (tensors,), packet_bytes=64))
    codec = codec_from(constants)
    return Container(constants, tuple(codec.encode([x]).data for x in tensors[:3])), tensors


def read(data, expected=None):
    """All that a file can be asked for."""
    found = read_container(data, expected)
    codec = codec_from(found.constants, expected)
    for payload in found.payloads[:5]:
        refused_or_taken(lambda payload=payload: codec.decode(payload))
        refused_or_taken(lambda payload=payload: codec.decode(payload, [(0, len(payload) // 2)]))


# Bytes that are changed ----------------------------------------------------------------------------------------------

places = st.floats(0, 1, exclude_max=True)
edits = st.lists(
    st.tuples(st.sampled_from(["byte", "cut", "insert", "twice", "ones"]), places, st.binary(min_size=1, max_size=8)),
    min_size=1,
    max_size=4,
)


def edited(data, changes):
    for kind, place, content in changes:
        at = int(place * len(data))
        if kind == "byte":
            data = data[:at] + content[:1] + data[at + 1 :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "insert":
            data = data[:at] + content + data[at:]
        elif kind == "twice":
            data = data[:at] + data[at // 2 :]
        else:
            data = data[:at] + b"\xff" * 4 + data[at + 4 :]
    return data


def check_files(name, changes):
    refused_or_taken(lambda: read(edited(write_container(written(name)[0]), changes)))


test_files, test_files_long = attack(check_files, st.sampled_from(NAMES), edits)


def check_payloads(name, changes, gaps):
    container, _ = written(name)
    codec, data = codec_from(container.constants), edited(container.payloads[0], changes)
    erased = [tuple(sorted(int(end * len(data)) for end in gap)) for gap in gaps]
    found = refused_or_taken(lambda: codec.decode(data, erased))
    assert found is None or (found[0].shape, found[0].dtype) == ((3, 8, 8), np.float32)


test_payloads, test_payloads_long = attack(
    check_payloads, st.sampled_from(NAMES), edits, st.lists(st.tuples(places, places), max_size=3), quick=80, long=1700
)


# Headers that lie ----------------------------------------------------------------------------------------------------

numbers = st.sampled_from([0, 1, 2, 3, 16, 255, 1 << 10, 1 << 16, 1 << 20, 1 << 24, 1 << 32, -1, 10**400, 2.5, None])
shapes = st.one_of(
    st.lists(numbers, max_size=5), st.just([1 << 24] * 16), st.just([0] + [1 << 24] * 4), st.just([[3]]), numbers
)
words = st.sampled_from([*NAMES, "uint9", "", "float32" * 1000, "uint8\ud800", "\x1b[2J", "uint8+fec:200+rans"])
changes = st.lists(
    st.one_of(
        st.tuples(st.just("tensors.shape"), shapes),
        st.tuples(st.just("tensors.dtype"), st.sampled_from([*DTYPE_BYTES, "object", "", 3])),
        st.tuples(st.just("tensors.channel_dim"), numbers),
        st.tuples(st.just("tensors.count"), st.sampled_from([0, 2, 100, 3000])),
        st.tuples(st.just("arrays.shape"), shapes),
        st.tuples(st.just("arrays.dtype"), st.sampled_from(["<f4", "<f8", "<u4", "|u1", "|O", ">f4", [1]])),
        st.tuples(st.just("arrays.values"), st.sampled_from([0.0, -1.0, 1e38, 1e-45, float("nan"), float("inf")])),
        st.tuples(st.just("codec"), words),
        st.tuples(st.just("packet_bytes"), numbers),
        st.tuples(st.just("frames"), st.lists(numbers, max_size=5)),
    ),
    min_size=1,
    max_size=3,
)


def changed(container, what):
    """A container whose header says something else, its length as the header says where that is possible."""
    header, values = container.constants.described(), container.constants.values()
    for key, value in what:
        group, _, entry = key.partition(".")
        if not entry:
            header[group] = value
        elif entry == "count":
            header[group] = (header[group] * value)[:3000]
        elif entry == "values":
            values = np.full(len(values) // 4 + 1, value, np.float32).tobytes()[: len(values)]
        elif header[group]:
            header[group][0][entry] = value
    header.setdefault("frames", [len(payload) for payload in container.payloads])
    text = json.dumps(header).encode()
    start = write_container(container)[: START_BYTES - 4]
    return b"".join([start, len(text).to_bytes(4, "little"), text, values, *container.payloads])


def check_headers(name, what, expects):
    expected = (TensorSpec("input", (3, 8, 8)),) if expects else None
    refused_or_taken(lambda: read(changed(written(name)[0], what), expected))


test_headers, test_headers_long = attack(check_headers, st.sampled_from(NAMES), changes, st.booleans(), long=1250)

sides = st.sampled_from([0, 1, 3, 64, 1024, 1 << 16, 1 << 20, 1 << 22, 1 << 24])


def check_claims(name, shape, dtype, channel, packet_bytes, fill):
    """Constants that fit shapes of any size, with counts and ranges to match where these are small."""
    spec = TensorSpec("t", tuple(shape), dtype, channel_dim=channel)
    if "rans" in name and ":channel" in name:
        rows = spec.shape[channel] if channel < len(spec.shape) else 1
    else:
        rows = DTYPE_BYTES[dtype] if not name.startswith("uint") or not dtype.startswith(("float", "b")) else 1
    alphabet = 2 ** min(int(name[4]), 8) if name.startswith("uint") and rows != DTYPE_BYTES[dtype] else 256
    arrays = {
        "0.low": np.float32(0),
        "0.step": np.float32(1),
        "0.mean": np.float64(0),
        "0.counts": np.full((min(rows, 1 << 13), alphabet), fill, np.uint8),
    }
    constants = Constants(name, (spec,), packet_bytes, {key: np.asarray(value) for key, value in arrays.items()})

    def decode():
        codec = codec_from(constants)
        for payload in (b"", b"\1", bytes(3000), b"\xff" * 3000, bytes(range(1, 200)) * 16):
            refused_or_taken(lambda payload=payload: codec.decode(payload))
            refused_or_taken(lambda payload=payload: codec.decode(payload, [(0, 1)]))

    refused_or_taken(decode)


test_claims, test_claims_long = attack(
    check_claims,
    st.sampled_from(NAMES),
    st.lists(sides, max_size=4),
    st.sampled_from(list(DTYPE_BYTES)),
    st.integers(0, 3),
    st.sampled_from([1, 8, 40, 1400, 1 << 24]),
    st.sampled_from([0, 1, 255]),
    long=850,
)


# What Python's callers hand over -------------------------------------------------------------------------------------

ends = st.one_of(
    st.integers(-5, 300),
    st.sampled_from([10**30, -(10**30), 1.0, None, "3", b"1", True, [1], (0, 1), float("nan"), object()]),
    st.integers(0, 200).map(np.int64),
    st.integers(0, 200).map(np.uint8),
)
ranges = st.one_of(
    st.lists(st.tuples(ends, ends), max_size=4),
    st.lists(st.lists(ends, max_size=3), max_size=3),
    st.lists(st.tuples(ends, ends), max_size=3).map(lambda gaps: (gap for gap in gaps)),
    st.lists(st.tuples(st.integers(0, 90), st.integers(90, 180)), max_size=3).map(np.array),
    st.sampled_from([None, 3, "12", b"12", 1.5, {(0, 1)}, {0: 1}, [None], ["ab"], [[[0, 1]]], np.zeros((2, 2))]),
)
holders = st.sampled_from(
    [
        *(bytes, bytearray, memoryview, str, list, len, iter, {}.get),
        lambda data: np.frombuffer(data, np.uint8),
        lambda data: memoryview(data + bytes(-len(data) % 4)).cast("f"),
        lambda data: np.array([data], object),
    ]
)


def check_arguments(name, erased, hold):
    container, _ = written(name)
    codec, data = codec_from(container.constants), container.payloads[0]
    found = refused_or_taken(lambda: codec.decode(hold(data), erased))
    assert found is None or found[0].shape == (3, 8, 8)
    if hasattr(codec, "survives"):
        refused_or_taken(lambda: codec.survives(len(data), [(0, 1)]))


test_arguments, test_arguments_long = attack(check_arguments, st.sampled_from(NAMES), ranges, holders, long=1250)

tensors = st.sampled_from(
    [
        *(lambda x, dtype=dtype: x.astype(dtype) for dtype in ("f2", "f4", "f8", ">f4", ">f8", "i4", "i8", "?", "c8")),
        *(lambda x, dtype=dtype: x.astype(dtype) for dtype in ("O", "U", "S9")),
        torch.from_numpy,
        lambda x: torch.from_numpy(x).requires_grad_(),
        lambda x: torch.from_numpy(x).bfloat16(),
        lambda x: torch.from_numpy(x).to_sparse(),
        lambda x: torch.from_numpy(x).to("meta"),
        lambda x: x.tolist(),
        lambda x: [x.tolist(), 3],
        lambda x: x[:, ::-1],
        lambda x: np.asfortranarray(x),
        lambda x: np.ma.masked_less(x, 0),
        lambda x: x * np.float32(np.nan),
        lambda x: x.astype("f8") * 1e300,
        lambda x: x[None],
        lambda x: x[0],
        lambda x: x.view("V4"),
        lambda x: x.view("M8[s]") if x.dtype.itemsize == 8 else None,
        *(lambda _, given=given: given for given in (None, 3, "x", b"x", {}, object(), [[10**400]])),
    ]
)
rows = st.sampled_from([list, tuple, iter, len, lambda row: row[0], lambda row: row * 2, lambda row: row[1:]])


def check_tensors(name, make, row):
    container, given = written(name)
    codec = codec_from(container.constants)
    payload = refused_or_taken(lambda: codec.encode(row([make(given[0])])))
    if payload is not None:
        (found,) = codec.decode(payload.data)
        assert (found.shape, found.dtype) == ((3, 8, 8), np.float32)
    refused_or_taken(lambda: codec.decode(container.payloads[0], [(0, 1)], row([make(given[0])])))
    calibration = Calibration(container.constants.specs, (make(given),), packet_bytes=64)
    constants = refused_or_taken(lambda: calibrate(name, calibration))
    if constants is not None:
        codec_from(replace(constants, name=name)).encode([given[0]])


test_tensors, test_tensors_long = attack(check_tensors, st.sampled_from(NAMES), tensors, rows, long=650)
