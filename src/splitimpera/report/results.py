"""A design as plain values: what `results.json` holds, and what every table and figure is drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.core.version import __version__
from splitimpera.net.links import link_values
from splitimpera.qos.recommendation import Recommendation
from splitimpera.qos.verdict import Judgement, Verdict
from splitimpera.records.graph import Cut
from splitimpera.records.outcome import Evaluation
from splitimpera.records.requirement import BALANCED, METRICS, Requirement
from splitimpera.saliency.curve import log10_or_gap
from splitimpera.studies.sensitivity import Change, Sensitivity

if TYPE_CHECKING:
    from splitimpera.designs import Design

SCHEMA_VERSION = 5

SHARES = (*(i / 100 for i in range(99)), 0.99, 0.992, 0.995, 0.998, 0.999, 1.0)
"""Where a latency distribution is kept: the tail in finer steps."""

Results = dict[str, Any]


def results(design: Design) -> Results:
    """Numbers are numbers, in SI units; docs/results.md describes every key."""
    from splitimpera.cost.work import uncosted  # brings torch, which those who only read results can do without

    decision = design.recommendation
    on_test = design.chosen_on_test
    return {
        "schema_version": SCHEMA_VERSION,
        "splitimpera_version": __version__,
        "scenario": design.setting.scenario.document(),
        "links": [link_values(section, design.setting.link) for section in design.setting.scenario.links],
        "seed": design.seed,
        "replications": design.replications,
        "quality": decision.verdicts[0].evaluation.quality_metric,
        "requirements": [requirement_values(requirement) for requirement in design.setting.scenario.requirements],
        "pictures": {
            "train": len(design.data.train),
            "validation": len(design.data.validation),
            "test": len(design.data.test),
        },
        "base_accuracy": design.base.value,
        "base_accuracy_ci": list(design.base.interval),
        "layers": [
            {
                "index": layer.index,
                "name": layer.name,
                "operation": layer.operation,
                "macs": layer.macs,
                "parameters": layer.parameters,
                "bytes": layer.output.bytes,
            }
            for layer in design.graph.layers
        ],
        "uncosted": list(uncosted(design.graph)),
        "presets": [
            {"device": device.name, "preset": device.roofline.name, "error": device.roofline.error}
            for device in max((evaluation.plan.devices for evaluation in design.evaluations), key=len)
            if device.roofline is not None
        ],
        "cuts": [_cut(cut, design) for cut in design.graph.cuts],
        "candidates": [
            {"cut": candidate.cut, "name": candidate.name, "reasons": list(candidate.reasons)}
            for candidate in design.curve.candidates
        ],
        "curve": {
            "cuts": list(design.curve.cuts),
            "on_curve": list(design.curve.on_curve),
            "pictures": design.curve.samples,
            "per_class": {
                design.curve.class_name(label): _list(values) for label, values in design.curve.per_class.items()
            },
        },
        "latency_shares": list(SHARES),
        "plans": [plan_values(verdict) for verdict in decision.verdicts],
        "loss_curves": [
            {
                "plan": curve.plan.id,
                "configuration": curve.plan.configuration,
                "loss": curve.loss.tolist(),
                "accuracy": curve.quality.tolist(),
                "accuracy_low": curve.low.tolist(),
                "accuracy_high": curve.high.tolist(),
            }
            for curve in design.loss_curves
        ],
        "recommendation": decision_values(decision)
        | {
            "change": _change(design.change) if design.change else None,
            "changes": [_change(change) for change in design.changes],
            "test_accuracy": on_test.value if on_test else None,
            "test_accuracy_ci": list(on_test.interval) if on_test else None,
        },
        "sensitivity": [_sensitivity(found) for found in design.sensitivities],
        "capacity": {"senders": design.capacity.senders, "busiest_stage": design.capacity.busiest_stage}
        if design.capacity
        else None,
    }


def requirement_values(requirement: Requirement) -> Results:
    return {
        "text": requirement.text,
        "metric": requirement.metric,
        "limit": requirement.limit,
        "kind": "upper" if requirement.upper else "lower",
        "weight": requirement.weight,
    }


def decision_values(decision: Recommendation) -> Results:
    """The recommendation without what was found out beside it."""
    return {
        "plan": decision.chosen.id if decision.chosen else None,
        "certainty": decision.chosen.certainty if decision.chosen else None,
        "reasons": list(decision.reasons),
        "nearest": decision.nearest.id if decision.nearest else None,
        "relax": list(decision.relax),
        "objective": decision.objective,
        "tolerance": decision.chance.tolerance,
        "ties": ties(decision),
    }


def ties(decision: Recommendation) -> Results:
    """Of each metric that decides, which plans' values chance touches, and which pairs it makes the same; by id."""
    deciding = dict.fromkeys(judgement.requirement.metric for judgement in decision.verdicts[0].judgements)
    if decision.objective != BALANCED:
        deciding[decision.objective] = None
    ids = [verdict.id for verdict in decision.verdicts]
    return {
        metric: {
            "touched": [ids[place] for place in decision.chance.touched(metric)],
            "tied": [[ids[one], ids[other]] for one, other in decision.chance.ties(metric)],
        }
        for metric in deciding
    }


