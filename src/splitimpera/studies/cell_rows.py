"""What a study keeps of a cell: a row for each of its plans, and what is recommended there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from splitimpera.evaluation.vectors import mean_of
from splitimpera.qos.recommendation import Recommendation
from splitimpera.qos.verdict import Verdict, worth
from splitimpera.records.graph import Cut
from splitimpera.records.plan import Plan
from splitimpera.records.requirement import BALANCED
from splitimpera.studies.study_results import CellRow, PlanRow
from splitimpera.tasks.quality import Quality


def rows_of(
    decision: Recommendation, cuts: tuple[Cut, ...], quality: Quality, left_out: Mapping[Plan, str]
) -> tuple[CellRow, list[PlanRow]]:
    """A cell's row, and those of its plans, best first.

    Args:
        cuts: The network's.
        left_out: Plans that could not be evaluated, with the reason.
    """
    few = 2  # an interval of some qualities takes as long as all else
    rows = [
        _row(verdict, cuts, decision.objective, quality if place < few else None)
        for place, verdict in enumerate(decision.verdicts)
    ]
    rows += [_unknown(plan, cuts, reason) for plan, reason in left_out.items()]
    feasible = decision.chosen is not None
    found = CellRow(
        plans=len(rows),
        feasible=sum(verdict.feasible for verdict in decision.verdicts),
        chosen=rows[0] if feasible else None,
        closest=None if feasible else rows[0],
        runner_up=rows[1] if len(rows) > 1 else None,
        certainty=rows[0].certainty,
        reasons=tuple(decision.reasons),
    )
    return found, rows


def _row(verdict: Verdict, cuts: tuple[Cut, ...], objective: str, quality: Quality | None) -> PlanRow:
    evaluation, metrics = verdict.evaluation, verdict.evaluation.metrics()
    own, on_time = evaluation.quality_metric, f"on_time_{evaluation.quality_metric}"
    value = worth(evaluation, metrics, on_time if objective == BALANCED else objective)
    interval = None
    if quality is not None and evaluation.contributions is not None:
        interval = quality.interval(mean_of(evaluation.contributions))
    return PlanRow(
        **_plan(evaluation.plan, cuts),
        metrics=dict.fromkeys((own, on_time)) | {name: _finite(found) for name, found in metrics.items()},
        quality_ci=interval,
        stable=evaluation.stable,
        feasible=verdict.feasible,
        certainty=verdict.certainty,
        value=_finite(value) if verdict.feasible else None,
        misses=(*evaluation.cannot_run, *map(str, verdict.violations)),
    )


def _unknown(plan: Plan, cuts: tuple[Cut, ...], reason: str) -> PlanRow:
    unknown: dict[str, Any] = {"metrics": {}, "quality_ci": None, "stable": False, "feasible": False, "value": None}
    return PlanRow(**_plan(plan, cuts), **unknown, certainty="unlikely", misses=(f"not evaluated: {reason}",))


def _plan(plan: Plan, cuts: tuple[Cut, ...]) -> dict[str, Any]:
    hop = plan.hops[0] if plan.hops else None
    return {
        "id": plan.id,
        "configuration": plan.configuration,
        "cut": hop.cut if hop else None,
        "cut_name": cuts[hop.cut].name if hop else None,
        "codec": hop.codec if hop else None,
        "bottleneck": hop.bottleneck if hop else 0.0,
        "transport": hop.transport if hop else None,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
