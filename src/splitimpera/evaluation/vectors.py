"""What frames and samples contribute to a quality, as vectors that add up: arrays, or sparse where dimensions are many.

Rows are frames or samples. Dense ones are float64 (n, m), and those of several replications (replications, n, m);
sparse ones are `scipy.sparse.csr_array`, and a list of these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from hashlib import blake2b
from math import nan
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.core.statistics import contribution_draws, drawn
from splitimpera.tasks.quality import Columns, Matrix, Quality, is_dense, value_of

Bools = npt.NDArray[np.bool_]
MOST_ELEMENTS = 1 << 22
"""Of an array of draws and columns."""
SPARSE_DRAWS = 1000
"""Draws of sparse vectors' qualities, which take far longer than those of dense ones."""
MOST_DRAWN = 64
"""Of how many contributions the draws are remembered, those used last."""


def plus(one: Matrix, other: Matrix) -> Matrix:
    """The sum of two; sparse ones may have been made when fewer dimensions were known."""
    _widen((one, other))
    return one + other


def minus(one: Matrix, other: Matrix) -> Matrix:
    """The difference of two."""
    _widen((one, other))
    return one - other


def _widen(parts: Sequence[Matrix]) -> None:
    """Give all sparse matrices as many columns as the widest has."""
    if is_dense(parts[0]):
        return
    width = max(part.shape[1] for part in parts)
    for part in parts:
        part.resize((part.shape[0], width))


def either(which: Bools, ones: Matrix, others: Matrix) -> Matrix:
    """The rows of `ones` where `which` is true, else those of `others`.

    >>> either(np.array([True, False]), np.ones((2, 1)), np.zeros((2, 1))).ravel().tolist()
    [1.0, 0.0]
    """
    if is_dense(ones):
        return np.where(which[:, None], ones, others)
    return ones if which.all() else plus(_scaled(ones, which), _scaled(others, ~which))


def table(quality: Quality, counts: FloatArray, known: Bools) -> Matrix:
    """Vectors of all rows of a quality's numbers; those that are not known are NaN, or empty where sparse."""
    vectors = quality.vectors(np.where(known[:, None], counts, counts[known][:1]) if not known.all() else counts)
    return counts if is_dense(vectors) else _scaled(vectors, known)


def filled(vectors: Matrix, places: IntArray, rows: Matrix) -> Matrix:
    """The same vectors with other rows in some places, which are not known or empty."""
    if is_dense(vectors):
        vectors[places] = rows
        return vectors
    return added(vectors, places, rows)


def added(vectors: Matrix, places: IntArray, rows: Matrix) -> Matrix:
    """The same vectors with something added to some of them; dense ones are changed in place."""
    if is_dense(vectors):
        vectors[places] += rows
        return vectors
    if not len(places):
        return vectors
    from scipy.sparse import csr_array

    ones = csr_array((np.ones(len(places)), (places, np.arange(len(places)))), shape=(vectors.shape[0], len(places)))
    return plus(vectors, ones @ rows)


def stacked(runs: Sequence[Matrix]) -> Any:
    """Vectors of several replications together."""
    return np.stack(runs) if is_dense(runs[0]) else list(runs)


def below(parts: Sequence[Matrix]) -> Matrix:
    """The rows of all parts."""
    if is_dense(parts[0]):
        return np.concatenate(parts)
    from scipy.sparse import vstack

    _widen(parts)
    return vstack(parts, format="csr")


def values_of_groups(
    quality: Quality, runs: Sequence[Matrix], groups: Sequence[IntArray] | IntArray, wanted: Sequence[int]
) -> tuple[float, ...]:
    """What the rows of each group come to, over all runs; NaN of a group without any.

    Args:
        groups: the group of each row, one array a run.
        wanted: the groups, in the order of the result.
    """
    found = []
    for group in wanted:
        rows = below([run[of_run == group] for run, of_run in zip(runs, groups, strict=True)])
        found.append(value_of(quality, rows) if rows.shape[0] else nan)
    return tuple(found)


