"""The early exits of a design: heads trained where the scenario wants them, thresholds chosen, plans that use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import Any

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.core.errors import DataError, ScenarioError, listed
from splitimpera.core.progress import Track
from splitimpera.core.statistics import wilson_interval
from splitimpera.evaluation.testbed import Testbed
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.samples import Samples
from splitimpera.qos.exit_choice import LOSS, choose_exits, given_exits, what_becomes
from splitimpera.records.exits import NOBODY, ExitCosts, ExitTable, Leaving
from splitimpera.records.graph import Cut
from splitimpera.records.plan import Exit, Plan
from splitimpera.scenario import Scenario
from splitimpera.setting import Setting
from splitimpera.tasks.task import Task
from splitimpera.training.exit_heads import TrainedExits
from splitimpera.training.exit_settings import ExitTraining, exit_cuts
from splitimpera.training.exit_taps import logits_place
from splitimpera.training.exit_training import exit_table, trained_exits
from splitimpera.training.joint_exits import jointly_trained

POINTS = 41
"""Of a curve."""
ID = "EE-"
"""In front of the id of the plan that has exits in addition."""
SURE = 1.96
"""Standard deviations around a share that 95 % of samples are within."""


@dataclass(frozen=True, eq=False)
class ExitCurve:
    """How many validation samples leave at an exit and how many answers are right then, were it the only one.

    Attributes:
        threshold: confidences from which on a frame leaves, descending; all other arrays have an entry for each.
        share: of all samples that leave.
        quality: of all answers, with the 95 % interval from `low` to `high`.
    """

    cut: int
    threshold: FloatArray
    share: FloatArray
    quality: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(eq=False)
class EarlyExits:
    """What the exits of a network say of the validation samples, and at which confidence frames leave.

    Thresholds are chosen once for each set of exits, by multiply-accumulates, whatever travels behind them.

    Attributes:
        threshold: as the scenario has it.
        least: the accuracy that is needed; None: that of the network less `LOSS`.
        whole_heads: whether bottlenecks have heads of their own, which these exits know nothing of.
        say: takes a line of news for each choice.
    """

    table: ExitTable
    costs: ExitCosts
    names: dict[int, str]
    threshold: Any
    least: float | None
    whole_heads: bool
    seed: int
    say: Callable[[str], object]
    _chosen: dict[tuple[int, ...], tuple[Exit, ...]] = field(default_factory=dict)

    def variants(self, plans: Sequence[Plan]) -> Iterator[Plan]:
        """Of each plan that can have early exits, the same with them.

        Raises:
            ScenarioError: no plan can.
        """
        usable = {plan.id: self._usable(plan) for plan in plans}
        if not any(usable.values()):
            raise ScenarioError(
                f"no plan can have an exit at {listed(self.names[cut] for cut in self.table.cuts)}",
                where="exits.at",
                hint="an exit lies in front of a plan's last cut, on a device that computes frames one by one (batch)",
            )
        for plan in plans:
            exits = self.chosen(usable[plan.id])
            if exits:
                yield replace(plan, id=ID + plan.id, exits=exits)

    def curves(self) -> tuple[ExitCurve, ...]:
        """One for each exit, whether or not a plan has it."""
        network, found = self.table.right[-1], []
        for cut, sure, right in zip(self.table.cuts, self.table.confidence, self.table.right[:-1], strict=True):
            leave = np.unique(np.linspace(0, len(sure), POINTS).round().astype(np.int64))
            order = np.argsort(-sure, kind="stable")
            until = np.append(0.0, np.cumsum((right - network)[order]))
            quality = (network.sum() + until[leave]) / len(sure)
            low, high = np.array([wilson_interval(value, len(sure)) for value in quality.tolist()]).T
            threshold = np.append(NOBODY, sure[order])[leave]
            found.append(ExitCurve(cut, threshold, leave / len(sure), quality, low, high))
        return tuple(found)

    def _usable(self, plan: Plan) -> tuple[int, ...]:
        """Which exits a plan can have: up to the last cut where it sends, on devices that compute frames one by one.

        Layers behind a bottleneck are its tail's, of which the heads know nothing.
        """
        if self.whole_heads and any(hop.bottleneck for hop in plan.hops):
            return ()
        squeezed = [hop.cut for hop in plan.hops if hop.bottleneck][:1]
        last = squeezed[0] if squeezed else plan.hops[-1].cut if plan.hops else max(self.table.cuts)
        tried = replace(plan, exits=tuple(Exit(cut, (NOBODY,)) for cut in self.table.cuts if cut <= last))
        alone = [place for place, device in enumerate(plan.devices) if device.batch == 1]
        return tuple(exit.cut for place in alone for exit in tried.exits_on(place))

    def chosen(self, cuts: tuple[int, ...]) -> tuple[Exit, ...]:
        """Those of some exits that are worth having, with their thresholds."""
        if not cuts:
            return ()
        if cuts not in self._chosen:
            table, costs = self.table.at(cuts), self.costs.at([self.table.cuts.index(cut) for cut in cuts])
            if self.threshold in ("auto", "per class"):
                per_class = self.threshold == "per class"
                found = choose_exits(table, costs, least=self.least, per_class=per_class, seed=self.seed)
                exits, becomes = found.exits, found.judged_on
            else:
                exits = given_exits(table, self.threshold)
                becomes = what_becomes(table, exits, costs)
            self._chosen[cuts] = exits
            self.say(self._words(cuts, exits, becomes))
        return self._chosen[cuts]

    def _words(self, cuts: tuple[int, ...], exits: tuple[Exit, ...], becomes: Leaving) -> str:
        if not exits:
            return f"Of the exits at {listed(self.names[cut] for cut in cuts)} none saves anything at this accuracy."
        places = [
            f"{share:.0%} at {self.names[exit.cut]}" for exit, share in zip(exits, becomes.shares[:-1], strict=True)
        ]
        return (
            f"Early exits: {', '.join(places)} of {becomes.samples} validation samples leave; "
            f"{becomes.accuracy:.1%} right ({becomes.network_accuracy:.1%} without), "
            f"{becomes.cost / self.costs.layers[-1]:.0%} of the multiply-accumulates."
        )


def wanted_cuts(setting: Setting, graph: ModelGraph, samples: Samples, task: Task) -> tuple[Cut, ...]:
    """Behind which cuts a scenario wants early exits; none where it asks for none.

    Args:
        samples: the training part.

    Raises:
        ScenarioError: the task has not one class a sample, or the network no cut for an exit.
        CutError: there can be no exit where one is wanted.
        DataError: there is nothing to train with.
    """
    wanted = setting.scenario.exits
    if wanted is None:
        return ()
    logits_place(task, graph)
    cuts = exit_cuts(graph, () if wanted.at == "auto" else tuple(wanted.at))
    if not cuts:
        raise ScenarioError("this network has no cut that an exit could lie behind", where="exits", hint="remove exits")
    if len(samples) < 2:
        hint = "leave some of the data to training, or remove exits"
        problem = "exits are trained, and there are no training samples"
        raise DataError(problem, where="data.source", hint=hint)
    return cuts


def network_of_plans(
    setting: Setting, graph: ModelGraph, samples: Samples, task: Task, track: Track[Any]
) -> ModelGraph:
    """The network that all plans are made of: that of the scenario, or where exits are trained jointly one with them.

    Args, errors: as `wanted_cuts`, whose faults are found here, before anything is computed.
    """
    cuts, wanted = wanted_cuts(setting, graph, samples, task), setting.scenario.exits
    if wanted is None or not wanted.train.joint:
        return graph
    return jointly_trained(graph, cuts, samples, task=task, training=_training(setting), track=track)[0]


def early_exits(
    setting: Setting, testbed: Testbed, track: Track[Any], say: Callable[[str], object]
) -> EarlyExits | None:
    """Train the exits that a scenario asks for, and let a testbed's plans have them; None: it asks for none.

    Raises:
        SplitImperaError: as `wanted_cuts`.
    """
    wanted = setting.scenario.exits
    if wanted is None:
        return None
    graph, data, task = testbed.graph, testbed.data, testbed.task
    trained = with_heads(setting, testbed, track)
    cuts = [exit.cut for exit in trained.exits]
    layers = (*(cut.macs_head for cut in cuts), graph.cuts[-1].macs_head)
    costs = ExitCosts(tuple(map(float, layers)), tuple(float(exit.work.macs) for exit in trained.exits))
    table = exit_table(graph, trained, data.validation, task)
    names = {cut.index: cut.name for cut in cuts}
    least = _least(setting.scenario, table, task.quality.name)
    whole_heads = setting.scenario.bottlenecks.finetune_head
    return EarlyExits(table, costs, names, wanted.threshold, least, whole_heads, setting.scenario.seed, say)


def with_heads(setting: Setting, testbed: Testbed, track: Track[Any]) -> TrainedExits:
    """The heads of the exits that a scenario asks for, from the cache or trained; a testbed's plans can have them then.

    Raises:
        SplitImperaError: as `wanted_cuts`.
    """
    graph, data, task = testbed.graph, testbed.data, testbed.task
    cuts = wanted_cuts(setting, graph, data.train, task)
    trained = trained_exits(graph, cuts, data.train, task=task, training=_training(setting), track=track)
    for exit in trained.exits:
        testbed.add_exit(exit.cut.index, exit.head)
    return trained


def _training(setting: Setting) -> ExitTraining:
    wanted = setting.scenario.exits
    return ExitTraining(**({} if wanted is None else wanted.train.model_dump()), seed=setting.scenario.seed)


def _least(scenario: Scenario, table: ExitTable, quality: str) -> float | None:
    """The accuracy that thresholds have to keep: what is required, and its 95 % interval meets it as well."""
    limits = [each.limit for each in scenario.requirements if each.hard and each.metric == quality]
    if not limits:
        return None
    needed = max(limits) + SURE * sqrt(max(limits) * (1 - max(limits)) / table.samples)
    return needed if needed < float(table.right[-1].mean()) - LOSS else None
