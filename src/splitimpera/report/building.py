"""A design -> its results, as `results.json` holds them."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.core.version import __version__
from splitimpera.cost.measured_times import measurements_document
from splitimpera.designs import Accuracy, Design
from splitimpera.net.links import link_values
from splitimpera.qos.recommendation import Recommendation
from splitimpera.qos.verdict import Judgement, Verdict
from splitimpera.records.graph import Cut
from splitimpera.records.outcome import Evaluation
from splitimpera.records.requirement import BALANCED, Requirement
from splitimpera.report.entry import finite
from splitimpera.report.measured_entries import MeasurementsEntry
from splitimpera.report.schema import (
    SCHEMA_VERSION,
    CandidateEntry,
    CapacityEntry,
    ChangeEntry,
    CurveEntry,
    CutEntry,
    DecisionEntry,
    ExitCurveEntry,
    ExitEntry,
    FlipEntry,
    HopEntry,
    JudgementEntry,
    LayerEntry,
    LossCurveEntry,
    PlanEntry,
    PresetEntry,
    RequirementEntry,
    Results,
    SamplesEntry,
    ScenarioEntry,
    SectionEntry,
    SensitivityEntry,
    TiesEntry,
    ViolationEntry,
)
from splitimpera.report.shown_entries import SeenClassEntry, ShownEntry, ShownSampleEntry
from splitimpera.report.token_building import token_curve_entry, tokens_entry
from splitimpera.studies.sensitivity import Change, Sensitivity
from splitimpera.studies.shown import Shown

SHARES = (*(i / 100 for i in range(99)), 0.99, 0.992, 0.995, 0.998, 0.999, 1.0)
"""Where a latency distribution is kept: the tail in finer steps."""


def results_of(design: Design) -> Results:
    """All that a design found, as it is written, read and drawn."""
    from splitimpera.cost.work import uncosted  # brings torch, which those who only read results can do without

    decision = design.recommendation
    return Results(
        schema_version=SCHEMA_VERSION,
        splitimpera_version=__version__,
        scenario=ScenarioEntry.model_validate(design.setting.scenario.document()),
        links=[
            SectionEntry.model_validate(link_values(section, link))
            for section, link in zip(design.setting.scenario.links, design.setting.links, strict=True)
        ],
        seed=design.seed,
        replications=design.replications,
        quality=decision.verdicts[0].evaluation.quality_metric,
        requirements=[requirement_entry(requirement) for requirement in design.setting.scenario.requirements],
        samples=SamplesEntry(
            train=len(design.data.train), validation=len(design.data.validation), test=len(design.data.test)
        ),
        measurements=MeasurementsEntry.model_validate_json(
            json.dumps(measurements_document(design.measurements), allow_nan=False)
        ),
        base_quality=design.base.value,
        base_quality_ci=list(design.base.interval),
        layers=[
            LayerEntry(
                index=layer.index,
                name=layer.name,
                operation=layer.operation,
                macs=layer.macs,
                parameters=layer.parameters,
                bytes=layer.output.bytes,
            )
            for layer in design.graph.layers
        ],
        uncosted=list(uncosted(design.graph)),
        presets=[
            PresetEntry(device=device.name, preset=device.roofline.name, error=device.roofline.error)
            for device in max((evaluation.plan.devices for evaluation in design.evaluations), key=len)
            if device.roofline is not None
        ],
        cuts=[_cut(cut, design) for cut in design.graph.cuts],
        candidates=[
            CandidateEntry(cut=candidate.cut, name=candidate.name, reasons=list(candidate.reasons))
            for candidate in design.curve.candidates
        ],
        curve=CurveEntry(
            cuts=list(design.curve.cuts),
            on_curve=list(design.curve.on_curve),
            samples=design.curve.samples,
            per_class={
                design.curve.class_name(label): _list(values) for label, values in design.curve.per_class.items()
            },
        ),
        latency_shares=list(SHARES),
        plans=[plan_entry(verdict) for verdict in decision.verdicts],
        loss_curves=[
            LossCurveEntry(
                plan=curve.plan.id,
                configuration=curve.plan.configuration,
                loss=curve.loss.tolist(),
                quality=curve.quality.tolist(),
                quality_low=curve.low.tolist(),
                quality_high=curve.high.tolist(),
            )
            for curve in design.loss_curves
        ],
        recommendation=decision_entry(decision, design.changes, design.chosen_on_test),
        sensitivity=[_sensitivity(found) for found in design.sensitivities],
        capacity=CapacityEntry(senders=design.capacity.senders, busiest_stage=design.capacity.busiest_stage)
        if design.capacity
        else None,
        shown=_shown(design.shown) if design.shown else None,
        exit_curves=[
            ExitCurveEntry(
                cut=curve.cut,
                threshold=curve.threshold.tolist(),
                share=curve.share.tolist(),
                quality=curve.quality.tolist(),
                quality_low=curve.low.tolist(),
                quality_high=curve.high.tolist(),
            )
            for curve in design.exit_curves
        ],
        token_curves=list(map(token_curve_entry, design.token_curves)),
    )


def requirement_entry(requirement: Requirement) -> RequirementEntry:
    return RequirementEntry(
        text=requirement.text,
        metric=requirement.metric,
        limit=requirement.limit,
        kind="upper" if requirement.upper else "lower",
        weight=requirement.weight,
    )


def decision_entry(
    decision: Recommendation, changes: Sequence[Change] = (), on_test: Accuracy | None = None
) -> DecisionEntry:
    """The recommendation, with what was found out beside it."""
    found = [_change(change) for change in changes]
    return DecisionEntry(
        plan=decision.chosen.id if decision.chosen else None,
        certainty=decision.chosen.certainty if decision.chosen else None,
        reasons=list(decision.reasons),
        nearest=decision.nearest.id if decision.nearest else None,
        relax=list(decision.relax),
        objective=decision.objective,
        tolerance=decision.chance.tolerance,
        ties=_ties(decision),
        change=found[0] if found else None,
        changes=found,
        test_quality=on_test.value if on_test else None,
        test_quality_ci=list(on_test.interval) if on_test else None,
    )


def _ties(decision: Recommendation) -> dict[str, TiesEntry]:
    """For each metric that decides."""
    deciding = dict.fromkeys(judgement.requirement.metric for judgement in decision.verdicts[0].judgements)
    if decision.objective != BALANCED:
        deciding[decision.objective] = None
    ids = [verdict.id for verdict in decision.verdicts]
    return {
        metric: TiesEntry(
            touched=[ids[place] for place in decision.chance.touched(metric)],
            tied=[[ids[one], ids[other]] for one, other in decision.chance.ties(metric)],
        )
        for metric in deciding
    }


def plan_entry(verdict: Verdict) -> PlanEntry:
    """One plan: what it is, what it does, how it is judged."""
    evaluation, plan = verdict.evaluation, verdict.evaluation.plan
    crossing = evaluation.crossing or ((None, None),) * len(plan.hops)
    hops = [
        HopEntry(
            cut=hop.cut,
            codec=hop.codec,
            bottleneck=hop.bottleneck,
            transport=hop.transport,
            link=hop.link.name,
            payload_bytes=payload_bytes,
            packets=packets,
        )
        for hop, (payload_bytes, packets) in zip(plan.hops, crossing, strict=True)
    ]
    first = hops[0] if hops else None
    quantiles, low, high = _distribution(evaluation)
    return PlanEntry(
        id=plan.id,
        configuration=plan.configuration,
        cut=first.cut if first else None,
        codec=first.codec if first else None,
        bottleneck=first.bottleneck if first else 0.0,
        transport=first.transport if first else None,
        metrics=_quality(evaluation) | {name: finite(value) for name, value in evaluation.metrics().items()},
        intervals={name: [finite(end) for end in ends] for name, ends in evaluation.intervals.items()},
        quality_ci=list(evaluation.quality_ci) if evaluation.valued else None,
        loss_patterns=evaluation.loss_patterns,
        latency_p95_replications_s=[_quantile(run, 0.95) for run in evaluation.latency_s],
        latency_quantiles_s=quantiles,
        latency_quantiles_low_s=low,
        latency_quantiles_high_s=high,
        stable=evaluation.stable,
        parts_s=evaluation.parts_s,
        estimates=list(evaluation.estimates),
        utilisation={stage: finite(share) for stage, share in evaluation.utilisation.items()},
        busiest_stage=evaluation.busiest_stage,
        device_p50_s=evaluation.device_p50_s,
        device_p95_s=evaluation.device_p95_s,
        memory_bytes=list(evaluation.memory_bytes),
        energy_j=evaluation.energy_j,
        hops=hops,
        devices=[device.name for device in plan.devices],
        cannot_run=list(evaluation.cannot_run),
        feasible=verdict.feasible,
        certainty=verdict.certainty,
        judgements=[_judgement(judgement) for judgement in verdict.judgements],
        violations=[_violation(judgement) for judgement in verdict.violations],
        soft_violations=[_violation(judgement) for judgement in verdict.soft_violations],
        score=finite(verdict.score),
        penalty=finite(verdict.penalty),
        pareto=verdict.pareto,
        exits=[
            ExitEntry(
                cut=exit.cut,
                thresholds=list(exit.thresholds),
                share=exit.share,
                quality=finite(exit.quality),
                latency_s=list(exit.latency_s),
            )
            for exit in evaluation.exits
        ],
        went_on_quality=finite(evaluation.went_on_quality),
        went_on_latency_s=list(evaluation.went_on_latency_s),
        stood_in=evaluation.stood_in,
        tokens=None if evaluation.tokens is None else tokens_entry(evaluation.tokens),
    )


def _quality(evaluation: Evaluation) -> dict[str, float | None]:
    """The metrics of predictions, not known."""
    return dict.fromkeys((evaluation.quality_metric, f"on_time_{evaluation.quality_metric}"))


def _cut(cut: Cut, design: Design) -> CutEntry:
    cs = design.curve.at_cut(cut.index)
    return CutEntry(
        index=cut.index,
        name=cut.name,
        shapes=[list(tensor.shape) for tensor in cut.tensors],
        bytes=cut.bytes,
        macs_head=cut.macs_head,
        macs_tail=cut.macs_tail,
        parameters_head=cut.parameters_head,
        parameters_tail=cut.parameters_tail,
        single=cut.single,
        block=cut.block,
        cs=None if cs is None else finite(cs),
    )


def _judgement(judgement: Judgement) -> JudgementEntry:
    return JudgementEntry(
        requirement=judgement.requirement.text,
        metric=judgement.requirement.metric,
        value=finite(judgement.value),
        margin=finite(judgement.margin),
        certainty=judgement.certainty,
        unbounded=judgement.unbounded,
        met=judgement.met,
    )


def _violation(judgement: Judgement) -> ViolationEntry:
    return ViolationEntry(
        requirement=judgement.requirement.text,
        metric=judgement.requirement.metric,
        value=finite(judgement.value),
        limit=judgement.requirement.limit,
        margin=finite(judgement.margin),
        unbounded=judgement.unbounded,
    )


def _change(change: Change) -> ChangeEntry:
    return ChangeEntry(**asdict(change) | {"ratio": finite(change.ratio)})


def _shown(shown: Shown) -> ShownEntry:
    return ShownEntry(
        plan=shown.plan,
        loss=shown.loss,
        note=shown.note,
        classes=[SeenClassEntry(name=name, colour=colour) for name, colour in shown.classes],
        samples=[
            ShownSampleEntry.model_validate(
                {
                    "place": sample.place,
                    "missing": sample.missing,
                    "images": {view: b64encode(image).decode() for view, image in sample.images.items()},
                }
            )
            for sample in shown.samples
        ],
    )


def _sensitivity(found: Sensitivity) -> SensitivityEntry:
    return SensitivityEntry(
        parameter=found.parameter,
        unit=found.unit,
        now=found.now,
        values=list(found.values),
        plans=list(found.plans),
        flips=[FlipEntry(**asdict(flip)) for flip in found.flips],
        text=found.text,
    )


def _distribution(evaluation: Evaluation) -> tuple[list[float], ...] | tuple[None, None, None]:
    """The latency at `SHARES`: of all answered frames, and the least and the most of any replication.

    None where there is none: for an unstable plan, and where no frame is answered.
    """
    answered = [run[np.isfinite(run)] for run in evaluation.latency_s]
    replications = np.array([np.quantile(run, SHARES) for run in answered if len(run)])
    if not evaluation.stable or not len(replications):
        return None, None, None
    curves = (np.quantile(np.concatenate(answered), SHARES), replications.min(axis=0), replications.max(axis=0))
    # five digits draw any curve, and the file stays small
    return tuple([float(f"{value:.5g}") for value in curve] for curve in curves)


def _quantile(latency_s: FloatArray, share: float) -> float | None:
    """Of the answered frames; None where there are none."""
    answered = latency_s[np.isfinite(latency_s)]
    return float(np.quantile(answered, share)) if len(answered) else None


def _list(values: FloatArray) -> list[float | None]:
    return [finite(value) for value in values.tolist()]
