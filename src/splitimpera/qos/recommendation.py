"""Match evaluations with requirements: which plans are feasible, and which is best.

The feasible plans as `ordering` does, by margins or by a named objective; differences that chance explains are
no reason. Of the others those go first that a relaxed requirement would let in, then those that are unstable, then
those that cannot run; among them the largest smallest margin goes first, and so on (leximin).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from splitimpera.core.errors import RequirementError
from splitimpera.evaluation.chance import Chance
from splitimpera.qos.ordering import Criterion, order
from splitimpera.qos.pareto import pareto_front
from splitimpera.qos.reasons import reasons_against, reasons_for
from splitimpera.qos.verdict import Judgement, Verdict, judge, needs_stability, worth
from splitimpera.records.outcome import Evaluation
from splitimpera.records.requirement import (
    BALANCED,
    TOLERANCE,
    Requirement,
    check_consistent,
    check_metrics,
    check_objective,
    parse_requirement,
)


@dataclass(frozen=True)
class Recommendation:
    """The decision.

    Attributes:
        verdicts: every plan, best first: the feasible ones, then the others.
        chosen: the recommended plan, None where no plan is feasible.
        nearest: The plan that misses by least, where no plan is feasible.
        relax: What the requirements would have to read for `nearest` to be feasible, where no plan is; empty where
            none would do, since frames come faster than any plan can respond to them, or no plan can run.
        reasons: the decision in words.
        objective: what was optimised among the feasible plans.
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

    Example:
        >>> import numpy as np
        >>> from splitimpera.records.device import Device
        >>> from splitimpera.records.plan import Plan
        >>> def run(name, latency_s):
        ...     plan = Plan(name, (Device("camera"),))
        ...     return Evaluation(plan, 0.95, (0.9, 0.98), np.full((1, 9), latency_s))
        >>> decision = recommend([run("slow", 0.06), run("quick", 0.02)], ["accuracy >= 90 %", "latency_p95 <= 50 ms"])
        >>> decision.chosen.id, [verdict.feasible for verdict in decision.verdicts]
        ('quick', [True, False])
    """
    wanted = tuple(r if isinstance(r, Requirement) else parse_requirement(r) for r in requirements)
    if not wanted:
        raise RequirementError("no requirement is given", hint="write for example 'latency_p95 <= 50 ms'")
    if not evaluations:
        raise RequirementError("no plan was evaluated, so none can be recommended")
    check_consistent(wanted)
    chance = Chance(evaluations, tolerance)
    known = dict.fromkeys(name for values in chance.values for name in values)
    for one in evaluations:  # the quality is known of, even where it was not computed
        known |= dict.fromkeys((one.quality_metric, f"on_time_{one.quality_metric}"))
    check_metrics(wanted, known)
    check_objective(objective, known)
    judged = _with_front([judge(place, chance, wanted) for place in range(len(evaluations))])
    places = _ranked(judged, chance, wanted, objective)
    verdicts = tuple(judged[place] for place in places)
    chance = chance.reordered(places)
    best = verdicts[0]
    if best.feasible:
        reasons = reasons_for(verdicts, chance, objective)
        return Recommendation(verdicts, best, None, (), reasons, objective, chance)
    relax = () if best.unsatisfiable or not best.can_run else tuple(_relaxed(miss) for miss in best.violations)
    return Recommendation(verdicts, None, best, relax, reasons_against(best, relax, verdicts), objective, chance)


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
        values = [worth(verdicts[place].evaluation, chance.values[place], objective) for place in feasible]
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
