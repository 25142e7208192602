"""Match evaluations with requirements: which plans fit, which is best, what each other one misses.

A requirement's margin is (limit - value) / limit for an upper limit and (value - limit) / limit for a lower one.
A plan's score is its smallest margin. The recommendation is the feasible plan of the largest score, then of the
fewest bytes, then of the lowest id.

A plan that is not stable meets no requirement on latency or on frames a second: its latency grows with the number of
frames, so that any number would only say how many were simulated. The margin that its frames had, or -1 where that is
better, stands in for minus infinity.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from splitimpera.errors import RequirementError
from splitimpera.qos.requirement import METRICS, Requirement, parse_requirement
from splitimpera.records import Evaluation


@dataclass(frozen=True)
class Miss:
    """A requirement that a plan does not meet; `margin` is negative.

    `endless` says that the plan is not stable and that `value` holds for the simulated frames alone.
    """

    requirement: Requirement
    value: float
    margin: float
    endless: bool = False

    def __str__(self) -> str:
        if self.endless:
            return f"{self.requirement.text}, for it is unstable: its latency grows without end"
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
        relax: where nothing fits, what the requirements would have to read for `nearest` to fit; empty where none would
            do, since frames come faster than any plan can answer them.
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
    relax = () if _hopeless(best) else tuple(miss.requirement.relaxed(miss.value) for miss in best.misses)
    return Recommendation(verdicts, None, best, relax, _reasons_against(best, relax))


def _judge(evaluation: Evaluation, requirements: Sequence[Requirement]) -> Verdict:
    metrics = evaluation.metrics()
    margins, misses = [], []
    for requirement in requirements:
        value = metrics[requirement.metric]
        margin, endless = requirement.margin(value), False
        if not evaluation.stable and _needs_stability(requirement):
            # too few frames a second is a miss by so much; all else has no end
            endless = requirement.metric != "fps" or margin >= 0
            margin = min(margin, -1.0) if endless else margin
        margins.append((margin, requirement))
        if endless or not requirement.met(value):
            misses.append(Miss(requirement, value, margin, endless))
    score, binding = min(margins, key=lambda pair: pair[0])
    return Verdict(evaluation, score, tuple(misses), binding)


def _needs_stability(requirement: Requirement) -> bool:
    return requirement.metric in ("fps", "on_time_accuracy") or requirement.metric.startswith("latency_")


def _hopeless(verdict: Verdict) -> bool:
    """True where the plan is unstable and that is what it misses: no other limit would help."""
    return not verdict.evaluation.stable and any(_needs_stability(miss.requirement) for miss in verdict.misses)


def _rank(verdict: Verdict) -> tuple[bool, bool, float, float, str]:
    """The feasible ones, then those that a relaxed requirement would let in, then those that none would."""
    return (not verdict.feasible, _hopeless(verdict), -verdict.score, verdict.evaluation.payload_bytes, verdict.id)


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
        reasons.append(
            "Beware: it is unstable; work arrives faster than it can be done, and latency grows without end."
        )
    return tuple(reasons)


def _reasons_against(best: Verdict, relax: Sequence[str]) -> tuple[str, ...]:
    missed = "; ".join(str(miss) for miss in best.misses)
    way_out = (
        f"It would fit if the requirements read: {', '.join(relax)}."
        if relax
        else "No other requirements would help: frames come faster than any plan can answer them. Send fewer a second."
    )
    return (f"No plan meets every requirement; {best.id} comes nearest and misses {missed}.", way_out)
