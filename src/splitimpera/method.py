"""The whole method in one call: `design(scenario)`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from splitimpera.core.errors import DataError, ScenarioError
from splitimpera.core.kept import KeptFile
from splitimpera.core.progress import Expect, Track, no_progress
from splitimpera.cost.devices import measured_here
from splitimpera.cost.profiles import fingerprint
from splitimpera.designs import Accuracy, Design
from splitimpera.evaluation.plan_space import space_of
from splitimpera.evaluation.stopwatch import busy_line, measure
from splitimpera.evaluation.testbed import Testbed, coding_of, route_of
from splitimpera.evaluation.token_stopwatch import measure_tokens
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.accelerators import rounding, torch_device, torch_precision
from splitimpera.models.threads import torch_threads
from splitimpera.net.compilation import wait_until_compiled
from splitimpera.qos.hopeless import hopeless, infeasible
from splitimpera.qos.recommendation import Recommendation, recommend
from splitimpera.qos.settled import Settled
from splitimpera.qos.verdict import chance_decides
from splitimpera.records.measurements import Measurements
from splitimpera.records.outcome import Evaluation
from splitimpera.records.plan import Plan
from splitimpera.saliency.cumulative import cumulative_saliency
from splitimpera.scenario import Scenario
from splitimpera.setting import Setting, resolve
from splitimpera.studies.bench import content_of, judging, read_testbed
from splitimpera.studies.capacity import find_capacity
from splitimpera.studies.early_exits import early_exits
from splitimpera.studies.exploration import explore as explored
from splitimpera.studies.loss_curve import LossCurve, worth_a_curve
from splitimpera.studies.outlook import expected_work
from splitimpera.studies.pruning import covering, is_large, worth_evaluating
from splitimpera.studies.sensitivity import Change, Sensitivity
from splitimpera.studies.shown import shown_samples
from splitimpera.studies.sweeps import shortlist
from splitimpera.studies.token_sweep import TokenCurve, token_curves, token_plans
from splitimpera.studies.trial import Trials
from splitimpera.tasks.qualities import QUALITIES, title_of
from splitimpera.tasks.quality import value_of
from splitimpera.training.for_plans import bottlenecks_of, trained_for

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
    every_accuracy: bool = False,
    fresh_times: bool = False,
    device: str | torch.device | None = None,
    autocast: str | torch.dtype | None = None,
    kept: KeptFile | None = None,
    preview: Callable[[Recommendation], object] = repr,
    track: Track[Any] = no_progress,
    expect: Expect = dict,
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
        every_accuracy: whether to compute the accuracy of plans, too, that miss a requirement whatever they predict.
        fresh_times: whether to time this machine anew, whatever was measured and kept before.
        device: Where saliency, training and accuracy are computed: "auto", "cpu", "cuda" or "mps", as
            `models.accelerators.torch_device` has them; None: where the network lies. The devices of the scenario are
            modelled, or this machine's processor is timed for them, whatever stands here.
        autocast: Mixed precision there, "bfloat16" or, where nothing is trained, "float16"; None: full precision.
        kept: what earlier runs computed, which is not computed again.
        preview: takes what is known as soon as all timelines are: all plans, without the accuracy of any.
        track: shows progress.
        expect: takes how much work each stage will be.
        say: takes a line of news after each stage.

    Raises:
        SplitImperaError: something that the scenario names is wrong, missing or does not fit.

    Example:
        found = sei.design("scenario.yaml", seed=1)
        print(found.recommendation.reasons)
        sei.save(found, "runs/mine")
    """
    if replications < 1:
        raise ScenarioError(f"{replications} is out of range, it must be 1 or more", where="replications")
    place, precision = None if device is None else torch_device(device), torch_precision(autocast)
    setting = scenario if isinstance(scenario, Setting) else resolve(scenario)
    scenario = setting.scenario
    if precision == torch.float16 and scenario.bottlenecks.ratios:
        raise ScenarioError(
            "bottlenecks are trained, and gradients of float16 vanish", where="autocast", hint="give bfloat16"
        )
    testbed = read_testbed(setting, place, precision, track, say)
    if measurements is not None:
        _check_measurements(measurements, testbed.graph)
    seed = scenario.seed if seed is None else seed
    run = _Run(
        setting,
        seed,
        replications,
        workers,
        every_accuracy,
        fresh_times,
        place,
        precision,
        kept,
        preview,
        track,
        expect,
        say,
    )
    # sums of several threads may differ in the last bit from those of one
    with torch_threads(_threads(setting, measurements)):
        return run.design(testbed, measurements, explore)


