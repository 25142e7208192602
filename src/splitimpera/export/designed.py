"""A design that was run before, read again: some of its plans, and the network and data that it was made for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from splitimpera.core.errors import DataError, ModelError, PlanError, shown
from splitimpera.core.progress import Track
from splitimpera.core.registry import nearest
from splitimpera.cost.profiles import fingerprint
from splitimpera.evaluation.testbed import Testbed
from splitimpera.evaluation.truths import example_of, outputs_of, with_truths
from splitimpera.graph.sampled import trace_on
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.datasets import Dataset, load_data
from splitimpera.models.imports import is_factory
from splitimpera.models.networks import load_network
from splitimpera.records.plan import Exit, Hop, Plan
from splitimpera.records.policy import PlanKey, Policy
from splitimpera.report.reading import read
from splitimpera.report.schema import PlanEntry, Results
from splitimpera.scenario import load_scenario
from splitimpera.setting import Setting, located, resolve
from splitimpera.studies.bench import token_blocks
from splitimpera.studies.early_exits import ID, network_of_plans, with_heads
from splitimpera.tasks.quality import value_of
from splitimpera.tasks.task import numbers_of
from splitimpera.training.for_plans import bottlenecks_of, trained_for

SAME_ACCURACY = 0.01
"""How far the accuracy of the same network on the same samples may be off where another machine computes it."""

Say = Callable[[str], object]


@dataclass(frozen=True, eq=False)
class Designed:
    """One plan of a design.

    Attributes:
        entry: What the results say of it.
    """

    results: Results
    setting: Setting
    plan: Plan
    entry: PlanEntry


def read_design(folder: Path, id: str | None = None) -> Designed:
    """A plan of a design; neither network nor data are loaded.

    Args:
        folder: The results folder of a design.
        id: The plan's id; None: the recommended one.

    Raises:
        DataError, ScenarioError: the results are damaged, or what the scenario names is not there any more.
        PlanError: there is no such plan, or none is recommended.
    """
    (design,) = read_designs(folder, [id])
    return design


def read_designs(folder: Path, ids: Iterable[str | None], policy: Policy | None = None) -> list[Designed]:
    """Several plans of a design; arguments and errors as of `read_design`.

    Raises:
        BundleError: besides, where the policy is for other plans than those of the design.
    """
    results = read(folder)
    if policy is not None:
        policy.check_plans(
            {plan.id: PlanKey(plan.cut, plan.codec, plan.bottleneck, plan.transport) for plan in results.plans}
        )
    setting = resolve(load_scenario(folder / "results.json"))
    devices = {device.name: device for device in setting.devices}
    known, designs = results.cut_names, []
    for entry in [_chosen(results, id) for id in ids]:
        if any(hop.cut not in known for hop in entry.hops) or any(name not in devices for name in entry.devices):
            raise DataError(
                f"the results are damaged: plan '{shown(entry.id)}' names a cut or machine that is not there"
            )
        hops = [
            Hop(hop.cut, hop.codec, hop.transport, link, hop.bottleneck)
            for hop, link in zip(entry.hops, setting.links, strict=False)  # later links where a plan ends before
        ]
        exits = tuple(Exit(exit.cut, tuple(exit.thresholds)) for exit in entry.exits)
        plan = Plan(entry.id, tuple(devices[name] for name in entry.devices), tuple(hops), exits)
        designs.append(Designed(results, setting, plan, entry))
    _check_exits([design.plan for design in designs], setting, policy)
    return designs


def _check_exits(plans: Sequence[Plan], setting: Setting, policy: Policy | None) -> None:
    """Refuse early exits that no bundle can hold."""
    for plan in plans:
        without = f"export a plan without, such as '{shown(plan.id.removeprefix(ID))}'"
        if len(plan.exits_on(0)) < len(plan.exits):
            raise PlanError(
                f"plan '{shown(plan.id)}' has early exits behind its first device, where no bundle can have them",
                where="--plan",
                hint=f"{without}, or design with exits.at in front of the first cut",
            )
        if plan.exits and (len(plans) > 1 or policy is not None):
            raise PlanError(
                f"plan '{shown(plan.id)}' has early exits, and a bundle with exits has no other plan",
                where="--plan",
                hint=f"export it alone, or {without}",
            )
        if plan.exits and is_factory(setting.scenario.task.kind):
            raise PlanError(
                f"plan '{shown(plan.id)}' has early exits, whose answers a device makes, and no device has the code of "
                "your own task",
                where="--plan",
                hint=without,
            )


def _chosen(results: Results, id: str | None) -> PlanEntry:
    decision = results.recommendation
    if id is None and decision.plan is None:
        closest = f"'--plan {decision.nearest}' exports the nearest" if decision.nearest else "name one with '--plan'"
        raise PlanError("no plan of this design is feasible, so none is recommended", where="--plan", hint=closest)
    wanted = decision.plan if id is None else id
    if wanted not in results.by_id:
        raise PlanError(
            f"the design has no plan '{shown(wanted)}'", where="--plan", hint=nearest(str(wanted), results.by_id)
        )
    return results.by_id[str(wanted)]


def load_again(designs: Sequence[Designed], track: Track[Any], say: Say) -> Testbed:
    """The network, data, bottlenecks and heads of exits of a design, held to what its results say of them.

    Args:
        designs: Plans of one design.
        say: Takes a line of news, such as that a bottleneck is no longer in the cache and is trained again.

    Raises:
        ModelError, DataError: they cannot be loaded, or are others than those of the design.
    """
    setting, results = designs[0].setting, designs[0].results
    scenario = setting.scenario
    with located("network.model"):
        model = load_network(scenario.network, scenario.folder, track)
    with located("data.source"):
        data = load_data(scenario.data, scenario.folder, setting.task.targets)
    _check_data(data, results)
    with located("network.model"):
        graph = trace_on(model, data.validation, say=say)
    _check_network(graph, results)
    task = setting.fitted_task(graph, example_of(data))
    graph = network_of_plans(setting, graph, data.train, task, track)
    blocks = token_blocks(model, graph, scenario) if scenario.workload.tokens else None
    testbed = with_truths(Testbed(graph, data, setting.workload, task=task, blocks=blocks), track)
    _check_accuracy(testbed, results, track)
    splits = trained_for(
        bottlenecks_of(design.plan for design in designs),
        setting,
        graph,
        testbed.data.train,
        _telling(track, say, "The plan's bottleneck is no longer in the cache: it is trained again."),
        say,
        task=testbed.task,
    )
    for (_, ratio), split in splits.items():
        testbed.add_split(ratio, split)
    if places := {exit.cut for design in designs for exit in design.plan.exits}:
        anew = "The heads of the plan's exits are no longer in the cache: they are trained again."
        trained = with_heads(setting, testbed, _telling(track, say, anew))
        if lacking := places - {*trained.cuts}:
            raise DataError(f"the results are damaged: no exit of the scenario lies behind cut {min(lacking)}")
    return testbed


def _telling(track: Track[Any], say: Say, words: str) -> Track[Any]:
    """The same progress, which says once that something is trained: what is in the cache is not."""
    said = False

    def tracked(steps: Iterable[Any], description: str, total: int) -> Iterator[Any]:
        nonlocal said
        if total and not said:
            say(words)
            said = True
        yield from track(steps, description, total)

    return tracked


def _check_data(data: Dataset, results: Results) -> None:
    counts = {part: len(getattr(data, part)) for part in ("train", "validation", "test")}
    if counts != results.samples.model_dump():
        raise DataError(
            f"there are {counts['train']}, {counts['validation']} and {counts['test']} samples for training, "
            f"validation and test; in the design there were {results.samples.train}, {results.samples.validation} and "
            f"{results.samples.test}",
            where="data.source",
            hint="run 'splitimpera design' again with these data",
        )


def _check_network(graph: ModelGraph, results: Results) -> None:
    then = [
        (cut.index, cut.name, cut.shapes, cut.parameters_head, cut.parameters_tail)
        for cut in sorted(results.cuts, key=lambda cut: cut.index)
    ]
    now = [
        (cut.index, cut.name, [list(spec.shape) for spec in cut.tensors], cut.parameters_head, cut.parameters_tail)
        for cut in graph.cuts
    ]
    known = results.measurements.fingerprint
    if then != now or (known and known != fingerprint(graph)):
        raise ModelError(
            "this is another network than the design's: its layers or shapes differ",
            where="network.model",
            hint="run 'splitimpera design' again with this network",
        )


def _check_accuracy(testbed: Testbed, results: Results, track: Track[Any]) -> None:
    """Weights leave no trace in the results but the network's quality on the test part."""
    samples, quality = testbed.data.test, testbed.task.quality
    rows = track(outputs_of(testbed, samples), "Checking the network", len(samples))
    counts = [numbers_of(testbed.task, row, *samples.targets.rows([place])) for place, row in enumerate(rows)]
    now, then = value_of(quality, quality.vectors(np.array(counts))), results.base_quality
    scale = 1.0 if results.quality_metric.better == "higher" else abs(then)
    if not abs(now - then) <= (SAME_ACCURACY + 1 / len(samples)) * scale:
        metric = results.quality_metric
        raise ModelError(
            f"the {metric.title} of this network is {metric.format(now)} on the test samples, that of the design's was "
            f"{metric.format(then)}: it has other weights, or the data are others",
            where="network.model",
            hint="run 'splitimpera design' again",
        )
