"""Whether a plan's place is certain, so that its quality need not be known any better."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from splitimpera.core.statistics import Interval
from splitimpera.qos.hopeless import misses_for_certain
from splitimpera.records.outcome import Evaluation
from splitimpera.records.plan import Plan
from splitimpera.records.requirement import BALANCED, METRICS, Requirement


@dataclass(eq=False)
class Settled:
    """Told each plan's quality as it gets to be known: does anything depend on it being known better?

    Nothing does where the plan is infeasible for certain, or where another one that is certain to be feasible is
    nowhere worse and better in quality, the whole interval above the whole interval.

    Args:
        timelines: the plans whose timeline is final, by their ids, with intervals.
        wanted: the requirements.
        quality: The metric that is told.
        objective: what is optimised, "balanced" or a metric.
        hopeless: ids of plans that no quality can save.
    """

    timelines: Mapping[str, Evaluation]
    wanted: Sequence[Requirement]
    quality: str
    objective: str = BALANCED
    hopeless: Container[str] = ()
    _known: dict[str, Interval] = field(default_factory=dict)

    def __call__(self, plan: Plan, interval: Interval) -> bool:
        self._known[plan.id] = interval
        if plan.id in self.hopeless or misses_for_certain(self.quality, interval, self.wanted):
            return True
        return any(self._beats(other, plan.id) for other in self._known if other != plan.id)

    def _beats(self, one: str, other: str) -> bool:
        """Whether a plan is certain to be feasible and to come before another; False where that is not known."""
        if not {one, other} <= self.timelines.keys():
            return False
        better, worse = self.timelines[one], self.timelines[other]
        quality = self.quality
        names = {each.metric for each in self.wanted} | {self.objective} - {BALANCED}
        if quality not in names or f"on_time_{quality}" in names:
            return False
        values, others = _larger_is_better(better.metrics(), names), _larger_is_better(worse.metrics(), names)
        nowhere_worse = all(values[name] >= others[name] for name in names - {quality})
        return nowhere_worse and self._feasible(better) and _above(self._known[one], self._known[other], quality)

    def _feasible(self, evaluation: Evaluation) -> bool:
        """Whether a plan meets each hard requirement with its whole interval."""
        values = evaluation.metrics()
        intervals = {name: (value, value) for name, value in values.items()} | evaluation.intervals
        intervals[self.quality] = self._known[evaluation.plan.id]
        hard = [each for each in self.wanted if each.hard]
        if evaluation.cannot_run or not evaluation.stable:
            return False
        return all(each.metric in intervals and all(map(each.met, intervals[each.metric])) for each in hard)


def _larger_is_better(values: Mapping[str, float], names: Iterable[str]) -> dict[str, float]:
    """The values of some metrics; minus infinity where one is not known."""
    known = {name: values.get(name, math.nan) * (1 if METRICS[name].better == "higher" else -1) for name in names}
    return {name: value if math.isfinite(value) else -math.inf for name, value in known.items()}


def _above(one: Interval, other: Interval, metric: str) -> bool:
    """Whether a whole interval is better than another."""
    return one[0] > other[1] if METRICS[metric].better == "higher" else one[1] < other[0]
