"""The work of a study: trainings, what frames carry, cells. Each is a function that makes a worker, as maps take it.

Tasks, results and what workers share are plain values, so that any process may do them; with one thread each, and
batches that do not depend on who does them, results are the same to the byte.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, nan
from typing import Any

from splitimpera.core.errors import ScenarioError
from splitimpera.core.progress import no_progress
from splitimpera.core.units import FRACTION
from splitimpera.cost.timing import keep_freed_memory
from splitimpera.evaluation.chance import Chance
from splitimpera.evaluation.plan_space import plans_of
from splitimpera.evaluation.replay import replay
from splitimpera.evaluation.testbed import Coding, Testbed, coding_of
from splitimpera.evaluation.truths import response_bytes
from splitimpera.evaluation.values import Known
from splitimpera.models.threads import torch_threads
from splitimpera.qos.hopeless import infeasible
from splitimpera.qos.recommendation import recommend
from splitimpera.qos.verdict import chance_decides, judge, needs_stability, worth
from splitimpera.records.measurements import Measurements
from splitimpera.records.outcome import Evaluation
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.requirement import BALANCED, METRICS
from splitimpera.records.traffic import Workload
from splitimpera.scenario.study_section import Study
from splitimpera.setting import Setting, resolve
from splitimpera.studies.bench import judging, read_testbed
from splitimpera.studies.cell_rows import rows_of
from splitimpera.studies.learned import Learned, bare, learn
from splitimpera.studies.maps import Worker
from splitimpera.studies.trial import Trials
from splitimpera.training.for_plans import trained_for
from splitimpera.training.settings import TrainingArguments

MORE_REPLICATIONS = 4
"""Plans on whose verdict chance decides are simulated so many times as often, as a design does it."""

Place = tuple[int, float]
"""A cut, and the ratio of a bottleneck there."""
Worths = tuple[float, ...]
"""What something comes to, by objective; larger is better."""
Values = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Ground:
    """What the tasks of all cells share that have one network, data, task and training.

    Attributes:
        first: The values of one of these cells; any would do.
        seed: Of links and trainings.
        candidates: The cuts, where a scenario names none.
        places: The bottlenecks that are trained.
        times: Times of this machine by frames a second, for devices without profile or preset.
        learned: What frames carry, packed, by how they are coded; None: the whole network.
        failed: Codings, and cuts with ratios, that cannot be had, and why.
        epochs: How far bottlenecks are trained, at constant learning rates; None: as the scenario says.
        cells: The values of all cells, for a search over them.
    """

    study: Study
    first: Values
    seed: int
    candidates: tuple[int, ...] = ()
    places: tuple[Place, ...] = ()
    times: Mapping[float, Measurements] | None = None
    learned: Mapping[Coding | None, bytes] | None = None
    failed: Mapping[Coding | Place, str] | None = None
    epochs: tuple[int, int] | None = None
    cells: tuple[Values, ...] = ()

    def setting(self, values: Values) -> Setting:
        """A cell's setting."""
        return resolve(self.study.scenario(values))

    def testbed(self) -> Testbed:
        """Where plans are tried out, with all bottlenecks, which are in the cache or trained for it."""
        setting = self.setting(self.first)
        return self.with_splits(judging(setting, read_testbed(setting)), self.places, self.epochs)

    def with_splits(self, testbed: Testbed, places: Iterable[Place], epochs: tuple[int, int] | None) -> Testbed:
        """A testbed with bottlenecks; those of a search go on from where they were trained to."""
        others: TrainingArguments = {} if epochs is None else {"epochs": epochs, "schedule": "constant"}
        setting, graph, train = self.setting(self.first), testbed.graph, testbed.data.train
        splits = trained_for(places, setting, graph, train, no_progress, str, task=testbed.task, **others)
        for (_, ratio), split in splits.items():
            testbed.add_split(ratio, split)
        return testbed

    def lacking(self, plan: Plan) -> str:
        """Why a plan cannot be evaluated; empty where it can."""
        failed = self.failed or {}
        reasons = [failed.get((hop.cut, hop.bottleneck)) or failed.get(coding_of(hop), "") for hop in plan.hops]
        return next(filter(None, reasons), "")


def check_plans(study: Study) -> None:
    """Refuse scenarios whose plans a study does not know.

    Raises:
        ScenarioError: there are more than two devices, early exits, or requests to a language model.
    """
    scenario = study.scenario({})
    if scenario.exits is not None:
        place = f"study '{study.name}': exits"
        raise ScenarioError("studies and policies know no early exits", where=place, hint="leave exits out here")
    if scenario.workload.tokens is not None:
        place = f"study '{study.name}': workload.tokens"
        hint = "'splitimpera design' takes them, and its report tells how they depend on the link"
        raise ScenarioError("studies and policies know no requests to language models", where=place, hint=hint)
    devices = len(scenario.devices)
    if devices > 2:
        raise ScenarioError(
            f"studies and policies take 2 devices with 1 link, given {devices}",
            where=f"study '{study.name}': devices",
            hint="'splitimpera design' takes more; leave out all but two here",
        )


