"""Timing on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np


def measure_s(run: Callable[[], object], *, budget_s: float = 0.1) -> float:
    """Median seconds of one call, after a warm-up."""
    return measure_together_s([run], budget_s=budget_s)[0]


def measure_together_s(
    runs: Sequence[Callable[[], object]], *, budget_s: float, least: int = 5, most: int = 200
) -> list[float]:
    """Median seconds of one call of each, called in turn: a machine that slows down for a while slows all alike.

    Args:
        budget_s: roughly how long to measure in all.
        least, most: bounds on the number of timed calls of each.
    """
    for run in runs:
        run()
        run()
    taken: list[list[float]] = [[] for _ in runs]
    end = time.perf_counter() + budget_s
    while len(taken[0]) < least or (len(taken[0]) < most and time.perf_counter() < end):
        for run, times in zip(runs, taken, strict=True):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    return [float(np.median(times)) for times in taken]
