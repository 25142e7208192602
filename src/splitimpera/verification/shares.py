"""Shares with their intervals where what is counted comes in clusters.

The packets of a frame are not lost independently of each other when losses come in bursts, nor are those of
neighbouring frames. So the unit is a block of consecutive frames, and what is counted stands for as many independent
ones as give a share the spread that it has over blocks.
"""

from __future__ import annotations

from math import isqrt, sqrt

import numpy as np

from splitimpera.core.array_types import IntArray
from splitimpera.core.statistics import Interval, wilson_interval

LEVEL = 0.99
FEWEST_BLOCKS = 2


def block_frames(frames: int) -> int:
    """How many consecutive frames are one unit."""
    return max(1, isqrt(frames) // 2)


def clustered_interval(hits: IntArray, totals: IntArray, level: float = LEVEL) -> Interval:
    """The interval of the share sum(hits) / sum(totals).

    Wilson's, with sum(totals) over the design effect as the number of trials: the variance of the share over blocks of
    `block_frames` frames, by linearisation, over that of independent trials, and no less than 1. Source: L. Kish,
    Survey Sampling (1965); Student's quantile, for the variance is an estimate.

    Args:
        hits, totals: Of each frame, in order, shape (frames,).
    """
    count, share = int(totals.sum()), float(hits.sum() / max(int(totals.sum()), 1))
    starts = np.arange(0, len(hits), block_frames(len(hits)))
    of_hits, of_totals = (np.add.reduceat(values, starts).astype(np.float64) for values in (hits, totals))
    blocks = len(starts)
    if not count or blocks < FEWEST_BLOCKS:
        return 0.0, 1.0
    effect = 1.0
    if 0 < share < 1:
        variance = blocks / (blocks - 1) * float(((of_hits - share * of_totals) ** 2).sum()) / count**2
        effect = max(1.0, variance * count / (share * (1 - share)))
    low, high = wilson_interval(share, count / effect, level, freedom=blocks - 1)
    return low if share > 0 else 0.0, high if share < 1 else 1.0


def newcombe_same(first: float, of_first: Interval, second: float, of_second: Interval) -> bool:
    """Whether two independent shares may be the same, by their intervals at one level.

    Source: R. G. Newcombe, "Interval estimation for the difference between independent proportions", Statistics in
    Medicine 17 (1998), method 10.
    """
    difference = first - second
    if difference >= 0:
        return difference <= sqrt((first - of_first[0]) ** 2 + (of_second[1] - second) ** 2)
    return -difference <= sqrt((of_first[1] - first) ** 2 + (second - of_second[0]) ** 2)