def training(ground: Ground) -> Worker:
    """A worker that trains the bottleneck of a place, which is then in the cache; it returns the seconds it took."""
    keep_freed_memory()
    with torch_threads(1):
        setting = ground.setting(ground.first)
        testbed = judging(setting, read_testbed(setting))

    def train(place: Place) -> float:
        begun_s = time.perf_counter()
        with torch_threads(1):
            trained_for([place], setting, testbed.graph, testbed.data.train, no_progress, str, task=testbed.task)
        return time.perf_counter() - begun_s

    return train


def learning(ground: Ground) -> Worker:
    """A worker that learns what the frames of some hops carry, None for the whole network; those of one cut together.

    It returns each coding with what was learned, packed, and the seconds it took.
    """
    keep_freed_memory()
    with torch_threads(1):
        testbed = ground.testbed()

    def learnt(hops: Sequence[Hop | None]) -> tuple[dict[Coding | None, bytes], float]:
        begun_s = time.perf_counter()
        with torch_threads(1):
            testbed.prepare(coding_of(hop) for hop in hops if hop is not None)
            found = learn(hops, testbed, ground.seed)
        packed = {None if hop is None else coding_of(hop): each.packed() for hop, each in found.items()}
        return packed, time.perf_counter() - begun_s

    return learnt


def replaying(ground: Ground) -> Worker:
    """A worker that finds what is recommended in a cell, given its values; it returns the cell's rows, and seconds."""
    with torch_threads(1):
        bench = ground.testbed()
        learned = ground.learned or {}
        bench.prepare(coding for coding in learned if coding is not None)
        known = {coding: Learned.unpacked(packed).known(bench) for coding, packed in learned.items()}
        own_response = response_bytes(bench)

    def replayed(values: Values) -> dict[str, Any]:
        begun_s = time.perf_counter()
        setting = ground.setting(values)
        scenario = setting.scenario
        testbed = bench.with_workload(_workload(setting, own_response))
        plans = plans_of(setting, bench.graph, ground.candidates, str)
        left_out = {plan: why for plan in plans if (why := ground.lacking(plan))}
        plans = [plan for plan in plans if plan not in left_out]
        trials = _trials(ground, setting, testbed, {plan.id: known[_coding(plan)] for plan in plans})
        found = {plan.id: trials.trial(plan, testbed.workload) for plan in plans}
        chance = Chance(found.values(), scenario.tolerance)
        verdicts = [judge(place, chance, scenario.requirements) for place in range(len(found))]
        often = ground.study.replications * MORE_REPLICATIONS
        for verdict in verdicts:
            if verdict.open and chance_decides(verdict):
                plan = verdict.evaluation.plan
                known_of = trials.known[plan.id]
                found[plan.id] = replay(plan, testbed, trials.times, known_of, trials.rng(plan), often)
        decision = recommend(tuple(found.values()), scenario.requirements, scenario.objective, scenario.tolerance)
        row, rows = rows_of(decision, bench.graph.cuts, bench.task.quality, left_out)
        return {
            "row": row.model_dump(mode="json"),
            "plans": [each.model_dump(mode="json") for each in rows],
            "spent_s": round(time.perf_counter() - begun_s, 3),
        }

    return replayed


def scouting(ground: Ground) -> Worker:
    """A worker that says what the bottleneck of a place cannot exceed whatever is trained, by the timelines alone.

    It returns, for each objective of the search, the mean over all cells of the best that a plan may come to, 0 where
    the timelines rule out all of them; None where they do so in every cell.
    """
    over = _Over(ground)

    def scouted(place: Place) -> Worths | None:
        testbed, plans = over.trained(place, (0, 0))
        bounds = []
        for setting, workload, of_cell in over.each(plans):
            trials = _trials(ground, setting, testbed.with_workload(workload), {})
            found = map(trials.at_best, trials.timelines(of_cell))
            bounds.append(_best(_at_most(each, setting, over.objectives) for each in found))
        return _mean(bounds)

    return scouted


def trying(ground: Ground) -> Worker:
    """A worker that trains the bottleneck of a place so many epochs, and says what it is worth then.

    It returns, for each objective of the search, the mean over all cells of the best that a feasible plan comes to, 0
    where none is feasible; None where none is in any cell. Larger is better: of what should be small, x in SI units, it
    is 1 / (1 + x).
    """
    over = _Over(ground)

    def tried(job: tuple[Place, tuple[int, int]]) -> Worths | None:
        testbed, plans = over.trained(*job)
        with torch_threads(1):
            hops = dict.fromkeys(bare(plan.hops[0]) for of_cell in plans for plan in of_cell)
            learned = learn([each for of_hop in hops for each in of_hop], testbed, ground.seed)
        known = {coding_of(hop): each.known(testbed) for hop, each in learned.items() if hop is not None}
        values = []
        for setting, workload, of_cell in over.each(plans):
            here = {plan.id: known[coding_of(plan.hops[0])] for plan in of_cell}
            trials = _trials(ground, setting, testbed.with_workload(workload), here)
            found = [trials.trial(plan, workload) for plan in of_cell]
            values.append(_best(_worths(each, setting, over.objectives) for each in found))
        return _mean(values)

    return tried


