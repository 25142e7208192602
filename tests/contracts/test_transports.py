"""One contract for all that carries frames: the simulated link, a loopback in memory, and the sockets.

Whatever carries a frame tells the same of it: which bytes are missing, how many packets were lost, and that it is used
when it is whole, or else when its time is over.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from math import inf

import numpy as np
import pytest
from peers import CARRIERS, DATAGRAMS, conversation

from splitimpera.codec.codecs import Calibration, make_codec
from splitimpera.codec.framing import IP_UDP_HEADER_BYTES, Kind
from splitimpera.deploy.sessions import Pace
from splitimpera.net.transports import TRANSPORTS
from splitimpera.records.graph import TensorSpec
from splitimpera.records.link import Link
from splitimpera.records.traffic import Frames, Payload

ROOM = 1000
PACES = {"udp": Pace(ROOM), "udp-interleaved": Pace(ROOM, interleaved=True), "udp-arq": Pace(ROOM, again=True)}
SHORT_S = 0.1
"""A deadline that a test waits for."""
LONG_S = 100.0

lossy = pytest.mark.parametrize("carrier", ["simulated", *DATAGRAMS])
every = pytest.mark.parametrize("carrier", ["simulated", *CARRIERS])


@dataclass
class Carried:
    """What became of a frame.

    Attributes:
        erased: None: nothing of it came.
        lost: How many of its packets were lost.
        used_s: From its first packet until it was used.
    """

    erased: tuple | None
    lost: int = 0
    used_s: float = 0.0
    data: bytes = b""


def carry(carrier, payloads, transport="udp", drops=(), left_s=inf, delay_s=0.0):
    """Send frames, one after the other; `drops` counts their packets as they are sent, those sent again as well."""
    if carrier == "simulated":
        return simulated(payloads, transport, drops, left_s, delay_s)
    return asyncio.run(conversed(carrier, payloads, transport, drops, left_s, delay_s))


def simulated(payloads, transport, drops, left_s, delay_s):
    ready = np.arange(len(payloads)) * 2 * LONG_S
    link = Link(rate_bps=8e15, delay_s=delay_s or 1e-3, mtu_bytes=ROOM + IP_UDP_HEADER_BYTES, drops=tuple(drops))
    frames = Frames(
        ready,
        np.array([len(payload.data) for payload in payloads]),
        ready + min(left_s, LONG_S),
        payloads[0].element_bytes,
    )
    sent = TRANSPORTS[transport](link, np.random.default_rng(0)).transfer(frames)
    return [
        Carried(tuple(erased), int(lost), used - first, zeroed(payload.data, erased)) if arrived else Carried(None)
        for payload, erased, lost, used, first, arrived in zip(
            payloads, sent.erased, sent.lost_packets, sent.complete_s, sent.first_s, sent.arrived, strict=True
        )
    ]


async def conversed(carrier, payloads, transport, drops, left_s, delay_s):
    pace = PACES.get(transport, PACES["udp"])
    async with conversation(carrier, pace, drops=drops, delay_s=delay_s) as (client, server):
        sent, coming = 0, 0
        for frame, payload in enumerate(payloads):
            packets = client.send(frame, payload, time_left_s=left_s)
            coming += carrier not in DATAGRAMS or not set(range(sent, sent + packets)) <= set(drops) or pace.again
            sent += packets
            await client.session.sent()
            await server.wait(coming)
        carried = [Carried(None) for _ in payloads]
        for message in server.messages:
            frame = message.frame
            assert (frame.id.kind, frame.id.total) == (Kind.FRAME, len(payloads[frame.id.frame].data))
            carried[frame.id.frame] = Carried(
                frame.erased, message.lost_packets, message.last_s - message.first_s, frame.data
            )
        return carried


def payload_of(size, element_bytes=1):
    return Payload(np.random.default_rng(size).bytes(size), element_bytes)


def zeroed(data, ranges):
    kept = bytearray(data)
    for start, end in ranges:
        kept[start:end] = bytes(end - start)
    return bytes(kept)


@every
@pytest.mark.parametrize("transport", ["udp", "udp-interleaved", "udp-arq"])
def test_without_loss_every_frame_comes_whole_and_waits_for_nothing(carrier, transport):
    payloads = [payload_of(size) for size in (1, 999, 1000, 1001, 4321, 25_000)]
    for carried, payload in zip(carry(carrier, payloads, transport), payloads, strict=True):
        assert (carried.erased, carried.lost) == ((), 0)
        assert carried.data == payload.data


@lossy
@pytest.mark.parametrize(
    ("size", "element_bytes", "drops", "erased"),
    [
        (4500, 1, [1, 3], ((1000, 2000), (3000, 4000))),
        (4500, 1, [1, 2], ((1000, 3000),)),
        (4500, 1, [0], ((0, 1000),)),
        (4500, 1, [4], ((4000, 4500),)),
        (4500, 1, [0, 1, 2, 3], ((0, 4000),)),
        (4500, 7, [1], ((994, 1988),)),
        (4200, 600, [2, 6], ((1200, 1800), (3600, 4200))),
    ],
)
def test_what_lost_packets_carried_is_missing(carrier, size, element_bytes, drops, erased):
    payload = payload_of(size, element_bytes)
    (carried,) = carry(carrier, [payload], drops=drops, left_s=SHORT_S)
    assert (carried.erased, carried.lost) == (erased, len(drops))
    assert carried.data == zeroed(payload.data, erased)


@lossy
def test_a_frame_of_which_nothing_comes_harms_no_other(carrier):
    lost, whole = carry(carrier, [payload_of(2500), payload_of(2501)], drops=[0, 1, 2], left_s=SHORT_S)
    assert (lost.erased, whole.erased) == (None, ())


@lossy
def test_losses_in_one_frame_are_no_losses_in_the_next(carrier):
    found = carry(carrier, [payload_of(3000), payload_of(3100)], drops=[1, 6], left_s=SHORT_S)
    assert [carried.erased for carried in found] == [((1000, 2000),), ((3000, 3100),)]
    assert [carried.lost for carried in found] == [1, 1]


@lossy
def test_a_frame_with_a_gap_is_used_when_its_time_is_over(carrier):
    """The deadline counts from the first packet, less what that one took: half a round trip."""
    (carried,) = carry(carrier, [payload_of(3000)], drops=[1], left_s=SHORT_S)
    assert carried.erased == ((1000, 2000),)
    assert carried.used_s >= 0.5 * SHORT_S


@lossy
def test_a_burst_hits_no_neighbours_of_interleaved_packets(carrier):
    """Of nine packets 0, 3 and 6 are sent first, of ten 0, 4 and 8."""
    nine, ten = carry(carrier, [payload_of(9000), payload_of(9500)], "udp-interleaved", [0, 1, 2, 9, 10, 11], SHORT_S)
    assert nine.erased == ((0, 1000), (3000, 4000), (6000, 7000))
    assert ten.erased == ((0, 1000), (4000, 5000), (8000, 9000))


@lossy
@pytest.mark.parametrize("drops", [[1], [4], [0, 1], [0, 1, 2, 3, 4], [1, 5], [4, 5]])
def test_acknowledged_frames_come_whole_while_there_is_time(carrier, drops):
    """Packets 0 to 4 are sent first, 5 is the first that is sent again."""
    payload = payload_of(4500)
    (carried,) = carry(carrier, [payload], "udp-arq", drops, LONG_S)
    assert carried.erased == ()
    assert carried.data == payload.data


@pytest.mark.parametrize("carrier", ["simulated", "loopback", "udp"])
def test_nothing_is_sent_again_that_would_come_too_late(carrier):
    (carried,) = carry(carrier, [payload_of(3000)], "udp-arq", [1], left_s=0.15, delay_s=0.1)
    assert carried.erased == ((1000, 2000),)


@lossy
@pytest.mark.parametrize(("drops", "repaired"), [([1, 3], True), ([0, 5], True), ([0, 1, 2], False)])
def test_repair_packets_stand_for_lost_ones(carrier, drops, repaired):
    """Four packets of tensors and two of repair."""
    x = np.random.default_rng(0).normal(size=(1000,)).astype(np.float32)
    spec = TensorSpec("x", (1000,), "float32")
    codec = make_codec("float32+fec:50", Calibration((spec,), (x[None],), packet_bytes=ROOM))
    (carried,) = carry(carrier, [codec.encode([x])], "udp", drops, SHORT_S)
    assert carried.lost == len(drops)
    (decoded,) = codec.decode(carried.data, carried.erased)
    assert np.array_equal(decoded, x) is repaired


@pytest.mark.parametrize("carrier", CARRIERS)
def test_the_time_that_is_left_travels_with_the_frame(carrier):
    async def story():
        async with conversation(carrier) as (client, server):
            for frame, left_s in enumerate((0.012345678, 0.0, inf)):
                client.send(frame, payload_of(10), time_left_s=left_s)
            return [message.frame.time_left_s for message in await server.wait(3)]

    assert asyncio.run(story()) == pytest.approx([0.01234, 0.0, inf])


@pytest.mark.parametrize("carrier", CARRIERS)
def test_responses_are_frames_as_well(carrier):
    async def story():
        async with conversation(carrier) as (client, server):
            client.send(3, payload_of(10))
            await server.wait(1)
            server.send(3, payload_of(5432), Kind.RESPONSE)
            (message,) = await client.wait(1)
            return message

    message = asyncio.run(story())
    assert (message.frame.id.kind, message.frame.id.frame, message.frame.data) == (
        Kind.RESPONSE,
        3,
        payload_of(5432).data,
    )
    assert message.first_s <= message.last_s