@dataclass(frozen=True)
class _Run:
    """One design run: what holds throughout."""

    setting: Setting
    seed: int
    replications: int
    workers: int
    every_accuracy: bool
    fresh_times: bool
    device: torch.device | None
    autocast: torch.dtype | None
    kept: KeptFile | None
    preview: Callable[[Recommendation], object]
    track: Track[Any]
    expect: Expect
    say: Callable[[str], object]

    def design(self, testbed: Testbed, measurements: Measurements | None, explore: bool | None) -> Design:
        setting = self.setting
        testbed = judging(setting, testbed, self.track)
        graph, data, task = testbed.graph, testbed.data, testbed.task
        where: dict[str, Any] = {"device": self.device, "autocast": self.autocast, "task": task}
        self.expect(expected_work(graph, data))
        name = f"saliency-{content_of(setting, testbed)}{rounding(self.device, self.autocast)}"
        done = None if self.kept is None else self.kept.section(name)
        curve = cumulative_saliency(
            graph, data.validation, class_names=data.classes, kept=done, track=self.track, **where
        )
        space = space_of(setting, graph, [each.cut for each in curve.candidates], self.say, testbed.blocks)
        plans = covering(space) if testbed.blocks is None else [*space.plans()]
        self.expect(expected_work(graph, data, plans, explore is not False))
        splits = trained_for(bottlenecks_of(plans), setting, graph, data.train, self.track, self.say, **where)
        for (_, ratio), split in splits.items():
            testbed.add_split(ratio, split)
        exits = early_exits(setting, testbed, self.track, self.say)
        early = [] if exits is None else [*exits.variants(plans)]
        testbed.prepare(coding_of(hop) for plan in plans for hop in plan.hops)
        times = measurements
        if times is None:
            take = measure if testbed.blocks is None else measure_tokens
            times = take([*plans, *early], testbed, fresh=self.fresh_times, track=self.track)
        wanted = setting.scenario.requirements
        if is_large(space) and testbed.blocks is None:
            how = wanted, setting.scenario.objective, self.say
            plans = worth_evaluating(space, testbed, times, testbed.workload, *how, early=exits is not None)
            early = [] if exits is None else [*exits.variants(plans)]
            if measurements is None and early:  # other sets of heads than before
                times = times.joined(measure(early, testbed, fresh=self.fresh_times, track=self.track))
        testbed.prepare(coding for plan in plans for coding in route_of(plan.hops))
        plans = [*plans, *early]
        if busy := busy_line(times):
            self.say(busy)
        trials = Trials(
            testbed,
            times,
            self.seed,
            self.replications,
            self.workers,
            self.kept,
            needless=lambda evaluation: infeasible(evaluation, wanted),
            track=self.track,
        )
        wait_until_compiled(self.track)
        begun_s = time.monotonic()
        found = {one.plan.id: one for one in trials.timelines(plans)}
        replay_s = (time.monotonic() - begun_s) / len(plans)
        self.preview(self._recommend(found))
        found |= self._valued(found, trials)
        recommendation = self._recommend(found)
        recommendation = self._decided(found, recommendation, trials)
        loss_curves: tuple[LossCurve, ...] = ()
        changed: tuple[Change, ...] = ()
        sensitivities: tuple[Sensitivity, ...] = ()
        capacity = None
        short = shortlist(recommendation.verdicts)
        explores = self._explores(explore, replay_s * len(short) * DECISIONS)
        if explores:
            unknown = [plan for plan in short if plan.id not in trials.known]
            if unknown:  # they are hopeless as things stand, so that nothing is settled by more loss patterns
                found |= {one.plan.id: one for one in trials.evaluated(unknown, settled=lambda *_: True)}
                recommendation = self._recommend(found)
            loss_curves = _drawn_curves(recommendation, short, trials)
            changed, sensitivities = explored(setting, testbed.workload, recommendation, trials.trial, self.track)
        chosen = recommendation.chosen.evaluation.plan if recommendation.chosen is not None else None
        if explores and chosen is not None:
            known = trials.known[chosen.id]
            rng, of_frames = (lambda: trials.rng(chosen)), (known.sizes, known.leaving)
            capacity = find_capacity(chosen, testbed, times, rng, 1, self.workers, *of_frames)
        base, on_test = self._on_test(plans[0], chosen, trials)
        return Design(
            setting=setting,
            seed=self.seed,
            replications=self.replications,
            data=data,
            graph=graph,
            curve=curve,
            base=base,
            measurements=times,
            evaluations=tuple(found.values()),
            recommendation=recommendation,
            chosen_on_test=on_test,
            loss_curves=loss_curves,
            changes=changed,
            sensitivities=sensitivities,
            capacity=capacity,
            shown=shown_samples(testbed, chosen, np.random.default_rng(self.seed), self.say),
            exit_curves=() if exits is None else exits.curves(),
            token_curves=_waits(recommendation, trials),
        )

    def _valued(self, found: Mapping[str, Evaluation], trials: Trials) -> dict[str, Evaluation]:
        """The evaluations of all plans that some accuracy can save; where none can be, of the best few."""
        wanted, plans = self.setting.scenario.requirements, [one.plan for one in found.values()]
        at_best = {plan.id: trials.at_best(found[plan.id]) for plan in plans}
        out = {name for name, best in at_best.items() if hopeless(found[name], best, wanted)}
        possible = [plan for plan in plans if self.every_accuracy or plan.id not in out]
        if len(possible) < len(plans):
            few = "" if possible else " but for the best few"
            possible = possible or shortlist(self._recommend(found).verdicts)
            self.say(
                f"{len(out)} of {len(plans)} plans violate a requirement whatever they predict: their "
                f"{title_of(trials.testbed.task.quality.name)} is not computed{few} ('--all' does it all the same)."
            )
        final = {name: best for name, best in at_best.items() if best is found[name]}
        settled = Settled(final, wanted, trials.testbed.task.quality.name, self.setting.scenario.objective, out)
        return {one.plan.id: one for one in trials.evaluated(possible, settled)} if possible else {}

    def _recommend(self, found: Mapping[str, Evaluation]) -> Recommendation:
        scenario = self.setting.scenario
        return recommend(tuple(found.values()), scenario.requirements, scenario.objective, scenario.tolerance)

    def _decided(self, found: dict[str, Evaluation], first: Recommendation, trials: Trials) -> Recommendation:
        """What is recommended once the links of those plans are simulated more often on which chance decides."""
        undecided = [verdict for verdict in first.verdicts if verdict.open and chance_decides(verdict)]
        if not undecided:
            return first
        for verdict in self.track(undecided, "Simulating what is undecided more often", len(undecided)):
            found[verdict.id] = trials.again(verdict.evaluation, self.replications * MORE_REPLICATIONS)
        return self._recommend(found)

    def _on_test(self, local: Plan, chosen: Plan | None, trials: Trials) -> tuple[Accuracy, Accuracy | None]:
        """The accuracy of the whole network on the test part, and of the chosen plan."""
        tested = trials.on_test([local] if chosen is None or chosen.id == local.id else [local, chosen])
        quality, intact = trials.testbed.task.quality, tested[0].known.intact
        base = Accuracy(value_of(quality, intact), quality.interval(intact))
        self.say(QUALITIES[quality.name].of_whole_network(base.value, base.interval, intact.shape[0]))
        if chosen is None:
            return base, None
        evaluation = tested[-1].evaluation
        return base, Accuracy(evaluation.quality, evaluation.quality_ci)

    def _explores(self, wanted: bool | None, expected_s: float) -> bool:
        if wanted is None and expected_s > EXPLORING_S:
            self.say(
                f"What would change the choice was left out: it might take {expected_s / 60:.0f} minutes. "
                "'splitimpera design --explore' does it all the same."
            )
        return expected_s <= EXPLORING_S if wanted is None else wanted


