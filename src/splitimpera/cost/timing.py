"""Timing on this machine."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def timed(run: Callable[[], object]) -> Callable[[], float]:
    """A call that runs something and returns the seconds that it took."""

    def measure() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    return measure


def waited_share(run: Callable[[], T]) -> tuple[T, float]:
    """What a call returns, and how much longer this thread took for it because other programs had its core: the time
    that it waited, over that and the time that it computed; 0 where the system does not tell (Linux does)."""
    waited_s, computed_s = _waited_s(), time.thread_time()
    found = run()
    waited_s, computed_s = _waited_s() - waited_s, time.thread_time() - computed_s
    return found, waited_s / (waited_s + computed_s) if waited_s > 0 else 0.0


def _waited_s() -> float:
    try:
        return int(Path("/proc/thread-self/schedstat").read_bytes().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def measure_s(run: Callable[[], object], *, budget_s: float = 0.1) -> float:
    """Median seconds of one call, after a warm-up."""
    return measure_together_s([run], budget_s=budget_s)[0]


def measure_together_s(
    runs: Sequence[Callable[[], object]], *, budget_s: float, least: int = 5, most: int = 200
) -> list[float]:
    """Median seconds of one call of each; as `sample_together_s`."""
    samples_s = sample_together_s(runs, budget_s=budget_s, least=least, most=most)
    return [float(np.median(times)) for times in samples_s]


def sample_together_s(
    runs: Sequence[Callable[[], object]], *, budget_s: float, least: int = 5, most: int = 200
) -> list[list[float]]:
    """Seconds of each call of each, called in turn: a machine that slows down for a while slows all alike.

    Args:
        budget_s: roughly how long to measure in all.
        least, most: bounds on the number of timed calls of each.
    """
    keep_freed_memory()
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
    return taken


@cache
def copied_bytes_per_s(size_bytes: int = 1 << 26) -> float:
    """Memory traffic a second of one core that copies an array larger than its caches; read and written bytes count."""
    source, target = np.ones(size_bytes, dtype=np.uint8), np.empty(size_bytes, dtype=np.uint8)
    return 2 * size_bytes / measure_s(lambda: np.copyto(target, source))


@cache
def keep_freed_memory() -> bool:
    """Let the C library keep what is freed, for good; returns whether that could be arranged (with glibc it can).

    Else it hands large blocks back to the system, at once or when enough has gathered, and every page of the next
    such tensor is faulted in anew: a head with maps of 13 MB took 3.5 ms or 14.5 ms, by what had run before it. A
    process that is there to run networks should call this first.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    largest = any(mallopt(mmap_threshold, size) for size in (1 << 30, 1 << 25))  # older ones allow 32 MiB
    return largest and bool(mallopt(trim_threshold, (1 << 31) - 1))
