"""A design as plain values: what `results.json` holds, and what every table and figure is drawn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from splitimpera import __version__
from splitimpera.qos.recommendation import Verdict
from splitimpera.records import Cut, Evaluation

if TYPE_CHECKING:
    from splitimpera.method import Design

SCHEMA_VERSION = 3

SHARES = (*(i / 100 for i in range(99)), 0.99, 0.992, 0.995, 0.998, 0.999, 1.0)
"""Where a latency distribution is kept: the tail in finer steps."""

Results = dict[str, Any]


def results(design: Design) -> Results:
    """Numbers are numbers, in SI units; docs/results.md describes every key."""
    decision = design.recommendation
    on_test = design.chosen_on_test
    return {
        "schema_version": SCHEMA_VERSION,
        "splitimpera_version": __version__,
        "scenario": design.scenario.summary(),
        "seed": design.seed,
        "seeds": design.seeds,
        "requirements": [
            {
                "text": requirement.text,
                "metric": requirement.metric,
                "limit": requirement.limit,
                "kind": "upper" if requirement.upper else "lower",
            }
            for requirement in design.scenario.requirements
        ],
        "pictures": {
            "train": len(design.data.train),
            "validation": len(design.data.validation),
            "test": len(design.data.test),
        },
        "base_accuracy": design.base.value,
        "base_accuracy_ci": list(design.base.interval),
        "cuts": [_cut(cut, design) for cut in design.graph.cuts],
        "candidates": [
            {"cut": candidate.cut, "name": candidate.name, "reasons": list(candidate.reasons)}
            for candidate in design.curve.candidates
        ],
        "curve": {
            "cuts": list(design.curve.cuts),
            "on_curve": list(design.curve.on_curve),
            "pictures": design.curve.pictures,
            "per_class": {
                design.curve.class_name(label): values.tolist() for label, values in design.curve.per_class.items()
            },
        },
        "latency_shares": list(SHARES),
        "plans": [_plan(verdict) for verdict in decision.verdicts],
        "loss_curves": [
            {
                "plan": curve.plan.id,
                "configuration": curve.plan.configuration,
                "loss": curve.loss.tolist(),
                "accuracy": curve.accuracy.tolist(),
                "accuracy_low": curve.low.tolist(),
                "accuracy_high": curve.high.tolist(),
            }
            for curve in design.loss_curves
        ],
        "recommendation": {
            "plan": decision.chosen.id if decision.chosen else None,
            "reasons": list(decision.reasons),
            "test_accuracy": on_test.value if on_test else None,
            "test_accuracy_ci": list(on_test.interval) if on_test else None,
            "nearest": decision.nearest.id if decision.nearest else None,
            "relax": list(decision.relax),
        },
    }


def _cut(cut: Cut, design: Design) -> Results:
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
        "cs": design.curve.at_cut(cut.index),
    }


def _plan(verdict: Verdict) -> Results:
    evaluation, plan = verdict.evaluation, verdict.evaluation.plan
    metrics = evaluation.metrics()
    hop = plan.hops[0] if plan.hops else None
    return {
        "id": plan.id,
        "configuration": plan.configuration,
        "cut": hop.cut if hop else None,
        "codec": hop.codec if hop else None,
        "bottleneck": hop.bottleneck if hop else 0.0,
        "transport": hop.transport if hop else None,
        "payload_bytes": evaluation.payload_bytes,
        "accuracy": evaluation.accuracy,
        "accuracy_ci": list(evaluation.accuracy_ci),
        **{f"{name}_s": metrics[name] for name in metrics if name.startswith("latency_")},
        "latency_p95_seeds_s": np.quantile(evaluation.latency_s, 0.95, axis=1).tolist(),
        **_distribution(evaluation),
        "fps": evaluation.fps,
        "on_time_accuracy": evaluation.on_time_accuracy,
        "lost_packet_rate": evaluation.lost_packet_rate,
        "stable": evaluation.stable,
        "parts_s": evaluation.parts_s,
        "hops": [
            {"cut": hop.cut, "codec": hop.codec, "transport": hop.transport, "link": hop.link.name} for hop in plan.hops
        ],
        "devices": [device.name for device in plan.devices],
        "feasible": verdict.feasible,
        "misses": [
            {
                "requirement": miss.requirement.text,
                "metric": miss.requirement.metric,
                "value": miss.value,
                "limit": miss.requirement.limit,
                "margin": miss.margin,
                "endless": miss.endless,
            }
            for miss in verdict.misses
        ],
        "score": verdict.score,
    }


def _distribution(evaluation: Evaluation) -> Results:
    """The latency at `SHARES`, of all frames, and the least and the most of any seed; null for an unstable plan."""
    names = ("latency_quantiles_s", "latency_quantiles_low_s", "latency_quantiles_high_s")
    if not evaluation.stable:
        return dict.fromkeys(names)
    seeds = np.quantile(evaluation.latency_s, SHARES, axis=1)
    curves = (np.quantile(evaluation.latency_s, SHARES), seeds.min(axis=1), seeds.max(axis=1))
    # five digits draw any curve, and the file stays small
    return {name: [float(f"{value:.5g}") for value in curve] for name, curve in zip(names, curves, strict=True)}
