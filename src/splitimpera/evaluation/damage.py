"""Payloads of which a link has lost something: whether they can be read, and what is lost with how much of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.evaluation.vectors import below
from splitimpera.records.traffic import ByteRange, Codec
from splitimpera.tasks.quality import Matrix, is_dense

IN_A_BIN = 32
"""How many damaged frames make a point of a curve, at least."""


def survives(codec: Codec, size: int, erased: Sequence[ByteRange]) -> bool:
    """Whether a codec can decode a payload of `size` bytes with gaps."""
    own: Callable[[int, Sequence[ByteRange]], bool] | None = getattr(codec, "survives", None)
    return codec.tolerates_loss if own is None else own(size, erased)


def erased_share(gaps: Sequence[Sequence[ByteRange]], sizes: Sequence[int]) -> float:
    """The share of a frame's bytes that is missing after some hops, taken as independent of one another.

    >>> erased_share([[(0, 50)], [(0, 10), (20, 30)]], [100, 40])
    0.75
    """
    left = 1.0
    for gap, size in zip(gaps, sizes, strict=True):
        left *= 1 - sum(end - start for start, end in gap) / max(size, 1)
    return 1 - left


@dataclass(frozen=True, eq=False)
class DamageCurve:
    """What damaged frames' numbers differ by from those of the undamaged ones, against the share that is missing.

    Attributes:
        shares: what is missing of each frame that was evaluated, shape (frames,).
        changes: what its vector differs by, (frames, m).

    >>> curve = DamageCurve(np.array([0.5, 0.5, 0.2]), np.array([[-1.0], [0.0], [-0.2]]))
    >>> curve.at(np.array([0.0, 0.4])).ravel().round(3).tolist()
    [0.0, -0.4]
    """

    shares: FloatArray
    changes: Matrix

    def at(self, shares: FloatArray) -> Matrix:
        """What frames with these shares missing differ by on average, (frames, m); flat beyond what was seen."""
        points, means = self._points
        if is_dense(means):
            return np.stack([np.interp(shares, points, column) for column in means.T], axis=-1)
        return _between(shares, points) @ means

    def with_more(self, other: DamageCurve) -> DamageCurve:
        """The curve through the frames of both."""
        shares, changes = (self.shares, other.shares), (self.changes, other.changes)
        return DamageCurve(np.concatenate(shares), below(changes))

    @cached_property
    def _points(self) -> tuple[FloatArray, Matrix]:
        """Means over bins of `IN_A_BIN` frames or more, ascending, from nothing missing on."""
        order = np.argsort(self.shares, kind="stable")
        bins = np.array_split(order, max(1, len(order) // IN_A_BIN)) if len(order) else []
        points, of_point = np.unique([0.0, *(self.shares[some].mean() for some in bins)], return_inverse=True)
        if not is_dense(self.changes):
            return points, self._sparse_means(bins, of_point, len(points))
        means = np.array([np.zeros(self.changes.shape[1]), *(self.changes[some].mean(0) for some in bins)])
        return points, np.array([means[of_point == point].mean(0) for point in range(len(points))])

    def _sparse_means(self, bins: Sequence[IntArray], of_point: IntArray, points: int) -> Matrix:
        """The same means of sparse vectors: a matrix of weights, points by frames, times the changes."""
        sizes, of_bin = np.array([len(some) for some in bins], dtype=np.int64), of_point[1:]
        of_frame = 1 / (sizes * np.bincount(of_point, minlength=points)[of_bin])
        frames = np.concatenate([*bins, np.zeros(0, dtype=np.int64)])
        shape = (points, len(self.shares))
        return _sparse(np.repeat(of_frame, sizes), np.repeat(of_bin, sizes), frames, shape) @ self.changes


def _between(shares: FloatArray, points: FloatArray) -> Matrix:
    """What each point counts in the linear interpolation at some shares, sparse (shares, points)."""
    places, last = np.interp(shares, points, np.arange(len(points))), len(points) - 1
    left = places.astype(np.int64)
    weights, columns = np.concatenate([1 - (places - left), places - left]), np.concatenate([left, left + 1])
    rows = np.tile(np.arange(len(shares)), 2)
    return _sparse(weights, rows, np.minimum(columns, last), (len(shares), len(points)))


def _sparse(numbers: FloatArray, rows: IntArray, columns: IntArray, shape: tuple[int, int]) -> Matrix:
    from scipy.sparse import csr_array

    made = csr_array((numbers, (rows, columns)), shape=shape)
    made.eliminate_zeros()
    return made
