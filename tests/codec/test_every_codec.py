"""What is true for every codec, whatever its tensors."""

from __future__ import annotations

import resource
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from splitimpera.codec.codec_names import parsed
from splitimpera.codec.codecs import Calibration, calibrate, codec_from, make_codec
from splitimpera.codec.concealment import LastFrame
from splitimpera.codec.elements import image_scale
from splitimpera.core.errors import CodecError
from splitimpera.records.graph import TensorSpec

FLOATS = ["float32", "float16", "bfloat16"]
QUANTISED = [base + argument for base in ("uint8", "uint6", "uint4", "uint2") for argument in ("", ":channel")]
CODED = ["+rans", "+rans:channel", "+zstd", "+zstd:9"]
PACKETED = [
    "+rans-packets",
    "+rans-packets:channel",
    "+rans-packets+interleaved",
    "+rans-packets:channel+interleaved",
]
TOLERANT = [
    *(base + order for base in (*FLOATS, *QUANTISED) for order in ("", "+interleaved")),
    *(base + modifier for base in ("uint8", "uint6:channel", "uint2") for modifier in PACKETED),
]
TOKENS = [base + ":token" for base in ("uint8", "uint6", "uint4", "uint2")]
INTOLERANT = [base + modifier for base in ("uint8:channel", "uint4") for modifier in CODED] + ["float16+zstd"]
CORRECTED = [
    *("float32+fec:50", "uint6+interleaved+fec:100", "uint8+rans+fec:30", "uint4+zstd+fec:200"),
    "uint8+rans-packets+interleaved+fec:20",
]
IMAGES = ["png", "jpeg", "jpeg:30", "webp", "webp:50", "png+fec:40", "webp+fec:100", "uint8", "uint4+rans"]
PACKET_BYTES = 40
UNITS = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
FINEST = {"float32": 2.0**-150, "float16": 2.0**-25, "bfloat16": 2.0**-134}

shapes = hnp.array_shapes(min_dims=0, max_dims=4, max_side=7)


@st.composite
def frames(draw, dtypes=("float16", "float32", "float64", "bfloat16"), count=2, tokens=False):
    """A spec, and some tensors for it whose values are near each other or apart."""
    dtype = draw(st.sampled_from(dtypes))
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=7) if tokens else shapes)
    array = "float32" if dtype == "bfloat16" else dtype
    width = {"float16": 16, "float32": 32, "float64": 64}[array]
    limit = draw(st.sampled_from([2.0**-20, 1.0, 60000.0] + [1e30] * (width > 16)))
    limit = float(np.array(limit, array))
    values = st.floats(-limit, limit, width=width)
    spec = TensorSpec("t", shape, dtype, channel_dim=1 if tokens else draw(st.integers(0, max(len(shape) - 1, 0))))
    return spec, draw(hnp.arrays(array, (count, *shape), elements=values, fill=st.nothing()))


def codec_for(name, spec, tensors, packet_bytes=PACKET_BYTES):
    return make_codec(name, Calibration((spec,), (tensors,), packet_bytes=packet_bytes))


def bound(name, spec, tensors, x):
    """The largest error that a codec without entropy coding promises for each element of a frame."""
    size = np.abs(x.astype(np.float64))
    own = 2.0**-11 if spec.dtype == "float16" else 2.0**-24  # of the decoded value's type
    base, _, channel = name.partition("+")[0].partition(":")
    if base in UNITS:
        if np.dtype(x.dtype).name == base:
            return np.zeros(x.shape)
        unit = min(UNITS[base], 1) if not (base == "float32" and spec.dtype == "float16") else 0
        beyond = np.maximum(size - 65504, 0) if base == "float16" else 0
        return size * unit + FINEST[base] + (2.0**-25 if spec.dtype == "float16" else 0) + beyond
    axes = None
    if channel and spec.shape:
        axes = tuple(axis for axis in range(len(spec.shape) + 1) if axis != spec.channel_dim + 1)
    low, high = (end(tensors.astype(np.float64), axis=axes, keepdims=True)[0] for end in (np.min, np.max))
    step = (high - low) / (2 ** int(base[4:]) - 1)
    largest = np.maximum(np.abs(low), np.abs(high))
    return step * 0.5 + 1024 * 2.0**-24 * step + 8 * own * largest + 2.0**-25 * (spec.dtype == "float16") + 1e-37


@given(frames(), st.sampled_from([*FLOATS, *QUANTISED]), st.sampled_from(["", "+interleaved", "+mean"]))
@settings(max_examples=200)
def test_elements_come_back_within_the_stated_error(given_frames, base, modifier):
    spec, tensors = given_frames
    codec = codec_for(base + modifier, spec, tensors)
    for x in tensors:
        (y,) = codec.decode(codec.encode([x]).data)
        assert (y.shape, y.dtype) == (x.shape, x.dtype)
        error = np.abs(y.astype(np.float64) - x.astype(np.float64))
        assert (error <= bound(base, spec, tensors, x)).all()


