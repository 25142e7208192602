"""Frames as UDP datagrams over a lossy link: nothing is sent again, and the receiver knows which bytes it lacks.

One frame of N bytes without loss or backlog takes (N + h * ceil(N / p)) * 8 / rate + delay, where each datagram carries
p = mtu - 28 - app header bytes, rounded down to whole elements, after h = link header + 20 (IPv4) + 8 (UDP) + app
header.
A frame without loss is complete when its last packet arrives. One with loss is used with what came by its deadline, as
the receiver counts it, whose clock is another (docs/protocol.md): from its first packet, the time that was left when it
was ready to be sent, less half of the smallest round trip of a PING. So it waits as much longer as the first packet
waited for the link, and was longer on it than a PING; where nobody asked for a deadline, at least `least_patience_s`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from splitimpera.codec.framing import IP_UDP_HEADER_BYTES, carried_bytes, packet_bounds, packet_count
from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.core.errors import SimulationError
from splitimpera.deploy.messages import PING, least_patience_s
from splitimpera.net import kernels
from splitimpera.net.budget import check_work
from splitimpera.net.directions import NS, Ways, build_ways, least_round_trip_s, mean_rate_bps, nanoseconds
from splitimpera.records.link import Link
from splitimpera.records.traffic import Deliveries, Frames, Gaps


class UdpLink:
    """UDP over a simulated link; a `Transport`.

    Args:
        interleaved: send a frame's packets in strides of about the square root of their number, so that a burst of
            losses does not hit neighbours.
    """

    def __init__(self, link: Link, rng: np.random.Generator, interleaved: bool = False) -> None:
        self.link = link
        self.rng = rng
        self.interleaved = interleaved

    def check(self, frames: Frames, runs: int = 1) -> None:
        """Refuse what `transfer` would, before anything is allocated.

        Raises:
            SimulationError: the MTU leaves no room for a single element, or so many runs are too much work.
        """
        payload = payload_bytes(self.link, frames.element_bytes)
        check_work(self.link, frames, frames.size_bytes, payload, headers_bytes(self.link), runs=runs)

    def transfer(self, frames: Frames) -> Deliveries:
        """Simulate all frames, which queue for the link in the order in which they are ready.

        Raises:
            SimulationError: as `check`.
        """
        self.check(frames)
        ways = build_ways(self.link, self.rng)
        payload = payload_bytes(self.link, frames.element_bytes)
        order = np.argsort(frames.ready_s, kind="stable")
        sent, missing = self._send(ways, 0, datagrams(self.link, frames, order), payload)
        response_s = np.full(len(order), np.nan)
        if frames.response_bytes:
            usable = np.flatnonzero(sent["arrived"])
            usable = usable[np.argsort(sent["complete"][usable], kind="stable")]
            given = np.zeros(len(usable), kernels.DATAGRAMS)
            given["ready"] = sent["complete"][usable]
            given["size"], given["deadline"] = frames.response_bytes, kernels.NEVER
            given["patience"] = kernels.NEVER
            responses, _ = self._send(ways, 1, given, payload_bytes(self.link, 1))
            whole = responses["lost"] == 0
            response_s[order[usable[whole]]] = responses["complete"][whole] / NS
        return deliveries(self.link, frames, order, sent, missing, payload, response_s)

    def _send(
        self, ways: Ways, which: int, frames: np.ndarray[Any, Any], payload: int
    ) -> tuple[np.ndarray[Any, Any], IntArray]:
        missing = np.empty(int(packet_count(frames["size"], payload).sum()), dtype=np.int64)
        kernels.run_udp(
            ways.ways,
            which,
            ways.steps,
            ways.drops,
            ways.waiting if which == 0 else ways.waiting[:0],
            frames,
            missing,
            payload,
            headers_bytes(self.link),
            self.interleaved,
            self.rng,
        )
        return frames, missing


def headers_bytes(link: Link) -> int:
    """What stands in front of a datagram's payload on the wire."""
    return link.link_header_bytes + IP_UDP_HEADER_BYTES + link.app_header_bytes


