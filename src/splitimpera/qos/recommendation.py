"""Match evaluations with requirements: which plans fit, which is best, what the others miss, and how sure that is.

Judge: a requirement's margin is (limit - value) / limit for an upper limit and (value - limit) / limit for a lower one.
A plan is feasible when it can run and misses no hard requirement. Its penalty is the sum, over the soft requirements
that it misses, of weight times missing share. Its score is its smallest margin over the hard requirements.

Rank: among the feasible plans the smallest penalty goes first, then the largest smallest margin, then the largest
second smallest one and so on (leximin, over hard and soft ones), then quality, 95th percentile of latency, bytes and
id. No other plan is as good as the first in every margin, in quality and in that percentile, and better in one. Of
the others those go first that a relaxed requirement would let in, then those that are unstable, then those that
cannot run.

A plan that is not stable meets no requirement on latency, on answers in time or on frames a second: its latency grows
with the number of frames, so that any number would only say how many were simulated. The margin that its frames had,
or -1 where that is better, stands in for minus infinity.

How sure: an evaluation brings the 5 % and 95 % bootstrap quantiles of what chance touches. A requirement is met
certainly where value and the worse quantile meet it, likely where only the value does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from splitimpera.errors import RequirementError
from splitimpera.markup import html_table
from splitimpera.qos.pareto import pareto_front
from splitimpera.qos.requirement import METRICS, Requirement, check_consistent, check_metrics, parse_requirement
from splitimpera.records import Evaluation

Certainty = Literal["certain", "likely", "unlikely"]
_CERTAINTIES: tuple[Certainty, ...] = ("certain", "likely", "unlikely")


@dataclass(frozen=True)
class Judgement:
    """One plan against one requirement.

    Attributes:
        margin: negative where the requirement is missed.
        interval: the 5 % and 95 % quantiles of the value; both the value itself where chance does not touch it.
        endless: the plan is not stable, and `value` holds for the simulated frames alone.
        open: one end of the interval meets the limit and the other does not, so that more seeds may decide.
    """

    requirement: Requirement
    value: float
    margin: float
    interval: tuple[float, float]
    certainty: Certainty
    endless: bool = False
    open: bool = False

    @property
    def met(self) -> bool:
        return not self.endless and self.requirement.met(self.value)

    @property
    def written(self) -> str:
        """The value as people write it."""
        return METRICS[self.requirement.metric].format(self.value)

    def __str__(self) -> str:
        text = self.requirement.text
        if self.endless:
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
        misses, soft_misses: the hard and the soft requirements that it does not meet.
        judgements: one a requirement, in their order.
        penalty: what the soft misses cost, each its weight times its margin.
        binding: the requirement of the smallest margin, among those that count for the score.
        certainty: the worst over the hard requirements; "unlikely" where the plan cannot run.
        objectives: all margins, quality and the negated 95th percentile of latency; larger is better.
        pareto: no other plan that can run is nowhere worse and somewhere better in `objectives`.
    """

    evaluation: Evaluation
    score: float
    misses: tuple[Judgement, ...]
    soft_misses: tuple[Judgement, ...]
    judgements: tuple[Judgement, ...]
    penalty: float
    binding: Requirement
    certainty: Certainty
    objectives: tuple[float, ...]
    pareto: bool = False

    @property
    def id(self) -> str:
        return self.evaluation.plan.id

    @property
    def possible(self) -> bool:
        """Whether the plan can run at all."""
        return not self.evaluation.impossible

    @property
    def feasible(self) -> bool:
        return self.possible and not self.misses

    @property
    def hopeless(self) -> bool:
        """True where the plan is unstable and that is what it misses: no other limit would help."""
        return not self.evaluation.stable and any(_needs_stability(miss.requirement) for miss in self.misses)

    @property
    def open(self) -> bool:
        """True where more seeds may turn it: a hard requirement is open, and none is missed for certain."""
        hard = [judgement for judgement in self.judgements if judgement.requirement.hard]
        ruled_out = not self.possible or any(not judgement.met and not judgement.open for judgement in hard)
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
    """

    verdicts: tuple[Verdict, ...]
    chosen: Verdict | None
    nearest: Verdict | None
    relax: tuple[str, ...]
    reasons: tuple[str, ...]

    def _repr_html_(self) -> str:
        """For notebooks: the verdicts, best first, and the reasons."""
        caption = f"Run {self.chosen.id} ({self.chosen.certainty})" if self.chosen else "Nothing fits"
        rows = [
            [
                verdict.id,
                *("grows" if judgement.endless else judgement.written for judgement in verdict.judgements),
                f"fits, {verdict.certainty}" if verdict.feasible else f"misses {len(verdict.misses)}",
            ]
            for verdict in self.verdicts
        ]
        wanted = [judgement.requirement.text for judgement in self.verdicts[0].judgements]
        return html_table(caption, ["plan", *wanted, "verdict"], rows, self.reasons)


def recommend(evaluations: Sequence[Evaluation], requirements: Iterable[Requirement | str]) -> Recommendation:
    """Choose among the evaluated plans.

    Args:
        evaluations: one a plan; the plans' ids differ.
        requirements: parsed ones, or text such as "latency_p95 <= 50 ms", which makes a hard one.

    Raises:
        RequirementError: a requirement that cannot be parsed or that no evaluation speaks of, two that contradict each
            other, or none at all, or no plans.
    """
    wanted = tuple(r if isinstance(r, Requirement) else parse_requirement(r) for r in requirements)
    if not wanted:
        raise RequirementError("no requirement is given", hint="write for example 'latency_p95 <= 50 ms'")
    if not evaluations:
        raise RequirementError("no plan was evaluated, so none can be recommended")
    check_consistent(wanted)
    metrics = [evaluation.metrics() for evaluation in evaluations]
    check_metrics(wanted, dict.fromkeys(name for known in metrics for name in known))
    judged = [_judge(evaluation, known, wanted) for evaluation, known in zip(evaluations, metrics, strict=True)]
    verdicts = tuple(sorted(_with_front(judged), key=_rank))
    best = verdicts[0]
    if best.feasible:
        return Recommendation(verdicts, best, None, (), _reasons_for(best, verdicts))
    relax = () if best.hopeless or not best.possible else tuple(_relaxed(miss) for miss in best.misses)
    return Recommendation(verdicts, None, best, relax, _reasons_against(best, relax, verdicts))


def _judge(evaluation: Evaluation, metrics: dict[str, float], requirements: Sequence[Requirement]) -> Verdict:
    judgements = tuple(_compare(evaluation, metrics, requirement) for requirement in requirements)
    hard = [judgement for judgement in judgements if judgement.requirement.hard]
    missed = [judgement for judgement in judgements if not judgement.met]
    tightest = min(hard or judgements, key=lambda judgement: judgement.margin)
    certainties = [judgement.certainty for judgement in hard] + ["unlikely" for _ in evaluation.impossible]
    quality = evaluation.accuracy if METRICS[evaluation.quality].better == "higher" else -evaluation.accuracy
    speed = -metrics["latency_p95"] if evaluation.stable else -math.inf
    return Verdict(
        evaluation,
        score=tightest.margin,
        misses=tuple(judgement for judgement in missed if judgement.requirement.hard),
        soft_misses=tuple(judgement for judgement in missed if not judgement.requirement.hard),
        judgements=judgements,
        penalty=_penalties(judgements),
        binding=tightest.requirement,
        certainty=max(certainties, key=_CERTAINTIES.index, default="certain"),
        objectives=(*(judgement.margin for judgement in judgements), _known(quality), _known(speed)),
    )


def _compare(evaluation: Evaluation, metrics: dict[str, float], requirement: Requirement) -> Judgement:
    value = metrics.get(requirement.metric, math.nan)
    low, high = evaluation.intervals.get(requirement.metric, (value, value))
    margin, endless = requirement.margin(value), False
    unstable = not evaluation.stable and _needs_stability(requirement)
    if unstable:
        # too few frames a second is a miss by so much; all else has no end
        endless = requirement.metric != "fps" or margin >= 0
        margin = min(margin, -1.0) if endless else margin
    certainty: Certainty = "unlikely"
    if requirement.met(value) and not unstable:
        certainty = "certain" if requirement.met(high if requirement.upper else low) else "likely"
    straddles = requirement.met(low) != requirement.met(high)
    return Judgement(requirement, value, margin, (low, high), certainty, endless, straddles and not unstable)


def _needs_stability(requirement: Requirement) -> bool:
    return requirement.metric == "fps" or requirement.metric.startswith(("latency_", "on_time_"))


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
    possible = [verdict for verdict in verdicts if verdict.possible]
    front = {
        verdict.id
        for verdict, alone in zip(possible, pareto_front([v.objectives for v in possible]), strict=True)
        if alone
    }
    return [replace(verdict, pareto=verdict.id in front) for verdict in verdicts]


def _rank(verdict: Verdict) -> tuple[Any, ...]:
    """Smaller is better."""
    *_, quality, speed = verdict.objectives
    last = (-quality, -speed, verdict.evaluation.payload_bytes, verdict.id)
    if verdict.feasible:
        return (0, verdict.penalty, _leximin(verdict.judgements), *last)
    hard = [judgement for judgement in verdict.judgements if judgement.requirement.hard]
    kind = 2 if not verdict.possible else 1 if verdict.hopeless else 0
    return (1, kind, _leximin(hard), verdict.penalty, *last)


def _leximin(judgements: Sequence[Judgement]) -> tuple[float, ...]:
    """Negated margins, the smallest margin's first: tuples of this kind compare by the smallest, then by the next."""
    return tuple(-margin for margin in sorted(judgement.margin for judgement in judgements))