def _drawn_curves(found: Recommendation, short: Sequence[Plan], trials: Trials) -> tuple[LossCurve, ...]:
    """Quality against packet loss, of the best plans over UDP; what is explored knows then what losses do."""
    shown = {plan.id: plan for plan in worth_a_curve(found.verdicts) if plan.id in trials.known}
    over_udp = (plan for plan in short if any(hop.transport.startswith("udp") for hop in plan.hops))
    others = [plan for plan in over_udp if plan.id not in shown]
    curves = trials.loss_curves([*shown.values(), *others])[: len(shown)]
    return tuple(sorted(curves, key=lambda curve: curve.plan.hops[0].cut))


def _waits(found: Recommendation, trials: Trials) -> tuple[TokenCurve, ...]:
    """How long requests to a language model wait for tokens, were the link another one."""
    workload = trials.testbed.workload
    return () if workload.tokens is None else token_curves(token_plans(found), workload, trials.timing, trials.track)


def _threads(setting: Setting, measurements: Measurements | None) -> int | None:
    if not any(map(measured_here, setting.devices)):
        return 1
    return None if measurements is None else measurements.values_threads or measurements.threads


def _check_measurements(measurements: Measurements, graph: ModelGraph) -> None:
    if measurements.segments and measurements.fingerprint != fingerprint(graph):
        raise DataError(
            "these times were measured with another network, or another input size",
            where="measurements",
            hint="leave them out, and the plans are timed on this machine",
        )