@pytest.mark.slow
@given(frames(), st.sampled_from([*PACKETED, *CODED, "+fec:20", "+interleaved+fec:100", "+rans+fec:20"]), st.data())
@settings(max_examples=200)
def test_what_is_done_to_the_numbers_afterwards_loses_nothing(given_frames, modifier, data):
    spec, tensors = given_frames
    base = data.draw(st.sampled_from(QUANTISED))
    plain, coded = codec_for(base, spec, tensors), codec_for(base + modifier, spec, tensors)
    unlike = np.concatenate([tensors, -tensors[::-1]])
    for x in unlike:
        (expected,) = plain.decode(plain.encode([x]).data)
        np.testing.assert_array_equal(coded.decode(coded.encode([x]).data)[0], expected)


@given(st.data(), st.sampled_from([*TOLERANT, *INTOLERANT, *CORRECTED]))
@settings(max_examples=150)
def test_integers_of_every_type_are_exact_beside_floats(data, name):
    integers = data.draw(
        st.sampled_from(["bool", "uint8", "int8", "int16", "int32", "int64"]).flatmap(
            lambda dtype: hnp.arrays(dtype, hnp.array_shapes(max_dims=2, max_side=5))
        )
    )
    x = np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4)
    specs = (TensorSpec("x", x.shape), TensorSpec("i", integers.shape, str(integers.dtype)), TensorSpec("y", x.shape))
    codec = make_codec(name, Calibration(specs, (x[None], integers[None], x[None]), packet_bytes=48))
    payload = codec.encode([x, integers, x])
    first, found, last = codec.decode(payload.data)
    np.testing.assert_array_equal(found, integers)
    assert found.dtype == integers.dtype
    np.testing.assert_array_equal(first, last)
    assert np.abs(first - x).max() <= 0.34


@given(frames(("float32",)), st.sampled_from([*TOLERANT, *TOKENS]), st.data())
@settings(max_examples=200)
def test_an_erased_range_changes_only_what_it_carries(given_frames, base, data):
    """Told by a frame before that holds nothing but a value that no frame has."""
    spec, tensors = given_frames
    codec = codec_for(f"{base}+last", spec, tensors)
    payload = codec.encode([tensors[0]])
    size, element = len(payload.data), payload.element_bytes
    start = data.draw(st.integers(0, size))
    end = data.draw(st.integers(start, size))
    absent = [np.full(spec.shape, np.float32(3e38))]

    def missing(gaps, content=payload.data):
        (values,) = codec.decode(content, gaps, absent)
        gone = values == absent[0]
        np.testing.assert_array_equal(values[~gone], whole[~gone])
        return gone

    (whole,) = codec.decode(payload.data)
    noise = bytearray(payload.data)
    noise[start:end] = data.draw(st.binary(min_size=end - start, max_size=end - start))
    gone = missing([(start, end)])
    np.testing.assert_array_equal(missing([(start, end)], bytes(noise)), gone)
    elements = [(first, min(first + element, size)) for first in range(0, size, element)]
    carried = [missing([span]) for span in elements]
    # no element cuts an element, so that each is carried by exactly one
    np.testing.assert_array_equal(np.sum(carried, axis=0), np.ones(spec.shape))
    touched = [one for one, (first, last) in zip(carried, elements, strict=True) if start < last and first < end]
    within = np.any(touched, axis=0) if touched and start < end else np.zeros(spec.shape, bool)
    assert not (gone & ~within).any()
    covered = [one for one, (first, last) in zip(carried, elements, strict=True) if start <= first and last <= end]
    assert gone[np.any(covered, axis=0)].all() if covered else True


@given(frames(("float32",)), st.sampled_from(INTOLERANT))
def test_what_bears_no_gap_says_so(given_frames, name):
    spec, tensors = given_frames
    codec = codec_for(name, spec, tensors)
    data = codec.encode([tensors[0]]).data
    assert not codec.tolerates_loss
    with pytest.raises(CodecError, match="parts missing"):
        codec.decode(data, [(0, 1)])
    codec.decode(data, [(1, 1)])  # nothing is missing


@pytest.mark.parametrize(("name", "expected"), [("zero", 0), ("mean", [0.5, 5]), ("last", [0.5, 5])])
def test_gaps_are_filled_with_what_is_asked_for(name, expected):
    tensors = np.array([[[0, 0], [4, 4]], [[1, 1], [6, 6]]], np.float32)
    codec = codec_for(f"uint8+{name}", TensorSpec("t", (2, 2)), tensors)
    data = codec.encode([tensors[0]]).data
    (values,) = codec.decode(data, [(1, 3)])
    expected = np.broadcast_to(expected, 2)
    np.testing.assert_allclose(values, [[0, expected[0]], [expected[1], 4]], atol=0.02)


