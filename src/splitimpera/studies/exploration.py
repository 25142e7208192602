"""What would help where no plan is feasible, and how the choice depends on link, machines and frame rate."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from splitimpera.core.progress import Track
from splitimpera.qos.recommendation import Recommendation
from splitimpera.records.plan import Plan
from splitimpera.records.traffic import Workload
from splitimpera.setting import Setting
from splitimpera.studies.sensitivity import Change, Sensitivity, changes, relaxations, sensitivity
from splitimpera.studies.sweeps import decider, sweeps_of
from splitimpera.studies.trial import Trial


def explore(
    setting: Setting,
    workload: Workload,
    found: Recommendation,
    short: Sequence[Plan],
    trial: Trial,
    track: Track[Any],
) -> tuple[tuple[Change, ...], tuple[Sensitivity, ...]]:
    """Evaluate the best plans anew with each parameter at other values.

    Args:
        found: what is recommended now.
        short: these plans, which `shortlist` chose and `trial` can evaluate.

    Returns:
        The single changes that would make a plan feasible, the smallest first, where none does; and the choice against
        each parameter.
    """
    scenario = setting.scenario
    how = scenario.objective, scenario.tolerance
    swept = sweeps_of([verdict.evaluation.plan for verdict in found.verdicts], workload)
    decide = cache(decider(short, swept, workload, trial, scenario.requirements, *how))
    changed: tuple[Change, ...] = ()
    if found.chosen is None:
        parameters = [sweep.parameter for sweep in swept]
        changed = changes(
            track(parameters, "Looking for what would help", len(parameters)), decide, relaxations(found.verdicts, *how)
        )
    with_values = [sweep for sweep in swept if sweep.values]
    return changed, tuple(
        sensitivity(sweep.parameter, {*sweep.values, sweep.parameter.now}, decide)
        for sweep in track(with_values, "Changing link and machines", len(with_values))
    )