def plan_values(verdict: Verdict) -> Results:
    """One plan: what it is, what it does, how it is judged."""
    evaluation, plan = verdict.evaluation, verdict.evaluation.plan
    hop = plan.hops[0] if plan.hops else None
    missed = [judgement for judgement in verdict.judgements if not judgement.met]
    return {
        "id": plan.id,
        "configuration": plan.configuration,
        "cut": hop.cut if hop else None,
        "codec": hop.codec if hop else None,
        "bottleneck": hop.bottleneck if hop else 0.0,
        "transport": hop.transport if hop else None,
        "metrics": {name: _finite(value) for name, value in evaluation.metrics().items()},
        "intervals": {name: [_finite(end) for end in ends] for name, ends in evaluation.intervals.items()},
        "accuracy_ci": list(evaluation.quality_ci),
        "latency_p95_seeds_s": [_quantile(run, 0.95) for run in evaluation.latency_s],
        **_distribution(evaluation),
        "stable": evaluation.stable,
        "parts_s": evaluation.parts_s,
        "estimates": list(evaluation.estimates),
        "utilisation": {stage: _finite(share) for stage, share in evaluation.utilisation.items()},
        "busiest_stage": evaluation.busiest_stage,
        "memory_bytes": list(evaluation.memory_bytes),
        "energy_j": evaluation.energy_j,
        "hops": [
            {"cut": hop.cut, "codec": hop.codec, "transport": hop.transport, "link": hop.link.name} for hop in plan.hops
        ],
        "devices": [device.name for device in plan.devices],
        "cannot_run": list(evaluation.cannot_run),
        "feasible": verdict.feasible,
        "certainty": verdict.certainty,
        "judgements": [_judgement(judgement) for judgement in verdict.judgements],
        "violations": [_miss(judgement) for judgement in missed if judgement.requirement.weight is None],
        "soft_violations": [_miss(judgement) for judgement in missed if judgement.requirement.weight is not None],
        "score": _finite(verdict.score),
        "penalty": _finite(verdict.penalty),
        "pareto": verdict.pareto,
    }


def format_metric(name: str, value: float | None) -> str:
    """A metric's value in human units."""
    return "unknown" if value is None else METRICS[name].format(value)


def curve_points(results: Results) -> list[Results]:
    """The cuts at which CS was taken, in order, each with `log_cs`, NaN where it is none, and why it is a candidate."""
    reasons = {candidate["cut"]: candidate["reasons"] for candidate in results["candidates"]}
    cuts = {cut["index"]: cut for cut in results["cuts"]}
    points = [cuts[index] for index in results["curve"]["cuts"]]
    return [
        cut | {"log_cs": float(log), "reasons": reasons.get(cut["index"], [])}
        for cut, log in zip(points, log_cs([cut["cs"] for cut in points]), strict=True)
    ]


def log_cs(values: Sequence[float | None]) -> FloatArray:
    """log10; NaN where there is no value or none above 0."""
    return log10_or_gap([np.nan if value is None else value for value in values])


def _cut(cut: Cut, design: Design) -> Results:
    cs = design.curve.at_cut(cut.index)
    return {
        "index": cut.index,
        "name": cut.name,
        "shapes": [list(tensor.shape) for tensor in cut.tensors],
        "bytes": cut.bytes,
        "macs_head": cut.macs_head,
        "macs_tail": cut.macs_tail,
        "parameters_head": cut.parameters_head,
        "parameters_tail": cut.parameters_tail,
        "single": cut.single,
        "block": cut.block,
        "cs": None if cs is None else _finite(cs),
    }


def _judgement(judgement: Judgement) -> Results:
    return {
        "requirement": judgement.requirement.text,
        "metric": judgement.requirement.metric,
        "value": _finite(judgement.value),
        "margin": _finite(judgement.margin),
        "certainty": judgement.certainty,
        "unbounded": judgement.unbounded,
        "met": judgement.met,
    }


def _miss(judgement: Judgement) -> Results:
    return {
        "requirement": judgement.requirement.text,
        "metric": judgement.requirement.metric,
        "value": _finite(judgement.value),
        "limit": judgement.requirement.limit,
        "margin": _finite(judgement.margin),
        "unbounded": judgement.unbounded,
    }


def _change(change: Change) -> Results:
    return asdict(change) | {"ratio": _finite(change.ratio)}


def _sensitivity(found: Sensitivity) -> Results:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(found).items()}


def _distribution(evaluation: Evaluation) -> Results:
    """The latency at `SHARES`, of all answered frames, and the least and the most of any seed.

    Null where there is none: for an unstable plan, and where no frame is answered.
    """
    names = ("latency_quantiles_s", "latency_quantiles_low_s", "latency_quantiles_high_s")
    answered = [run[~np.isnan(run)] for run in evaluation.latency_s]
    replications = np.array([np.quantile(run, SHARES) for run in answered if len(run)])
    if not evaluation.stable or not len(replications):
        return dict.fromkeys(names)
    curves = (np.quantile(np.concatenate(answered), SHARES), replications.min(axis=0), replications.max(axis=0))
    # five digits draw any curve, and the file stays small
    return {name: [float(f"{value:.5g}") for value in curve] for name, curve in zip(names, curves, strict=True)}


def _quantile(latency_s: FloatArray, share: float) -> float | None:
    """Of the answered frames; None where there are none."""
    answered = latency_s[~np.isnan(latency_s)]
    return float(np.quantile(answered, share)) if len(answered) else None


def _list(values: FloatArray) -> list[float | None]:
    return [_finite(value) for value in values.tolist()]


def _finite(value: float) -> float | None:
    """JSON has no infinity."""
    return float(value) if isfinite(value) else None