BEFORE = [f"{name}+before" for name in ("float16", "uint8", "uint4:channel+interleaved", "uint8:token")]


@given(frames(("float32", "float16"), tokens=True), st.sampled_from([*TOLERANT, *TOKENS]), st.data())
@settings(max_examples=200)
def test_gaps_take_the_token_before_and_nothing_that_was_sent_in_them(given_frames, base, data):
    """The same expectation by a loop over tokens, from the places that `+last` finds to be missing."""
    spec, tensors = given_frames
    codecs = [codec_for(base + modifier, spec, tensors) for modifier in ("+last", "+mean", "+before")]
    payload = codecs[0].encode([tensors[0]]).data
    gaps = data.draw(st.lists(st.tuples(*[st.integers(0, len(payload))] * 2).map(sorted), max_size=4))
    sentinel = np.full(spec.shape, 61234, tensors.dtype)
    (last,), (mean,), (found,) = (codec.decode(payload, gaps, [sentinel]) for codec in codecs)
    gone = last == sentinel
    expected = last.copy()
    for token, channel in zip(*np.nonzero(gone), strict=True):
        whole = [row for row in range(token) if not gone[row, channel]]
        expected[token, channel] = last[whole[-1], channel] if whole else mean[token, channel]
    np.testing.assert_array_equal(found, expected)
    if hasattr(codecs[2], "put_with_gaps"):  # as a design does it, from a frame of which nothing is missing
        into = [np.empty_like(found)]
        codecs[2].put_with_gaps(into, codecs[2].decode(payload), [gap for gap in gaps if gap[0] < gap[1]])
        np.testing.assert_array_equal(into[0], expected)


def test_whole_tokens_are_repeated_until_one_arrives():
    x = np.arange(1, 13, dtype=np.float32).reshape(6, 2)
    codec = codec_for("float32+before", TensorSpec("t", x.shape, channel_dim=1), x[None])
    data = codec.encode([x]).data
    found = codec.decode(data, [(40, 48), (16, 24), (24, 32), (0, 12)])[0]
    np.testing.assert_array_equal(found, [[6, 7], [6, 4], [6, 4], [6, 4], [9, 10], [9, 10]])


@pytest.mark.parametrize("spec", [TensorSpec("features.3", (3, 8)), TensorSpec("features.3", (3, 8, 8), channel_dim=1)])
def test_what_has_no_tokens_has_none_before(spec):
    match = r"features\.3: 'uint8\+before': \+before fills with the token before.*\(tokens, channels\) is expected"
    with pytest.raises(CodecError, match=match):
        codec_for("uint8+before", spec, np.ones((2, *spec.shape), np.float32))
    constants = calibrate("uint8+mean", Calibration((spec,), (np.ones((2, *spec.shape), np.float32),)))
    with pytest.raises(CodecError, match=match):
        codec_from(replace(constants, name="uint8+before"))


def test_a_stream_is_filled_from_the_frame_before():
    tensors = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    stream = LastFrame(codec_for("float32+last", TensorSpec("t", (3,)), tensors))
    first, second = (stream.codec.encode([x]).data for x in tensors)
    stream.decode(first)
    assert stream.decode(second, [(0, 4)])[0].tolist() == [1, 5, 6]
    assert stream.decode(first, [(4, 12)])[0].tolist() == [1, 5, 6]
    stream.reset()
    assert stream.decode(first, [(0, 4)])[0].tolist() == [2.5, 2, 3]
    with pytest.raises(CodecError, match="frame before is none of this plan"):
        stream.codec.decode(first, [(0, 4)], [np.zeros(4)])


