"""The whole method in one call: `design(scenario)`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch

from splitimpera.codec.codecs import codec_kind
from splitimpera.core.errors import CutError, DataError, ModelError, ScenarioError, SplitImperaError, shown
from splitimpera.core.progress import Track, no_progress
from splitimpera.core.registry import nearest
from splitimpera.core.statistics import wilson_interval
from splitimpera.cost.devices import build_device, measured_here, power_w
from splitimpera.designs import Accuracy, Design
from splitimpera.evaluation.loss import accuracy_against_loss, worth_a_curve
from splitimpera.evaluation.plan_space import build_plans
from splitimpera.evaluation.run import evaluate
from splitimpera.evaluation.saturation import find_capacity
from splitimpera.evaluation.sweeps import decider, shortlist, turns
from splitimpera.evaluation.testbed import Testbed
from splitimpera.graph.tracing import ModelGraph, trace
from splitimpera.models.datasets import DATASETS, Dataset, is_source, load_data
from splitimpera.models.networks import OTHER_WAYS, is_network_name, load_network, network_names
from splitimpera.models.threads import torch_threads
from splitimpera.net.links import build_link, with_plain_links
from splitimpera.net.transports import check
from splitimpera.net.udp import IP_UDP_HEADER_BYTES
from splitimpera.partition.bottleneck import bottleneck_for, check_apart
from splitimpera.qos.exploration import Change, Sensitivity, changes, relaxations, sensitivity
from splitimpera.qos.recommendation import Recommendation, Verdict, recommend
from splitimpera.qos.requirement import METRICS, check_metrics, check_objective
from splitimpera.records.device import Device
from splitimpera.records.graph import Cut
from splitimpera.records.plan import Plan
from splitimpera.saliency.cumulative import cumulative_saliency
from splitimpera.saliency.curve import SaliencyCurve
from splitimpera.scenario import Scenario, load_scenario
from splitimpera.training.cached import trained_split

MORE_REPLICATIONS = 4
EXPLORING_S = 600.0
DECISIONS = 60
"""How many times the best plans are about to be evaluated when what may change is explored."""
KNOWN_METRICS = frozenset(METRICS) - {"miou", "on_time_miou", "rmse", "on_time_rmse"}
"""A design is made for classifiers."""


def design(
    scenario: Scenario | str | Path,
    *,
    seed: int | None = None,
    replications: int = 5,
    explore: bool | None = None,
    track: Track[Any] = no_progress,
    say: Callable[[str], object] = str,
) -> Design:
    """Find the best design for a scenario.

    Args:
        scenario: a scenario, or the path of its file.
        seed: of all randomness; the scenario's own where None. With a profile or preset for each device the same seed
            gives the same plans to the last digit; values are then computed on one thread. Else times are measured
            here, so that latencies differ a little from run to run.
        replications: how often each plan's links are simulated, each time with randomness of its own; plans on whose
            verdict chance decides are simulated `MORE_REPLICATIONS` times as often.
        explore: also find out how the choice depends on link and machines and, where nothing fits, what would help.
            None: if that is likely to take less than `EXPLORING_S`.
        track: shows progress.
        say: takes a line of news after each stage.

    Raises:
        SplitImperaError: something that the scenario names is wrong, missing or does not fit.
    """
    if replications < 1:
        raise ScenarioError(f"{replications} is out of range, it must be 1 or more", where="replications")
    if not isinstance(scenario, Scenario):
        scenario = load_scenario(scenario)
    seed = scenario.seed if seed is None else seed
    check_names(scenario)
    with _located("network.model"):
        model = load_network(scenario.network, scenario.folder, track)
    with _located("data.source"):
        data = load_data(scenario.data, scenario.folder)
    with _located("network.model"):
        graph = trace(model, data.validation.inputs, say=say)
    _check_labels(graph, data)
    devices = _devices(scenario, graph)  # a profile of another network is refused before anything is computed
    # where nothing is measured, all is to be the same again, and sums of several threads may differ in the last bit
    with torch_threads(None if any(map(measured_here, devices)) else 1):
        return _designed(scenario, seed, replications, explore, graph, data, devices, track, say)


def _designed(
    scenario: Scenario,
    seed: int,
    replications: int,
    explore: bool | None,
    graph: ModelGraph,
    data: Dataset,
    devices: tuple[Device, Device],
    track: Track[Any],
    say: Callable[[str], object],
) -> Design:
    """What `design` finds, with network, data and devices at hand."""
    testbed = Testbed(graph, data, scenario.workload.record())
    base = _base_accuracy(testbed)
    low, high = base.interval
    say(f"The whole network is right on {base.value:.2%} of {len(data.test)} test pictures ({low:.1%} to {high:.1%}).")
    curve = cumulative_saliency(graph, data.validation, class_names=data.classes, track=track)
    plans = _plans(scenario, devices, graph, curve, say)
    _train(scenario, testbed, plans, track, say)
    testbed.measure_segments(plans)
    begun_s = time.monotonic()
    evaluations = tuple(
        evaluate(plan, testbed, _rng(seed, plan), replications=replications)
        for plan in track(plans, "Simulating the plans", len(plans))
    )
    plan_s = (time.monotonic() - begun_s) / len(plans)
    recommendation = recommend(evaluations, scenario.requirements, scenario.objective, scenario.tolerance)
    undecided = [verdict for verdict in recommendation.verdicts if verdict.open and _chance_decides(verdict)]
    if undecided:
        again = {
            verdict.id: evaluate(
                verdict.evaluation.plan,
                testbed,
                _rng(seed, verdict.evaluation.plan),
                replications=replications * MORE_REPLICATIONS,
            )
            for verdict in track(undecided, "Simulating what is undecided more often", len(undecided))
        }
        evaluations = tuple(again.get(evaluation.plan.id, evaluation) for evaluation in evaluations)
        recommendation = recommend(evaluations, scenario.requirements, scenario.objective, scenario.tolerance)
    on_test = None
    if recommendation.chosen is not None:
        chosen = recommendation.chosen.evaluation.plan
        tested = evaluate(chosen, testbed, _rng(seed, chosen), "test", replications)
        on_test = Accuracy(tested.quality, tested.quality_ci)
    lossy = worth_a_curve(recommendation.verdicts)
    loss_curves = tuple(
        accuracy_against_loss(plan, testbed, _rng(seed, plan))
        for plan in track(sorted(lossy, key=lambda plan: plan.hops[0].cut), "Losing packets", len(lossy))
    )
    changed: tuple[Change, ...] = ()
    sensitivities: tuple[Sensitivity, ...] = ()
    capacity = None
    expected_s = plan_s * len(shortlist(recommendation.verdicts)) * DECISIONS
    if explore is None and expected_s > EXPLORING_S:
        say(
            f"What would change the choice was left out: it might take {expected_s / 60:.0f} minutes. "
            "'splitimpera design --explore' does it all the same."
        )
    if explore or (explore is None and expected_s <= EXPLORING_S):
        changed, sensitivities = _explored(scenario, testbed, recommendation, seed, replications, track)
        if recommendation.chosen is not None:
            chosen = recommendation.chosen.evaluation.plan
            capacity = find_capacity(chosen, testbed, lambda: _rng(seed, chosen))
    return Design(
        with_plain_links(scenario),
        seed,
        replications,
        data,
        graph,
        curve,
        base,
        evaluations,
        recommendation,
        on_test,
        loss_curves,
        changed,
        sensitivities,
        capacity,
    )


def check_names(scenario: Scenario) -> None:
    """Resolve every name of a scenario, and read its link's files, without running anything.

    Raises:
        SplitImperaError: a network, data set, codec, transport or link preset that does not exist, or a link's file
            that cannot be used; the message names the key.
    """
    network, source = scenario.network.model, scenario.data.source
    if not is_network_name(network):
        hint = f"{nearest(network, network_names())}, or write {OTHER_WAYS}"
        raise ScenarioError(f"no network is called '{shown(network)}'", where="network.model", hint=hint)
    if not is_source(source, scenario.folder):
        hint = f"{nearest(source, DATASETS.names())}, or write a folder, 'package.module:factory' or 'file.py:factory'"
        raise ScenarioError(f"no data set is called '{shown(source)}'", where="data.source", hint=hint)
    plans = scenario.plans
    lists = {"plans.codecs": plans.codecs, "plans.input_codecs": plans.input_codecs}
    for key, names in (lists | {"bottlenecks.codecs": scenario.bottlenecks.codecs}).items():
        for index, name in enumerate(names):
            with _located(f"{key}[{index}]"):
                if codec_kind(name).images_only and key != "plans.input_codecs":
                    raise ScenarioError(f"'{name}' writes pictures only", hint="list it under plans.input_codecs")
    link = build_link(scenario.links[0], scenario.folder)
    # what frames are in bytes is not known yet
    least = replace(scenario.workload.record(), frame_bytes=1)
    for index, name in enumerate(plans.transports):
        try:
            check(link, least, name)
        except SplitImperaError as error:
            raise error.at(_WORK_KEYS.get(error.where, f"plans.transports[{index}]")) from None
    devices = _devices(scenario)
    with _located("requirements"):
        spending = power_w(devices[0]) is not None and devices[0].radio is not None
        available = KNOWN_METRICS if spending else KNOWN_METRICS - {"energy"}
        why = {"energy": "give devices[0] a power (or a preset) and a radio"}
        check_metrics(scenario.requirements, available, why)
        check_objective(scenario.objective, available, why)


_WORK_KEYS = {
    **{"response_bytes": "workload.response", "frame_bytes": "workload.frames"},
    **{"rate_bps": "links[0].rate", "trace": "links[0].trace", "mtu_bytes": "links[0].mtu"},
}
"""The key behind what is too much to be simulated."""


def _devices(scenario: Scenario, graph: ModelGraph | None = None) -> tuple[Device, Device]:
    found = []
    for index, section in enumerate(scenario.devices):
        try:
            found.append(build_device(section, scenario.folder, graph))
        except SplitImperaError as error:
            raise error.at(f"devices[{index}].{error.where}") from error.__cause__
    first, second = found
    return first, second


@contextmanager
def _located(key: str) -> Iterator[None]:
    """Errors from inside that name no place get this one."""
    try:
        yield
    except SplitImperaError as error:
        raise error.at(error.where or key) from error.__cause__


def _check_labels(graph: ModelGraph, data: Dataset) -> None:
    result = graph.cuts[-1].tensors
    if len(result) != 1 or len(result[0].shape) != 1:
        shapes = ", ".join(str(tensor.shape) for tensor in result)
        raise ModelError(
            f"the network's result has shape {shapes} a picture, one logit a class is expected", where="network.model"
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
    answers = testbed.run(0, testbed.last, testbed.inputs(samples), lambda row: int(row[0].argmax()))
    share = float(np.mean(np.array(answers) == samples.labels.numpy()))
    return Accuracy(share, wilson_interval(share, len(samples)))


def _plans(
    scenario: Scenario,
    devices: tuple[Device, Device],
    graph: ModelGraph,
    curve: SaliencyCurve,
    say: Callable[[str], object],
) -> list[Plan]:
    wanted = scenario.plans.cuts
    inner = graph.cuts[1:-1]
    if wanted == "candidates":
        split_at = [candidate.cut for candidate in curve.candidates]
    elif isinstance(wanted, str):
        chosen = {"blocks": [c for c in inner if c.block], "single": [c for c in inner if c.single], "all": inner}[
            wanted
        ]
        split_at = [cut.index for cut in chosen]
    else:
        split_at = [cut.index for cut in _inner_cuts(graph, wanted, "plans.cuts")]
    split_at = sorted(set(split_at))
    return build_plans(
        devices,
        build_link(scenario.links[0], scenario.folder),
        graph.cuts,
        split_at,
        codecs=scenario.plans.codecs,
        input_codecs=scenario.plans.input_codecs,
        transports=scenario.plans.transports,
        bottlenecks=_bottlenecks(scenario, graph, split_at, say),
        latent_codecs=scenario.bottlenecks.codecs,
    )


def _inner_cuts(graph: ModelGraph, wanted: Sequence[str | int], key: str) -> list[Cut]:
    cuts = []
    for index, which in enumerate(wanted):
        with _located(f"{key}[{index}]"):
            cut = graph.cut(which)
            if cut not in graph.cuts[1:-1]:
                raise CutError(f"a split lies between input and result, '{which}' does not")
            cuts.append(cut)
    return cuts


def _bottlenecks(
    scenario: Scenario, graph: ModelGraph, split_at: Sequence[int], say: Callable[[str], object]
) -> list[tuple[int, float]]:
    """Where the scenario's bottlenecks fit. At cuts that it names they must; elsewhere it is said where they do not."""
    wanted = scenario.bottlenecks
    named = wanted.cuts is not None
    cuts = (
        _inner_cuts(graph, wanted.cuts, "bottlenecks.cuts")
        if wanted.cuts is not None
        else [graph.cuts[cut] for cut in split_at]
    )
    fitting = []
    for cut in cuts:
        for ratio in wanted.ratios:
            try:
                check_apart(graph)
                bottleneck_for(cut, ratio=ratio, cuts=graph.cuts)
            except CutError as error:
                if named:
                    raise error.at("bottlenecks") from None
                say(f"No bottleneck of ratio {ratio:g} at cut {cut.index} ({cut.name}): {error.problem}.")
            else:
                fitting.append((cut.index, ratio))
    return fitting


