"""Match evaluations with requirements: which plans fit, which is best, what the others miss, and how sure that is.

Judge: a requirement's margin is (limit - value) / limit for an upper limit and (value - limit) / limit for a lower one.
A plan is feasible when it can run and misses no hard requirement. Its penalty is the sum, over the soft requirements
that it misses, of weight times missing share. Its score is its smallest margin over the hard requirements.

Rank: the feasible plans as `ordering` does, by margins or by a named objective; differences that chance explains are
no reason. Of the others those go first that a relaxed requirement would let in, then those that are unstable, then
those that cannot run; among them the largest smallest margin goes first, and so on (leximin).

A plan that is not stable meets no requirement on latency, on answers in time or on frames a second: its latency grows
with the number of frames, so that any number would only say how many were simulated. The margin that its frames had,
or -1 where that is better, stands in for minus infinity.

How sure: `chance` gives the 95 % interval of what chance touches. A requirement is met certainly where value and the
worse end of it meet it, likely where only the value does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from splitimpera.core import units
from splitimpera.core.errors import RequirementError
from splitimpera.qos.chance import Chance, Difference
from splitimpera.qos.ordering import Criterion, order
from splitimpera.qos.pareto import pareto_front
from splitimpera.qos.requirement import (
    BALANCED,
    METRICS,
    TOLERANCE,
    Requirement,
    check_consistent,
    check_metrics,
    check_objective,
    parse_requirement,
)
from splitimpera.records.outcome import Evaluation

Certainty = Literal["certain", "likely", "unlikely"]
_CERTAINTIES: tuple[Certainty, ...] = ("certain", "likely", "unlikely")


@dataclass(frozen=True)
class Judgement:
    """One plan against one requirement.

    Attributes:
        margin: negative where the requirement is missed.
        interval: 95 %; both ends the value itself where chance does not touch it.
        unbounded: the plan is not stable, and `value` holds for the simulated frames alone.
        open: one end of the interval meets the limit and the other does not, so that more replications may decide.
    """

    requirement: Requirement
    value: float
    margin: float
    interval: tuple[float, float]
    certainty: Certainty
    unbounded: bool = False
    open: bool = False

    @property
    def met(self) -> bool:
        return not self.unbounded and self.requirement.met(self.value)

    @property
    def written(self) -> str:
        """The value as people write it."""
        return METRICS[self.requirement.metric].format(self.value)

    def __str__(self) -> str:
        text = self.requirement.text
        if self.unbounded:
            return f"{text}, for it is unstable: its latency grows without end"
        if math.isnan(self.value):
            return f"{text}, for its {self.requirement.metric} is not known"
        if math.isinf(self.value):
            return f"{text}, for no frame is answered"
        by = _percent(self.margin, "+") if self.margin >= -1 else f"{self.value / self.requirement.limit:.3g} times it"
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


@dataclass(frozen=True)
class Recommendation:
    """The decision.

    Attributes:
        verdicts: every plan, best first: the feasible ones, then the others.
        chosen: the recommended plan, None where nothing fits.
        nearest: where nothing fits, the plan that misses by least.
        relax: where nothing fits, what the requirements would have to read for `nearest` to fit; empty where none would
            do, since frames come faster than any plan can answer them, or no plan can run.
        reasons: the decision in words.
        objective: what was optimised among the plans that fit.
        chance: what it may do to the verdicts' evaluations, which it has in their order.
    """

    verdicts: tuple[Verdict, ...]
    chosen: Verdict | None
    nearest: Verdict | None
    relax: tuple[str, ...]
    reasons: tuple[str, ...]
    objective: str
    chance: Chance = field(repr=False, compare=False)


def recommend(
    evaluations: Sequence[Evaluation],
    requirements: Iterable[Requirement | str],
    objective: str = BALANCED,
    tolerance: float = TOLERANCE,
) -> Recommendation:
    """Choose among the evaluated plans.

    Args:
        evaluations: one a plan; the plans' ids differ.
        requirements: parsed ones, or text such as "latency_p95 <= 50 ms", which makes a hard one.
        objective: what is optimised among the plans that meet the requirements: "balanced", or a metric.
        tolerance: values that chance does not touch are the same within this share of the limit.

    Raises:
        RequirementError: a requirement that cannot be parsed or that no evaluation speaks of, two that contradict each
            other, or none at all, or no plans; an objective that is no metric of these evaluations.
    """
    wanted = tuple(r if isinstance(r, Requirement) else parse_requirement(r) for r in requirements)
    if not wanted:
        raise RequirementError("no requirement is given", hint="write for example 'latency_p95 <= 50 ms'")
    if not evaluations:
        raise RequirementError("no plan was evaluated, so none can be recommended")
    check_consistent(wanted)
    chance = Chance(evaluations, tolerance)
    known = dict.fromkeys(name for values in chance.values for name in values)
    check_metrics(wanted, known)
    check_objective(objective, known)
    judged = _with_front([_judge(place, chance, wanted) for place in range(len(evaluations))])
    places = _ranked(judged, chance, wanted, objective)
    verdicts = tuple(judged[place] for place in places)
    chance = chance.reordered(places)
    best = verdicts[0]
    if best.feasible:
        reasons = _reasons_for(verdicts, chance, objective)
        return Recommendation(verdicts, best, None, (), reasons, objective, chance)
    relax = () if best.unsatisfiable or not best.can_run else tuple(_relaxed(miss) for miss in best.violations)
    return Recommendation(verdicts, None, best, relax, _reasons_against(best, relax, verdicts), objective, chance)


def _judge(place: int, chance: Chance, requirements: Sequence[Requirement]) -> Verdict:
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


def _compare(place: int, chance: Chance, requirement: Requirement) -> Judgement:
    evaluation = chance.draws[place].evaluation
    value = chance.values[place].get(requirement.metric, math.nan)
    low = high = value
    if evaluation.intervals or requirement.met(value):  # else nobody asks how surely it misses
        low, high = chance.draws[place].interval(requirement.metric)
    margin, endless = requirement.margin(value), False
    unstable = not evaluation.stable and needs_stability(requirement.metric)
    if unstable:
        # too few frames a second is a miss by so much; all else has no end
        endless = requirement.metric != "fps" or margin >= 0
        margin = min(margin, -1.0) if endless else margin
    certainty: Certainty = "unlikely"
    if requirement.met(value) and not unstable:
        certainty = "certain" if requirement.met(high if requirement.upper else low) else "likely"
    straddles = requirement.met(low) != requirement.met(high)
    return Judgement(requirement, value, margin, (low, high), certainty, endless, straddles and not unstable)


def needs_stability(metric: str) -> bool:
    """Whether a metric means nothing where latency grows with the number of frames."""
    return metric == "fps" or metric.startswith(("latency_", "on_time_"))


def _penalties(judgements: Iterable[Judgement]) -> float:
    total = 0.0  # a plain loop, as in the report's script: sum() is more exact from Python 3.12 on
    for judgement in judgements:
        weight = judgement.requirement.weight
        if weight is not None:
            total += weight * max(0.0, -judgement.margin)
    return total


def _known(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _with_front(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Mark those that no other dominates, among the ones that can run."""
    possible = [verdict for verdict in verdicts if verdict.can_run]
    front = {
        verdict.id for verdict, alone in zip(possible, pareto_front([v.goals for v in possible]), strict=True) if alone
    }
    return [replace(verdict, pareto=verdict.id in front) for verdict in verdicts]


