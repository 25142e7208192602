"""What makes answers good: numbers of each, vectors of these that add up, and what sums come to.

A quality turns each answer into numbers, and sums of these, weighted, into one value: so many samples are right, so
many pixels of each class. What has no such sums, average precision, makes vectors of them that can be added all the
same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from splitimpera.core.array_types import FloatArray, IntArray, Row
from splitimpera.core.statistics import contribution_draws, ends

Matrix = Any
"""Vectors as rows: float64 (n, m), dense, or a `scipy.sparse` array."""


@dataclass(frozen=True, eq=False)
class Columns:
    """Sums of sparse vectors of which but some columns are zero.

    Attributes:
        places: which columns, ascending, (c,).
        rows: what they hold, (d, c).
    """

    places: IntArray
    rows: FloatArray


class Quality(Protocol):
    """What makes answers good."""

    @property
    def name(self) -> str:
        """How the value is called, one of `qualities.QUALITIES`."""
        ...

    def count(self, answer: Row, target: Row) -> FloatArray:
        """The numbers of a frame with a response, (k,); the same number of them for each."""
        ...

    def count_lost(self, target: Row) -> FloatArray:
        """The numbers of a frame without a response, or one that came too late."""
        ...

    def vectors(self, counts: FloatArray) -> Matrix:
        """These numbers, (n, k), as vectors (n, m) that may be added and weighted."""
        ...

    def signal(self, vectors: Matrix) -> FloatArray:
        """Numbers of each row, (n, j), that vary as its share in the value does."""
        ...

    def value(self, total: Matrix) -> Any:
        """What sums of such vectors come to, (..., m) -> (...); of sparse ones they may be `Columns`."""
        ...

    def interval(self, vectors: Matrix) -> tuple[float, float]:
        """The 95 % interval of the value over samples; `vectors` has shape (samples, m)."""
        ...


class Sums:
    """A quality whose numbers add up as they are."""

    def vectors(self, counts: FloatArray) -> Matrix:
        return counts

    def signal(self, vectors: Matrix) -> FloatArray:
        return np.asarray(vectors, dtype=np.float64)

    def value(self, total: Any) -> Any:
        raise NotImplementedError

    def interval(self, vectors: Matrix) -> tuple[float, float]:
        return ends(contribution_draws(np.asarray(vectors)[None], self.value))


def mean_and_sum(value: float) -> FloatArray:
    """The numbers of a frame of whose value the mean is taken."""
    return np.array([value, 1.0])


def is_dense(vectors: Matrix) -> bool:
    return isinstance(vectors, np.ndarray)


def total(vectors: Matrix) -> Matrix:
    """The sum of all rows: (m,), or (1, m) where sparse."""
    if is_dense(vectors):
        return vectors.sum(0)
    from scipy.sparse import csr_array

    return csr_array(np.ones((1, vectors.shape[0]))) @ vectors


def value_of(quality: Quality, vectors: Matrix) -> float:
    """What all rows together come to."""
    return float(np.squeeze(quality.value(total(vectors))))