def payload_bytes(link: Link, element_bytes: int, header: int | None = None) -> int:
    """What a datagram carries, in whole elements, or what any packet does after a header of so many bytes.

    Raises:
        SimulationError: the MTU leaves no room for one.
    """
    header = IP_UDP_HEADER_BYTES + link.app_header_bytes if header is None else header
    payload = carried_bytes(link.mtu_bytes - header, element_bytes)
    if payload <= 0:
        raise SimulationError(
            f"{link.mtu_bytes} leaves no room for {element_bytes} bytes of data after {header} bytes of headers",
            where="mtu_bytes",
        )
    return payload


def patience_s(link: Link, frames: Frames) -> FloatArray:
    """How long after its first packet each frame with gaps is used as it is, shape (frames,)."""
    header = headers_bytes(link)
    left_s = frames.deadline_s - frames.ready_s - least_round_trip_s(link, header + PING.size, header) / 2
    if frames.asked:
        return np.maximum(left_s, 0.0)
    wire_bytes = frames.size_bytes + header * packet_count(frames.size_bytes, payload_bytes(link, frames.element_bytes))
    least_s: FloatArray = least_patience_s(wire_bytes, mean_rate_bps(link))
    return np.maximum(left_s, least_s)


def datagrams(link: Link, frames: Frames, order: IntArray) -> np.ndarray[Any, Any]:
    """Frames as the kernels take them, in the order in which they are sent."""
    given = np.zeros(len(order), kernels.DATAGRAMS)
    given["ready"] = nanoseconds(frames.ready_s[order])
    given["size"] = frames.size_bytes[order]
    given["deadline"] = nanoseconds(frames.deadline_s[order])
    given["patience"] = nanoseconds(patience_s(link, frames)[order])
    return given


def deliveries(
    link: Link,
    frames: Frames,
    order: IntArray,
    sent: np.ndarray[Any, Any],
    missing: IntArray,
    payload: int,
    response_s: FloatArray | None = None,
) -> Deliveries:
    """What the kernels made of frames that were sent in an order."""
    back, count = np.argsort(order), len(order)
    first_s = np.where(sent["first"] == kernels.NEVER, np.nan, sent["first"] / NS)
    # whole nanoseconds may lie a little before the times that they stand for
    complete_s = np.maximum(sent["complete"][back] / NS, frames.ready_s)
    needed = packet_count(frames.size_bytes, payload)
    demand_s = float(sent["wire_bytes"][:-1].sum()) * 8 / mean_rate_bps(link)
    return Deliveries(
        sent_s=np.maximum(sent["sent"][back] / NS, frames.ready_s),
        complete_s=complete_s,
        packets=sent["packets"][back].copy(),
        lost_packets=sent["lost"][back].copy(),
        retransmissions=sent["packets"][back] - needed,
        wire_bytes=sent["wire_bytes"][back].copy(),
        erased=_erased(sent["size"], needed[order], missing, payload, back),
        arrived=sent["arrived"][back].astype(bool),
        first_s=first_s[back],
        response_s=np.full(count, np.nan) if response_s is None else np.maximum(response_s, complete_s),
        stable=count == 1 or demand_s < float(np.ptp(frames.ready_s)),
    )


def _erased(sizes: IntArray, packets: IntArray, missing: IntArray, payload: int, back: IntArray) -> Gaps:
    """The bytes that the missing packets carried, neighbours joined, frame by frame.

    Args:
        back: Which of the frames here each frame is.
    """
    gone = np.flatnonzero(missing)
    ends = np.cumsum(packets)
    frame = np.searchsorted(ends, gone, side="right")
    place = gone - (ends - packets)[frame]
    apart = (np.diff(gone) > 1) | (np.diff(frame) > 0)
    some = np.full(min(len(gone), 1), True)
    first, last = np.append(some, apart), np.append(apart, some)
    starts, stops = packet_bounds(place[first], place[last], sizes[frame[last]], payload)
    return Gaps(starts, stops, np.searchsorted(frame[first], np.arange(len(sizes) + 1)), back)