def _ranked(
    verdicts: Sequence[Verdict], chance: Chance, requirements: Sequence[Requirement], objective: str
) -> list[int]:
    """The places of the verdicts, best first."""
    feasible = [place for place, verdict in enumerate(verdicts) if verdict.feasible]
    criteria = [
        Criterion(
            [verdicts[place].judgements[index].margin for place in feasible],
            partial(_tied, chance, verdicts, feasible, requirement.metric, requirement.limit),
            requirement.weight,
        )
        for index, requirement in enumerate(requirements)
    ]
    if objective != BALANCED:
        values = [_objective(verdicts[place].evaluation, chance.values[place], objective) for place in feasible]
        limit = next((each.limit for each in requirements if each.metric == objective), None)
        criteria.append(Criterion(values, partial(_tied, chance, verdicts, feasible, objective, limit), objective=True))
    last = [_last(verdicts[place], chance.values[place]) for place in feasible]
    certain = [verdicts[place].certainty == "certain" for place in feasible]
    others = [place for place, verdict in enumerate(verdicts) if not verdict.feasible]
    others.sort(key=lambda place: _rank_of_infeasible(verdicts[place], chance.values[place]))
    return [feasible[place] for place in order(criteria, certain, last)] + others


def _tied(
    chance: Chance,
    verdicts: Sequence[Verdict],
    places: Sequence[int],
    metric: str,
    limit: float | None,
    one: int,
    other: int,
) -> bool:
    plans = [verdicts[places[place]].evaluation for place in (one, other)]
    if needs_stability(metric) and not all(plan.stable for plan in plans):
        return plans[0] is plans[1]  # what was simulated of an unstable one says nothing
    return chance.tied(metric, places[one], places[other], limit)


