"""Every plan of a study in one chart: the Pareto front, and the rest as points or, where they are many, as bins.

Places are shares of the chart's width and height, counted from the lower left, so that what draws needs no numbers.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from splitimpera.core.errors import RequirementError, printable
from splitimpera.records.requirement import METRICS, Requirement, parse_requirement
from splitimpera.report.study_axes import Tick, round_linear, round_log
from splitimpera.report.study_wins import Key, Wins, key_of
from splitimpera.report.study_words import metric_text, name_of, quality_text, value_name, value_text
from splitimpera.studies.study_results import PlanRow, StudyResults

MOST_POINTS = 1500
"""More are drawn as bins, but for those on the front."""
BINS = (48, 32)
MOST_ON_FRONT = 400
AROUND = 0.04
"""Room between the outermost points and the chart's edges."""
ZERO = 0.03
"""Where on a logarithmic axis 0 stands, if anything does."""
COSTS = {"latency_p95": "p95 latency", "payload_bytes": "bytes sent for a frame"}


@dataclass
class Plans:
    """All plans with a quality, a column each.

    Attributes:
        costs: Of each name in `COSTS`.
        rows: One plan of each design, by number.
    """

    cell: array[int] = field(default_factory=lambda: array("l"))
    design: array[int] = field(default_factory=lambda: array("l"))
    feasible: array[int] = field(default_factory=lambda: array("b"))
    quality: array[float] = field(default_factory=lambda: array("d"))
    low: array[float] = field(default_factory=lambda: array("d"))
    high: array[float] = field(default_factory=lambda: array("d"))
    value: array[float] = field(default_factory=lambda: array("d"))
    costs: dict[str, array[float]] = field(default_factory=lambda: {name: array("d") for name in COSTS})
    numbers: dict[Key, int] = field(default_factory=dict)
    rows: list[PlanRow] = field(default_factory=list)
    unstable: int = 0
    unknown: int = 0


def gathered(results: StudyResults) -> Plans:
    """All plans that are stable and whose quality is known; the others are counted."""
    found = Plans()
    for cell, plan in results.every_plan():
        quality, latency_s = plan.metrics.get(results.quality), plan.metrics.get("latency_p95")
        if not plan.stable or latency_s is None:
            found.unstable += 1
            continue
        if quality is None:
            found.unknown += 1
            continue
        key = key_of(plan)
        if key not in found.numbers:
            found.numbers[key] = len(found.rows)
            found.rows.append(plan)
        found.cell.append(cell.index)
        found.design.append(found.numbers[key])
        found.feasible.append(plan.feasible)
        found.quality.append(quality)
        low, high = plan.quality_ci or (math.nan, math.nan)
        found.low.append(low)
        found.high.append(high)
        found.value.append(math.nan if plan.value is None else plan.value)
        for name, column in found.costs.items():
            known = plan.metrics.get(name)
            column.append(math.nan if known is None else known)
    return found


def charts(results: StudyResults, wins: Wins, plans: Plans) -> list[dict[str, Any]]:
    """A chart for each pair of a cost and what it buys, as data for the page; none where there is nothing to draw."""
    lower = results.quality in METRICS and METRICS[results.quality].better == "lower"
    goods: list[tuple[str, str, Sequence[float], int]] = [
        ("quality", name_of(results.quality), plans.quality, -1 if lower else 1),
        ("value", f"value ({value_name(results)})", plans.value, 1),
    ]
    found = []
    for cost, cost_title in COSTS.items():
        for kind, title, values, sign in goods:
            chart = _chart(results, wins, plans, cost, values, sign, kind)
            if chart is not None:
                found.append(chart | {"x": cost_title, "y": title, "key": f"{kind}-{cost}"})
    return found


def _chart(
    results: StudyResults,
    wins: Wins,
    plans: Plans,
    cost: str,
    values: Sequence[float],
    sign: int,
    kind: str,
) -> dict[str, Any] | None:
    costs = plans.costs[cost]
    known = [i for i in range(len(costs)) if math.isfinite(costs[i]) and math.isfinite(values[i])]
    if not known or not any(costs[i] > 0 for i in known):
        return None
    limits = _limits(results)
    at_most = limits.get(cost)
    bound = limits.get(results.quality) if kind == "quality" else None
    across = _CostAxis([costs[i] for i in known], [at_most.limit] if at_most else [], cost)
    by_quality, by_value = partial(metric_text, results.quality), partial(value_text, results=results)
    words = by_quality if kind == "quality" else by_value
    upright = ValueAxis([values[i] for i in known], [bound.limit] if bound else [], words)
    front = _front(known, costs, values, sign)
    step = max(1, math.ceil(len(front) / MOST_ON_FRONT))
    places = {i: (across.place(costs[i]), upright.place(values[i])) for i in known}
    marks: list[tuple[int, int]]
    if len(known) <= MOST_POINTS:
        marks, binned = [(i, 1) for i in known], False
    else:
        marks, binned = _binned(known, places, sign), True
    kept = front[::step]
    on_front = set(kept)
    drawn = [(i, count, False) for i, count in marks if binned or i not in on_front] + [(i, 1, True) for i in kept]
    colours = {key_of(design.plan): number for number, design in enumerate(wins.designs) if design.letter != "*"}
    chart: dict[str, Any] = {
        "xticks": across.ticks(),
        "yticks": upright.ticks(),
        "binned": [1 / BINS[0], 1 / BINS[1]] if binned else None,
        "line": [[round(share, 4) for share in places[i]] for i in front],
        "box": _box(at_most, bound, across, upright, sign, results),
        "points": len(known),
        "front": len(front),
        "mark": {
            "x": [round(places[i][0], 4) for i, *_ in drawn],
            "y": [round(places[i][1], 4) for i, *_ in drawn],
            "count": [count for _, count, _ in drawn],
            "front": [int(on) for *_, on in drawn],
            "feasible": [int(plans.feasible[i]) for i, *_ in drawn],
            "colour": [colours.get(key_of(plans.rows[plans.design[i]]), -1) for i, *_ in drawn],
            "design": [plans.design[i] for i, *_ in drawn],
            "cell": [plans.cell[i] for i, *_ in drawn],
            "said": [_said(i, plans, results) for i, *_ in drawn],
        },
    }
    return chart


