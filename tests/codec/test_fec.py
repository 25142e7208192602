from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitimpera.codec.codecs import Calibration, make_codec
from splitimpera.codec.fec import MOST_IN_GROUP, Layout, repair_packets
from splitimpera.core.errors import CodecError
from splitimpera.records.graph import TensorSpec


def codec_for(name, x, packet_bytes):
    return make_codec(name, Calibration((TensorSpec("t", x.shape),), (x[None],), packet_bytes=packet_bytes))


def spans(size, packet_bytes):
    return [(start, min(start + packet_bytes, size)) for start in range(0, size, packet_bytes)]


@given(st.integers(1, 700), st.integers(1, 200), st.data())
@settings(max_examples=300)
def test_any_packets_as_many_as_the_data_packets_suffice(size, percent, data):
    x = np.random.default_rng(size).normal(size=size).astype(np.float32)
    codec = codec_for(f"uint8+zstd+fec:{percent}", x, 50)
    payload = codec.encode([x])
    plain = codec.inner.encode([x]).data
    k = -(-len(plain) // 50)
    m = -(-k * percent // 100)
    assert len(payload.data) == len(plain) + 50 * m  # the overhead, in bytes
    assert payload.element_bytes == 50
    expected = codec.inner.decode(plain)
    packets = spans(len(payload.data), 50)
    assert len(packets) == k + m
    lost = data.draw(st.sets(st.integers(0, k + m - 1), min_size=0, max_size=m))
    erased = [packets[packet] for packet in sorted(lost)]
    blank = bytearray(payload.data)
    for start, end in erased:
        blank[start:end] = bytes(end - start)
    assert codec.survives(len(blank), erased)
    np.testing.assert_array_equal(codec.decode(bytes(blank), erased), expected)


def test_one_packet_more_is_one_too_many():
    x = np.random.default_rng(0).normal(size=400).astype(np.float32)
    codec = codec_for("uint8+zstd+fec:30", x, 50)
    data = codec.encode([x]).data
    packets = spans(len(data), 50)
    assert len(packets) == 8 + 3
    assert not codec.tolerates_loss
    assert codec.survives(len(data), packets[1:4])
    assert not codec.survives(len(data), packets[1:5])
    with pytest.raises(CodecError, match="lost more packets than it can repair"):
        codec.decode(data, packets[1:5])
    assert codec.survives(len(data), packets[7:10])  # the repair packets alone


def test_behind_the_limit_the_codec_inside_fills_the_gaps():
    x = np.arange(1, 401, dtype=np.float32)
    codec = codec_for("float32+fec:10", x, 160)
    data = codec.encode([x]).data
    packets = spans(len(data), 160)
    assert codec.tolerates_loss
    np.testing.assert_array_equal(codec.decode(data, packets[3:4])[0], x)
    (values,) = codec.decode(data, [packets[0], (330, 334)])
    np.testing.assert_array_equal(values[:40], 0)
    np.testing.assert_array_equal(values[82:84], 0)  # no more of the packet than is missing
    assert np.count_nonzero(values) == 400 - 42
    assert codec.survives(len(data), packets)


@pytest.mark.parametrize("percent", [1, 20, 100, 200])
@pytest.mark.parametrize("packets", [1, 2, 90, 126, 127, 128, 253, 254, 255, 256, 257, 700, 3000])
def test_groups_hold_every_packet_once_and_stay_within_the_limit(packets, percent):
    repair = repair_packets(packets, percent)
    layout = Layout(10 * (packets + repair) - 3, 10, packets, repair)
    assert Layout.of_packets(layout.size, 10, percent) == layout
    members = [layout.members(group) for group in range(layout.groups)]
    assert sorted(packet for data, repairing in members for packet in data + repairing) == [*range(packets + repair)]
    assert max(len(data) + len(repairing) for data, repairing in members) <= MOST_IN_GROUP
    assert sorted(layout.span(packet) for packet in range(packets + repair)) == spans(layout.size, 10)


def test_many_packets_are_repaired_in_groups():
    x = np.random.default_rng(0).normal(size=3000).astype(np.float32)
    codec = codec_for("uint8+fec:20", x, 10)
    data = codec.encode([x]).data
    packets = spans(len(data), 10)
    assert len(packets) == 360
    burst = packets[100:150]
    expected = codec.decode(data)
    np.testing.assert_array_equal(codec.decode(data, burst), expected)
    assert (codec.decode(data, packets[100:200])[0] == 0).sum() == 1000


def test_sizes_that_no_frame_has_are_refused():
    x = np.zeros(100, np.float32)
    codec = codec_for("uint8+fec:100", x, 50)
    assert len(codec.encode([x]).data) == 200
    assert not codec.survives(101, [])
    for size in (0, 50, 101, 150, 250):
        with pytest.raises(CodecError, match="which is none of uint8"):
            codec.decode(bytes(size))
    with pytest.raises(CodecError, match="hold no element of 3"):
        codec_for("uint6+fec:10", x, 2)


def test_packets_hold_whole_elements():
    x = np.arange(1, 31, dtype=np.float32)
    codec = codec_for("float32+fec:10", x, 50)
    assert codec.encode([x]).element_bytes == 48