def _objective(evaluation: Evaluation, metrics: Mapping[str, float], objective: str) -> float:
    """Larger is better; what an unstable plan does in time is not known."""
    value = metrics.get(objective, math.nan)
    if not math.isfinite(value) or (not evaluation.stable and needs_stability(objective)):
        return -math.inf
    return value if METRICS[objective].better == "higher" else -value


def _last(verdict: Verdict, metrics: Mapping[str, float]) -> tuple[Any, ...]:
    """What decides where nothing else does: the simpler, the quicker, the more sparing plan; at last its id."""
    evaluation = verdict.evaluation
    p95_s = metrics["latency_p95"] if evaluation.stable else math.inf
    energy_j = math.inf if evaluation.energy_j is None else evaluation.energy_j
    return len(evaluation.plan.hops), p95_s, energy_j, evaluation.payload_bytes, verdict.id


def _rank_of_infeasible(verdict: Verdict, metrics: Mapping[str, float]) -> tuple[Any, ...]:
    """Smaller is better."""
    hard = [judgement for judgement in verdict.judgements if judgement.requirement.hard]
    kind = 2 if not verdict.can_run else 1 if verdict.unsatisfiable else 0
    return kind, _leximin(hard), verdict.penalty, *_last(verdict, metrics)


def _leximin(judgements: Sequence[Judgement]) -> tuple[float, ...]:
    """Negated margins, the smallest margin's first: tuples of this kind compare by the smallest, then by the next."""
    return tuple(-margin for margin in sorted(judgement.margin for judgement in judgements))


def _relaxed(miss: Judgement) -> str:
    return miss.requirement.relaxed(miss.value) or f"no limit on {miss.requirement.metric}"


def _reasons_for(verdicts: Sequence[Verdict], chance: Chance, objective: str) -> tuple[str, ...]:
    best = verdicts[0]
    reasons = [_first_reason(best, objective), *_how_sure(best)]
    if best.soft_violations:
        reasons.append(f"Of what is preferred it misses {_listed(best.soft_violations)}.")
    fitting = [verdict for verdict in verdicts if verdict.feasible]
    if len(fitting) == 1:
        reasons.append(f"It is the only one of {len(verdicts)} plans that fits.")
    else:
        rivals = Rivals(fitting, chance, objective)
        reasons += rivals.ties()
        reasons.append(
            f"{len(fitting)} of {len(verdicts)} plans fit; the next best, {fitting[1].id}, {rivals.why_not(1)}."
        )
    for configuration in ("LC", "RC", "SC"):
        others = [verdict for verdict in verdicts if verdict.evaluation.plan.configuration == configuration]
        if others and not others[0].feasible:
            misses = f"misses {_listed(others[0].violations)}" if others[0].can_run else "cannot run"
            reasons.append(f"No {configuration} plan fits: the nearest, {others[0].id}, {misses}.")
    reasons += _cannot_run(verdicts)
    if not best.evaluation.stable:
        reasons.append(
            "Warning: it is unstable; work arrives faster than it can be done, and latency grows without end."
        )
    return tuple(reasons)


