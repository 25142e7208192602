"""Payloads of which a link has lost something: whether they can be read, and what is lost with how much of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.records.traffic import ByteRange, Codec

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
        changes: what its numbers differ by, shape (frames, k).

    >>> curve = DamageCurve(np.array([0.5, 0.5, 0.2]), np.array([[-1.0], [0.0], [-0.2]]))
    >>> curve.at(np.array([0.0, 0.4])).ravel().round(3).tolist()
    [0.0, -0.4]
    """

    shares: FloatArray
    changes: FloatArray

    def at(self, shares: FloatArray) -> FloatArray:
        """What frames with these shares missing differ by on average, shape (frames, k); flat beyond what was seen."""
        points, means = self._points
        return np.stack([np.interp(shares, points, column) for column in means.T], axis=-1)

    def with_more(self, other: DamageCurve) -> DamageCurve:
        """The curve through the frames of both."""
        shares, changes = (self.shares, other.shares), (self.changes, other.changes)
        return DamageCurve(np.concatenate(shares), np.concatenate(changes))

    @cached_property
    def _points(self) -> tuple[FloatArray, FloatArray]:
        """Means over bins of `IN_A_BIN` frames or more, ascending, from nothing missing on."""
        order = np.argsort(self.shares, kind="stable")
        bins = np.array_split(order, max(1, len(order) // IN_A_BIN)) if len(order) else []
        points, of_point = np.unique([0.0, *(self.shares[some].mean() for some in bins)], return_inverse=True)
        means = np.array([np.zeros(self.changes.shape[1]), *(self.changes[some].mean(0) for some in bins)])
        return points, np.array([means[of_point == point].mean(0) for point in range(len(points))])