def mean_of(contributions: Any) -> Matrix:
    """The mean over replications, (n, m)."""
    if is_dense(contributions):
        return contributions.mean(0)
    return reduce(plus, contributions) / len(contributions)


def means_of_samples(runs: Sequence[Matrix], samples: int) -> Any:
    """Vectors of frames, one matrix (frames, m) a replication, as means over those that show each sample.

    Frame i shows sample i modulo `samples`.

    Returns:
        Vectors (samples, m) of each replication.
    """
    frames = runs[0].shape[0]
    shown = np.arange(frames) % samples
    times = np.bincount(shown)
    if is_dense(runs[0]):
        sums = [[np.bincount(shown, weights=column, minlength=samples) for column in run.T] for run in runs]
        return np.moveaxis(np.array(sums), 1, 2) / times[:, None]
    from scipy.sparse import csr_array

    means = csr_array((1 / times[shown], (shown, np.arange(frames))), shape=(samples, frames))
    made = {id(run): means @ run for run in {id(run): run for run in runs}.values()}
    return [made[id(run)] for run in runs]


def draws(contributions: Any, value: Callable[[Matrix], Any]) -> FloatArray:
    """Bootstrap draws of what contributions come to, samples and replications being drawn.

    Returns:
        Shape (DRAWS,), of sparse ones (SPARSE_DRAWS,).
    """
    if is_dense(contributions):
        return contribution_draws(contributions, value)
    known = _drawn.setdefault(value.__self__, {}) if hasattr(value, "__self__") else {}
    digests = {id(run): _digest(run) for run in {id(run): run for run in contributions}.values()}
    key = tuple(digests[id(run)] for run in contributions)
    found = known.pop(key, None)
    known[key] = _sparse_draws(contributions, value) if found is None else found  # what was used last stands last
    if len(known) > MOST_DRAWN:
        del known[next(iter(known))]
    return known[key]


_drawn: WeakKeyDictionary[Any, dict[Any, FloatArray]] = WeakKeyDictionary()
"""Of each quality: what was drawn of the same contributions before, such as those of plans that lose nothing."""


def _digest(run: Matrix) -> str:
    found = blake2b(digest_size=16)
    for part in (run.indptr, run.indices, run.data):
        found.update(part)
    return found.hexdigest()


def _sparse_draws(contributions: Sequence[Matrix], value: Callable[[Matrix], Any]) -> FloatArray:
    of_replications, of_samples = drawn(len(contributions), 0), drawn(contributions[0].shape[0], 1)
    alike = all(run is contributions[0] for run in contributions)
    runs = contributions[:1] if alike else contributions
    used = np.unique(np.concatenate([run.indices for run in runs]))
    _widen(runs)
    compact = [run[:, used] for run in runs]
    found = []
    size = max(1, MOST_ELEMENTS // max(len(used), 1))
    for first in range(0, SPARSE_DRAWS, size):
        some = slice(first, min(first + size, SPARSE_DRAWS))
        if alike:
            sums = of_samples[some] @ compact[0]
        else:
            pairs = zip(of_replications[some].T, compact, strict=True)
            sums = sum((of_samples[some] * times[:, None]) @ run for times, run in pairs)
        found.append(value(Columns(used, np.asarray(sums))))
    return np.concatenate(found)


def weighted(weights: FloatArray, vectors: Matrix) -> Matrix:
    """Weighted sums of rows: (d, n) and (n, m) -> (d, m)."""
    if is_dense(vectors):
        # matrix products would wake BLAS, whose idle threads keep the network's waiting for a while
        return np.einsum("dn,nm->dm", weights, vectors)
    from scipy.sparse import csr_array

    return csr_array(weights) @ vectors


def _scaled(vectors: Matrix, factors: npt.NDArray[Any]) -> Matrix:
    """Each row times its factor, of sparse vectors."""
    from scipy.sparse import dia_array

    rows = vectors.shape[0]
    return (dia_array((factors.astype(np.float64)[None], [0]), shape=(rows, rows)) @ vectors).tocsr()
