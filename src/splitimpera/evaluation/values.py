"""What each frame's prediction is worth, given which bytes of it are missing."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.core.statistics import Interval
from splitimpera.evaluation.damage import DamageCurve, erased_share, survives
from splitimpera.evaluation.requests import Answer, Content, Damaged, Gap, Intact, Looked, Request
from splitimpera.evaluation.rounds import wanted
from splitimpera.evaluation.stages import Sent
from splitimpera.evaluation.testbed import Part, Testbed, route_of
from splitimpera.evaluation.vectors import (
    Bools,
    either,
    filled,
    mean_of,
    means_of_samples,
    minus,
    plus,
    stacked,
    table,
    values_of_groups,
)
from splitimpera.records.exits import GOES_ON, leaves_at
from splitimpera.records.plan import Plan
from splitimpera.tasks.quality import Matrix

T = TypeVar("T")
Asking = Generator[Sequence[Request], Mapping[Request, Answer], T]
"""A computation that asks for predictions now and then."""


@dataclass(frozen=True, eq=False)
class Worth:
    """What the predictions of a plan's frames are worth.

    Attributes:
        contributions: what each sample contributes to the quality, vectors (samples, m) of each round or replication.
        on_time: the same, where a late response counts as none.
        rounds: how many loss patterns of each sample were evaluated; None: all of them.
        known: what a replay of the timeline needs.
        of_exits: the quality of the frames that left at each early exit, and last that of all others; NaN of none.
        stood_in: the share of frames for which an exit's answer stands in, since the response is lost or late.
    """

    contributions: Any
    on_time: Any
    rounds: int | None
    known: Known
    of_exits: tuple[float, ...] = ()
    stood_in: float = 0.0


@dataclass(frozen=True, eq=False)
class Known:
    """What was computed of a plan's frames, enough to say what other frames of the same samples are worth.

    Attributes:
        sizes: bytes of the undamaged payloads at each hop, shape (samples,) each.
        element_bytes: the size of an element at each hop.
        intact: what each sample contributes to the quality, nothing lost, vectors (samples, m).
        lost: the same without a response.
        damage: what a damaged frame's vector differs by, given how much of it is missing.
        leaving: At which of each device's early exits each sample leaves, nothing lost, shape (samples,); -1: at none.
            None of a device without exits.
        stand_in: what each sample contributes with the answer of the first device's last exit, vectors (samples, m);
            None: it has none.
    """

    sizes: tuple[IntArray, ...]
    element_bytes: tuple[int, ...]
    intact: Matrix
    lost: Matrix
    damage: DamageCurve
    leaving: tuple[IntArray | None, ...] = ()
    stand_in: Matrix | None = None


class Values:
    """What a plan's frames carry on their way; frames of one content share one computation.

    Undamaged frames of one sample carry the same; so do frames of one sample with the same gap, whichever replication
    damaged them. A frame of which nothing came is a wrong prediction, and so is one with a gap that its codec cannot
    bear. Where the first device has early exits, the answer of the last of them stands in for a response that is lost
    or late: it is given at the deadline.

    Attributes:
        samples_of: which sample each frame shows, shape (replications, frames).
        content: which of `contents` each frame carries, shape (replications, frames); the first are the samples'
            undamaged ones, in their order.
        alive: whether what it carries can still be decoded, shape (replications, frames).
        left_at: at which of the plan's early exits each frame leaves, shape (replications, frames); -1: at none.
    """

    def __init__(self, plan: Plan, testbed: Testbed, part: Part, shape: tuple[int, int]) -> None:
        self.plan = plan
        self.testbed = testbed
        self.part: Part = part
        self.quality = testbed.task.quality
        self.targets = testbed.samples(part).targets
        self.route = route_of(plan.hops)
        self.samples_of: IntArray = np.broadcast_to(np.arange(shape[1]) % len(self.targets), shape)
        self.content: IntArray = self.samples_of.copy()
        self.contents: list[Content] = [(sample, ()) for sample in range(len(self.targets))]
        self.alive: Bools = np.ones(shape, dtype=bool)
        self.left_at: IntArray = np.full(shape, GOES_ON)
        self._intact: Answer | None = None
        self._leaving: list[IntArray | None] = []  # of each device so far, what each sample does there
        self._at_exits: list[FloatArray] = []  # of each exit so far, the numbers of each content that it looked at

    def leaving(self, place: int) -> Asking[IntArray | None]:
        """At which of a device's early exits each frame leaves, shape (replications, frames); -1: at none.

        None where it has no exits. Devices are asked about in their order.
        """
        exits, samples = self.plan.exits_on(place), len(self.targets)
        if not exits:
            self._leaving.append(None)
            return None
        comes = self.alive & (self.left_at == GOES_ON)
        damaged = np.unique(self.content[comes & (self.content >= samples)])
        gaps, route = tuple(self.contents[each] for each in damaged.tolist()), self.route[:place]
        of_all = [Looked(route, exit.cut) for exit in exits]
        of_damaged = [Looked(route, exit.cut, gaps) for exit in exits] if gaps else []
        answers = yield [*of_all, *of_damaged]
        rows: tuple[Any, Any] = slice(samples), damaged
        looks, before = np.zeros((2, len(exits), len(self.contents))), len(self._at_exits)
        for index in range(len(exits)):
            counts = self._unknown()
            asked = of_all[index], *of_damaged[index : index + 1]
            for request, places in zip(asked, rows, strict=False):
                counts[places], looks[:, index, places] = answers[request].counts, answers[request].looks
            self._at_exits.append(counts)
        leaves = leaves_at(looks[0], looks[1].astype(np.int64), [exit.thresholds for exit in exits])
        found = np.where(comes, leaves[self.content], GOES_ON)
        self.left_at = np.where(found >= 0, before + found, self.left_at)
        self._leaving.append(leaves[:samples])
        return found

    def sizes(self, place: int) -> Asking[IntArray]:
        """Bytes of the payload of each frame at a hop, shape (replications, frames)."""
        known = self.testbed.provisional(self.route[place])
        if known.fixed:
            return np.full(self.content.shape, known.sizes[0])
        damaged = tuple(self.contents[len(self.targets) :])
        asked: list[Request] = [Intact(self.route)] if self._intact is None else []
        asked += [Damaged(self.route, damaged)] if damaged else []
        answers = yield asked
        self._intact = self._intact or answers[asked[0]]
        found = [self._intact.sizes[place], *(answers[asked[-1]].sizes[0] for _ in range(bool(damaged)))]
        return np.concatenate(found)[self.content]

    def element_bytes(self, place: int) -> int:
        """The size of an element of a hop's payloads, which no packet cuts."""
        return self.testbed.provisional(self.route[place]).element_bytes

    def receive(self, sent: Sequence[Sent], sizes: IntArray, alive: Bools) -> None:
        """What arrives after the next hop.

        Args:
            sent: what happened to the payloads there, one entry a replication.
            sizes: the payloads' bytes, shape (replications, frames).
            alive: the frames that can still be responded to, shape (replications, frames).
        """
        passed = len(self.contents[0][1])
        codec = self.testbed.codec(*self.route[passed])
        damaged: dict[tuple[int, Gap], list[tuple[int, int]]] = {}
        for replication, run in enumerate(sent):
            for index in np.flatnonzero(run.deliveries.missing_bytes).tolist():
                frame, erased = int(run.order[index]), run.deliveries.erased[index]
                if not survives(codec, int(sizes[replication, frame]), erased):
                    self.alive[replication, frame] = False
                elif alive[replication, frame] and self.alive[replication, frame]:
                    gap = int(self.content[replication, frame]), erased
                    damaged.setdefault(gap, []).append((replication, frame))
        before = self.contents
        self.contents = [(sample, (*gaps, ())) for sample, gaps in before]
        for (source, lost), places in sorted(damaged.items()):
            sample, gaps = before[source]
            for place in places:
                self.content[place] = len(self.contents)
            self.contents.append((sample, (*gaps, lost)))

    def worth(
        self,
        alive: Bools,
        on_time: Bools,
        rng: np.random.Generator,
        most: int | None,
        settled: Callable[[Interval], bool] | None,
        in_hand: tuple[Bools, Bools] | None = None,
    ) -> Asking[Worth]:
        """What the frames come to at the end of the route.

        Args:
            alive: which frames get their response, shape (replications, frames).
            on_time: which get it in time.
            rng: puts the rounds of loss patterns in random order.
            most: at most so many rounds are evaluated, and no more than the accuracy needs; None: all of them.
            settled: whether nothing depends on the quality any more, given its 95 % interval; told it in any case.
            in_hand: of which frames the first device has an exit's answer, and has it by the deadline; None: of none.
        """
        alive, samples, counts = alive & self.alive, len(self.targets), self._unknown()
        goes_on = alive & (self.left_at == GOES_ON)
        had, had_on_time = in_hand or (np.zeros(alive.shape, dtype=bool),) * 2
        stood_in = float((had_on_time & ~(alive & on_time)).mean())
        damaged = goes_on & (self.content >= samples)
        if most is None or not damaged.any():
            yield from self._count(counts, self.content[damaged])
            every = self._table(counts)
            runs = self._runs(every, alive, had)
            contributions = means_of_samples(runs, samples)
            if settled is not None:
                settled(self.quality.interval(mean_of(contributions)))
            in_time = means_of_samples(self._runs(every, alive & on_time, had_on_time), samples)
            of_exits = self._of_exits(runs, np.where(alive, self.left_at, GOES_ON))
            return Worth(contributions, in_time, None, self._known(counts), of_exits, stood_in)
        shown = self.content.shape[1] // samples
        turns = rng.permutation(self.content.shape[0] * shown)[:most].tolist()
        found: list[Matrix] = []
        left_at: list[IntArray] = []
        enough = 1
        while len(found) < min(enough, len(turns)):
            some = [divmod(turn, shown) for turn in turns[len(found) : enough]]
            frames = [(replication, slice(place * samples, (place + 1) * samples)) for replication, place in some]
            yield from self._count(counts, np.concatenate([self.content[those][goes_on[those]] for those in frames]))
            every, ends = self._with_exits(counts), self._ends
            found += [
                either(alive[those], self.quality.vectors(every[ends[those]]), self._otherwise(had[those], slice(None)))
                for those in frames
            ]
            left_at += [np.where(alive[those], self.left_at[those], GOES_ON) for those in frames]
            contributions = stacked(found)
            if settled is None or not settled(self.quality.interval(mean_of(contributions))):
                signal = self.quality.signal
                enough = wanted(np.stack([*map(signal, found)]), signal(self._intact_vectors(counts)))
        known, in_time = self._known(counts), contributions
        if (alive & ~on_time).any() or (had & ~had_on_time & ~alive).any():
            # lateness is shared by frames that follow each other: all of them count, those not evaluated as expected
            unknown = np.isnan(counts[:, 0])
            sources = [self.contents[place][0] for place in np.flatnonzero(unknown)]
            intact = self.quality.vectors(counts[:samples])
            expected = plus(intact[sources], known.damage.at(self._missing(unknown, known.sizes)))
            every = filled(self._table(counts), np.flatnonzero(unknown), expected)
            in_time = means_of_samples(self._runs(every, alive & on_time, had_on_time), samples)
        return Worth(contributions, in_time, len(found), known, self._of_exits(found, left_at), stood_in)

    def _count(self, counts: FloatArray, places: IntArray) -> Asking[None]:
        """Ask for what is wanted and not known yet, and for all that is undamaged."""
        samples = len(self.targets)
        missing = [place for place in np.unique(places).tolist() if place >= samples and np.isnan(counts[place, 0])]
        asked: list[Request] = [Intact(self.route)] if self._intact is None else []
        damaged = Damaged(self.route, tuple(self.contents[place] for place in missing))
        asked += [damaged] if missing else []
        if asked:
            answers = yield asked
            self._intact = self._intact or answers[asked[0]]
            if missing:
                counts[missing] = answers[damaged].counts
        if self._intact is not None:
            counts[:samples] = self._intact.counts

    def _runs(self, vectors: Matrix, right: Bools, had: Bools) -> list[Matrix]:
        """What each frame contributes, of each replication; `had`: where an exit's answer may stand in."""
        return [
            either(right[run], vectors[self._ends[run]], self._otherwise(had[run], self.samples_of[run]))
            for run in range(len(right))
        ]

    def _otherwise(self, had: Bools, samples: IntArray | slice) -> Matrix:
        """What frames of some samples contribute where the response is lost or late."""
        lost = self.lost[samples]
        return lost if self.stand_in is None else either(had, self.stand_in[samples], lost)

    def _of_exits(self, runs: Sequence[Matrix], left_at: Sequence[IntArray] | IntArray) -> tuple[float, ...]:
        """The quality of frames that left at each exit, and last that of all others."""
        exits = range(len(self.plan.exits))
        return values_of_groups(self.quality, runs, left_at, (*exits, GOES_ON)) if exits else ()

    def _unknown(self) -> FloatArray:
        """A table for the quality's numbers of each content, (contents, k)."""
        return np.full((len(self.contents), self.testbed.lost_counts(self.part).shape[1]), np.nan)

    def _with_exits(self, counts: FloatArray) -> FloatArray:
        """The numbers of each content at the end, then those at each exit."""
        more = (np.pad(at, ((0, len(counts) - len(at)), (0, 0)), constant_values=np.nan) for at in self._at_exits)
        return np.concatenate([counts, *more]) if self._at_exits else counts

    def _table(self, counts: FloatArray) -> Matrix:
        """Vectors of all that."""
        every = self._with_exits(counts)
        return table(self.quality, every, ~np.isnan(every[:, 0]))

    @property
    def _ends(self) -> IntArray:
        """Which row of all that each frame comes to, shape (replications, frames)."""
        return self.content + len(self.contents) * (self.left_at + 1)

    def _intact_vectors(self, counts: FloatArray) -> Matrix:
        """What each sample contributes, nothing lost, wherever it leaves."""
        ends, before = np.arange(len(self.targets)), 0
        for place, leaves in enumerate(self._leaving):
            if leaves is not None:
                here = (ends < len(self.targets)) & (leaves >= 0)
                ends = np.where(here, ends + len(self.contents) * (before + leaves + 1), ends)
                before += len(self.plan.exits_on(place))
        return self.quality.vectors(self._with_exits(counts)[ends])

    def _known(self, counts: FloatArray) -> Known:
        assert self._intact is not None
        evaluated = ~np.isnan(counts[:, 0]) & (np.arange(len(counts)) >= len(self.targets))
        sizes = tuple(self._intact.sizes)
        sources = [self.contents[place][0] for place in np.flatnonzero(evaluated)]
        intact = self.quality.vectors(self._intact.counts)
        damage = DamageCurve(
            self._missing(evaluated, sizes), minus(self.quality.vectors(counts[evaluated]), intact[sources])
        )
        elements = tuple(self.testbed.provisional(coding).element_bytes for coding in self.route)
        leaving = tuple(self._leaving) if self.plan.exits else ()
        return Known(sizes, elements, self._intact_vectors(counts), self.lost, damage, leaving, self.stand_in)

    def _missing(self, which: Bools, sizes: Sequence[IntArray]) -> FloatArray:
        """The share that is missing of some contents, shape (chosen contents,)."""
        chosen = [self.contents[place] for place in np.flatnonzero(which)]
        return np.array([erased_share(gaps, [of_hop[sample] for of_hop in sizes]) for sample, gaps in chosen])

    @property
    def stand_in(self) -> Matrix | None:
        """What each sample contributes with the answer of the first device's last exit, vectors (samples, m)."""
        exits = len(self.plan.exits_on(0))
        return self.quality.vectors(self._at_exits[exits - 1][: len(self.targets)]) if exits else None

    @cached_property
    def lost(self) -> Matrix:
        """What each sample contributes without a response, vectors (samples, m)."""
        return self.quality.vectors(self.testbed.lost_counts(self.part))
