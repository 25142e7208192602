"""Plans that no accuracy can save: what their timeline alone rules out."""

from __future__ import annotations

import math
from collections.abc import Iterable

from splitimpera.core.statistics import Interval
from splitimpera.evaluation.chance import Chance
from splitimpera.qos.verdict import judge, needs_stability
from splitimpera.records.outcome import Evaluation
from splitimpera.records.requirement import Requirement


def ruled_out(evaluation: Evaluation, requirements: Iterable[Requirement]) -> bool:
    """Whether a plan misses a hard requirement that its predictions have no part in, and more than chance does it.

    Args:
        evaluation: a timeline alone, with intervals, at the least that its payloads may take. What was simulated once,
            as overloaded plans are, says nothing of how other replications may differ.
    """
    wanted = _beside_predictions(evaluation, requirements)
    if len(evaluation.latency_s) == 1:
        differ = evaluation.of_replications
        wanted = [each for each in wanted if each.metric not in differ or needs_stability(each.metric)]
    if evaluation.cannot_run:
        return True
    if not wanted:
        return False
    judgements = judge(0, Chance([evaluation]), wanted).judgements
    return any(not judgement.met and not judgement.open for judgement in judgements)


def hopeless(timeline: Evaluation, at_best: Evaluation, requirements: Iterable[Requirement]) -> bool:
    """Whether a plan is ruled out by its timeline, and at the least that its payloads may take as well.

    The latter alone is no bound: over UDP a frame with gaps is used at its deadline and a late whole one is waited
    for, so that a link without loss may have the larger mean latency.

    Args:
        timeline: as it was simulated.
        at_best: see `Trials.at_best`; the same where the size of payloads is fixed.
    """
    requirements = list(requirements)
    return ruled_out(timeline, requirements) and (at_best is timeline or ruled_out(at_best, requirements))


def infeasible(evaluation: Evaluation, requirements: Iterable[Requirement]) -> bool:
    """Whether a plan misses a hard requirement that its predictions have no part in, be it by chance."""
    metrics = evaluation.metrics()
    return bool(evaluation.cannot_run) or any(
        not each.met(metrics.get(each.metric, math.nan)) or (not evaluation.stable and needs_stability(each.metric))
        for each in _beside_predictions(evaluation, requirements)
    )


def _beside_predictions(evaluation: Evaluation, requirements: Iterable[Requirement]) -> list[Requirement]:
    by_predictions = {evaluation.quality_metric, f"on_time_{evaluation.quality_metric}"}
    return [each for each in requirements if each.hard and each.metric not in by_predictions]


def misses_for_certain(metric: str, interval: Interval, requirements: Iterable[Requirement]) -> bool:
    """Whether a hard requirement is missed wherever in its 95 % interval a metric lies."""
    wanted = [each for each in requirements if each.hard and each.metric == metric]
    return any(not each.met(end) for each in wanted for end in [interval[0] if each.upper else interval[1]])
