from __future__ import annotations

import struct
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitimpera.codec.framing import (
    HEADER_BYTES,
    FrameId,
    Kind,
    Reassembler,
    StreamReader,
    packetise,
)
from splitimpera.core.errors import CodecError
from splitimpera.net.transports import TRANSPORTS
from splitimpera.net.udp import payload_bytes
from splitimpera.records.link import Link
from splitimpera.records.traffic import Frames, Payload


def payload_of(size: int, element_bytes: int = 1, seed: int = 0) -> Payload:
    return Payload(np.random.default_rng(seed).bytes(size), element_bytes)


def received(packets, **limits):
    """What a receiver makes of some packets, at the deadline."""
    reassembler = Reassembler(**limits)
    finished = [frame for packet in packets for frame in reassembler.add(packet)]
    return finished + [frame for id in reassembler.in_flight for frame in reassembler.take(id)]


def zeroed(data: bytes, ranges) -> bytes:
    kept = bytearray(data)
    for start, end in ranges:
        kept[start:end] = bytes(end - start)
    return bytes(kept)


def test_the_header_is_what_the_protocol_says():
    packets = packetise(
        payload_of(10, 4), frame=7, plan=0xFEDCBA98, kind=Kind.RESPONSE, packet_bytes=9, time_left_s=1.5
    )
    assert [len(packet) for packet in packets] == [20 + 8, 20 + 2]
    assert packets[0][0] == 1 << 4 | 2
    assert int.from_bytes(packets[0][1:4], "big") == 150_000
    assert struct.unpack("!4I", packets[1][4:20]) == (0xFEDCBA98, 7, 8, 10)
    assert b"".join(packet[20:] for packet in packets) == payload_of(10, 4).data


@pytest.mark.parametrize(
    ("given_s", "read_s"), [(-1.0, 0.0), (0.0, 0.0), (0.012345678, 0.01234), (167.0, 167.0), (168.0, inf), (inf, inf)]
)
def test_the_time_left_is_rounded_down_and_bounded(given_s, read_s):
    (frame,) = received(packetise(Payload(b"x"), frame=0, plan=0, packet_bytes=9, time_left_s=given_s))
    assert frame.time_left_s == pytest.approx(read_s)


sizes = st.tuples(st.integers(1, 3000), st.sampled_from([1, 2, 3, 4, 8]))


@given(sizes, st.integers(68, 600), st.sampled_from([0, 20, 37]), st.randoms(), st.data())
def test_the_simulator_and_the_receiver_miss_the_same_bytes(size, mtu, header, random, data):
    total, element_bytes = size
    link = Link(mtu_bytes=mtu, app_header_bytes=header if mtu - 28 - header >= 8 else 0)
    room = link.mtu_bytes - 28 - link.app_header_bytes
    payload = payload_of(total, element_bytes)
    packets = packetise(payload, frame=3, plan=1, packet_bytes=room)
    assert {len(packet) - HEADER_BYTES for packet in packets[:-1]} <= {payload_bytes(link, element_bytes)}
    lost = data.draw(st.sets(st.integers(0, len(packets) - 1)))
    over = TRANSPORTS["udp"](
        Link(mtu_bytes=mtu, app_header_bytes=link.app_header_bytes, drops=tuple(lost)), np.random.default_rng(0)
    )
    simulated = over.transfer(Frames(np.zeros(1), np.array([total]), np.ones(1), element_bytes))
    assert simulated.packets[0] == len(packets)
    came = [packet for place, packet in enumerate(packets) if place not in lost]
    random.shuffle(came)
    frames = received([*came, *came[:2]])
    if not came:
        assert frames == []
        assert simulated.erased[0] == ((0, total),)
        return
    (frame,) = frames
    assert frame.id == FrameId(Kind.FRAME, 1, 3, total)
    assert frame.erased == simulated.erased[0]
    assert frame.complete == (not lost)
    assert frame.data == zeroed(payload.data, frame.erased)


