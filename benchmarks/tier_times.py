"""What the programs of a plan's machines took for each frame over loopback, as the times that a design of it needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.deploy.frame_log import FrameLine, HopLine
from splitimpera.evaluation.codings import Coding, coding_of, forwards, rests
from splitimpera.records.measurements import CodingTime, SegmentTime
from splitimpera.records.plan import Plan

Times = tuple[list[SegmentTime], list[CodingTime]]


def times_of_hops(plan: Plan, frames: Sequence[FrameLine], last: int) -> Times:
    """The layers of each machine are themselves. Encoding counts with all else that a machine does until a frame is
    with the system, decoding with all else from then on that is not the next hop's: sealing, the system's loopback,
    waking, answering, and handing answers back. So all of a frame's times add up to what it took.

    Where a machine does nothing but forward, there is no coding between the first machine and the last; where it runs
    no layers and codes anew, all that it does is coding.

    Args:
        plan: Of three machines, without bottlenecks.
        frames: With the whole way of each.
        last: The network's last cut.
    """
    arriving, leaving = plan.hops
    first, second = coding_of(arriving), coding_of(leaving)
    head_s, run_s, of_hop = _column(frames, "head_s"), _column(frames, "run_s"), [line.hops[0] for line in frames]
    encode_s, away_s, tail_s = (_column(of_hop, name) for name in ("encode_s", "away_s", "run_s"))
    handed_s = _column(frames, "sent_s") - _column(frames, "begun_s") - head_s
    behind_s = _column(frames, "response_s") - _column(frames, "sent_s")
    segments = [
        SegmentTime(0, first.cut, 0.0, 0.0, 1, _samples(head_s)),
        SegmentTime(second.cut, last, 0.0, 0.0, 1, _samples(tail_s)),
    ]
    codings = [_coding("encode", first, handed_s)]
    if forwards(arriving, leaving):
        return segments, [*codings, _coding("decode", second, behind_s - tail_s)]
    answering_s = behind_s - encode_s - away_s
    if not rests(arriving, leaving):
        segments.append(SegmentTime(first.cut, second.cut, 0.0, 0.0, 1, _samples(run_s)))
        answering_s = answering_s - run_s
    codings += [_coding("decode", first, answering_s), _coding("encode", second, encode_s)]
    return segments, [*codings, _coding("decode", second, away_s - tail_s)]


def _coding(direction: Literal["encode", "decode"], of: Coding, seconds: FloatArray) -> CodingTime:
    return CodingTime(direction, *of[:4], _samples(seconds))


def _column(lines: Sequence[FrameLine | HopLine], name: str) -> FloatArray:
    return np.array([getattr(line, name) or 0.0 for line in lines], dtype=np.float64)


def _samples(seconds: FloatArray) -> tuple[float, ...]:
    return tuple(np.maximum(seconds, 1e-9).tolist())