def _said(i: int, plans: Plans, results: StudyResults) -> str:
    row = plans.rows[plans.design[i]]
    interval = None if math.isnan(plans.low[i]) else (plans.low[i], plans.high[i])
    metrics = {results.quality: plans.quality[i]}
    quality = quality_text(row.model_copy(update={"metrics": metrics, "quality_ci": interval}), results)
    said = [f"{name_of(results.quality)} {quality}"]
    said += [f"{short} {metric_text(name, _known(plans.costs[name][i]))}" for name, short in _SHORT.items()]
    worth = _known(plans.value[i])
    return ", ".join([*said, f"value {value_text(worth, results)}" if worth is not None else "infeasible"])


_SHORT = {"latency_p95": "p95", "payload_bytes": "payload"}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _front(known: Sequence[int], costs: Sequence[float], values: Sequence[float], sign: int) -> list[int]:
    """The plans than which none costs less and is better, by rising cost."""
    best: list[int] = []
    for i in sorted(known, key=lambda i: (costs[i], -sign * values[i])):
        if not best or sign * values[i] > sign * values[best[-1]]:
            best.append(i)
    return best


def _binned(known: Sequence[int], places: dict[int, tuple[float, float]], sign: int) -> list[tuple[int, int]]:
    """The best plan of each bin, and how many there are in it."""
    best: dict[tuple[int, int], int] = {}
    counts: dict[tuple[int, int], int] = {}
    for i in known:
        x, y = places[i]
        at = min(int(x * BINS[0]), BINS[0] - 1), min(int(y * BINS[1]), BINS[1] - 1)
        counts[at] = counts.get(at, 0) + 1
        if at not in best or (sign * y, -x) > (sign * places[best[at]][1], -places[best[at]][0]):
            best[at] = i
    return [(best[at], count) for at, count in counts.items()]


def _limits(results: StudyResults) -> dict[str, Requirement]:
    """The hard requirements by metric; none of them where a range changes requirements."""
    if any(key.startswith(("requirements", "objective")) for axis in results.axes for key in axis.keys):
        return {}
    found: dict[str, Requirement] = {}
    for text in results.requirements:
        try:
            requirement = parse_requirement(text)
        except RequirementError:
            continue
        if requirement.metric not in found:
            found[requirement.metric] = requirement
    return found


def _box(
    at_most: Requirement | None,
    bound: Requirement | None,
    across: _CostAxis,
    upright: ValueAxis,
    sign: int,
    results: StudyResults,
) -> dict[str, Any] | None:
    """What meets the requirements on both axes."""
    if at_most is None and bound is None:
        return None
    edge = None if bound is None else min(max(upright.place(bound.limit), 0.0), 1.0)
    return {
        "right": 1.0 if at_most is None else min(max(across.place(at_most.limit), 0.0), 1.0),
        "low": 0.0 if edge is None or sign < 0 else edge,
        "high": 1.0 if edge is None or sign > 0 else edge,
        "words": " and ".join(printable(each.text) for each in (bound, at_most) if each is not None),
    }


class _CostAxis:
    """A logarithmic axis of which 0 has a place of its own."""

    def __init__(self, values: Sequence[float], limits: Sequence[float], metric: str) -> None:
        positive = [value for value in (*values, *limits) if value > 0]
        self.low, self.high = min(positive), max(positive)
        if self.high / self.low < 1.5:
            self.low, self.high = self.low / 1.5, self.high * 1.5
        self.metric = metric
        self.nothing = min(values) <= 0
        self.start = 3 * ZERO if self.nothing else AROUND

    def place(self, value: float) -> float:
        if value <= 0:
            return ZERO
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (1 - AROUND - self.start)

    def ticks(self) -> list[Tick]:
        zero = [(ZERO, METRICS[self.metric].format(0.0))] if self.nothing else []
        return zero + [
            (round(self.place(at), 4), METRICS[self.metric].format(at)) for at in round_log(self.low, self.high)
        ]


class ValueAxis:
    """A linear axis."""

    def __init__(self, values: Sequence[float], limits: Sequence[float], words: Callable[[float], str]) -> None:
        every = (*values, *limits)
        self.low, self.high = min(every), max(every)
        if self.high <= self.low:
            around = abs(self.low) * 0.1 or 1.0
            self.low, self.high = self.low - around, self.high + around
        self.words = words

    def place(self, value: float) -> float:
        return AROUND + (1 - 2 * AROUND) * (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[Tick]:
        return [(round(self.place(at), 4), self.words(at)) for at in round_linear(self.low, self.high)]