class _Over:
    """What is tried of bottlenecks over all cells of a search."""

    def __init__(self, ground: Ground) -> None:
        keep_freed_memory()
        self.ground = ground
        with torch_threads(1):
            self.bench = replace(ground, places=()).testbed()
            self.own_response = response_bytes(self.bench)
        self.settings = [ground.setting(values) for values in ground.cells]
        self.objectives = searched_for(ground, self.bench)

    def trained(self, place: Place, epochs: tuple[int, int]) -> tuple[Testbed, list[list[Plan]]]:
        """A testbed with the bottleneck of a place, trained so far, and its plans in each cell."""
        with torch_threads(1):
            empty = Testbed(self.bench.graph, self.bench.data, self.bench.workload, task=self.bench.task)
            testbed = self.ground.with_splits(empty, [place], epochs)
            every = [plans_of(each, self.bench.graph, self.ground.candidates, str) for each in self.settings]
            plans = [_at(place, of_cell) for of_cell in every]
            testbed.prepare(sorted({coding_of(plan.hops[0]) for of_cell in plans for plan in of_cell}))
        return testbed, plans

    def each(self, plans: Iterable[list[Plan]]) -> Iterator[tuple[Setting, Workload, list[Plan]]]:
        """Each cell with its plans."""
        for setting, of_cell in zip(self.settings, plans, strict=True):
            yield setting, _workload(setting, self.own_response), of_cell


def searched_for(ground: Ground, testbed: Testbed) -> tuple[str, ...]:
    """The metrics that a search is for; "balanced" stands for the quality of the responses that are on time."""
    named = ground.study.search.objectives or [ground.setting(ground.first).scenario.objective]
    return tuple(f"on_time_{testbed.task.quality.name}" if name == BALANCED else name for name in named)


def _at(place: Place, plans: Iterable[Plan]) -> list[Plan]:
    return [plan for plan in plans if plan.hops and (plan.hops[0].cut, plan.hops[0].bottleneck) == place]


def _worths(found: Evaluation, setting: Setting, objectives: Sequence[str]) -> Worths | None:
    """What a plan is worth; None where it is not feasible."""
    metrics = found.metrics()
    if found.cannot_run or not all(
        each.met(metrics.get(each.metric, nan)) and (found.stable or not needs_stability(each.metric))
        for each in setting.scenario.requirements
        if each.hard
    ):
        return None
    values = [worth(found, metrics, objective) for objective in objectives]
    if not all(map(isfinite, values)):
        return None
    small = [METRICS[objective].better == "lower" for objective in objectives]
    return tuple(1 / (1 - value) if less else value for value, less in zip(values, small, strict=True))


def _at_most(found: Evaluation, setting: Setting, objectives: Sequence[str]) -> Worths | None:
    """What a plan's worth cannot exceed whatever is trained; None where its timeline rules it out."""
    if infeasible(found, setting.scenario.requirements):
        return None
    quality = METRICS[found.quality_metric]
    if quality.dimension is not FRACTION or quality.better == "lower":
        return tuple(inf for _ in objectives)
    deadline_s = setting.workload.deadline_s or 1 / setting.workload.fps
    on_time = float((found.latency_s <= deadline_s).mean())
    return tuple(on_time if objective == f"on_time_{found.quality_metric}" else inf for objective in objectives)


def _best(found: Iterable[Worths | None]) -> Worths | None:
    """The best of each objective; None where there is none."""
    those = [each for each in found if each is not None]
    return tuple(map(max, zip(*those, strict=True))) if those else None


def _mean(of_cells: Sequence[Worths | None]) -> Worths | None:
    """The mean over cells, where those without anything count 0; None where there is nothing in any."""
    those = [each for each in of_cells if each is not None]
    return tuple(sum(column) / len(of_cells) for column in zip(*those, strict=True)) if those else None


def _coding(plan: Plan) -> Coding | None:
    return coding_of(plan.hops[0]) if plan.hops else None


def _workload(setting: Setting, own_response: int) -> Workload:
    runtime = setting.scenario.workload.response == "runtime"
    return setting.workload_for(own_response) if runtime else setting.workload


def _trials(ground: Ground, setting: Setting, testbed: Testbed, known: dict[str, Known]) -> Trials:
    """Evaluates a cell's plans, of whose frames all is known."""
    return Trials(
        testbed,
        (ground.times or {})[testbed.workload.fps],
        ground.seed,
        ground.study.replications,
        known=known,
        needless=lambda found: infeasible(found, setting.scenario.requirements),
        once_if_overloaded=True,
    )
