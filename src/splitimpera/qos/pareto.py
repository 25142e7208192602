"""What no other choice beats everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pareto_front(vectors: Sequence[Sequence[float]]) -> list[bool]:
    """Which vectors no other one dominates; larger is better in each place.

    A vector dominates another that is nowhere larger and somewhere smaller: equal ones do not dominate one another.

    Args:
        vectors: Vectors of one length; their entries may be infinite, but not NaN.
    """
    points = np.array(vectors, dtype=np.float64)
    return [not ((points >= point).all(axis=1) & (points > point).any(axis=1)).any() for point in points]
