"""The limits that the page's sliders may take: round ones around the plans' values, and the requirement's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, isclose, isfinite, log10

from splitimpera.core import units
from splitimpera.records.requirement import LARGEST_LIMIT, METRICS, SMALLEST_LIMIT, parse_requirement
from splitimpera.report.schema import PlanEntry, RequirementEntry

MOST_STOPS = 200
WIDEST = 1e4
"""No limit is further from the requirement's own than by this factor."""

_FINE = (*range(100, 200, 5), *range(200, 500, 10), *range(500, 1000, 20))
_COARSE = (*range(100, 200, 10), *range(200, 500, 20), *range(500, 1000, 50))
"""A decade in steps of 2 to 5 % and of 4 to 10 %, in hundredths."""


@dataclass(frozen=True)
class Stop:
    """A limit that a slider may take, its text, and whether it is the user's own."""

    limit: float
    text: str
    own: bool


def stops(requirement: RequirementEntry, plans: Iterable[PlanEntry]) -> list[Stop]:
    """Limits for one requirement, from the lowest to the highest.

    They reach a little beyond the values of the stable plans on either side. Whoever copies a text into a scenario gets
    exactly that limit.
    """
    metric, own = requirement.metric, requirement.limit
    values = [plan.metrics.get(metric) for plan in plans if plan.stable]
    known = [value for value in values if value is not None and isfinite(value) and value > 0]
    # what is written in four digits and read again must still be a limit
    low = max(min([own, *known]), own / WIDEST, 2 * SMALLEST_LIMIT)
    high = min(max([own, *known]), own * WIDEST, LARGEST_LIMIT / 2)
    sign = ">=" if METRICS[metric].better == "higher" else "<="
    found = {own: requirement.text}
    for round_limit in _grid(metric, low, high):
        text = f"{metric} {sign} {METRICS[metric].format(round_limit)}"
        limit = parse_requirement(text).limit
        if not isclose(limit, own):
            found[limit] = text
    return [Stop(limit, found[limit], limit == own) for limit in sorted(found)]


def _grid(metric: str, low: float, high: float) -> Sequence[float]:
    kind = METRICS[metric]
    if metric == "cut_depth":
        step = ceil((high + 1) / MOST_STOPS)
        return sorted({1, *range(step, ceil(high) + 1 + step, step)})
    if kind.dimension is units.FRACTION and kind.better == "higher":
        step = next((step for step in (1, 2, 5) if (1 - low) * 1000 / step < MOST_STOPS), 10)
        first = max(floor(low * 1000 / step) * step, step)
        return [thousandths / 1000 for thousandths in range(first, 1001, step)]
    most = 1.0 if kind.dimension is units.FRACTION else float("inf")
    digits = _FINE if log10(high / low) < 2.5 else _COARSE
    decades = range(floor(log10(low)) - 1, floor(log10(high)) + 2)
    # written as people do, since 95 * 10**-3 is not quite 0.095
    limits = [float(f"{digit}e{decade - 2}") for decade in decades for digit in digits]
    return [limit for limit in limits if low / 1.15 < limit < high * 1.15 and limit <= most]
