"""Intervals and paired tests, at one level everywhere: 95 %.

Everything that is compared is drawn with the same draws, so that the differences of two plans' draws are a paired
bootstrap: the same samples, the same replications, the same blocks of frames.

Source: B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7 (1979); the intervals are
those between two percentiles.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from math import ceil, inf, isfinite, isqrt, nan, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Interval = tuple[float, float]

LEVEL = 0.95
DRAWS = 2000
NEAR = 0.1
RANKS = 33
ENDS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


def wilson_interval(share: float, count: float, level: float = LEVEL, freedom: int | None = None) -> Interval:
    """Wilson's interval for a share of right predictions among `count` independent samples.

    With `freedom`, `count` is an estimate with so many degrees of freedom, and Student's quantile takes the normal
    one's place.

    A share that is a mean of per-sample means (several loss patterns a sample) varies less than single predictions
    would, so that the interval is then on the safe side. Source: E. B. Wilson, JASA 22 (1927).

    >>> [round(end, 3) for end in wilson_interval(0.9, 100)]
    [0.826, 0.945]
    """
    from scipy.special import ndtri, stdtrit

    upper = (1 + level) / 2 if level != LEVEL else ENDS[1]
    z = float(ndtri(upper) if freedom is None else stdtrit(freedom, upper))
    centre = share + z * z / (2 * count)
    spread = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def student_interval(values: FloatArray, level: float = LEVEL) -> Interval:
    """Student's interval of the mean of independent values; unbounded for a single one."""
    from scipy.special import stdtrit

    count, mean = len(values), float(np.mean(values))
    if count < 2 or not isfinite(mean):
        return -inf, inf
    half = float(stdtrit(count - 1, (1 + level) / 2)) * float(np.std(values, ddof=1)) / sqrt(count)
    return mean - half, mean + half


def quantile_interval(samples: FloatArray, share: float, level: float = LEVEL) -> Interval:
    """The interval of a quantile of independent samples between two of them, whatever their distribution.

    The number of samples below the true quantile is binomial; the ends are the order statistics that it leaves outside
    with at most half of 1 - `level` each, infinite where there is none. Source: H. A. David, Order Statistics,
    chapter 7.
    """
    from scipy.special import bdtr

    ordered, n = np.sort(samples), len(samples)
    up_to = bdtr(np.arange(n + 1), n, share)
    tail = (1 - level) / 2
    low = int(np.searchsorted(up_to, tail, side="right"))  # how many may lie below at most, so this one's rank from 1
    high = int(np.searchsorted(up_to, 1 - tail))  # as many lie below at most, so the next one is above: rank from 0
    value = quantile(samples, share)
    # of very few samples the interpolated quantile may lie outside; a wider interval covers no less
    return (
        min(value, float(ordered[low - 1])) if low > 0 else -inf,
        max(value, float(ordered[high])) if high < n else inf,
    )


def quantile(samples: FloatArray, share: float) -> float:
    """An interpolated quantile; where there are infinite samples, one of them, for there is nothing between."""
    return float(np.quantile(samples, share, method="linear" if np.isfinite(samples).all() else "higher"))


def tolerance_s(x_s: FloatArray) -> FloatArray:
    """Within which two latencies are taken for the same: 0.2 ms or 5 %, whichever is more."""
    return np.maximum(0.2e-3, 0.05 * x_s)


def tolerant_distance(first_s: FloatArray, second_s: FloatArray) -> float:
    """The Kolmogorov-Smirnov distance of two samples of latencies, with tolerance.

    F and G being their distributions, it is the largest of F(x) - G(x + e) and G(x) - F(x + e), e(x) = `tolerance_s`.

    >>> tolerant_distance(np.array([1.0, 2.0]), np.array([1.04, 2.0])), tolerant_distance(np.ones(2), 2 * np.ones(2))
    (0.0, 1.0)
    """
    f, g = np.sort(first_s), np.sort(second_s)

    def share(values: FloatArray, limit: FloatArray) -> FloatArray:
        found: FloatArray = np.searchsorted(values, limit, side="right") / len(values)
        return found

    def beyond(a: FloatArray, b: FloatArray) -> float:
        # a step function minus another, shifted one is largest at a step of the first
        return float((share(a, a) - share(b, a + tolerance_s(a))).max())

    return max(beyond(f, g), beyond(g, f), 0.0)