def _first_reason(best: Verdict, objective: str) -> str:
    if any(judgement.requirement.hard for judgement in best.judgements):
        meets = "meets every requirement"
    elif best.soft_violations:
        return f"Nothing is required, and {best.id} falls least short of what is preferred."
    else:
        meets = "meets all that is preferred"
    if objective != BALANCED:
        value = METRICS[objective].format(best.evaluation.metrics()[objective])
        return f"{best.id} {meets} with {value} of {objective}; none that does is better in {objective} beyond chance."
    tightest = next(judgement for judgement in best.judgements if judgement.requirement is best.binding)
    return (
        f"{best.id} {meets}; its tightest one is {best.binding.text}, "
        f"which it meets with {tightest.written}, a margin of {_percent(best.score)}."
    )


def _how_sure(verdict: Verdict) -> list[str]:
    """In words what chance may do to a plan that fits; nothing where none of its hard metrics is left to chance."""
    hard = [judgement for judgement in verdict.judgements if judgement.requirement.hard]
    unsure = [judgement for judgement in hard if judgement.certainty == "likely"]
    if unsure:
        return [f"It is likely, not certain: {_ranges(unsure)}."]
    if any(judgement.requirement.metric in verdict.evaluation.intervals for judgement in hard):
        return ["It is certain: the worse ends of all 95 % intervals meet their limits, too."]
    return []


def _ranges(judgements: Sequence[Judgement]) -> str:
    ranges = []
    for judgement in judgements:
        metric = judgement.requirement.metric
        low, high = (METRICS[metric].format(end) for end in judgement.interval)
        ranges.append(f"the 95 % interval of {metric} is {low} to {high}")
    return "; ".join(ranges)


