"""What would have to change: the smallest single change that makes a plan feasible, and where the choice flips.

Whoever calls brings `decide`, which evaluates all plans anew with one parameter at another value and returns the
feasible plan that would be recommended then, or None. Each value that is reported was tried in this way; none is
interpolated. Simulations have noise, so that a value may fit by chance between two that do not: the searches stand
that, but find one border of several.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal

from splitimpera.qos.recommendation import recommend
from splitimpera.qos.verdict import Verdict
from splitimpera.records.requirement import BALANCED, METRICS, Requirement, parse_requirement
from splitimpera.records.requirement import TOLERANCE as METRIC_TOLERANCE

TOLERANCE = 0.01
"""How near the border a search ends, as a share of the value."""


@dataclass(frozen=True)
class Parameter:
    """One number of the scenario that may be swept: the link's loss, a device's speed, the frames a second.

    Attributes:
        name: The parameter's name in the user's words ("loss", "device speed").
        now: its present value, in SI units, 0 or more.
        best: the most favourable value worth trying, on either side of `now`.
        unit: The unit of `now`, `best` and all values that are tried; empty for a plain number.
        format: writes a value with at least three digits, as people would.
        words: a value as a change to ask for ("loss at most 1.4 %", "device 1.8 times faster").
        kind: "ratio" for what counts by its logarithm (rates, speeds), "linear" for what may be 0 (loss, delay).
    """

    name: str
    now: float
    best: float
    unit: str
    format: Callable[[float], str]
    words: Callable[[float], str]
    kind: Literal["ratio", "linear"] = "ratio"

    def between(self, one: float, other: float) -> float | None:
        """A value halfway between two, of three digits; None where they are within `TOLERANCE` of each other."""
        low, high = sorted((one, other))
        if self.kind == "ratio" and low > 0:
            near, middle = high <= low * (1 + TOLERANCE), math.sqrt(low * high)
        else:
            # next to 0 no share of the value is small enough
            least = TOLERANCE * max(self.now, self.best)
            near, middle = high - low <= TOLERANCE * max(high, least), (low + high) / 2
        middle = float(f"{middle:.3g}")
        return middle if not near and low < middle < high else None


Decide = Callable[[Parameter, float], Verdict | None]
"""The feasible plan that would be recommended with a parameter at a value; None where none would be feasible."""


@dataclass(frozen=True)
class Change:
    """One change with which a plan would be feasible.

    Attributes:
        parameter: the parameter's name, or the metric whose limit would be relaxed.
        before, after: The values in SI units; a limit that would have to go has the limit 0 after.
        ratio: the larger of after / before and before / after; infinite where one of them is 0.
        plan: id of the plan that would be recommended then.
        text: the change in words.
    """

    parameter: str
    before: float
    after: float
    ratio: float
    plan: str
    text: str

    def __str__(self) -> str:
        return f"{self.text}: then {self.plan} is feasible"


def changes(parameters: Iterable[Parameter], decide: Decide, limits: Iterable[Change] = ()) -> tuple[Change, ...]:
    """All single changes that help where no plan is feasible now, the smallest first by their ratio.

    Each parameter is tried at its best value; where that helps, the border to `now` is bisected.

    Args:
        limits: changes of another kind to sort in, such as `relaxations`.
    """
    decide = cache(decide)
    found = [change for parameter in parameters if (change := _least(parameter, decide)) is not None]
    return tuple(sorted([*found, *limits], key=lambda change: change.ratio))


def _least(parameter: Parameter, decide: Decide) -> Change | None:
    if parameter.best == parameter.now:
        return None
    fails, fits = parameter.now, parameter.best
    verdict = decide(parameter, fits)
    if verdict is None:
        return None
    while (middle := parameter.between(fails, fits)) is not None:
        found = decide(parameter, middle)
        if found is None:
            fails = middle
        else:
            fits, verdict = middle, found
    return Change(parameter.name, parameter.now, fits, _ratio(parameter.now, fits), verdict.id, parameter.words(fits))


def relaxations(
    verdicts: Sequence[Verdict], objective: str = BALANCED, tolerance: float = METRIC_TOLERANCE
) -> tuple[Change, ...]:
    """For each hard requirement the least by which it alone would have to be relaxed for some plan to be feasible.

    A plan that misses several hard requirements, or is unstable, or cannot run, is not let in by that. Which plan would
    be chosen then is found by matching anew.

    Args:
        verdicts: one a plan, none feasible.
        objective, tolerance: The arguments of `recommend`.
    """
    wanted = [judgement.requirement for judgement in verdicts[0].judgements]
    found = []
    for requirement in wanted:
        misses = [
            verdict.violations[0]
            for verdict in verdicts
            if verdict.can_run
            and not verdict.unsatisfiable
            and [miss.requirement for miss in verdict.violations] == [requirement]
            and math.isfinite(verdict.violations[0].margin)
        ]
        if not misses:
            continue
        text = requirement.relaxed(max(misses, key=lambda miss: miss.margin).value)
        relaxed = parse_requirement(text) if text else None
        matched = [relaxed if each == requirement else each for each in wanted]
        left = [each for each in matched if each is not None]
        evaluations = [verdict.evaluation for verdict in verdicts]
        chosen = recommend(evaluations, left, objective, tolerance).chosen if left else None
        if chosen is not None:
            found.append(_limit_change(requirement, relaxed, chosen))
    return tuple(found)


def _limit_change(before: Requirement, after: Requirement | None, chosen: Verdict) -> Change:
    metric, limit = before.metric, after.limit if after else 0.0
    text = f"{metric} limit {METRICS[metric].format(limit)}" if after else f"no limit on {metric}"
    return Change(metric, before.limit, limit, _ratio(before.limit, limit), chosen.id, text)


def _ratio(before: float, after: float) -> float:
    return max(before / after, after / before) if before > 0 and after > 0 else math.inf


@dataclass(frozen=True)
class Flip:
    """Where another plan becomes the choice.

    Attributes:
        value: the last one, upwards, at which `before` was found to be the choice.
        before, after: ids; None where no plan is feasible.
    """

    value: float
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Sensitivity:
    """The choice against one parameter.

    Attributes:
        parameter: its name.
        unit: The unit of `now`, of the values and of the flips.
        values: ascending.
        plans: the id chosen at each value; None where no plan is feasible.
        flips: ascending.
        text: A sentence that says where it flips.
    """

    parameter: str
    unit: str
    now: float
    values: tuple[float, ...]
    plans: tuple[str | None, ...]
    flips: tuple[Flip, ...]
    text: str


def sensitivity(parameter: Parameter, values: Iterable[float], decide: Decide, bisections: int = 4) -> Sensitivity:
    """Find the choice at each of some values, and between neighbours that differ narrow down where it flips.

    Args:
        values: at least one.
        bisections: at most so many between two neighbours, for each flip.
    """
    decide = cache(decide)

    def choice(value: float) -> str | None:
        verdict = decide(parameter, value)
        return verdict.id if verdict else None

    def flips(low: float, high: float, left: int) -> list[Flip]:
        before, after = choice(low), choice(high)
        if before == after:
            return []
        middle = parameter.between(low, high) if left else None
        if middle is None:
            return [Flip(low, before, after)]
        return [*flips(low, middle, left - 1), *flips(middle, high, left - 1)]

    values = sorted(set(values))
    for value in sorted(values, key=lambda value: abs(value - parameter.now)):
        choice(value)  # the nearest first, for what fails there fails beyond
    plans = tuple(choice(value) for value in values)
    found = [flip for low, high in pairwise(values) for flip in flips(low, high, bisections)]
    text = _in_words(parameter, values, plans[-1], found)
    return Sensitivity(parameter.name, parameter.unit, parameter.now, tuple(values), plans, tuple(found), text)


def _in_words(parameter: Parameter, values: Sequence[float], last: str | None, flips: Sequence[Flip]) -> str:
    parts = [f"up to {parameter.format(flip.value)} {_choice(flip.before)}" for flip in flips]
    ends = " to ".join(parameter.format(value) for value in dict.fromkeys((values[0], values[-1])))
    parts.append(f"beyond it {_choice(last)}" if flips else f"at {ends} {_choice(last)}")
    return (
        f"{parameter.name[0].upper()}{parameter.name[1:]} (now {parameter.format(parameter.now)}): {', '.join(parts)}."
    )


def _choice(plan: str | None) -> str:
    return f"{plan} is the choice" if plan else "no plan is feasible"
