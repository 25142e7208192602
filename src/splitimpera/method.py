"""The whole method in one call: `design(scenario)`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch

from splitimpera.core.errors import DataError, ModelError, ScenarioError
from splitimpera.core.progress import Track, no_progress
from splitimpera.core.statistics import wilson_interval
from splitimpera.cost.devices import measured_here
from splitimpera.cost.profiles import fingerprint
from splitimpera.designs import Accuracy, Design
from splitimpera.evaluation.batches import Inputs
from splitimpera.evaluation.plan_space import plans_of
from splitimpera.evaluation.run import evaluate
from splitimpera.evaluation.stopwatch import measure
from splitimpera.evaluation.testbed import Part, Testbed
from splitimpera.graph.tracing import ModelGraph, trace
from splitimpera.models.datasets import Dataset, load_data
from splitimpera.models.networks import load_network
from splitimpera.models.threads import torch_threads
from splitimpera.qos.recommendation import Recommendation, recommend
from splitimpera.qos.verdict import Verdict
from splitimpera.records.measurements import Measurements
from splitimpera.records.outcome import Evaluation
from splitimpera.records.plan import Plan
from splitimpera.records.traffic import Workload
from splitimpera.saliency.cumulative import cumulative_saliency
from splitimpera.scenario import Scenario
from splitimpera.setting import Setting, located, resolve
from splitimpera.studies.capacity import find_capacity
from splitimpera.studies.exploration import explore as explored
from splitimpera.studies.loss_curve import quality_against_loss, worth_a_curve
from splitimpera.studies.sensitivity import Change, Sensitivity
from splitimpera.studies.sweeps import shortlist
from splitimpera.training.for_plans import trained_for

MORE_REPLICATIONS = 4
EXPLORING_S = 600.0
DECISIONS = 60
"""How many times the best plans are about to be evaluated when what may change is explored."""


def design(
    scenario: Setting | Scenario | str | Path,
    *,
    seed: int | None = None,
    replications: int = 5,
    explore: bool | None = None,
    measurements: Measurements | None = None,
    workers: int = 1,
    track: Track[Any] = no_progress,
    say: Callable[[str], object] = str,
) -> Design:
    """Find the best design for a scenario.

    With a profile or preset for each device, or with measurements, the same seed gives the same plans to the last
    digit.

    Args:
        scenario: a scenario, the path of its file, or what `resolve` made of it.
        seed: Seed of all random draws; the scenario's if None.
        replications: how often each plan's links are simulated, each time with randomness of its own; plans on whose
            verdict chance decides are simulated `MORE_REPLICATIONS` times as often.
        explore: whether to find out how the choice depends on link and machines and, where no plan is feasible, what
            would help. None: if that is likely to take less than `EXPLORING_S`.
        measurements: times of devices without profile or preset, as an earlier design kept them; they are measured on
            this machine if None.
        workers: how many replications are simulated side by side; the result does not depend on it.
        track: shows progress.
        say: takes a line of news after each stage.

    Raises:
        SplitImperaError: something that the scenario names is wrong, missing or does not fit.
    """
    if replications < 1:
        raise ScenarioError(f"{replications} is out of range, it must be 1 or more", where="replications")
    setting = scenario if isinstance(scenario, Setting) else resolve(scenario)
    scenario = setting.scenario
    with located("network.model"):
        model = load_network(scenario.network, scenario.folder, track)
    with located("data.source"):
        data = load_data(scenario.data, scenario.folder)
    with located("network.model"):
        graph = trace(model, data.validation.inputs, say=say)
    _check_labels(graph, data)
    setting.check_profiles(graph)  # before anything is computed
    if measurements is not None:
        _check_measurements(measurements, graph)
    run = _Run(setting, scenario.seed if seed is None else seed, replications, workers, track, say)
    # sums of several threads may differ in the last bit from those of one
    with torch_threads(_threads(setting, measurements)):
        return run.design(graph, data, measurements, explore)


@dataclass(frozen=True)
class _Run:
    """One design run: what holds throughout."""

    setting: Setting
    seed: int
    replications: int
    workers: int
    track: Track[Any]
    say: Callable[[str], object]

    def design(
        self, graph: ModelGraph, data: Dataset, measurements: Measurements | None, explore: bool | None
    ) -> Design:
        setting = self.setting
        testbed = Testbed(graph, data, setting.workload)
        base = _base_accuracy(testbed)
        low, high = base.interval
        self.say(
            f"The whole network is right on {base.value:.2%} of {len(data.test)} test samples "
            f"({low:.1%} to {high:.1%})."
        )
        curve = cumulative_saliency(graph, data.validation, class_names=data.classes, track=self.track)
        plans = plans_of(setting, graph, curve, self.say)
        for (_, ratio), split in trained_for(plans, setting, graph, data.train, self.track, self.say).items():
            testbed.add_split(ratio, split)
        times = measure(plans, testbed) if measurements is None else measurements
        begun_s = time.monotonic()
        evaluations, recommendation = self._decided(plans, testbed, times)
        plan_s = (time.monotonic() - begun_s) / len(plans)

        def trial(plan: Plan, workload: Workload) -> Evaluation:
            bench = testbed.with_workload(workload)
            return self._evaluated(plan, bench, times, self.replications, intervals=False)

        def once(plan: Plan, workload: Workload) -> Evaluation:
            return self._evaluated(plan, testbed.with_workload(workload), times, 1, intervals=False)

        chosen = recommendation.chosen.evaluation.plan if recommendation.chosen is not None else None
        on_test = None
        if chosen is not None:
            tested = self._evaluated(chosen, testbed, times, self.replications, "test")
            on_test = Accuracy(tested.quality, tested.quality_ci)
        lossy = worth_a_curve(recommendation.verdicts)
        loss_curves = tuple(
            quality_against_loss(plan, testbed.workload, once)
            for plan in self.track(sorted(lossy, key=lambda plan: plan.hops[0].cut), "Losing packets", len(lossy))
        )
        changed: tuple[Change, ...] = ()
        sensitivities: tuple[Sensitivity, ...] = ()
        capacity = None
        if self._explores(explore, plan_s * len(shortlist(recommendation.verdicts)) * DECISIONS):
            changed, sensitivities = explored(setting, testbed.workload, recommendation, trial, self.track)
            if chosen is not None:
                capacity = find_capacity(chosen, testbed, times, lambda: self._rng(chosen), workers=self.workers)
        return Design(
            setting=setting,
            seed=self.seed,
            replications=self.replications,
            data=data,
            graph=graph,
            curve=curve,
            base=base,
            measurements=times,
            evaluations=evaluations,
            recommendation=recommendation,
            chosen_on_test=on_test,
            loss_curves=loss_curves,
            changes=changed,
            sensitivities=sensitivities,
            capacity=capacity,
        )

    def _decided(
        self, plans: list[Plan], testbed: Testbed, times: Measurements
    ) -> tuple[tuple[Evaluation, ...], Recommendation]:
        """All plans evaluated, those on which chance decides more often, and what is recommended."""
        scenario = self.setting.scenario
        how = scenario.requirements, scenario.objective, scenario.tolerance
        found = {
            plan.id: self._evaluated(plan, testbed, times, self.replications)
            for plan in self.track(plans, "Simulating the plans", len(plans))
        }
        first = recommend(tuple(found.values()), *how)
        undecided = [verdict for verdict in first.verdicts if verdict.open and _chance_decides(verdict)]
        if not undecided:
            return tuple(found.values()), first
        for verdict in self.track(undecided, "Simulating what is undecided more often", len(undecided)):
            plan = verdict.evaluation.plan
            found[plan.id] = self._evaluated(plan, testbed, times, self.replications * MORE_REPLICATIONS)
        return tuple(found.values()), recommend(tuple(found.values()), *how)

    def _evaluated(
        self,
        plan: Plan,
        testbed: Testbed,
        times: Measurements,
        replications: int,
        part: Part = "validation",
        intervals: bool = True,
    ) -> Evaluation:
        rng = self._rng(plan)
        return evaluate(plan, testbed, times, rng, part, replications, intervals=intervals, workers=self.workers)

    def _rng(self, plan: Plan) -> np.random.Generator:
        """A plan's own randomness: it does not depend on which other plans there are."""
        return np.random.default_rng([self.seed, crc32(plan.id.encode())])

    def _explores(self, wanted: bool | None, expected_s: float) -> bool:
        if wanted is None and expected_s > EXPLORING_S:
            self.say(
                f"What would change the choice was left out: it might take {expected_s / 60:.0f} minutes. "
                "'splitimpera design --explore' does it all the same."
            )
        return expected_s <= EXPLORING_S if wanted is None else wanted


