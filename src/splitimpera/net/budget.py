"""How much is simulated at once: one rule for all transports, asked before anything is allocated.

A run holds up to a hundred bytes a packet and simulates a few million packets a second, so that what is let through
fits into some 5 GB and takes about a minute. And it ends before the kernels' clock does.
"""

from __future__ import annotations

import numpy as np

from splitimpera.core.array_types import IntArray
from splitimpera.core.errors import SimulationError
from splitimpera.net.directions import mean_rate_bps
from splitimpera.records.link import Link
from splitimpera.records.traffic import Frames

MOST_PACKETS = 50_000_000
MOST_SPAN_S = 4e9
"""The kernels take 4.6e9 s for never."""


class WorkError(SimulationError):
    """More than is simulated at once."""


def check_work(
    link: Link,
    frames: Frames,
    sizes: IntArray,
    room_bytes: int,
    header_bytes: int,
    *,
    tries: float = 1.0,
    wait_s: float = 0.0,
    runs: int = 1,
) -> None:
    """Refuse frames that would take too much memory or time.

    Args:
        sizes: Sizes of the frames as they are cut into packets, shape (frames,).
        room_bytes: what a packet carries of them, after `header_bytes`.
        tries: how often a packet is sent until it is known to have come, in the mean.
        wait_s: the longest pause between two of them.
        runs: how many such runs are asked for.

    Raises:
        WorkError: it is too much; says how much, and what to change.
    """
    if not len(sizes):
        raise SimulationError("there is no frame to send", where="size_bytes")
    there = float((-(-sizes // room_bytes)).sum())
    back = float(len(sizes) * -(-frames.response_bytes // room_bytes))
    packets = (there + back) * tries * runs
    if packets > MOST_PACKETS:
        where = "response_bytes" if back > there else "frame_bytes"
        often = f", each sent {tries:.3g} times at this loss," if tries > 2 else ""
        of_runs = f" in {runs} runs" if runs > 1 else ""
        fewer = "fewer frames, smaller ones or fewer runs" if runs > 1 else "fewer frames, or smaller ones"
        raise WorkError(
            f"{packets:,.0f} packets{often}{of_runs} are too many, at most {MOST_PACKETS:,} are simulated at once",
            where=where,
            hint=f"take {fewer if back <= there else 'a smaller response'}",
        )
    bytes_there = float(sizes.sum(dtype=np.float64)) + there * header_bytes
    bytes_back = float(len(sizes)) * frames.response_bytes + back * header_bytes
    sending_s = 8 * (bytes_there / mean_rate_bps(link) + bytes_back / (link.downlink_rate_bps or link.rate_bps))
    span_s = float(frames.deadline_s.max()) + tries * (sending_s + (there + back) * wait_s)
    if span_s > MOST_SPAN_S:
        raise WorkError(
            f"these frames may take {span_s:.3g} s on this link, at most {MOST_SPAN_S:g} s are simulated",
            where="rate_bps" if link.trace is None else "trace",
            hint="take fewer frames, smaller ones, or a faster link",
        )
