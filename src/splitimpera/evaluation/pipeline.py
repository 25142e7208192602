"""Frames through a stage of the pipeline, which does one frame, or one batch of them, at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.records.device import QueuePolicy


def serve(
    arrival_s: FloatArray,
    service_s: Sequence[float | FloatArray],
    policy: QueuePolicy = "wait",
    waiting_frames: int = 1,
) -> FloatArray:
    """When each frame leaves a stage; first come, first served.

    Args:
        arrival_s: Arrival times of the frames, in any order, shape (frames,); NaN for one that does not.
        service_s: how long one frame takes, two together, and so on: the stage takes as many of those that wait as
            there are entries. Each is the same for all frames, or has an entry a frame, shape (frames,); that of a
            batch is its first frame's.
        policy: what happens to a frame that finds the stage busy and `waiting_frames` in front of it: it waits all the
            same, it is dropped ("drop-newest"), or the first of those is ("drop-oldest").

    Returns:
        The times, shape (frames,); NaN for a frame that did not come or was dropped.
    """
    left = np.full(len(arrival_s), np.nan)
    order = np.argsort(arrival_s, kind="stable")
    order = order[: len(order) - int(np.isnan(arrival_s).sum())]  # NaN is sorted after all else
    if policy != "wait":
        _with_drops(arrival_s, order, _each(service_s[0], arrival_s), waiting_frames, policy == "drop-oldest", left)
    elif len(service_s) > 1:
        _in_batches(arrival_s, order, service_s, left)
    else:
        # Lindley's recursion: departure_i = max over j <= i of (arrival_j + service_j + ... + service_i)
        own_s, turns = service_s[0], np.arange(1, len(order) + 1, dtype=np.float64)
        if isinstance(own_s, np.ndarray):
            own_s = own_s[order]
            steps = np.cumsum(own_s, dtype=np.float64)
        else:
            steps = turns * own_s
        left[order] = np.maximum.accumulate(arrival_s[order] - steps + own_s) + steps
    return left


def _each(service_s: float | FloatArray, arrival_s: FloatArray) -> list[float]:
    """One service time a frame; numbers of a list are quicker to read one by one than those of an array."""
    times: list[float] = np.broadcast_to(service_s, arrival_s.shape).tolist()
    return times


def _in_batches(
    arrival_s: FloatArray, order: IntArray, service_s: Sequence[float | FloatArray], left: FloatArray
) -> None:
    """A free stage takes all that wait, up to the largest batch, and never waits for a batch to fill."""
    each_s = [_each(times_s, arrival_s) for times_s in service_s]
    due, free_s, first = arrival_s[order], -np.inf, 0
    while first < len(order):
        start_s = max(free_s, due[first])
        count = min(int(np.searchsorted(due, start_s, side="right")) - first, len(service_s))
        free_s = start_s + each_s[count - 1][order[first]]
        left[order[first : first + count]] = free_s
        first += count


def _with_drops(
    arrival_s: FloatArray, order: IntArray, service_s: list[float], room: int, oldest: bool, left: FloatArray
) -> None:
    waiting: deque[int] = deque()
    free_s = -np.inf
    for frame in order:
        while waiting and free_s <= arrival_s[frame]:
            free_s += service_s[waiting[0]]
            left[waiting.popleft()] = free_s
        if free_s <= arrival_s[frame]:
            free_s = arrival_s[frame] + service_s[frame]
            left[frame] = free_s
        elif len(waiting) < room:
            waiting.append(frame)
        elif oldest:
            waiting.popleft()
            waiting.append(frame)
    for frame in waiting:
        free_s += service_s[frame]
        left[frame] = free_s
