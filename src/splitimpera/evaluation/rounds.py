"""How many loss patterns an accuracy needs: until they hardly widen an interval that the samples rule.

A round shows every sample once, each with a loss pattern of its own. Its predictions are honest draws of samples and
patterns together, so that one round is enough for an unbiased mean with a valid interval; further rounds only average
what the patterns add to the variance.
"""

from __future__ import annotations

from math import ceil

from splitimpera.core.array_types import FloatArray

SHARE = 0.1
"""The share of the samples' own variance that the loss patterns may add."""


def wanted(rounds: FloatArray, intact: FloatArray, share: float = SHARE) -> int:
    """How many rounds make the patterns' share of the variance small enough, as far as is known.

    The variance between patterns is estimated from the differences between rounds; after the first one it is bounded by
    the differences from the predictions without loss, for no variance exceeds the mean square about any other point.

    Args:
        rounds: the quality's numbers of each sample in each round, shape (rounds, samples, k).
        intact: the same with nothing lost, shape (samples, k).

    Returns:
        As many as there are where these are enough; at most twice as many, for the estimate may be rough.

    >>> import numpy as np
    >>> intact = np.array([[1.0], [1.0], [0.0], [1.0]])
    >>> wanted(intact[None], intact), wanted(1 - intact[None], intact)
    (1, 2)
    """
    count, samples = len(rounds), len(intact)
    if count == 1:
        between = float(((rounds[0] - intact) ** 2).mean(0).sum())
    else:
        between = float(rounds.var(0, ddof=1).mean(0).sum())
    of_means = float(rounds.mean(0).var(0, ddof=1).sum()) if samples > 1 else 0.0
    own = max(of_means - between / count, 0.0)
    if between <= share * own * count:
        return count
    return min(2 * count, ceil(between / (share * own))) if own else 2 * count