def _relaxed(miss: Judgement) -> str:
    return miss.requirement.relaxed(miss.value) or f"no limit on {miss.requirement.metric}"


def _reasons_for(best: Verdict, verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    reasons = [_first_reason(best), *_how_sure(best)]
    if best.soft_misses:
        reasons.append(f"Of what is preferred it misses {_listed(best.soft_misses)}.")
    fitting = [verdict for verdict in verdicts if verdict.feasible]
    if len(fitting) == 1:
        reasons.append(f"It is the only one of {len(verdicts)} plans that fits.")
    else:
        second = fitting[1]
        reasons.append(
            f"{len(fitting)} of {len(verdicts)} plans fit; the next best, {second.id}, {_why_not(second, best)}."
        )
    for configuration in ("LC", "RC", "SC"):
        rivals = [verdict for verdict in verdicts if verdict.evaluation.plan.configuration == configuration]
        if rivals and not rivals[0].feasible:
            misses = f"misses {_listed(rivals[0].misses)}" if rivals[0].possible else "cannot run"
            reasons.append(f"No {configuration} plan fits: the nearest, {rivals[0].id}, {misses}.")
    reasons += _cannot_run(verdicts)
    if not best.evaluation.stable:
        reasons.append(
            "Beware: it is unstable; work arrives faster than it can be done, and latency grows without end."
        )
    return tuple(reasons)


def _first_reason(best: Verdict) -> str:
    if any(judgement.requirement.hard for judgement in best.judgements):
        meets = "meets every requirement"
    elif best.soft_misses:
        return f"Nothing is required, and {best.id} falls least short of what is preferred."
    else:
        meets = "meets all that is preferred"
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
        return ["It is certain: the worse ends of all 90 % intervals meet their limits, too."]
    return []


def _ranges(judgements: Sequence[Judgement]) -> str:
    ranges = []
    for judgement in judgements:
        metric = judgement.requirement.metric
        low, high = (METRICS[metric].format(end) for end in judgement.interval)
        ranges.append(f"the 90 % interval of {metric} is {low} to {high}")
    return "; ".join(ranges)


def _why_not(second: Verdict, best: Verdict) -> str:
    """Where one feasible plan falls behind another in the order of `_rank`."""
    if second.penalty > best.penalty:
        return f"falls further short of what is preferred: it misses {_listed(second.soft_misses)}"
    margins = [sorted(verdict.judgements, key=lambda judgement: judgement.margin) for verdict in (second, best)]
    for place, (its, other) in enumerate(zip(*margins, strict=True)):
        if its.margin < other.margin:
            has = "is as tight, but then has" if place else "has"
            return f"{has} a margin of {_percent(its.margin)} in {its.requirement.text}"
    quality = best.evaluation.quality
    if second.objectives[-2] < best.objectives[-2]:
        return f"has the same margins and a worse {quality}"
    if second.objectives[-1] < best.objectives[-1]:
        return f"has the same margins and {quality}, but its 95th percentile of latency is larger"
    if second.evaluation.payload_bytes > best.evaluation.payload_bytes:
        return "is as good in all of this, but sends more"
    return "is as good in all of this; the names decide"


def _reasons_against(best: Verdict, relax: Sequence[str], verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    if not best.possible:
        return ("No plan can run.", *_cannot_run(verdicts))
    reasons = [f"No plan meets every requirement; {best.id} comes nearest and misses {_listed(best.misses)}."]
    if best.open:
        reasons.append(f"That is close: {_ranges(best.misses)}. More seeds may let it in.")
    reasons.append(
        f"It would fit if the requirements read: {', '.join(relax)}."
        if relax
        else "No other requirements would help: frames come faster than any plan can answer them. Send fewer a second."
    )
    return (*reasons, *_cannot_run(verdicts))


def _cannot_run(verdicts: Sequence[Verdict]) -> list[str]:
    stuck = [verdict for verdict in verdicts if not verdict.possible]
    if not stuck:
        return []
    why = "; ".join(stuck[0].evaluation.impossible)
    if len(stuck) == 1:
        return [f"{stuck[0].id} cannot run: {why}."]
    return [f"{len(stuck)} of {len(verdicts)} plans cannot run, {stuck[0].id} among them: {why}."]


def _listed(judgements: Sequence[Judgement]) -> str:
    return "; ".join(str(judgement) for judgement in judgements)


def _percent(margin: float, sign: str = "") -> str:
    return f"{100 * margin:{sign}.3g} %"
