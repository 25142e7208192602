"""Match evaluations with requirements: which plans fit, which is best, what each other one misses.

A requirement's margin is (limit - value) / limit for an upper limit and (value - limit) / limit for a lower one.
A plan's score is its smallest margin. The recommendation is the feasible plan of the largest score, then of the
fewest bytes, then of the lowest id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from splitimpera.errors import RequirementError
from splitimpera.qos.requirement import METRICS, Requirement, parse_requirement
from splitimpera.records import Evaluation


@dataclass(frozen=True)
class Miss:
    """A requirement that a plan does not meet; `margin` is negative."""

    requirement: Requirement
    value: float
    margin: float

    def __str__(self) -> str:
        written = METRICS[self.requirement.metric].format(self.value)
        by = (
            f"{100 * self.margin:+.3g} %" if self.margin > -1 else f"{self.value / self.requirement.limit:.3g} times it"
        )
        return f"{self.requirement.text} with {written} ({by})"


@dataclass(frozen=True)
class Verdict:
    """One plan against all requirements."""

    evaluation: Evaluation
    score: float
    misses: tuple[Miss, ...]
    binding: Requirement

    @property
    def feasible(self) -> bool:
        return not self.misses

    @property
    def id(self) -> str:
        return self.evaluation.plan.id


@dataclass(frozen=True)
class Recommendation:
    """The decision.

    Attributes:
        verdicts: every plan, best first: the feasible ones, then the others, each by falling score.
        chosen: the recommended plan, None where nothing fits.
        nearest: where nothing fits, the plan that misses by least.
        relax: where nothing fits, what the requirements would have to read for `nearest` to fit.
        reasons: the decision in words.
    """

    verdicts: tuple[Verdict, ...]
    chosen: Verdict | None
    nearest: Verdict | None
    relax: tuple[str, ...]
    reasons: tuple[str, ...]


def recommend(evaluations: Sequence[Evaluation], requirements: Iterable[Requirement | str]) -> Recommendation:
    """Choose among the evaluated plans.

    Args:
        evaluations: one a plan; the plans' ids differ.
        requirements: parsed ones, or text such as "latency_p95 <= 50 ms".

    Raises:
        RequirementError: a requirement that cannot be parsed, or none at all, or no plans.
    """
    wanted = tuple(r if isinstance(r, Requirement) else parse_requirement(r) for r in requirements)
    if not wanted:
        raise RequirementError("no requirement is given", hint="write for example 'latency_p95 <= 50 ms'")
    if not evaluations:
        raise RequirementError("no plan was evaluated, so none can be recommended")
    verdicts = tuple(sorted((_judge(evaluation, wanted) for evaluation in evaluations), key=_rank))
    best = verdicts[0]
    if best.feasible:
        return Recommendation(verdicts, best, None, (), _reasons_for(best, verdicts))
    relax = tuple(miss.requirement.relaxed(miss.value) for miss in best.misses)
    return Recommendation(verdicts, None, best, relax, _reasons_against(best, relax))


def _judge(evaluation: Evaluation, requirements: Sequence[Requirement]) -> Verdict:
    metrics = evaluation.metrics()
    margins = [(requirement.margin(metrics[requirement.metric]), requirement) for requirement in requirements]
    score, binding = min(margins, key=lambda pair: pair[0])
    misses = tuple(
        Miss(requirement, metrics[requirement.metric], margin)
        for margin, requirement in margins
        if not requirement.met(metrics[requirement.metric])
    )
    return Verdict(evaluation, score, misses, binding)


def _rank(verdict: Verdict) -> tuple[bool, float, float, str]:
    return (not verdict.feasible, -verdict.score, verdict.evaluation.payload_bytes, verdict.id)


def _reasons_for(best: Verdict, verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    fitting = [verdict for verdict in verdicts if verdict.feasible]
    value = METRICS[best.binding.metric].format(best.evaluation.metrics()[best.binding.metric])
    reasons = [
        f"{best.id} meets every requirement; its tightest one is {best.binding.text}, "
        f"which it meets with {value}, a margin of {100 * best.score:.3g} %."
    ]
    if len(fitting) == 1:
        reasons.append(f"It is the only one of {len(verdicts)} plans that fits.")
    else:
        second = fitting[1]
        reasons.append(
            f"{len(fitting)} of {len(verdicts)} plans fit; "
            f"the next best, {second.id}, has a margin of {100 * second.score:.3g} %."
        )
    for configuration in ("LC", "RC", "SC"):
        rivals = [verdict for verdict in verdicts if verdict.evaluation.plan.configuration == configuration]
        if rivals and not any(verdict.feasible for verdict in rivals):
            reasons.append(f"No {configuration} plan fits: the nearest, {rivals[0].id}, misses {rivals[0].misses[0]}.")
    if not best.evaluation.stable:
        reasons.append("Beware: its load is not sustainable; latency grows with the number of frames.")
    return tuple(reasons)


def _reasons_against(best: Verdict, relax: Sequence[str]) -> tuple[str, ...]:
    missed = "; ".join(str(miss) for miss in best.misses)
    return (
        f"No plan meets every requirement; {best.id} comes nearest and misses {missed}.",
        f"It would fit if the requirements read: {', '.join(relax)}.",
    )
