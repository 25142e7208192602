"""Frames through a stage of the pipeline, which does one frame, or one batch of them, at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.records.device import QueuePolicy


def serve(
    arrival_s: FloatArray, service_s: Sequence[float], policy: QueuePolicy = "wait", waiting_frames: int = 1
) -> FloatArray:
    """When each frame leaves a stage; first come, first served.

    Args:
        arrival_s: Arrival times of the frames, in any order, shape (frames,); NaN for one that does not.
        service_s: how long one frame takes, two together, and so on: the stage takes as many of those that wait as
            there are entries.
        policy: what happens to a frame that finds the stage busy and `waiting_frames` in front of it: it waits all the
            same, it is dropped ("drop-newest"), or the first of those is ("drop-oldest").

    Returns:
        The times, shape (frames,); NaN for a frame that did not come or was dropped.
    """
    left = np.full(len(arrival_s), np.nan)
    order = np.argsort(arrival_s, kind="stable")
    order = order[: len(order) - int(np.isnan(arrival_s).sum())]  # NaN is sorted after all else
    if policy != "wait":
        _with_drops(arrival_s, order, service_s[0], waiting_frames, policy == "drop-oldest", left)
    elif len(service_s) > 1:
        _in_batches(arrival_s, order, service_s, left)
    else:
        # Lindley's recursion: departure_i = max over j <= i of (arrival_j + (i - j + 1) * service)
        steps = np.arange(1, len(order) + 1) * service_s[0]
        left[order] = np.maximum.accumulate(arrival_s[order] - steps + service_s[0]) + steps
    return left


def _in_batches(arrival_s: FloatArray, order: IntArray, service_s: Sequence[float], left: FloatArray) -> None:
    """A free stage takes all that wait, up to the largest batch, and never waits for a batch to fill."""
    due, free_s, first = arrival_s[order], -np.inf, 0
    while first < len(order):
        start_s = max(free_s, due[first])
        count = min(int(np.searchsorted(due, start_s, side="right")) - first, len(service_s))
        free_s = start_s + service_s[count - 1]
        left[order[first : first + count]] = free_s
        first += count


def _with_drops(
    arrival_s: FloatArray, order: IntArray, service_s: float, room: int, oldest: bool, left: FloatArray
) -> None:
    waiting: deque[int] = deque()
    free_s = -np.inf
    for frame in order:
        while waiting and free_s <= arrival_s[frame]:
            free_s += service_s
            left[waiting.popleft()] = free_s
        if free_s <= arrival_s[frame]:
            free_s = arrival_s[frame] + service_s
            left[frame] = free_s
        elif len(waiting) < room:
            waiting.append(frame)
        elif oldest:
            waiting.popleft()
            waiting.append(frame)
    for frame in waiting:
        free_s += service_s
        left[frame] = free_s