def mcnemar_p(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value of McNemar's test: of the samples that just one of two got right, is it chance which?

    Source: Q. McNemar, Psychometrika 12 (1947); under chance the number is binomial with 1/2.

    >>> mcnemar_p(4, 0)
    0.125
    """
    from scipy.special import bdtr

    discordant = only_first + only_second
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), discordant, 0.5))) if discordant else 1.0


@lru_cache(maxsize=32)
def drawn(count: int, stream: int) -> FloatArray:
    """How often each of `count` things is drawn with replacement, shape (DRAWS, count); always the same draws."""
    rng = np.random.default_rng([0, stream])
    return rng.multinomial(count, np.full(count, 1 / count), size=DRAWS).astype(np.float64)


def ends(values: FloatArray) -> Interval:
    """The interval between two percentiles of draws; never between two values, for one may be infinite."""
    if np.isnan(values).any():
        return nan, nan
    # as numpy.quantile with the method "inverted_cdf" has it, in a tenth of the time
    low, high = (max(0, ceil(len(values) * share) - 1) for share in ENDS)
    ordered = np.partition(values, (low, high))
    return float(ordered[low]), float(ordered[high])


def mean_draws(of_replications: FloatArray) -> FloatArray:
    """Draws of a mean over replications, (replications,) -> (DRAWS,)."""
    return np.asarray((drawn(len(of_replications), 0) * of_replications).sum(1) / len(of_replications))


def contribution_draws(contributions: FloatArray, value: Callable[[FloatArray], Any]) -> FloatArray:
    """Draws of what contributions that add up come to, samples and replications being drawn.

    Args:
        contributions: (replications, samples, k).
        value: Function from sums of contributions, (..., k), to numbers, (...).

    Returns:
        Shape (DRAWS,).
    """
    replications, samples = drawn(len(contributions), 0), drawn(contributions.shape[1], 1)
    totals = np.empty((DRAWS, contributions.shape[2]))
    for column, of_all in enumerate(np.moveaxis(contributions, 2, 0)):
        # matrix products would wake BLAS, whose idle threads keep the network's waiting for a while
        if (of_all == of_all[:1]).all():
            totals[:, column] = np.einsum("dp,p->d", samples, of_all[0]) * len(of_all)
        else:
            totals[:, column] = np.einsum("dp,dp->d", np.einsum("ds,sp->dp", replications, of_all), samples)
    return np.asarray(value(totals), dtype=np.float64)


@lru_cache(maxsize=8)
def drawn_blocks(replications: int, blocks: int) -> FloatArray:
    """How often each block of each replication is drawn, shape (DRAWS, replications, blocks).

    Replications are drawn with replacement, and then as many blocks as it has within each that was drawn.
    """
    rng = np.random.default_rng([0, 2])
    times = drawn(replications, 0).astype(np.int64)
    even = np.full(blocks, 1 / blocks)
    return np.stack([rng.multinomial(count * blocks, even) for count in times.T], axis=1).astype(np.float64)


class LatencyDraws:
    """Draws of statistics over frames: blocks of frames within replications, so that what follows from the frame before
    stays together (H. R. Künsch, Annals of Statistics 17, 1989).

    Args:
        latency_s: (replications, frames); NaN for frames that have none.
    """

    def __init__(self, latency_s: FloatArray) -> None:
        replications, frames = latency_s.shape
        length = max(1, isqrt(frames))
        blocks = -(-frames // length)
        self.weights = drawn_blocks(replications, blocks).reshape(DRAWS, -1)
        replication, frame = np.nonzero(~np.isnan(latency_s))
        values = latency_s[replication, frame]
        order = np.argsort(values, kind="stable")
        self.values = values[order]
        self.block = (replication * blocks + frame // length)[order]
        self._sizes = np.bincount(self.block, minlength=self.weights.shape[1])
        self._counts = np.einsum("db,b->d", self.weights, self._sizes.astype(np.float64))

    def mean(self) -> FloatArray:
        """Infinite in draws without any frame that has a latency."""
        sums = np.bincount(self.block, weights=self.values, minlength=self.weights.shape[1])
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.einsum("db,b->d", self.weights, sums) / self._counts
        return np.where(self._counts > 0, means, inf)

    def quantile(self, share: float) -> FloatArray:
        """The value that `share` of the drawn frames do not exceed; infinite as `mean`."""
        count, wanted = len(self.values), share * self._counts
        if not count:
            return np.full(DRAWS, inf)
        # first between which two of some ranks it lies in each draw, then where between them
        near = np.linspace(max(0.0, share - NEAR), min(1.0, share + NEAR), RANKS)
        ranks = np.unique(np.concatenate([[0], np.rint(near * count).astype(np.int64), [count]]))
        of_steps = np.stack(
            [np.bincount(self.block[low:high], minlength=len(self._sizes)) for low, high in pairwise(ranks)]
        ).astype(np.float64)
        # whole numbers, so that the sums are the same in whatever order BLAS takes them
        below = np.cumsum(self.weights @ of_steps.T, axis=1)
        step = np.minimum((below < wanted[:, None]).sum(axis=1), len(ranks) - 2)
        found = np.full(DRAWS, inf)
        for place in np.unique(step):
            draws, inside = np.flatnonzero(step == place), slice(ranks[place], ranks[place + 1])
            reached = np.cumsum(self.weights[draws[:, None], self.block[inside]], axis=1)
            reached += (below[draws, place] - reached[:, -1])[:, None]
            first = (reached < wanted[draws, None]).sum(axis=1)
            found[draws] = self.values[inside][np.minimum(first, reached.shape[1] - 1)]
        return np.where(self._counts > 0, found, inf)

    def within(self, share: float, limit: float) -> npt.NDArray[np.bool_]:
        """Whether `quantile` is finite and no more than a limit, draw by draw."""
        inside = np.searchsorted(self.values, limit, side="right")
        of_blocks = np.bincount(self.block[:inside], minlength=len(self._sizes)).astype(np.float64)
        reached = np.einsum("db,b->d", self.weights, of_blocks)
        found: npt.NDArray[np.bool_] = (reached >= share * self._counts) & (self._counts > 0)
        return found

    def maximum(self) -> FloatArray:
        """The largest of the drawn frames; infinite as `mean`."""
        largest = np.full(self.weights.shape[1], -inf)
        np.maximum.at(largest, self.block, self.values)
        drawn_largest = np.where(self.weights > 0, largest, -inf).max(axis=1)
        return np.where(self._counts > 0, drawn_largest, inf)
