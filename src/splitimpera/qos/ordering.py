"""The order of plans that meet their requirements, in which a difference that chance explains is no reason.

Ties are not transitive, so that the order is peeled, a plan at a time:

1. Plans that certainly meet the requirements come before those that likely do.
2. Set aside each plan that another one, nowhere worse in value, beats beyond chance in some metric.
3. In each metric, the plans that tie with the best value take its margin.
4. The smallest penalty goes first, then the objective if one is named, then the largest smallest margin, then the
   largest second smallest one and so on (leximin); then fewer hops, the 95th percentile of latency, energy, bytes, id.
5. Take the first away, and begin again with the rest.

report/html/decide.js has the same rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any


@dataclass(frozen=True)
class Criterion:
    """One thing by which plans are compared: a requirement, or the objective.

    Attributes:
        weight: The weight of a soft requirement; None for a hard one, and for the objective.
        values: One value a plan, larger is better; minus infinity where it is not known.
        tied: whether two plans' values are the same for all that is known; symmetrical.
        objective: whether it is the objective, whose `values` are made as large as can be; else they are margins.
    """

    values: Sequence[float]
    tied: Callable[[int, int], bool]
    weight: float | None = None
    objective: bool = False


def order(criteria: Sequence[Criterion], certain: Sequence[bool], last: Sequence[tuple[Any, ...]]) -> list[int]:
    """The places of the plans, best first.

    Args:
        criteria: each with a value a plan.
        certain: whether each plan meets its requirements for certain.
        last: what decides between plans that are the same in all else; smaller is better, no two alike.
    """
    found: list[int] = []
    for wanted in (True, False):
        left = [place for place, sure in enumerate(certain) if sure is wanted]
        rivals = _Rivals(criteria, left)
        while left:
            candidates = rivals.unbeaten(left)
            # whoever is beaten is beaten by a better one in value, so that somebody is left
            levelled = [_levelled(criterion, candidates) for criterion in criteria]
            first = min(candidates, key=lambda place: (_key(criteria, levelled, place), last[place]))
            found.append(first)
            left.remove(first)
    return found


class _Rivals:
    """Who is beaten by whom, asked as little as can be: it takes long where chance has to be looked at."""

    def __init__(self, criteria: Sequence[Criterion], places: Sequence[int]) -> None:
        self.criteria = criteria
        # those that beat most are asked first
        self.others = sorted(places, key=lambda place: sum(each.values[place] for each in criteria), reverse=True)
        self.asked = dict.fromkeys(places, 0)

    def unbeaten(self, left: Sequence[int]) -> list[int]:
        """Those that none of those left beats; once taken away, none comes back."""
        remaining = set(left)
        return [place for place in left if not self._beaten(place, remaining)]

    def _beaten(self, place: int, remaining: set[int]) -> bool:
        for other in self.others[self.asked[place] :]:
            if other != place and other in remaining and _beats(self.criteria, other, place):
                return True
            self.asked[place] += 1
        return False


def _beats(criteria: Sequence[Criterion], one: int, other: int) -> bool:
    """Whether a plan is nowhere worse in value than another, and somewhere better beyond chance."""
    if any(criterion.values[one] < criterion.values[other] for criterion in criteria):
        return False
    return any(
        criterion.values[one] > criterion.values[other] and not criterion.tied(one, other) for criterion in criteria
    )


def _levelled(criterion: Criterion, candidates: Sequence[int]) -> dict[int, float]:
    """Each candidate's value; the best one where it ties with that."""
    best = max(candidates, key=lambda place: float(criterion.values[place]))
    most = float(criterion.values[best])
    equal = [place for place in candidates if criterion.values[place] == most]

    def level(place: int) -> float:
        alike = any(place == other or criterion.tied(place, other) for other in equal)
        return most if alike else float(criterion.values[place])

    return {place: level(place) for place in candidates}


def _key(criteria: Sequence[Criterion], levelled: Sequence[dict[int, float]], place: int) -> tuple[Any, ...]:
    """Smaller is better."""
    penalty = 0.0  # a plain loop, as in the report's script: sum() is more exact from Python 3.12 on
    margins, objective = [], -inf
    for criterion, values in zip(criteria, levelled, strict=True):
        if criterion.objective:
            objective = values[place]
            continue
        margins.append(values[place])
        if criterion.weight is not None:
            penalty += criterion.weight * max(0.0, -values[place])
    return penalty, -objective, [-margin for margin in sorted(margins)]