@given(sizes, st.integers(108, 2000))
def test_the_simulator_counts_the_bytes_that_are_sent(size, mtu):
    total, element_bytes = size
    link = Link(mtu_bytes=mtu, app_header_bytes=HEADER_BYTES)
    frames = Frames(np.zeros(1), np.array([total]), np.ones(1), element_bytes)
    payload = payload_of(total, element_bytes)
    packets = packetise(payload, frame=0, plan=0, packet_bytes=mtu - 28 - HEADER_BYTES)
    over_udp = TRANSPORTS["udp"](link, np.random.default_rng(0)).transfer(frames)
    assert over_udp.wire_bytes[0] == sum(len(packet) + 28 + link.link_header_bytes for packet in packets)
    assert max(len(packet) for packet in packets) + 28 <= mtu
    (stream,) = packetise(payload, frame=0, plan=0)
    over_tcp = TRANSPORTS["tcp"](link, np.random.default_rng(0)).transfer(frames)
    assert over_tcp.wire_bytes[0] == len(stream) + 54 * -(-len(stream) // (mtu - 52))


def test_a_frame_is_handed_over_once_when_its_last_packet_comes():
    packets = packetise(payload_of(100), frame=0, plan=0, packet_bytes=30)
    reassembler = Reassembler()
    handed = [reassembler.add(packet) for packet in packets]
    assert [len(frames) for frames in handed] == [0, 0, 0, 1]
    assert reassembler.add(packets[0]) == []
    assert reassembler.in_flight == ()


def test_late_packets_of_a_frame_that_was_taken_are_dropped():
    first, second = packetise(payload_of(50), frame=0, plan=0, packet_bytes=30)
    reassembler = Reassembler()
    reassembler.add(first)
    (id,) = reassembler.in_flight
    (frame,) = reassembler.take(id)
    assert frame.erased == ((30, 50),)
    assert reassembler.add(second) == reassembler.take(id) == []


def test_an_empty_payload_is_a_header_alone():
    (packet,) = packetise(Payload(b""), frame=5, plan=2, packet_bytes=100)
    assert len(packet) == HEADER_BYTES
    (frame,) = received([packet])
    assert (frame.data, frame.erased, frame.id.frame) == (b"", (), 5)


@given(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 2)), min_size=1, max_size=6), st.randoms(), st.data())
def test_what_others_send_harms_no_frame(frames, random, data):
    """Frames come whole beside packets of any bytes, headers with any numbers, and damaged copies of other frames."""
    payloads = [payload_of(size, seed=seed) for size, seed in frames]
    sent = {}
    packets = []
    for number, payload in enumerate(payloads):
        own = packetise(payload, frame=number, plan=9, packet_bytes=50)
        sent[FrameId(Kind.FRAME, 9, number, len(payload.data))] = payload.data
        packets += own
    words = st.one_of(st.integers(0, 500), st.integers(0, 2**32 - 1))
    forged = st.builds(
        lambda first, rest, tail: struct.pack("!5I", first, *rest) + tail,
        st.one_of(st.just(1 << 28 | 1 << 24), st.integers(0, 2**32 - 1)),
        st.tuples(st.integers(0, 8), words, words, words),  # of another plan
        st.binary(max_size=60),
    )
    hostile = data.draw(st.lists(st.one_of(st.binary(max_size=60), forged), max_size=8))
    mixed = packets + hostile
    random.shuffle(mixed)
    found = {frame.id: frame for frame in received(mixed) if frame.id.plan == 9}
    assert {id: frame.data for id, frame in found.items()} == sent
    assert all(frame.complete for frame in found.values())


@pytest.mark.parametrize("total", [400, 401, 2**32 - 1])
def test_no_claim_makes_the_receiver_hold_more_than_it_may(total):
    reassembler = Reassembler(most_frames=3, most_bytes=1000)
    for number in range(100):
        reassembler.add(packetise(payload_of(300), frame=number, plan=0, packet_bytes=100)[1])
        reassembler.add(struct.pack("!5I", 1 << 28 | 1 << 24, 0, 1000 + number, 0, total) + b"x")
        assert len(reassembler.in_flight) <= 3
        assert sum(id.total for id in reassembler.in_flight) <= 1000


def test_the_oldest_frame_gives_way_and_is_handed_over_with_its_gaps():
    begun = [packetise(payload_of(60, seed=number), frame=number, plan=0, packet_bytes=50)[0] for number in range(3)]
    reassembler = Reassembler(most_frames=2)
    assert reassembler.add(begun[0]) == reassembler.add(begun[1]) == []
    (frame,) = reassembler.add(begun[2])
    assert (frame.id.frame, frame.erased) == (0, ((50, 60),))


def test_bytes_that_came_are_not_overwritten():
    first, second = packetise(payload_of(50), frame=0, plan=0, packet_bytes=30)
    forged = first[:12] + struct.pack("!2I", 20, 50) + bytes(20)
    (frame,) = received([first, forged, second])
    assert frame.data[:30] == first[20:]
    assert frame.data[30:40] == bytes(10)
    assert frame.data[40:] == second[30:]


@given(st.lists(st.integers(0, 300), max_size=6), st.data())
def test_a_stream_may_be_cut_anywhere(sizes, data):
    payloads = [payload_of(size, seed=size) for size in sizes]
    stream = b"".join(
        packet for number, payload in enumerate(payloads) for packet in packetise(payload, frame=number, plan=4)
    )
    assert len(stream) == sum(size + HEADER_BYTES for size in sizes)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    reader = StreamReader()
    frames = [
        frame
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for frame in reader.feed(stream[start:end])
    ]
    assert [frame.data for frame in frames] == [payload.data for payload in payloads]
    assert [frame.id.frame for frame in frames] == list(range(len(sizes)))


@pytest.mark.parametrize(
    "damaged",
    [
        bytes(20),
        struct.pack("!5I", 2 << 28 | 1 << 24, 0, 0, 0, 10),
        struct.pack("!5I", 1 << 28 | 9 << 24, 0, 0, 0, 10),
        struct.pack("!5I", 1 << 28 | 1 << 24, 0, 0, 5, 10),
        struct.pack("!5I", 1 << 28 | 1 << 24, 0, 0, 0, 101),
    ],
)
def test_a_stream_that_makes_no_sense_ends_after_the_frames_before(damaged):
    (good,) = packetise(payload_of(100), frame=0, plan=0)
    reader = StreamReader(most_bytes=100)
    assert [frame.data for frame in reader.feed(good + damaged)] == [good[HEADER_BYTES:]]
    for _ in range(2):
        with pytest.raises(CodecError, match="in the stream"):
            reader.feed(good)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frame": 2**32}, "frame: 4294967296 does not fit into 32 bits"),
        ({"plan": -1}, "plan: -1 does not fit"),
        ({"packet_bytes": 3}, "packet_bytes: 3 bytes hold no element of 4"),
        ({"packet_bytes": -5}, "packet_bytes"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(CodecError, match=message):
        packetise(payload_of(8, 4), **{"frame": 0, "plan": 0, "packet_bytes": 50} | arguments)