def _train(
    scenario: Scenario, testbed: Testbed, plans: Sequence[Plan], track: Track[Any], say: Callable[[str], object]
) -> None:
    """Train the bottlenecks of some plans, or take them from the cache."""
    wanted = scenario.bottlenecks
    places = dict.fromkeys((hop.cut, hop.bottleneck) for plan in plans for hop in plan.hops if hop.bottleneck)
    if not places:
        return
    if len(testbed.data.train) < 2:
        raise DataError(
            "bottlenecks are trained, and there are no training pictures",
            where="data.source",
            hint="leave some of the data to training, or remove bottlenecks.ratios",
        )
    link = build_link(scenario.links[0], scenario.folder)
    # an element takes a byte or less; the packets of narrower codecs carry more, and hurt more
    room = link.mtu_bytes - IP_UDP_HEADER_BYTES - link.app_header_bytes
    for cut, ratio in places:
        latent = bottleneck_for(testbed.graph.cuts[cut], ratio=ratio).latent_spec
        divided = latent.elements > room
        if wanted.packet_loss and not divided:
            say(
                f"The latent of ratio {ratio:g} at cut {cut} has {latent.elements} elements and travels in one packet: "
                "over UDP no more answers can be right than packets arrive, whatever the training. TCP, or a codec "
                "with '+fec', helps."
            )
        split = trained_split(
            testbed.graph,
            testbed.graph.cuts[cut],
            testbed.data.train,
            track=track,
            ratio=ratio,
            epochs=wanted.epochs,
            bits=wanted.bits,
            finetune_head=wanted.finetune_head,
            packet_loss=wanted.packet_loss if divided else 0.0,
            packet_elements=room if wanted.packet_loss and divided else None,
            seed=scenario.seed,
        )
        testbed.add_split(ratio, split)
        before, after = split.held_out.unsplit, split.held_out.trained
        say(
            f"Bottleneck of ratio {ratio:g} at cut {cut} ({split.cut.name}): right on {after:.1%} of the held-out "
            f"training pictures, the unsplit network on {before:.1%}."
        )