def _reasons_against(best: Verdict, relax: Sequence[str], verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    if not best.can_run:
        return ("No plan can run.", *_cannot_run(verdicts))
    reasons = [f"No plan meets every requirement; {best.id} comes nearest and misses {_listed(best.violations)}."]
    if best.open:
        reasons.append(f"That is close: {_ranges(best.violations)}. More replications may let it in.")
    reasons.append(
        f"It would fit if the requirements read: {', '.join(relax)}."
        if relax
        else "No other requirements would help: frames come faster than any plan can answer them. Send fewer a second."
    )
    return (*reasons, *_cannot_run(verdicts))


def _cannot_run(verdicts: Sequence[Verdict]) -> list[str]:
    stuck = [verdict for verdict in verdicts if not verdict.can_run]
    if not stuck:
        return []
    why = "; ".join(stuck[0].evaluation.cannot_run)
    if len(stuck) == 1:
        return [f"{stuck[0].id} cannot run: {why}."]
    return [f"{len(stuck)} of {len(verdicts)} plans cannot run, {stuck[0].id} among them: {why}."]


class Rivals:
    """The plans that fit, best first, and in words why the first is the first."""

    def __init__(self, verdicts: Sequence[Verdict], chance: Chance, objective: str) -> None:
        self.verdicts, self.chance, self.objective = verdicts, chance, objective
        self.limits: dict[str, float | None] = {
            judgement.requirement.metric: judgement.requirement.limit for judgement in verdicts[0].judgements
        }
        if objective != BALANCED:
            self.limits.setdefault(objective, None)

    def ties(self) -> list[str]:
        """Whoever has the best value of some metric, where only chance makes it better than the first."""
        said = []
        for metric in self.limits:
            values = [_objective(verdict.evaluation, verdict.evaluation.metrics(), metric) for verdict in self.verdicts]
            other = values.index(max(values))
            difference = self._difference(metric, 0, other)
            if other and values[other] > values[0] and difference.chance and difference.tied:
                said.append(f"It is {self._within_chance(metric, other, difference)}{self._gains(metric, other)}.")
        return said[:2]

    def why_not(self, other: int) -> str:
        """Why a plan comes behind the first, in the order in which `ordering` looks at them."""
        best, second = self.verdicts[0], self.verdicts[other]
        if second.certainty != best.certainty:
            unsure = [each for each in second.judgements if each.requirement.hard and each.certainty == "likely"]
            return f"is likely, not certain to fit: {_ranges(unsure)}"
        if second.penalty > best.penalty:
            return f"falls further short of what is preferred: it misses {_listed(second.soft_violations)}"
        if self.objective != BALANCED and not self._difference(self.objective, 0, other).tied:
            values = [verdict.evaluation.metrics()[self.objective] for verdict in (second, best)]
            worse, better = (METRICS[self.objective].format(value) for value in values)
            return f"is worse in {self.objective}: {worse} against {better}"
        levelled = [self._levelled_margins(other), self._levelled_margins(other, of_best=True)]
        for place, ((its, requirement), (bests, _)) in enumerate(zip(*levelled, strict=True)):
            if its < bests:
                has = "is as tight, but then has" if place else "has"
                return f"{has} a margin of {_percent(its)} in {requirement.text}"
        return self._last_word(best, second)

    def _difference(self, metric: str, one: int, other: int) -> Difference:
        return self.chance.difference(metric, one, other, self.limits[metric])

    def _levelled_margins(self, other: int, of_best: bool = False) -> list[tuple[float, Requirement]]:
        """Ascending; where the two tie, both have the better one."""
        margins = []
        for best, second in zip(self.verdicts[0].judgements, self.verdicts[other].judgements, strict=True):
            own = best.margin if of_best else second.margin
            tied = self._difference(best.requirement.metric, 0, other).tied
            margins.append((max(best.margin, second.margin) if tied else own, best.requirement))
        return sorted(margins, key=lambda margin: margin[0])

    def _within_chance(self, metric: str, other: int, difference: Difference) -> str:
        value, *ends = (_written_difference(metric, number) for number in (difference.value, *difference.interval))
        alike = (
            f"as accurate as {self.verdicts[other].id}"
            if metric == "accuracy"
            else f"like {self.verdicts[other].id} in {metric}"
        )
        unit = " points" if METRICS[metric].dimension is units.FRACTION else ""
        return f"{alike} within chance (difference {value}{unit}, 95 % interval {ends[0]} to {ends[1]})"

    def _gains(self, metric: str, other: int) -> str:
        """What the first has that the other has not."""
        best, rival = self.verdicts[0].evaluation, self.verdicts[other].evaluation
        gains = []
        quicker_s = rival.metrics()["latency_p95"] - best.metrics()["latency_p95"]
        if best.stable and rival.stable and math.isfinite(quicker_s) and quicker_s > 0 and metric != "latency_p95":
            gains.append(f"{units.format_time(quicker_s)} quicker")
        if rival.plan.hops and not best.plan.hops:
            gains.append("without any network")
        elif rival.payload_bytes > best.payload_bytes:
            gains.append(f"with {units.format_bytes(rival.payload_bytes - best.payload_bytes)} less a frame to send")
        return f", and {' '.join(gains)}" if gains else ""

    def _last_word(self, best: Verdict, second: Verdict) -> str:
        same = "is as good in all that is required"
        if len(second.evaluation.plan.hops) > len(best.evaluation.plan.hops):
            return f"{same}, but needs a network" if not best.evaluation.plan.hops else f"{same}, but has more hops"
        speeds = [verdict.evaluation.metrics()["latency_p95"] for verdict in (best, second)]
        if speeds[0] < speeds[1] or not second.evaluation.stable:
            return f"{same}, but its 95th percentile of latency is larger"
        spent = [verdict.evaluation.energy_j for verdict in (best, second)]
        if spent[0] != spent[1]:
            return f"{same}, but takes more energy"
        if second.evaluation.payload_bytes > best.evaluation.payload_bytes:
            return f"{same}, but sends more"
        return f"{same}; the names decide"


def _written_difference(metric: str, value: float) -> str:
    if METRICS[metric].dimension is units.FRACTION:
        return f"{100 * value:.3g}"
    return f"-{METRICS[metric].format(-value)}" if value < 0 else METRICS[metric].format(value)


def _listed(judgements: Sequence[Judgement]) -> str:
    return "; ".join(str(judgement) for judgement in judgements)


def _percent(margin: float, sign: str = "") -> str:
    return f"{100 * margin:{sign}.3g} %"
