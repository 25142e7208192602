"""Records hold their fields to their bounds."""

from __future__ import annotations

from typing import Any

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.core.bounds import BOUNDS, Bound
from splitimpera.core.errors import SimulationError, shown


def require(holds: object, where: str, given: object, expected: str) -> None:
    if not holds:
        raise SimulationError(f"{shown(given)} is out of range, it must be {expected}", where=where)


def bounded(record: object, *names: str) -> None:
    """Hold fields to their bounds; those that are None unless told may be None."""
    for name in names:
        value = getattr(record, name)
        optional = vars(type(record))["__dataclass_fields__"][name].default is None
        require((optional and value is None) or BOUNDS[name].holds(value), name, value, str(BOUNDS[name]))


def all_bounded(values: Any, name: str, bound: Bound, zero: bool = False) -> FloatArray:
    """Entries within a bound, or 0 where that is allowed, as an array."""
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.array(np.nan)
    require(array.ndim == 1, name, values, "a list of numbers")
    within = (array > bound.low) if bound.above else (array >= bound.low)
    within &= (array < bound.high) if bound.below else (array <= bound.high)
    if bound.whole:
        within &= array == np.floor(array)
    within |= zero & (array == 0)
    expected = f"0, or {bound}" if zero and bound.low > 0 else str(bound)
    require(within.all(), name, array[~within][0] if not within.all() else "", expected)
    return array
