"""How repeated runs of the same work differ, and draws from that.

A spread is what each run took over the median, in the order of the runs; an empty one means that all take the same.
Frames draw blocks of consecutive runs (a circular block bootstrap), so that a machine that was slow for several runs is
slow for several frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import asinh, exp, log
from statistics import NormalDist

import numpy as np

from splitimpera.core.array_types import FloatArray

Spread = tuple[float, ...]

QUANTILES = 64
"""Of a distribution that is known by its shape, not by its samples."""


def spread_of(samples_s: Sequence[float] | FloatArray) -> Spread:
    """Samples over their median; empty where they are all the same, or the median is 0."""
    samples = np.asarray(samples_s, dtype=float)
    middle = np.median(samples) if len(samples) else 0.0
    return () if middle <= 0 or (samples == samples[0]).all() else tuple((samples / middle).tolist())


@lru_cache(maxsize=1000)
def lognormal(p95_ratio: float) -> Spread:
    """`QUANTILES` quantiles of a lognormal distribution, by the ratio of its 95th percentile to its median."""
    sigma = log(p95_ratio) / NormalDist().inv_cdf(0.95)
    if sigma <= 0:
        return ()
    quantiles = [exp(sigma * NormalDist().inv_cdf((place + 0.5) / QUANTILES)) for place in range(QUANTILES)]
    # in an order in which neighbours are no more alike than others
    order = np.argsort(np.arange(QUANTILES) * (5**0.5 - 1) / 2 % 1)
    return tuple(quantiles[place] for place in order)


def of_quartiles(median_s: float, half_range_s: float) -> Spread:
    """The lognormal spread of which the median and half the distance between the quartiles are known."""
    if median_s <= 0 or half_range_s <= 0:
        return ()
    normal = NormalDist()
    # more than tenfold between median and 95th percentile is no spread of one kind of run
    sigma = min(asinh(half_range_s / median_s) / normal.inv_cdf(0.75), log(10) / normal.inv_cdf(0.95))
    return lognormal(round(exp(sigma * normal.inv_cdf(0.95)), 6))


@lru_cache(maxsize=4096)
def block_length(spread: Spread) -> int:
    """How many consecutive samples are drawn together.

    1 unless the autocorrelation of the ranks at a lag of one, r, is significant (above 2 / sqrt(n)); then
    (6 n)^(1/3) (r / (1 - r^2))^(2/3), at most half of them: what Politis and White, "Automatic Block-Length Selection
    for the Dependent Bootstrap", Econometric Reviews 2004, give for a first-order autoregression.
    """
    count = len(spread)
    ranks = np.unique(spread, return_inverse=True)[1].astype(float)
    ranks -= ranks.mean()
    power = float(ranks @ ranks)
    r = float(ranks[1:] @ ranks[:-1]) / power if power else 0.0
    if r <= 2 / max(count, 1) ** 0.5:
        return 1
    r = min(r, 0.99)  # of a steady drift it comes near 1
    wanted: int = round((6 * count) ** (1 / 3) * (r / (1 - r * r)) ** (2 / 3))
    return max(1, min(wanted, count // 2))


def drawn(spread: Spread, chances: FloatArray) -> FloatArray:
    """A sample for each frame, in blocks.

    Args:
        spread: not empty.
        chances: Uniform random numbers from 0 to 1, frames last; the first of each block says where it starts.

    Returns:
        The samples, of the shape of `chances`.
    """
    samples, block = np.array(spread), block_length(spread)
    frames = chances.shape[-1]
    places = (chances[..., ::block] * len(samples)).astype(np.int64)
    if block > 1:
        places = np.repeat(places, block, axis=-1)[..., :frames] + np.arange(frames) % block
    found: FloatArray = samples[places % len(samples)]
    return found