def _threads(setting: Setting, measurements: Measurements | None) -> int | None:
    if not any(map(measured_here, setting.devices)):
        return 1
    return None if measurements is None else measurements.threads


def _check_measurements(measurements: Measurements, graph: ModelGraph) -> None:
    if measurements.segments and measurements.fingerprint != fingerprint(graph):
        raise DataError(
            "these times were measured with another network, or another input size",
            where="measurements",
            hint="leave them out, and the plans are timed on this machine",
        )


def _check_labels(graph: ModelGraph, data: Dataset) -> None:
    result = graph.cuts[-1].tensors
    if len(result) != 1 or len(result[0].shape) != 1:
        shapes = ", ".join(str(tensor.shape) for tensor in result)
        raise ModelError(
            f"the network's result has shape {shapes} a sample, one logit a class is expected", where="network.model"
        )
    if "complex" in result[0].dtype:
        raise ModelError("the network's result is complex, real logits are expected", where="network.model")
    classes = result[0].shape[0]
    labels = torch.cat([samples.labels for samples in (data.train, data.validation, data.test)])
    low, high = int(labels.min()), int(labels.max())
    if not 0 <= low <= high < classes:
        raise DataError(
            f"labels go from {low} to {high}, the network tells {classes} classes apart", where="data.source"
        )


def _base_accuracy(testbed: Testbed) -> Accuracy:
    samples = testbed.samples("test")
    predictions = testbed.run(0, testbed.last, Inputs(samples), lambda row: int(row[0].argmax()))
    share = float(np.mean(np.array(predictions) == samples.labels.numpy()))
    return Accuracy(share, wilson_interval(share, len(samples)))


def _chance_decides(verdict: Verdict) -> bool:
    """Whether simulating the links more often may change what is open; samples do not get more by that."""
    evaluation = verdict.evaluation
    if not np.ptp(evaluation.latency_s, axis=0).any() and not evaluation.lost_packet_rate:
        return False
    repeated = all(hop.transport.startswith("tcp") for hop in evaluation.plan.hops)
    return any(
        judgement.open and not (repeated and judgement.requirement.metric == evaluation.quality_metric)
        for judgement in verdict.judgements
    )