def _chance_decides(verdict: Verdict) -> bool:
    """Whether simulating the links more often may change what is open; pictures do not get more by that."""
    evaluation = verdict.evaluation
    if not np.ptp(evaluation.latency_s, axis=0).any() and not evaluation.lost_packet_rate:
        return False
    repeated = all(hop.transport.startswith("tcp") for hop in evaluation.plan.hops)
    return any(
        judgement.open and not (repeated and judgement.requirement.metric == evaluation.quality_metric)
        for judgement in verdict.judgements
    )


def _explored(
    scenario: Scenario, testbed: Testbed, found: Recommendation, seed: int, replications: int, track: Track[Any]
) -> tuple[tuple[Change, ...], tuple[Sensitivity, ...]]:
    """What would help where nothing fits, and how the choice depends on what may change; by evaluating plans anew."""
    plans = shortlist(found.verdicts)
    turned = turns([verdict.evaluation.plan for verdict in found.verdicts], testbed.workload)
    how = scenario.objective, scenario.tolerance
    decide = cache(
        decider(plans, turned, testbed, scenario.requirements, lambda plan: _rng(seed, plan), replications, *how)
    )
    changed: tuple[Change, ...] = ()
    if found.chosen is None:
        parameters = [turn.parameter for turn in turned]
        changed = changes(
            track(parameters, "Looking for what would help", len(parameters)), decide, relaxations(found.verdicts, *how)
        )
    looked_at = [turn for turn in turned if turn.values]
    return changed, tuple(
        sensitivity(turn.parameter, {*turn.values, turn.parameter.now}, decide)
        for turn in track(looked_at, "Changing link and machines", len(looked_at))
    )


def _rng(seed: int, plan: Plan) -> np.random.Generator:
    """A plan's own randomness: it does not depend on which other plans there are."""
    return np.random.default_rng([seed, crc32(plan.id.encode())])
