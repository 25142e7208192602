"""study(file): which designs win where, over ranges of a scenario; interrupted at any time, it goes on where it was.

Cells that differ in links, devices, frames a second or requirements alone stand on common ground: their network is
read, their bottlenecks are trained and what their frames carry is learned once; then each cell is replayed.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from splitimpera.core.errors import ScenarioError, SplitImperaError
from splitimpera.core.kept import KeptFile
from splitimpera.core.progress import Track, no_progress
from splitimpera.core.version import __version__
from splitimpera.cost.devices import measured_here
from splitimpera.cost.measured_times import measurements_document
from splitimpera.evaluation.plan_space import plans_of
from splitimpera.evaluation.stopwatch import busy_line, measure
from splitimpera.evaluation.testbed import Coding, Testbed, coding_of
from splitimpera.models.threads import torch_threads
from splitimpera.net.compilation import wait_until_compiled
from splitimpera.partition.bottleneck import bottleneck_for
from splitimpera.records.measurements import Measurements
from splitimpera.records.plan import Hop, Plan
from splitimpera.saliency.cumulative import cumulative_saliency
from splitimpera.scenario.study_section import MOST_CHECKED, MOST_PLANS, Study, load_study
from splitimpera.setting import Setting, resolve
from splitimpera.studies.bench import content_of, judging, read_testbed
from splitimpera.studies.cell_keys import ground_key, plan_key, training_of
from splitimpera.studies.journal import Journal
from splitimpera.studies.learned import bare, plain
from splitimpera.studies.maps import Done, Map, Pool, in_process
from splitimpera.studies.searching import PlaceSearch
from splitimpera.studies.study_files import VALUES, Facts, open_journal, read_study, write_facts
from splitimpera.studies.study_results import StudyResults
from splitimpera.studies.study_work import Ground, Place, check_plans, learning, replaying, searched_for, training
from splitimpera.tasks.identity import identity
from splitimpera.training.for_plans import bottlenecks_of
from splitimpera.training.weight_files import digest

log = logging.getLogger(__name__)

FORMAT = 1
"""Of what is found in a cell: counted up when it means something else."""


def study(
    study: Study | str | Path,
    out: str | Path,
    *,
    workers: int = 1,
    using: Map | None = None,
    max_time_s: float | None = None,
    max_trainings: int | None = None,
    fresh_times: bool = False,
    track: Track[Any] = no_progress,
    say: Callable[[str], object] = str,
) -> StudyResults:
    """Evaluate the plans of every cell of a study, or go on with it.

    Args:
        study: A study, or the path of its file.
        out: The folder that it is kept in; what was done there before is not done again.
        workers: How many processes of this machine work, one thread each; with one, this process does.
        using: Another map, `ray_map.Ray` for example.
        max_time_s: No task is begun after so many seconds.
        max_trainings: No more bottlenecks are trained than this; plans of others are left out.
        fresh_times: Whether to time this machine anew, whatever was measured and kept before.
        track: Shows progress.
        say: Takes a line of news.

    Returns:
        All that is known of the study now, from earlier runs as well. The same for any number of workers and any map.

    Raises:
        SplitImperaError: the study's file is wrong, or none of its cells can be evaluated; its folder cannot be
            written, holds another study, or has another writer. A cell or a plan that fails alone stops nothing.

    Example:
        found = sei.study("study.yaml", "runs/mine", workers=2)
        found.frame().groupby("id")["latency_p95"].min()
    """
    if not isinstance(study, Study):
        study = load_study(study)
    check_plans(study)
    folder = Path(out).absolute()
    using = using or (Pool(workers) if workers > 1 else in_process)
    ends_s = None if max_time_s is None else time.monotonic() + max_time_s
    with open_journal(folder, study.name, write=True) as journal, KeptFile(folder / VALUES) as values:
        run = _Run(study, journal, values, folder, using, ends_s, max_trainings, fresh_times, track, say)
        run.run()
    found = read_study(folder)
    failed = [cell for cell in found.cells if cell.state == "failed"]
    if failed and not any(cell.state == "done" for cell in found.cells):
        raise ScenarioError(
            f"no cell can be evaluated; the first fails so: {failed[0].reason}", where=f"study '{study.name}'"
        )
    return found


@dataclass
class _Cell:
    index: int
    values: dict[str, Any]
    setting: Setting


class _OutOfTimeError(Exception):
    """The time that was given is over."""


@dataclass
class _Run:
    study: Study
    journal: Journal
    values: KeptFile
    folder: Path
    using: Map
    ends_s: float | None
    trainings: int | None
    fresh_times: bool
    track: Track[Any]
    say: Callable[[str], object]
    keys: list[str] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    searched: tuple[str, ...] = ()
    searches: list[str] = field(default_factory=list)

    def run(self) -> None:
        self._check_values()
        every = self.study.values()
        self.keys = [""] * len(every)
        groups = self._groups(every)
        base = resolve(self.study.scenario({}))
        try:
            for cells in groups:
                testbed, ground, keys = self._ground(cells)
                for cell, key in zip(cells, keys, strict=True):
                    self.keys[cell.index] = key
                if self.study.goal == "search":
                    self.searched = searched_for(ground, testbed)
                    self.searches.append(digest(repr((keys, self.study.search, self.trainings)))[:16])
                quality = testbed.task.quality.name
                write_facts(self.folder, self._facts(base, quality))
                if self._left(cells):
                    # what was learned for all cells serves each, whichever are left
                    search = self.study.goal == "search"
                    ground = self._searched(testbed, ground, cells) if search else self._trained(ground)
                    ground = self._learned(testbed, ground, cells)
                    if ground.failed:  # without some plans these are other cells, so that they can be completed later
                        lacking = digest(repr(sorted(map(str, ground.failed))))[:8]
                        for cell in cells:
                            self.keys[cell.index] += f"-{lacking}"
                        write_facts(self.folder, self._facts(base, quality))
                    self._replay(ground, self._left(cells))
        except _OutOfTimeError:
            self.say("The time that was given is over; the same command goes on.")

    def _left(self, cells: Sequence[_Cell]) -> list[_Cell]:
        return [cell for cell in cells if f"cell:{self.keys[cell.index]}" not in self.journal]

    def _facts(self, base: Setting, quality: str) -> Facts:
        scenario = base.scenario
        return Facts(
            name=self.study.name,
            goal=self.study.goal,
            axes=[(axis.keys, list(axis.values)) for axis in self.study.axes],
            spaced=list(self.study.spaced),
            requirements=[each.text for each in scenario.requirements],
            objective=scenario.objective,
            quality=quality,
            seed=scenario.seed,
            replications=self.study.replications,
            keys=self.keys,
            refused=self.refused,
            searched=list(self.searched),
            searches=self.searches,
        )

    def _check_values(self) -> None:
        """Refuse values that are wrong by themselves: presets, codecs and files that do not exist."""
        for axis in self.study.axes:
            for step in axis.values[:MOST_CHECKED]:
                values = dict(zip(axis.keys, step, strict=True))
                try:
                    resolve(self.study.scenario(values))
                except SplitImperaError as error:
                    raise ScenarioError(f"with {values}: {error}", where=f"ranges.{axis.keys[0]}") from None

    # What cells have in common ---------------------------------------------------------------------------------------

    def _groups(self, every: Sequence[dict[str, Any]]) -> list[list[_Cell]]:
        """The cells that can be, by the ground that they stand on."""
        found: dict[str, list[_Cell]] = {}
        for index, values in enumerate(self.track(every, "Reading the cells", len(every))):
            try:
                setting = resolve(self.study.scenario(values))
            except SplitImperaError as error:
                self.refused[index] = str(error)
                continue
            found.setdefault(ground_key(setting), []).append(_Cell(index, values, setting))
        if not found:
            raise ScenarioError(f"no cell can be evaluated; the first: {next(iter(self.refused.values()))}")
        if self.refused:
            self.say(f"{len(self.refused)} of {len(every)} cells have values that do not fit together.")
        return [*found.values()]

    def _ground(self, cells: Sequence[_Cell]) -> tuple[Testbed, Ground, list[str]]:
        """The testbed of some cells, what they share, and the journal's key of each."""
        first = cells[0].setting
        with torch_threads(1):
            testbed = judging(first, read_testbed(first, track=self.track, say=self.say), self.track)
            content = content_of(first, testbed)
            candidates = self._candidates(cells, testbed, content)
        ground = Ground(self.study, cells[0].values, first.scenario.seed, candidates)
        places: dict[Place, None] = {}
        times: dict[float, Measurements] = {}
        count = 0
        timed: dict[float, dict[str, Plan]] = {}
        known_plans: dict[str, list[Plan]] = {}
        seen: set[tuple[Any, ...]] = set()
        for cell in cells:
            of_fps = timed.setdefault(cell.setting.workload.fps, {})
            here = [(measured_here(device), device.batch) for device in cell.setting.devices]
            key = plan_key(cell.setting)
            if key not in known_plans or (*here, cell.setting.workload.fps, key) not in seen:
                seen.add((*here, cell.setting.workload.fps, key))
                plans = plans_of(cell.setting, testbed.graph, candidates, self.say if not known_plans else str)
                known_plans[key] = plans
                places |= dict.fromkeys(bottlenecks_of(plans))
                if any(own for own, _ in here):
                    of_fps |= {f"{key} {here} {plan.id}": plan for plan in plans}
            count += len(known_plans[key])
        if count > MOST_PLANS:
            raise ScenarioError(
                f"{len(cells)} cells have {count} plans together, at most {MOST_PLANS} are looked at",
                where="ranges",
                hint="thin the ranges ('count'), zip some of them, or name fewer cuts and codecs",
            )
        self.say(f"{len(cells)} cells with {count} plans.")
        ground = replace(ground, places=tuple(places))
        for fps, of_fps in timed.items():
            bench = testbed.with_workload(replace(testbed.workload, fps=fps))
            with torch_threads(1):
                times[fps] = measure(of_fps.values(), bench, fresh=self.fresh_times, track=self.track)
        for busy in filter(None, dict.fromkeys(map(busy_line, times.values()))):
            self.say(busy)
        ground = replace(ground, times=times)
        how = self.study.replications, self.study.goal  # a search trains in another way
        known = json.dumps([FORMAT, __version__, content, identity(testbed.task), candidates, how])
        about = {fps: json.dumps(measurements_document(each)) for fps, each in times.items()}
        keys = []
        for cell in cells:
            own = cell.setting.digest, about[cell.setting.workload.fps]
            keys.append(digest(known, *own)[:32])
        return testbed, ground, keys

    def _candidates(self, cells: Iterable[_Cell], testbed: Testbed, content: str) -> tuple[int, ...]:
        """The cuts that the curve recommends, where some cell asks for these."""
        if all(cell.setting.scenario.plans.cuts != "candidates" for cell in cells):
            return ()
        key = f"candidates:{content[:32]}"
        if key not in self.journal:
            curve = cumulative_saliency(testbed.graph, testbed.data.validation, task=testbed.task, track=self.track)
            self.journal.add(key, [each.cut for each in curve.candidates])
        return tuple(self.journal[key])

    # Work ------------------------------------------------------------------------------------------------------------

    def _done(self, work: Callable[[Ground], Any], ground: Ground, tasks: Sequence[Any], said: str) -> Iterator[Done]:
        """What becomes of tasks, as they are done."""
        if not tasks:
            return
        if self.ends_s is not None and time.monotonic() > self.ends_s:
            raise _OutOfTimeError
        results = self.using(_Made(work, ground), tasks)
        for done in self.track(results, said, len(tasks)):
            log.info("%s: %d by %s%s", said, done.place, done.worker, ", failed" if done.failure else "")
            yield done
            if self.ends_s is not None and time.monotonic() > self.ends_s:
                raise _OutOfTimeError

    def _trained(self, ground: Ground) -> Ground:
        """The ground with the bottlenecks that could be trained."""
        failed: dict[Coding | Place, str] = {}
        tasks = list(ground.places)
        if self.trainings is not None:
            for place in tasks[self.trainings :]:
                failed[place] = "no more bottlenecks were to be trained"
            tasks = tasks[: self.trainings]
            self.trainings -= len(tasks)
        for done in self._done(training, replace(ground, places=()), tasks, "Training bottlenecks"):
            if done.failure:
                failed[tasks[done.place]] = done.failure
                self.say(f"The bottleneck at cut {tasks[done.place][0]} failed: {done.failure}")
        return replace(ground, places=tuple(place for place in ground.places if place not in failed), failed=failed)

    def _searched(self, testbed: Testbed, ground: Ground, cells: Sequence[_Cell]) -> Ground:
        """The ground with the bottlenecks that a search over all cells has trained fully."""
        wait_until_compiled(self.track)
        if not ground.places:
            raise ScenarioError(
                "there are no bottlenecks to search for", where="bottlenecks.ratios", hint="give ratios"
            )
        wanted = self.study.search
        curve = None
        if "cs" in wanted.strategy:
            curve = cumulative_saliency(testbed.graph, testbed.data.validation, task=testbed.task, track=self.track)
        elements = {
            place: bottleneck_for(testbed.graph.cuts[place[0]], place[1], testbed.graph.cuts).latent_elements
            for place in ground.places
        }
        search = PlaceSearch(
            replace(ground, cells=tuple(cell.values for cell in cells)),
            cells[0].setting.scenario.bottlenecks.epochs,
            curve,
            elements,
            self.searches[-1],
            self.searched,
            self.trainings,
            self.journal,
            self._done,
            self.say,
        )
        return search.run()

    def _learned(self, testbed: Testbed, ground: Ground, cells: Sequence[_Cell]) -> Ground:
        """The ground with what frames carry, learned or from an earlier run."""
        tasks = self._hops(testbed, ground, cells)
        names = self._names(testbed, ground, cells[0].setting, tasks)
        learned = {coding: found for coding, name in names.items() if (found := self.values.get(name)) is not None}
        missing = [those for task in tasks if (those := [hop for hop in task if _coding(hop) not in learned])]
        failed = dict(ground.failed or {})
        for done in self._done(learning, ground, missing, "Learning what frames carry"):
            if done.failure:
                self.say(f"Some plans failed: {done.failure.splitlines()[-1]}")
                failed |= {coding_of(hop): done.failure for hop in missing[done.place] if hop is not None}
                continue
            found, _ = done.value
            self.values.put({names[coding]: packed for coding, packed in found.items()})
            learned |= found
        return replace(ground, failed=failed, learned=learned)

    def _hops(self, testbed: Testbed, ground: Ground, cells: Sequence[_Cell]) -> list[list[Hop | None]]:
        """Hops whose frames have to be learned of, those of a cut and bottleneck together; None: the whole network."""
        hops: dict[Place, dict[Hop, None]] = {}
        seen = set()
        for cell in cells:
            key = plan_key(cell.setting), plain(cell.setting.link)
            if key in seen:
                continue
            seen.add(key)
            for plan in plans_of(cell.setting, testbed.graph, ground.candidates, str):
                for hop in [] if ground.lacking(plan) else plan.hops:
                    hops.setdefault((hop.cut, hop.bottleneck), {}).update(dict.fromkeys(bare(hop)))
        return [[None], *map(list[Hop | None], hops.values())]

    def _names(
        self, testbed: Testbed, ground: Ground, setting: Setting, tasks: Iterable[Sequence[Hop | None]]
    ) -> dict[Coding | None, str]:
        """Under which name it is kept what is learned of each coding: a digest of all that it follows from."""
        losing: dict[Coding | None, list[str]] = {}
        for hop in (hop for task in tasks for hop in task):
            losing.setdefault(_coding(hop), []).append("" if hop is None else f"{hop.transport} {hop.link!r}")
        about = digest(testbed.digest(()), content_of(setting, testbed), identity(testbed.task))
        base = FORMAT, __version__, about, sorted(training_of(setting).items()), ground.seed, ground.epochs
        return {coding: digest(repr((base, coding, sorted(those)))) for coding, those in losing.items()}

    def _replay(self, ground: Ground, todo: Sequence[_Cell]) -> None:
        wait_until_compiled(self.track)
        tasks = [cell.values for cell in todo]
        for done in self._done(replaying, ground, tasks, "Evaluating the cells"):
            key = self.keys[todo[done.place].index]
            if done.failure:
                self.say(f"Cell {todo[done.place].index} failed: {done.failure.splitlines()[-1]}")
                self.journal.add(f"failed:{key}", done.failure)
            else:
                self.journal.add(f"cell:{key}", done.value | {"worker": done.worker})


@dataclass(frozen=True)
class _Made:
    """Work on some ground, as a map takes it."""

    work: Callable[[Ground], Any]
    ground: Ground

    def __call__(self) -> Any:
        return self.work(self.ground)


def _coding(hop: Hop | None) -> Coding | None:
    return None if hop is None else coding_of(hop)