@pytest.mark.parametrize(
    "name", [*FLOATS, "uint4", "uint8+rans", "uint8:token", "uint8+rans-packets", "uint8+zstd", "uint6+fec:20"]
)
def test_tensors_and_payloads_of_another_plan_are_refused(name):
    rng = np.random.default_rng(1)
    tensors = rng.normal(size=(4, 3, 8, 8)).astype(np.float32)
    spec = TensorSpec("features.3", tensors.shape[1:])
    codec = codec_for(name, spec, tensors)
    data = codec.encode([tensors[0]]).data
    with pytest.raises(CodecError, match=r"features\.3: .*\(3, 8, 9\) is given, \(3, 8, 8\) is expected"):
        codec.encode([np.zeros((3, 8, 9), np.float32)])
    with pytest.raises(CodecError, match=r"features\.3: a tensor of complex64"):
        codec.encode([tensors[0].astype(np.complex64)])
    with pytest.raises(CodecError, match="2 tensors are given, 1 are expected"):
        codec.encode([tensors[0], tensors[0]])
    for wrong in (data[:-1], data[: len(data) // 2], b"", data + b"\1", data * 40):
        with pytest.raises(CodecError):
            codec.decode(wrong)
    with pytest.raises(CodecError, match="outside"):
        codec.decode(data, [(0, len(data) + 1)])
    other = codec_for(name, TensorSpec("t", (700,)), np.resize(tensors, (2, 700)))
    with pytest.raises(CodecError):
        codec.decode(other.encode([np.resize(tensors[0], 700)]).data)


def image_codec(name):
    rng = np.random.default_rng(3)
    images = np.clip(np.linspace(0, 255, 16 * 20).reshape(16, 20) + rng.normal(0, 6, (2, 3, 16, 20)), 0, 255)
    scale = image_scale((0.5,) * 3, (0.25,) * 3)
    tensors = scale.to_values(images.astype(np.uint8), "float32")
    spec = TensorSpec("input", tensors.shape[1:])
    return make_codec(name, Calibration((spec,), (tensors,), scale, packet_bytes=200)), tensors[0]


def hostile(rng, data):
    """Bytes that somebody made up or changed."""
    kind = rng.integers(7)
    changed = bytearray(data)
    if kind == 0:
        return rng.bytes(int(rng.integers(0, 2 * len(data) + 2)))
    if kind == 1:  # flipped bits
        for place in rng.integers(0, len(data), rng.integers(1, 6)):
            changed[place] ^= 1 << int(rng.integers(8))
    elif kind == 2:  # cut short
        del changed[int(rng.integers(0, len(data))) :]
    elif kind == 3:  # lengthened
        changed += rng.bytes(int(rng.integers(1, 100)))
    elif kind == 4:  # a header with large numbers
        changed[: int(rng.integers(1, 33))] = b"\xff" * 32
    elif kind == 5:  # something of it twice
        place = int(rng.integers(0, len(data)))
        changed[place:place] = changed[int(rng.integers(0, len(data))) :]
    else:  # extreme bytes somewhere
        changed[int(rng.integers(0, len(data)))] = int(rng.choice([0, 1, 127, 128, 255]))
    return bytes(changed)


FUZZED = [
    *((name, False) for name in ["float32", "float16", "bfloat16+interleaved", "uint8", "uint6+mean", "uint2:channel"]),
    *((name, False) for name in [*INTOLERANT, *CORRECTED, *TOKENS]),
    *((f"uint8{modifier}", False) for modifier in PACKETED),
    *((name, True) for name in IMAGES),
]
PAYLOADS_EACH = -(-12_000 // len(FUZZED))
ALLOCATED_LIMIT_BYTES = 1 << 20
RESIDENT_LIMIT_BYTES = 64 << 20


@pytest.mark.slow
def test_hostile_payloads_end_in_an_error_or_in_tensors_and_in_little_memory():
    """12 000 of them. The tensors are 1000 elements or fewer; image libraries allocate where Python does not see it."""
    rng = np.random.default_rng(0)
    latent = np.maximum(rng.normal(0, 1, (64, 8, 6, 6)), 0).astype(np.float32)
    refused = 0
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, images in FUZZED:
        if images:
            codec, x = image_codec(name)
        else:
            codec, x = codec_for(name, TensorSpec("t", latent.shape[1:]), latent), latent[0]
        data = codec.encode([x]).data
        tracemalloc.start()
        try:
            for _ in range(PAYLOADS_EACH):
                content = hostile(rng, data)
                cuts = sorted(rng.integers(0, len(content) + 1, 2).tolist())
                erased = [tuple(cuts)] if rng.random() < 0.3 else []
                if hasattr(codec, "survives"):
                    codec.survives(len(content), erased)
                try:
                    (y,) = codec.decode(content, erased)
                    assert (y.shape, y.dtype) == (x.shape, x.dtype)
                except CodecError:
                    refused += 1
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < ALLOCATED_LIMIT_BYTES, f"{name} allocated {peak} bytes"
    assert refused > 6000
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident) * 1024
    assert grown < RESIDENT_LIMIT_BYTES


def test_every_base_and_modifier_is_tested_here():
    from splitimpera.codec.codec_names import CODECS, MODIFIERS

    names = [
        parsed(name)
        for name in (*TOLERANT, *INTOLERANT, *CORRECTED, *IMAGES, "uint8+zero", "uint8+mean+fec:1", *BEFORE)
    ]
    assert {name.base for name in names} == set(CODECS.names())
    used = {modifier for name in names for modifier in name.modifiers} | {"last"}
    assert used == set(MODIFIERS.names())
