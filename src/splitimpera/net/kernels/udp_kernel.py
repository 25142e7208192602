"""Frames as UDP datagrams."""

from __future__ import annotations

import numpy as np

from splitimpera.net.kernels.compiling import entry, record
from splitimpera.net.kernels.wire import DROPPED, NEVER, enter, used_with_gaps

DATAGRAMS = record("ready size deadline patience sent first complete left packets lost wire_bytes arrived")
"""A frame's way as datagrams; `patience`: how long after the first one it is used with gaps; `left`: when its last bit
leaves the link."""


@entry
def run_udp(ways, which, steps, drops, waiting, frames, missing, payload, header, interleaved, rng):
    """Send frames in the order of the array; `missing` marks what the receiver lacks when it uses a frame.

    `missing` holds one place a packet, frame by frame; on the way it keeps when each packet arrives.
    """
    way = ways[which]
    base = 0
    for i in range(len(frames)):
        frame = frames[i]
        count = -(-frame.size // payload)
        stride = 1
        if interleaved:
            while stride * stride < count:
                stride += 1
        frame.sent = max(frame.ready, np.int64(way.busy))
        frame.first = NEVER
        last = np.int64(0)
        bytes_before = way.sent_bytes
        for offset in range(stride):
            for place in range(offset, count, stride):
                size = min(payload, frame.size - place * payload) + header
                arrival = enter(way, steps, drops, waiting, frame.ready, size, True, rng)
                missing[base + place] = arrival
                if arrival == DROPPED:
                    frame.lost += 1
                else:
                    last = max(last, arrival)
                    frame.first = min(frame.first, arrival)
        frame.left = np.int64(way.busy)
        frame.packets = count
        frame.wire_bytes = way.sent_bytes - bytes_before
        frame.complete = last if frame.lost == 0 else used_with_gaps(frame)
        for place in range(base, base + count):
            late = missing[place] == DROPPED or missing[place] > frame.complete
            missing[place] = late
            frame.arrived |= not late
        base += count
