"""How sure the numbers of an evaluation are: bootstrap over pictures and over the seeds of the links.

Source: B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7 (1979); the intervals are
those between two percentiles.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from splitimpera.evaluation.quality import Quality
from splitimpera.records import LATENCIES, FloatArray, latency_metrics

DRAWS = 400
ENDS = (0.05, 0.95)
Interval = tuple[float, float]


@lru_cache(maxsize=64)
def drawn(count: int, stream: int) -> FloatArray:
    """How often each of `count` things is drawn with replacement, shape (DRAWS, count); always the same draws."""
    rng = np.random.default_rng([0, stream])
    return rng.multinomial(count, np.full(count, 1 / count), size=DRAWS).astype(np.float64)


def quality_interval(quality: Quality, counts: FloatArray) -> Interval:
    """Of a quality.

    Args:
        counts: of each seed and picture, shape (seeds, pictures, k).
    """
    seeds, pictures = drawn(len(counts), 0), drawn(counts.shape[1], 1)
    # matrix products would wake BLAS, whose idle threads keep the network's waiting for a while
    totals = np.stack([np.einsum("ds,sp,dp->d", seeds, of_all, pictures) for of_all in np.moveaxis(counts, 2, 0)], 1)
    return _ends(np.array([quality.value(total) for total in totals]))


def mean_interval(of_seeds: FloatArray) -> Interval:
    """Of a mean over seeds, shape (seeds,)."""
    return _ends((drawn(len(of_seeds), 0) * of_seeds).sum(1) / len(of_seeds))


def latency_intervals(latency_s: FloatArray) -> dict[str, Interval]:
    """Of the mean, the percentiles and the maximum over the frames of all seeds, whole seeds being drawn.

    Args:
        latency_s: (seeds, frames); NaN for frames that were dropped.
    """
    if all(np.array_equal(of_seed, latency_s[0], equal_nan=True) for of_seed in latency_s[1:]):
        return {name: (value, value) for name, value in latency_metrics(latency_s[:1]).items()}
    draws, of_draw = np.unique(drawn(len(latency_s), 0), axis=0, return_inverse=True)  # of few seeds many are alike
    seed, frame = np.nonzero(~np.isnan(latency_s))
    values = latency_s[seed, frame]
    order = np.argsort(values, kind="stable")
    values, seed = values[order], seed[order]
    found = np.full((len(draws), len(LATENCIES)), np.inf)
    for draw, times in enumerate(draws):
        weights = times[seed]
        below = np.cumsum(weights)
        if below[-1] == 0:  # only seeds without an answer
            continue
        places = np.searchsorted(below, np.array([0.5, 0.95, 0.99, 1.0]) * below[-1])
        found[draw] = ((weights * values).sum() / below[-1], *values[np.minimum(places, len(values) - 1)])
    return {name: _ends(column) for name, column in zip(LATENCIES, found[of_draw].T, strict=True)}


def _ends(values: FloatArray) -> Interval:
    low, high = np.quantile(values, ENDS, method="inverted_cdf")  # never between two values: one may be infinite
    return float(low), float(high)
