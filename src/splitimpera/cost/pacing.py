"""Timing as in the field: frames come at a rate, and the machine idles in between.

A loop that runs hot finds its data in the caches and the clock at its highest rate; a program that a camera wakes ten
times a second finds neither.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.core.progress import Track, no_progress
from splitimpera.cost.timing import keep_freed_memory

K = TypeVar("K")

FRAMES = 30
"""How many are timed where the budget allows."""
MOST_FRAMES, LONG_ENOUGH_S = 60, 2.0
"""Up to so many while that takes no longer."""
FEWEST_FRAMES = 5
LEAST_IDLE_S = 0.05
"""Between frames that come more slowly than the budget allows to wait for; at this, clocks and caches are cold."""
HOT_SHARE = 0.2
"""Of the budget, for times back to back."""
WARM_UP = 2


def both_ways(
    measurements: Mapping[K, Callable[[], Any]],
    own_s: Callable[[], float],
    fps: float,
    budget_s: float,
    track: Track[Any] = no_progress,
    woken: Mapping[K, Callable[[], Any]] | None = None,
) -> tuple[dict[K, FloatArray], dict[K, FloatArray]]:
    """What each measurement returns in hot frames, back to back, and in paced ones, as `in_frames`.

    Args:
        own_s: runs what a device does in a frame, and returns its seconds; measurements of many cuts take longer.
        fps: Frame rate of the workload.
        budget_s: roughly how long to measure in all.
        woken: also measured in paced frames, each after idle time of its own.
    """
    all_s = _warmed_up(measurements)
    hot_frames = max(FEWEST_FRAMES, min(FRAMES, int(HOT_SHARE * budget_s / all_s)))
    hot = in_frames(measurements, 0.0, hot_frames, track)
    return hot, paced(measurements, own_s, fps, (1 - HOT_SHARE) * budget_s, track, woken)


def paced(
    measurements: Mapping[K, Callable[[], Any]],
    own_s: Callable[[], float],
    fps: float,
    budget_s: float,
    track: Track[Any] = no_progress,
    woken: Mapping[K, Callable[[], Any]] | None = None,
) -> dict[K, FloatArray]:
    """What each measurement returns in paced frames; arguments as of `both_ways`."""
    woken = woken or {}
    all_s = _warmed_up({**measurements, **woken})
    idle_s, frames = pace(fps, own_s(), all_s, budget_s, 1 + len(woken))
    return in_frames(measurements, idle_s, frames, track, woken)


def _warmed_up(measurements: Mapping[K, Callable[[], Any]]) -> float:
    """Seconds of a frame without idle time, after a warm-up."""
    in_frames(measurements, 0.0, WARM_UP)
    begun_s = time.perf_counter()
    in_frames(measurements, 0.0, 1)
    return time.perf_counter() - begun_s


def pace(fps: float, own_s: float, all_s: float, budget_s: float, idles: int = 1) -> tuple[float, int]:
    """Seconds to idle in front of each frame, and the number of frames.

    As long as a device idles at this rate; where `FRAMES` of them would take too long, less, but `LEAST_IDLE_S`.

    Args:
        own_s: what a device computes in a frame.
        all_s: what is timed in a frame.
        idles: how often it idles in a frame.
    """
    idle_s = max(0.0, 1 / fps - own_s)
    idle_s = min(idle_s, max((budget_s / FRAMES - all_s) / idles, LEAST_IDLE_S))
    frame_s = all_s + idles * idle_s
    affordable = int(budget_s / frame_s)
    wanted = max(FRAMES, min(MOST_FRAMES, int(LONG_ENOUGH_S / frame_s)))
    return idle_s, max(FEWEST_FRAMES, min(wanted, affordable))


def in_frames(
    measurements: Mapping[K, Callable[[], Any]],
    idle_s: float,
    frames: int,
    track: Track[Any] = no_progress,
    woken: Mapping[K, Callable[[], Any]] | None = None,
) -> dict[K, FloatArray]:
    """What each measurement returns in every frame, the first dimension counting frames.

    The first one always comes right after the idle time, and each of `woken` after one of its own; the others take
    turns, so that none always follows its like.
    """
    keep_freed_memory()
    first, *others = measurements
    woken = woken or {}
    taken: dict[K, list[Any]] = {key: [] for key in (*measurements, *woken)}
    for frame in track(range(frames), "Timing frames", frames):
        turn = frame % max(len(others), 1)
        for key, measure in woken.items():
            time.sleep(idle_s)
            taken[key].append(measure())
        time.sleep(idle_s)
        for key in (first, *others[turn:], *others[:turn]):
            taken[key].append(measurements[key]())
    return {key: np.array(values) for key, values in taken.items()}
