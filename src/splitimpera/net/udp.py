"""Frames as UDP datagrams over a lossy link: nothing is sent again, and the receiver knows which bytes it lacks.

One frame of N bytes without loss or backlog takes (N + h * ceil(N / p)) * 8 / rate + delay, where each datagram carries
p = mtu - 28 - app header bytes, rounded down to whole atoms, behind h = link header + 20 (IPv4) + 8 (UDP) + app header.
A frame without loss is complete when its last packet arrives. A frame with loss is complete at its deadline and used
with what came until then.
"""

from __future__ import annotations

import numpy as np

from splitimpera.errors import SimulationError
from splitimpera.records import ByteRange, Deliveries, Frames, IntArray, Link

IP_UDP_HEADER_BYTES = 28


class UdpLink:
    """UDP over a simulated link; a `Transport`."""

    def __init__(self, link: Link, rng: np.random.Generator) -> None:
        self.link = link
        self.rng = rng

    def transfer(self, frames: Frames) -> Deliveries:
        """Simulate all frames, which queue for the link in their order.

        Raises:
            SimulationError: the MTU leaves no room for a single atom.
        """
        link, count = self.link, len(frames.size_bytes)
        header = IP_UDP_HEADER_BYTES + link.app_header_bytes
        payload = (link.mtu_bytes - header) // frames.atom_bytes * frames.atom_bytes
        if payload <= 0:
            raise SimulationError(
                f"{link.mtu_bytes} leaves no room for {frames.atom_bytes} bytes of data behind {header} of headers",
                where="mtu_bytes",
            )
        packets = np.maximum(1, -(-frames.size_bytes // payload)).astype(np.int64)
        sent = np.empty(count)
        complete = np.empty(count)
        lost = np.zeros(count, dtype=np.int64)
        wire = frames.size_bytes + packets * (link.link_header_bytes + header)
        arrived = np.ones(count, dtype=bool)
        erased: list[tuple[ByteRange, ...]] = []
        free = 0.0
        for i in range(count):
            size, n = int(frames.size_bytes[i]), int(packets[i])
            last_bytes = np.minimum(np.arange(1, n + 1, dtype=np.int64) * payload, size)
            on_wire = last_bytes + np.arange(1, n + 1) * (link.link_header_bytes + header)
            sent[i] = max(float(frames.ready_s[i]), free)
            arrivals = sent[i] + on_wire * 8 / link.rate_bps + link.delay_s
            free = arrivals[-1] - link.delay_s
            dropped = self.rng.random(n) < link.loss
            lost[i] = dropped.sum()
            if not lost[i]:
                complete[i] = arrivals[-1]
                erased.append(())
                continue
            complete[i] = frames.deadline_s[i]
            missing = dropped | (arrivals > complete[i])
            arrived[i] = not missing.all()
            erased.append(_ranges(missing, last_bytes, payload))
        none = np.zeros(count, dtype=np.int64)
        return Deliveries(sent, complete, packets, lost, none, wire, tuple(erased), arrived)


def _ranges(
    missing: np.ndarray[tuple[int], np.dtype[np.bool_]], last_bytes: IntArray, payload: int
) -> tuple[ByteRange, ...]:
    """The bytes that the missing packets carried, neighbours joined."""
    ranges: list[ByteRange] = []
    for packet in np.flatnonzero(missing):
        start, end = int(packet) * payload, int(last_bytes[packet])
        if ranges and ranges[-1][1] == start:
            start = ranges.pop()[0]
        ranges.append((start, end))
    return tuple(ranges)
