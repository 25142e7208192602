"""Which of the results tables and figures show, and what they compute of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.report.schema import CutEntry, PlanEntry, Results
from splitimpera.saliency.curve import log10_or_gap

CONFIGURATIONS = ("LC", "RC", "SC", "EE")
MOST_PLANS = 400
"""How many plans a page has room for."""

LATENCIES_DRAWN = 40
BREAKDOWN_PLANS = 12
CLASSES_DRAWN = 20


def drawn_plan(results: Results) -> PlanEntry:
    """The recommended plan; where none is feasible the nearest one."""
    decision = results.recommendation
    return results.by_id[str(decision.plan or decision.nearest)]


def compared_plans(results: Results) -> list[PlanEntry]:
    """What stands beside it: the best LC, the best RC, and the best that splits the network where it does not."""
    chosen = drawn_plan(results)
    kinds = [kind for kind in CONFIGURATIONS if kind != chosen.configuration]
    best = [next((plan for plan in results.plans if plan.configuration == kind), None) for kind in kinds]
    splits = chosen.configuration in ("SC", "EE")
    return [plan for plan in best if plan is not None and not (splits and plan.configuration in ("SC", "EE"))]


@dataclass(frozen=True)
class CurvePoint:
    """A cut at which CS was taken: `log_cs`, NaN where it is none, and why it is a candidate."""

    cut: CutEntry
    log_cs: float
    reasons: list[str]


def curve_points(results: Results) -> list[CurvePoint]:
    """The saliency curve, in order."""
    reasons = {candidate.cut: candidate.reasons for candidate in results.candidates}
    by_index = {cut.index: cut for cut in results.cuts}
    cuts = [by_index[index] for index in results.curve.cuts]
    logs = log_cs([cut.cs for cut in cuts])
    return [CurvePoint(cut, float(log), reasons.get(cut.index, [])) for cut, log in zip(cuts, logs, strict=True)]


def log_cs(values: Sequence[float | None]) -> FloatArray:
    """log10; NaN where there is no value or none above 0."""
    return log10_or_gap([np.nan if value is None else value for value in values])


def metric_names(results: Results) -> list[str]:
    """The metrics that any plan has, in the order of the first plan that has them."""
    return list(dict.fromkeys(name for plan in results.plans for name in plan.metrics))


def best_and_each_kind(plans: Sequence[PlanEntry], most: int) -> list[PlanEntry]:
    """The best plans, and the best of each configuration."""
    first = list(plans[:most])
    best = [next((plan for plan in plans if plan.configuration == kind), None) for kind in CONFIGURATIONS]
    return first + [plan for plan in best if plan is not None and plan not in first]


def configurations(results: Results) -> list[str]:
    """Those that figures have room for: EE where a plan has early exits."""
    there = {plan.configuration for plan in results.plans}
    return [kind for kind in CONFIGURATIONS if kind != "EE" or kind in there]


def shown_plans(results: Results) -> list[PlanEntry]:
    """The plans that the page shows, best first.

    Where there are too many, those go first that no other dominates, beside the first one.
    """
    plans = results.plans
    if len(plans) <= MOST_PLANS:
        return plans
    kept = sorted(range(len(plans)), key=lambda place: (place > 0 and not plans[place].pareto, place))[:MOST_PLANS]
    return [plans[place] for place in sorted(kept)]


def placed(plan: PlanEntry, quality: str) -> tuple[float, float] | None:
    """A plan's p95 latency and quality; None where either is not known or the plan is unstable."""
    latency_s, value = plan.metrics["latency_p95"], plan.metrics[quality]
    return None if not plan.stable or latency_s is None or value is None else (latency_s, value)


def front(results: Results) -> list[tuple[PlanEntry, float, float]]:
    """The stable plans that can run and than which none is both quicker and better, by rising p95 latency.

    Each with its latency and its quality.
    """
    quality = results.quality
    sign = 1 if results.quality_metric.better == "higher" else -1
    able = [(plan, *at) for plan in results.plans if not plan.cannot_run and (at := placed(plan, quality))]
    able.sort(key=lambda each: (each[1], -sign * each[2]))
    best: list[tuple[PlanEntry, float, float]] = []
    for each in able:
        if not best or sign * each[2] > sign * best[-1][2]:
            best.append(each)
    return best


def latency_plans(results: Results) -> list[tuple[PlanEntry, bool]]:
    """The best stable plans, in their order, and whether each is the first of its configuration and transport."""
    seen: set[tuple[str, str | None]] = set()
    first: list[tuple[int, PlanEntry]] = []
    others: list[tuple[int, PlanEntry]] = []
    for place, plan in enumerate(results.plans):
        if plan.latency_quantiles_s is not None:
            kind = (plan.configuration, plan.transport)
            (others if kind in seen else first).append((place, plan))
            seen.add(kind)
    leading = {place for place, _ in first}
    kept = sorted([*first, *others][: max(LATENCIES_DRAWN, len(first))], key=lambda pair: pair[0])
    return [(plan, place in leading) for place, plan in kept]


def breakdown_plans(results: Results) -> list[PlanEntry]:
    """The best stable plans, with the best of each configuration."""
    return best_and_each_kind([plan for plan in results.plans if plan.stable], BREAKDOWN_PLANS)


def token_metrics(results: Results) -> tuple[str, str]:
    """By which metrics the wait for the first token and for the next ones is shown: those that requirements are on."""
    wanted = {requirement.metric for requirement in results.requirements}
    first = "ttft" if "ttft" in wanted and "ttft_p95" not in wanted else "ttft_p95"
    return first, "tpot_p95" if "tpot_p95" in wanted and "tpot" not in wanted else "tpot"


def main_times(results: Results) -> tuple[str, ...]:
    """The metrics of time that narrow tables have room for."""
    return token_metrics(results) if results.asks_tokens else ("latency_p95",)


def token_plans(results: Results) -> list[PlanEntry]:
    """Those whose waits for tokens are drawn: the recommended plan, or the nearest one, the best LC and the best RC."""
    decision, asked = results.recommendation, [plan for plan in results.plans if plan.tokens is not None]
    chosen = [plan for plan in asked if plan.id == (decision.plan or decision.nearest)]
    firsts = [next((plan for plan in asked if plan.configuration == kind), None) for kind in ("LC", "RC")]
    return chosen + [plan for plan in firsts if plan is not None and plan not in chosen]


def drawn_classes(results: Results) -> list[str]:
    """At most `CLASSES_DRAWN`, where there are more those whose curves are furthest from that of all samples."""
    curves = results.curve.per_class
    if len(curves) <= CLASSES_DRAWN:
        return list(curves)
    whole = np.array([point.log_cs for point in curve_points(results)])
    apart = {name: float(np.nanmax(np.abs(log_cs(values) - whole), initial=0.0)) for name, values in curves.items()}
    furthest = sorted(apart, key=lambda name: -apart[name])[:CLASSES_DRAWN]
    return [name for name in curves if name in furthest]
