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
from splitimpera.evaluation.requests import Answer, Content, Damaged, Gap, Intact, Request
from splitimpera.evaluation.rounds import wanted
from splitimpera.evaluation.testbed import Part, Testbed, coding_of
from splitimpera.evaluation.timeline import Sent
from splitimpera.evaluation.vectors import Bools, either, filled, mean_of, means_of_samples, minus, plus, stacked, table
from splitimpera.records.plan import Hop, Plan
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
    """

    contributions: Any
    on_time: Any
    rounds: int | None
    known: Known


@dataclass(frozen=True, eq=False)
class Known:
    """What was computed of a plan's frames, enough to say what other frames of the same samples are worth.

    Attributes:
        sizes: bytes of the undamaged payloads at each hop, shape (samples,) each.
        element_bytes: the size of an element at each hop.
        intact: what each sample contributes to the quality, nothing lost, vectors (samples, m).
        lost: the same without a response.
        damage: what a damaged frame's vector differs by, given how much of it is missing.
    """

    sizes: tuple[IntArray, ...]
    element_bytes: tuple[int, ...]
    intact: Matrix
    lost: Matrix
    damage: DamageCurve


class Values:
    """What a plan's frames carry on their way; frames of one content share one computation.

    Undamaged frames of one sample carry the same; so do frames of one sample with the same gap, whichever replication
    damaged them. A frame of which nothing came is a wrong prediction, and so is one with a gap that its codec cannot
    bear.

    Attributes:
        samples_of: which sample each frame shows, shape (replications, frames).
        content: which of `contents` each frame carries, shape (replications, frames); the first are the samples'
            undamaged ones, in their order.
        alive: whether what it carries can still be decoded, shape (replications, frames).
    """

    def __init__(self, plan: Plan, testbed: Testbed, part: Part, shape: tuple[int, int]) -> None:
        self.testbed = testbed
        self.part: Part = part
        self.quality = testbed.task.quality
        self.targets = testbed.samples(part).targets
        self.route = tuple(coding_of(hop) for hop in plan.hops)
        self.samples_of: IntArray = np.broadcast_to(np.arange(shape[1]) % len(self.targets), shape)
        self.content: IntArray = self.samples_of.copy()
        self.contents: list[Content] = [(sample, ()) for sample in range(len(self.targets))]
        self.alive: Bools = np.ones(shape, dtype=bool)
        self._intact: Answer | None = None

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

    def receive(self, hop: Hop, sent: Sequence[Sent], sizes: IntArray, alive: Bools) -> None:
        """What arrives after a hop.

        Args:
            sent: what happened to the payloads, one entry a replication.
            sizes: the payloads' bytes, shape (replications, frames).
            alive: the frames that can still be responded to, shape (replications, frames).
        """
        codec = self.testbed.codec(*coding_of(hop))
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
    ) -> Asking[Worth]:
        """What the frames come to at the end of the route.

        Args:
            alive: which frames get their response, shape (replications, frames).
            on_time: which get it in time.
            rng: puts the rounds of loss patterns in random order.
            most: at most so many rounds are evaluated, and no more than the accuracy needs; None: all of them.
            settled: whether nothing depends on the quality any more, given its 95 % interval; told it in any case.
        """
        alive, samples = alive & self.alive, len(self.targets)
        counts = np.full((len(self.contents), self.testbed.lost_counts(self.part).shape[1]), np.nan)
        damaged = alive & (self.content >= samples)
        if most is None or not damaged.any():
            yield from self._count(counts, self.content[damaged])
            every = table(self.quality, counts, ~np.isnan(counts[:, 0]))
            contributions = self._of_samples(every, alive)
            if settled is not None:
                settled(self.quality.interval(mean_of(contributions)))
            return Worth(contributions, self._of_samples(every, alive & on_time), None, self._known(counts))
        shown = self.content.shape[1] // samples
        turns = rng.permutation(self.content.shape[0] * shown)[:most].tolist()
        found: list[Matrix] = []
        enough = 1
        while len(found) < min(enough, len(turns)):
            some = [divmod(turn, shown) for turn in turns[len(found) : enough]]
            frames = [(replication, slice(place * samples, (place + 1) * samples)) for replication, place in some]
            yield from self._count(counts, np.concatenate([self.content[those][alive[those]] for those in frames]))
            found += [
                either(alive[those], self.quality.vectors(counts[self.content[those]]), self.lost) for those in frames
            ]
            contributions = stacked(found)
            if settled is None or not settled(self.quality.interval(mean_of(contributions))):
                signal = self.quality.signal
                enough = wanted(np.stack([*map(signal, found)]), signal(self.quality.vectors(counts[:samples])))
        known, in_time = self._known(counts), contributions
        if (alive & ~on_time).any():
            # lateness is shared by frames that follow each other: all of them count, those not evaluated as expected
            unknown = np.isnan(counts[:, 0])
            sources = [self.contents[place][0] for place in np.flatnonzero(unknown)]
            expected = plus(known.intact[sources], known.damage.at(self._missing(unknown, known.sizes)))
            every = filled(table(self.quality, counts, ~unknown), np.flatnonzero(unknown), expected)
            in_time = self._of_samples(every, alive & on_time)
        return Worth(contributions, in_time, len(found), known)

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

    def _of_samples(self, vectors: Matrix, right: Bools) -> Any:
        """What each sample contributes, the mean over the frames that show it, of each replication."""
        lost = self.lost
        runs = [either(right[run], vectors[self.content[run]], lost[self.samples_of[run]]) for run in range(len(right))]
        return means_of_samples(runs, len(self.targets))

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
        return Known(sizes, elements, intact, self.lost, damage)

    def _missing(self, which: Bools, sizes: Sequence[IntArray]) -> FloatArray:
        """The share that is missing of some contents, shape (chosen contents,)."""
        chosen = [self.contents[place] for place in np.flatnonzero(which)]
        return np.array([erased_share(gaps, [of_hop[sample] for of_hop in sizes]) for sample, gaps in chosen])

    @cached_property
    def lost(self) -> Matrix:
        """What each sample contributes without a response, vectors (samples, m)."""
        return self.quality.vectors(self.testbed.lost_counts(self.part))
