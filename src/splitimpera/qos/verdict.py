"""One plan against the requirements.

A requirement's margin is (limit - value) / limit for an upper limit and (value - limit) / limit for a lower one.
A plan is feasible when it can run and misses no hard requirement. Its penalty is the sum, over the soft requirements
that it misses, of weight times missing share. Its score is its smallest margin over the hard requirements.

A plan that is not stable meets no requirement on latency, on responses in time or on frames a second: its latency grows
with the number of frames, so that any number would only say how many were simulated. The margin that its frames had,
or -1 where that is better, stands in for minus infinity.

How sure: `chance` gives the 95 % interval of what chance touches. A requirement is met certainly where value and the
worse end of it meet it, likely where only the value does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from splitimpera.core.statistics import Interval
from splitimpera.evaluation.chance import Chance, Draws
from splitimpera.records.outcome import Evaluation
from splitimpera.records.requirement import (
    METRICS,
    Requirement,
    quality_of,
    title_of,
)

Certainty = Literal["certain", "likely", "unlikely"]


_CERTAINTIES: tuple[Certainty, ...] = ("certain", "likely", "unlikely")


@dataclass(frozen=True)
class Judgement:
    """One plan against one requirement.

    Attributes:
        margin: negative where the requirement is missed.
        unbounded: the plan is not stable, and `value` holds for the simulated frames alone.
        open: one end of the interval meets the limit and the other does not, so that more replications may decide.
        draws: What its interval is from; None where nobody asks how surely it misses.
    """

    requirement: Requirement
    value: float
    margin: float
    certainty: Certainty
    unbounded: bool = False
    open: bool = False
    draws: Draws | None = field(default=None, repr=False, compare=False)

    @property
    def interval(self) -> Interval:
        """95 %; both ends the value itself where chance does not touch it."""
        return (self.value, self.value) if self.draws is None else self.draws.interval(self.requirement.metric)

    @property
    def met(self) -> bool:
        return not self.unbounded and self.requirement.met(self.value)

    @property
    def not_computed(self) -> bool:
        """Whether the requirement is on predictions that were not made, since something else rules the plan out."""
        return math.isnan(self.value) and quality_of(self.requirement.metric) is not None

    @property
    def written(self) -> str:
        """The value as people write it."""
        return METRICS[self.requirement.metric].format(self.value)

    def __str__(self) -> str:
        text = self.requirement.text
        if self.unbounded:
            return f"{text}, for it is unstable: its latency is unbounded"
        if self.not_computed:
            return f"{text}, for its {title_of(self.requirement.metric)} was not computed"
        if math.isnan(self.value):
            return f"{text}, for its {self.requirement.metric} is not known"
        if math.isinf(self.value):
            of_tokens = self.requirement.metric.startswith(("ttft", "tpot"))
            return f"{text}, for {'some requests are never answered' if of_tokens else 'no frame gets a response'}"
        by = percent(self.margin, "+") if self.margin >= -1 else f"{self.value / self.requirement.limit:.3g} times it"
        return f"{text} with {self.written} ({by})"


@dataclass(frozen=True)
class Verdict:
    """One plan against all requirements.

    Attributes:
        score: the smallest margin over the hard requirements; over all where there are only soft ones.
        violations, soft_violations: the hard and the soft requirements that it does not meet.
        judgements: one a requirement, in their order.
        penalty: what the soft misses cost, each its weight times its margin.
        binding: the requirement of the smallest margin, among those that count for the score.
        certainty: the worst over the hard requirements; "unlikely" where the plan cannot run.
        goals: all margins, quality and the negated 95th percentile of latency; larger is better.
        pareto: no other plan that can run is nowhere worse and somewhere better in `goals`.
    """

    evaluation: Evaluation
    score: float
    violations: tuple[Judgement, ...]
    soft_violations: tuple[Judgement, ...]
    judgements: tuple[Judgement, ...]
    penalty: float
    binding: Requirement
    certainty: Certainty
    goals: tuple[float, ...]
    pareto: bool = False

    @property
    def id(self) -> str:
        return self.evaluation.plan.id

    @property
    def can_run(self) -> bool:
        """Whether the plan can run at all."""
        return not self.evaluation.cannot_run

    @property
    def feasible(self) -> bool:
        return self.can_run and not self.violations

    @property
    def unsatisfiable(self) -> bool:
        """True where the plan is unstable and that is what it misses: no other limit would help."""
        return not self.evaluation.stable and any(needs_stability(miss.requirement.metric) for miss in self.violations)

    @property
    def open(self) -> bool:
        """True where more replications may turn it: a hard requirement is open, and none is missed for certain."""
        hard = [judgement for judgement in self.judgements if judgement.requirement.hard]
        ruled_out = not self.can_run or any(not judgement.met and not judgement.open for judgement in hard)
        return not ruled_out and any(judgement.open for judgement in hard)


def judge(place: int, chance: Chance, requirements: Sequence[Requirement]) -> Verdict:
    evaluation, metrics = chance.draws[place].evaluation, chance.values[place]
    judgements = tuple(_compare(place, chance, requirement) for requirement in requirements)
    hard = [judgement for judgement in judgements if judgement.requirement.hard]
    missed = [judgement for judgement in judgements if not judgement.met]
    tightest = min(hard or judgements, key=lambda judgement: judgement.margin)
    certainties = [judgement.certainty for judgement in hard] + ["unlikely" for _ in evaluation.cannot_run]
    quality = evaluation.quality if METRICS[evaluation.quality_metric].better == "higher" else -evaluation.quality
    speed = -metrics["latency_p95"] if evaluation.stable else -math.inf
    return Verdict(
        evaluation,
        score=tightest.margin,
        violations=tuple(judgement for judgement in missed if judgement.requirement.hard),
        soft_violations=tuple(judgement for judgement in missed if not judgement.requirement.hard),
        judgements=judgements,
        penalty=_penalties(judgements),
        binding=tightest.requirement,
        certainty=max(certainties, key=_CERTAINTIES.index, default="certain"),
        goals=(*(judgement.margin for judgement in judgements), _known(quality), _known(speed)),
    )


def chance_decides(verdict: Verdict) -> bool:
    """Whether simulating the links more often may change what is open; samples do not get more by that."""
    evaluation = verdict.evaluation
    if not np.ptp(evaluation.latency_s, axis=0).any() and not evaluation.lost_packet_rate:
        return False
    return any(
        judgement.open and judgement.requirement.metric != evaluation.quality_metric for judgement in verdict.judgements
    )


def _compare(place: int, chance: Chance, requirement: Requirement) -> Judgement:
    evaluation = chance.draws[place].evaluation
    value = chance.values[place].get(requirement.metric, math.nan)
    draws = None
    low_met = high_met = requirement.met(value)
    if evaluation.intervals or low_met:  # else nobody asks how surely it misses
        draws = chance.draws[place]
        low_met, high_met = draws.ends_met(requirement)
    margin, unbounded = requirement.margin(value), False
    unstable = not evaluation.stable and needs_stability(requirement.metric)
    if unstable:
        # too few frames a second is a miss by so much; all else has no end
        unbounded = requirement.metric != "fps" or margin >= 0
        margin = min(margin, -1.0) if unbounded else margin
    certainty: Certainty = "unlikely"
    if requirement.met(value) and not unstable:
        certainty = "certain" if (high_met if requirement.upper else low_met) else "likely"
    straddles = low_met != high_met
    return Judgement(requirement, value, margin, certainty, unbounded, straddles and not unstable, draws)


def needs_stability(metric: str) -> bool:
    """Whether a metric means nothing where latency grows with the number of frames."""
    return metric == "fps" or metric.startswith(("latency_", "on_time_", "ttft"))


def _penalties(judgements: Iterable[Judgement]) -> float:
    total = 0.0  # a plain loop, as in the report's script: sum() is more exact from Python 3.12 on
    for judgement in judgements:
        weight = judgement.requirement.weight
        if weight is not None:
            total += weight * max(0.0, -judgement.margin)
    return total


def _known(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def worth(evaluation: Evaluation, metrics: Mapping[str, float], objective: str) -> float:
    """Larger is better; what an unstable plan does in time is not known."""
    value = metrics.get(objective, math.nan)
    if not math.isfinite(value) or (not evaluation.stable and needs_stability(objective)):
        return -math.inf
    return value if METRICS[objective].better == "higher" else -value


def percent(margin: float, sign: str = "") -> str:
    return f"{100 * margin:{sign}.3g} %"
