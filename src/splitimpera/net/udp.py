"""Frames as UDP datagrams over a lossy link: nothing is sent again, and the receiver knows which bytes it lacks.

One frame of N bytes without loss or backlog takes (N + h * ceil(N / p)) * 8 / rate + delay, where each datagram carries
p = mtu - 28 - app header bytes, rounded down to whole atoms, behind h = link header + 20 (IPv4) + 8 (UDP) + app header.
A frame without loss is complete when its last packet arrives. A frame with loss is complete at its deadline and used
with what came until then.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from splitimpera.errors import SimulationError
from splitimpera.net import kernels
from splitimpera.net.ways import NS, Ways, build_ways, mean_rate_bps, nanoseconds
from splitimpera.records import ByteRange, Deliveries, Frames, IntArray, Link

IP_UDP_HEADER_BYTES = 28


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

    def transfer(self, frames: Frames) -> Deliveries:
        """Simulate all frames, which queue for the link in the order in which they are ready.

        Raises:
            SimulationError: the MTU leaves no room for a single atom.
        """
        ways = build_ways(self.link, self.rng)
        payload = self._payload_bytes(frames.atom_bytes)
        count = len(frames.size_bytes)
        order = np.argsort(frames.ready_s, kind="stable")
        back = np.argsort(order)
        sent, missing = self._send(
            ways, 0, frames.ready_s[order], frames.size_bytes[order], frames.deadline_s[order], payload
        )
        answered_s = np.full(count, np.nan)
        if frames.answer_bytes:
            answerable = np.flatnonzero(sent["arrived"])
            answerable = answerable[np.argsort(sent["complete"][answerable], kind="stable")]
            ready_s = sent["complete"][answerable] / NS
            sizes = np.full(len(answerable), frames.answer_bytes)
            answers, _ = self._send(ways, 1, ready_s, sizes, np.full(len(sizes), np.inf), self._payload_bytes(1))
            whole = answers["lost"] == 0
            answered_s[order[answerable[whole]]] = answers["complete"][whole] / NS
        first_s = np.where(sent["first"] == kernels.NEVER, np.nan, sent["first"] / NS)
        span_s = float(np.ptp(frames.ready_s))
        demand_s = float(sent["wire_bytes"][:-1].sum()) * 8 / mean_rate_bps(self.link)
        erased = _erased(sent, missing, payload)
        return Deliveries(
            sent_s=sent["sent"][back] / NS,
            complete_s=sent["complete"][back] / NS,
            packets=sent["packets"][back].copy(),
            lost_packets=sent["lost"][back].copy(),
            retransmissions=np.zeros(count, dtype=np.int64),
            wire_bytes=sent["wire_bytes"][back].copy(),
            erased=tuple(erased[place] for place in back),
            arrived=sent["arrived"][back].astype(bool),
            first_s=first_s[back],
            answered_s=answered_s,
            stable=count == 1 or demand_s < span_s,
        )

    def _payload_bytes(self, atom_bytes: int) -> int:
        header = IP_UDP_HEADER_BYTES + self.link.app_header_bytes
        payload = (self.link.mtu_bytes - header) // atom_bytes * atom_bytes
        if payload <= 0:
            raise SimulationError(
                f"{self.link.mtu_bytes} leaves no room for {atom_bytes} bytes of data behind {header} of headers",
                where="mtu_bytes",
            )
        return payload

    def _send(
        self, ways: Ways, which: int, ready_s: Any, sizes: IntArray, deadline_s: Any, payload: int
    ) -> tuple[np.ndarray[Any, Any], IntArray]:
        frames = np.zeros(len(sizes), kernels.DATAGRAMS)
        frames["ready"] = nanoseconds(ready_s)
        frames["size"] = sizes
        frames["deadline"] = nanoseconds(np.minimum(deadline_s, kernels.NEVER / NS))
        missing = np.empty(int((-(-sizes // payload)).sum()), dtype=np.int64)
        header = self.link.link_header_bytes + IP_UDP_HEADER_BYTES + self.link.app_header_bytes
        kernels.run_udp(
            ways.ways,
            which,
            ways.steps,
            ways.drops,
            ways.waiting if which == 0 else ways.waiting[:0],
            frames,
            missing,
            payload,
            header,
            self.interleaved,
            self.rng,
        )
        return frames, missing


def _erased(frames: np.ndarray[Any, Any], missing: IntArray, payload: int) -> list[tuple[ByteRange, ...]]:
    """The bytes that the missing packets carried, neighbours joined, frame by frame."""
    gone = np.flatnonzero(missing)
    if not len(gone):
        return [()] * len(frames)
    ends = np.cumsum(frames["packets"])
    frame = np.searchsorted(ends, gone, side="right")
    place = gone - (ends - frames["packets"])[frame]
    apart = (np.diff(gone) > 1) | (np.diff(frame) > 0)
    first, last = np.append(True, apart), np.append(apart, True)
    starts = place[first] * payload
    stops = np.minimum((place[last] + 1) * payload, frames["size"][frame[last]])
    ranges = list(zip(starts.tolist(), stops.tolist(), strict=True))
    bounds = np.searchsorted(frame[first], np.arange(len(frames) + 1)).tolist()
    return [tuple(ranges[start:stop]) for start, stop in pairwise(bounds)]
