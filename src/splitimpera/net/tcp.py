"""Frames over one persistent TCP connection: nothing is lost, loss costs time.

Without loss and backlog a frame of N bytes takes (N + h * ceil(N / mss)) * 8 / rate + delay, with mss = mtu - 52 and
h = link header + 20 (IPv4) + 32 (TCP with time stamps): the congestion window is taken to be open.

Loss is repaired by a simple model, not yet by what the Linux kernel does:

- a segment behind which three more of its frame arrive is sent again one round trip after the third of them was sent;
- a lost tail is sent again by a probe, 2 RTT + 2 ms after the frame's last segment (RFC 8985);
- a retransmission that is lost too waits for the retransmission timeout, RTT + 200 ms, which doubles each time;
- the window never shrinks, and retransmissions do not delay the segments of later frames;
- frames are read in order, so a late one holds up those behind it.
"""

from __future__ import annotations

import numpy as np

from splitimpera.errors import SimulationError
from splitimpera.records import ByteRange, Deliveries, FloatArray, Frames, Link

IP_TCP_HEADER_BYTES = 52
DUPLICATES = 3
LEAST_RTO_S = 0.2
PROBE_MARGIN_S = 0.002


class TcpLink:
    """TCP over a simulated link; a `Transport`."""

    def __init__(self, link: Link, rng: np.random.Generator) -> None:
        self.link = link
        self.rng = rng

    def transfer(self, frames: Frames) -> Deliveries:
        """Simulate all frames, which queue for the link in their order.

        Raises:
            SimulationError: the MTU leaves no room for data.
        """
        link, count = self.link, len(frames.size_bytes)
        segment = link.mtu_bytes - IP_TCP_HEADER_BYTES
        if segment <= 0:
            raise SimulationError(f"{link.mtu_bytes} leaves no room behind TCP's headers", where="mtu_bytes")
        header = IP_TCP_HEADER_BYTES + link.link_header_bytes
        sizes = frames.size_bytes + link.app_header_bytes
        segments = np.maximum(1, -(-sizes // segment)).astype(np.int64)
        sent = np.empty(count)
        complete = np.empty(count)
        lost = np.zeros(count, dtype=np.int64)
        free, read = 0.0, 0.0
        for i in range(count):
            n = int(segments[i])
            on_wire = np.minimum(np.arange(1, n + 1) * segment, sizes[i]) + np.arange(1, n + 1) * header
            sent[i] = max(float(frames.ready_s[i]), free)
            leaves = sent[i] + on_wire * 8 / link.rate_bps
            free = leaves[-1]
            lost[i], arrived = self._repaired(leaves)
            complete[i] = read = max(read, arrived)
        wire = sizes + segments * header + lost * (segment + header)
        whole: tuple[tuple[ByteRange, ...], ...] = ((),) * count
        return Deliveries(sent, complete, segments + lost, lost, lost.copy(), wire, whole, np.ones(count, dtype=bool))

    def _repaired(self, leaves: FloatArray) -> tuple[int, float]:
        """Packets lost of one frame, and when its last missing one arrives, given when its segments leave."""
        link, n = self.link, len(leaves)
        dropped = self.rng.random(n) < link.loss
        done = float(leaves[-1]) + link.delay_s
        if not dropped.any():
            return 0, done
        lost = int(dropped.sum())
        rtt = 2 * link.delay_s
        followers = np.flatnonzero(~dropped)
        segment_s = float(leaves[-1] - leaves[-2]) if n > 1 else 0.0
        for place in np.flatnonzero(dropped):
            behind = followers[followers > place]
            if len(behind) >= DUPLICATES:
                again = float(leaves[behind[DUPLICATES - 1]]) + rtt
            else:
                again = float(leaves[-1]) + 2 * rtt + PROBE_MARGIN_S
            timeout = rtt + LEAST_RTO_S
            while self.rng.random() < link.loss:
                lost += 1
                again += timeout
                timeout *= 2
            done = max(done, again + segment_s + link.delay_s)
        return lost, done
