"""Which candidates are trained, and how far, where all of them would be too many: ask, train, tell.

A search asks for trainings, is told what they came to, and asks for the next; it neither trains nor waits. What it asks
for follows from the candidates, its settings and what it was told, in this order: told the same again, it goes on as
it would have.

A rung is an amount of training. Asynchronous successive halving (ASHA; Li et al., 2020) lets candidates in at the
lowest rung, and up to the next wherever they are among the best 1 / eta of those that came as far: nobody waits for a
rung to fill. With a single rung the same is training one after the other, in the order of entry.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np

from splitimpera.core.errors import ScenarioError, UnknownNameError, shown
from splitimpera.core.registry import nearest
from splitimpera.qos.pareto import pareto_front
from splitimpera.saliency.curve import local_maxima

Value = float | tuple[float, ...]
"""What a training came to, larger is better: one number, or one for each of several objectives."""

DEFAULT_STRATEGY = "halving+on_time"
"""The best of `benchmarks/search.py`, with rungs at a quarter and all of the epochs."""
HALVING = "halving"
WITHOUT_PRIOR = ("exhaustive", "random", "on_time")
"""Orders of entry that need no prior: as the candidates stand, shuffled, and by what the timeline says."""


@dataclass(frozen=True)
class Candidate:
    """Something that may be trained.

    Attributes:
        cut: Index of the cut.
        ratio: Compression ratio of the bottleneck.
        codec: Name of the codec of its latents.
        training: Further fields of `training.Training`, by name.
        costs: What training it from nothing as far as each rung takes, ascending, in any unit that all candidates
            share: epochs x MACs, say.
        priors: What is known of it before any training, by name; a high number stands for a good place.
        at_most: What its value cannot exceed whatever is trained: from its timeline, the share of frames that are on
            time. None: it cannot meet the requirements, and is never trained.
    """

    cut: int
    ratio: float
    codec: str = "uint8"
    training: Mapping[str, Any] = field(default_factory=dict)
    costs: tuple[float, ...] = (1.0,)
    priors: Mapping[str, float] = field(default_factory=dict)
    at_most: Value | None = math.inf

    @cached_property
    def key(self) -> str:
        """What tells it from the others, in one word: "5/16/uint8", then the training options."""
        options = [f"{name}={value}" for name, value in sorted(self.training.items())]
        return "/".join([str(self.cut), f"{self.ratio:g}", self.codec, *options]).replace(" ", "")


Job = tuple[Candidate, int]
"""A candidate, and the rung that it is to be trained up to, from where it is."""


@dataclass(frozen=True)
class Budget:
    """How much may be trained.

    Attributes:
        trainings: Most candidates that are begun; None: all.
        cost: Most that all trainings together cost, in the unit of `Candidate.costs`; seconds make it a time.
    """

    trainings: int | None = None
    cost: float = math.inf


@dataclass(frozen=True)
class Found:
    """A candidate at the highest rung that it was trained up to; `value` is None where it failed."""

    candidate: Candidate
    rung: int
    value: Value | None


class Search:
    """Asks for trainings until the budget is spent, or nothing is left that could be better than what was found.

    A candidate whose `at_most` is no better than a value that was found is trained no further. Where all have been let
    in and no rung has anyone to send up, the best that are left go up all the same.

    Args:
        candidates: All that may be trained, each once.
        order: Places of the candidates in the order of their entry; None: as they stand.
        rungs: The rungs that are used, as places in `Candidate.costs`, ascending; None: all.
        eta: One in so many goes up from a rung to the next.
        budget: How much may be trained.

    With several objectives, better is: in an earlier front of those that nothing dominates, then further from its
    neighbors there (Deb et al., NSGA-II, 2002).

    Raises:
        ScenarioError: two candidates are the same, or an argument is out of range.

    Example:
        >>> search = Search([Candidate(cut, 16.0, costs=(1, 4)) for cut in range(4)], eta=2, budget=Budget(cost=9))
        >>> asked = []
        >>> while jobs := search.ask():
        ...     for candidate, rung in jobs:
        ...         asked.append((candidate.cut, rung))
        ...         search.tell(candidate, rung, candidate.cut / 10 + rung / 2)
        >>> asked
        [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1)]
        >>> search.spent, search.best.candidate.cut
        (9.0, 2)
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        order: Sequence[int] | None = None,
        rungs: Sequence[int] | None = None,
        eta: int = 2,
        budget: Budget | None = None,
    ) -> None:
        self.candidates = tuple(candidates)
        self.eta = eta
        self.budget = budget or Budget()
        self._places = {candidate.key: place for place, candidate in enumerate(self.candidates)}
        count = len(self.candidates)
        _require(len(self._places) == count, "candidates", "two that are the same", "each once")
        lengths = {len(candidate.costs) for candidate in self.candidates}
        _require(len(lengths) < 2, "costs", f"{sorted(lengths)} rungs", "as many for every candidate")
        self.rungs = tuple(range(min(lengths, default=1)) if rungs is None else rungs)
        within = bool(self.rungs) and self.rungs[0] >= 0 and self.rungs[-1] < min(lengths, default=self.rungs[-1] + 1)
        rising = all(low < high for low, high in zip(self.rungs, self.rungs[1:], strict=False))
        _require(within and rising, "rungs", self.rungs, "places of costs, ascending")
        self._order = tuple(range(count) if order is None else order)
        _require(sorted(self._order) == [*range(count)], "order", "other places", "each candidate's place once")
        _require(eta >= 2, "eta", eta, "2 or more")
        self._told: dict[int, dict[int, Value | None]] = {rung: {} for rung in range(min(lengths, default=1))}
        self._level: dict[int, int] = {}
        self._running: dict[int, int] = {}
        self._ranked: dict[int, list[int]] = {}
        self._front: list[tuple[float, ...]] = []

    # Asking and telling ---------------------------------------------------------------------------------------------

    def ask(self, count: int = 1) -> list[Job]:
        """The next trainings, at most `count`, all of which may go on at the same time; they count as running until
        they are told. None: the budget is spent, nothing is left, or what is left depends on what is running.

        Raises:
            ScenarioError: `count` is below 1.
        """
        _require(count >= 1, "count", count, "1 or more")
        jobs: list[Job] = []
        while len(jobs) < count and (found := next(self._choices(), None)) is not None:
            place, rung = found
            self._running[place] = rung
            jobs.append((self.candidates[place], rung))
        return jobs

    def tell(self, candidate: Candidate, rung: int, value: Value | None) -> None:
        """What training a candidate up to a rung came to; None: it failed, or misses a requirement for good.

        It need not have been asked for: so a journal is replayed.

        Raises:
            ScenarioError: the search has no such candidate or rung, or the value is NaN.
        """
        place = self._places.get(candidate.key)
        _require(place is not None, "candidate", candidate.key, "one of the search's")
        assert place is not None
        _require(rung in self._told, "rung", rung, f"0 to {len(self._told) - 1}")
        _require(value is None or not np.isnan(_vector(value)).any(), "value", value, "numbers, or none")
        if self._running.get(place, rung) <= rung:
            self._running.pop(place, None)
        self._level[place] = max(rung, self._level.get(place, rung))
        self._told[rung][place] = value
        self._ranked.pop(rung, None)
        if value is not None:
            self._extend_front(_vector(value))

    # What was found -------------------------------------------------------------------------------------------------

    @property
    def spent(self) -> float:
        """What the trainings that were told of or are running cost together, in the unit of `Candidate.costs`."""
        reached = self._level | self._running
        return float(sum(self.candidates[place].costs[rung] for place, rung in reached.items()))

    @property
    def trainings(self) -> int:
        """How many candidates were begun."""
        return len(self._level | self._running)

    @property
    def found(self) -> list[Found]:
        """All candidates that were trained, each at its highest rung, in the order in which they stand."""
        return [
            Found(self.candidates[place], rung, self._told[rung][place]) for place, rung in sorted(self._level.items())
        ]

    @property
    def front(self) -> list[Found]:
        """Those of `found` that no other dominates; with a single objective those of the highest value."""
        valued = [one for one in self.found if one.value is not None]
        kept = pareto_front([_vector(one.value) for one in valued if one.value is not None]) if valued else []
        return [one for one, on_front in zip(valued, kept, strict=True) if on_front]

    @property
    def best(self) -> Found | None:
        """The one with the highest value; of equal ones the first of `found`. None where there is none.

        Of several objectives the first decides.
        """
        return max(self.front, key=lambda one: _vector(one.value or 0.0)[0], default=None)

    # What comes next ------------------------------------------------------------------------------------------------

    def _choices(self) -> Iterator[tuple[int, int]]:
        """All that may be asked for now, the best first: places and rungs."""
        begun = self._level.keys() | self._running.keys()
        entering = ((place, self.rungs[0]) for place in self._order if place not in begun)
        for place, rung in chain(self._promoted(), entering, self._left()):
            if self._hopeful(place) and self._affordable(place, rung):
                yield place, rung

    def _promoted(self) -> Iterator[tuple[int, int]]:
        """Those that are among the best of their rung, from the highest rung down."""
        for rung, above in reversed([*zip(self.rungs, self.rungs[1:], strict=False)]):
            best = self._best_of(rung)[: len(self._told[rung]) // self.eta]
            yield from ((place, above) for place in best if self._at(place, rung))

    def _left(self) -> Iterator[tuple[int, int]]:
        """Those that were left behind, from the highest rung down."""
        for rung, above in reversed([*zip(self.rungs, self.rungs[1:], strict=False)]):
            yield from ((place, above) for place in self._best_of(rung) if self._at(place, rung))

    def _at(self, place: int, rung: int) -> bool:
        """Whether a candidate stands at a rung, and is not on its way up."""
        return self._level.get(place) == rung and place not in self._running

    def _best_of(self, rung: int) -> list[int]:
        """The places of those that were trained up to a rung, the best first."""
        if rung not in self._ranked:
            told = {place: _vector(value) for place, value in self._told[rung].items() if value is not None}
            places = [*told]
            self._ranked[rung] = [places[index] for index in ranking([*told.values()])]
        return self._ranked[rung]

    def _hopeful(self, place: int) -> bool:
        """Whether training may make a candidate better than all that was found."""
        at_most = self.candidates[place].at_most
        if at_most is None:
            return False
        bound = _vector(at_most)
        return not any(all(b <= f for b, f in zip(bound, found, strict=False)) for found in self._front)

    def _affordable(self, place: int, rung: int) -> bool:
        costs = self.candidates[place].costs
        done = costs[self._level[place]] if place in self._level else 0.0
        begun = self.trainings + (place not in self._level)
        most = math.inf if self.budget.trainings is None else self.budget.trainings
        return begun <= most and self.spent + costs[rung] - done <= self.budget.cost * (1 + 1e-9)

    def _extend_front(self, vector: tuple[float, ...]) -> None:
        vectors = [*self._front, vector]
        self._front = [one for one, kept in zip(vectors, pareto_front(vectors), strict=True) if kept]


def ranking(vectors: Sequence[Sequence[float]]) -> list[int]:
    """Places of vectors, best first: by front, then by the distance to the neighbors in it, then as they stand.

    >>> ranking([(0.1,), (0.3,), (0.2,)])
    [1, 2, 0]
    >>> ranking([(1, 1), (3, 0), (0, 3), (2, 2)])  # (1, 1) is dominated; the front's ends are furthest apart
    [1, 2, 3, 0]
    """
    if all(len(vector) == 1 for vector in vectors):
        return sorted(range(len(vectors)), key=lambda place: -vectors[place][0])
    left, ranked = [*range(len(vectors))], list[int]()
    while left:
        kept = pareto_front([vectors[place] for place in left])
        front = [place for place, on_front in zip(left, kept, strict=True) if on_front]
        apart = _crowding(np.array([vectors[place] for place in front], dtype=float))
        ranked += [front[index] for index in np.argsort(-apart, kind="stable")]
        left = [place for place, on_front in zip(left, kept, strict=True) if not on_front]
    return ranked


def _crowding(front: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """How far apart the neighbors of each vector are, over all objectives; infinite at the ends."""
    apart = np.zeros(len(front))
    for column in front.T:
        order = np.argsort(column, kind="stable")
        span = float(column[order[-1]] - column[order[0]])
        apart[order[[0, -1]]] = np.inf
        if span > 0:
            apart[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return apart


def make_search(
    strategy: str,
    candidates: Sequence[Candidate],
    seed: int = 0,
    budget: Budget | None = None,
    rungs: Sequence[int] | None = None,
    eta: int = 2,
) -> Search:
    """A search by the name of its strategy: an order of entry, and whether candidates climb rungs or are trained fully.

    Args:
        strategy: An order of entry, in which each is trained fully: "exhaustive" (as the candidates stand), "random",
            "on_time" (the highest `at_most`, in whole percent; then the lower ratio, then the deeper cut), or the
            name of a prior, highest first. Or "halving+" and such an order: by successive halving; "halving" alone is
            "halving+random".
        seed: What "random" draws from, and what decides between equal priors.
        budget, rungs, eta: As `Search` takes them.

    Raises:
        UnknownNameError: there is no such strategy, or a candidate lacks the prior.

    Example:
        >>> candidates = [Candidate(cut, 16.0, costs=(1, 4), priors={"bytes": -cut}) for cut in range(3)]
        >>> [(candidate.cut, rung) for candidate, rung in make_search("bytes", candidates).ask(3)]
        [(0, 1), (1, 1), (2, 1)]
        >>> [(candidate.cut, rung) for candidate, rung in make_search("halving+bytes", candidates).ask(3)]
        [(0, 0), (1, 0), (2, 0)]
    """
    way, _, name = strategy.partition("+") if strategy.startswith(HALVING) else ("", "", strategy)
    order = _order(name or "random", candidates, seed, strategy)
    if way not in ("", HALVING) or strategy.endswith("+"):
        raise UnknownNameError(f"no strategy is called '{shown(strategy)}'", hint=f"{HALVING}+PRIOR, or a prior alone")
    if way:
        return Search(candidates, order, rungs, eta, budget)
    top = (rungs[-1],) if rungs else (len(candidates[0].costs) - 1,) if candidates else (0,)
    return Search(candidates, order, top, eta, budget)


def _order(name: str, candidates: Sequence[Candidate], seed: int, strategy: str) -> list[int]:
    shuffled = [int(place) for place in np.random.default_rng(seed).permutation(len(candidates))]
    if name == "on_time":
        return sorted(shuffled, key=lambda place: _late(candidates[place]))
    if name in WITHOUT_PRIOR:
        return shuffled if name == "random" else [*range(len(candidates))]
    known = set.intersection(*({*candidate.priors} for candidate in candidates)) if candidates else {name}
    if name not in known:
        raise UnknownNameError(
            f"no prior '{shown(name)}' for the strategy '{shown(strategy)}'",
            hint=nearest(name, [*known, *WITHOUT_PRIOR]),
        )
    return sorted(shuffled, key=lambda place: -candidates[place].priors[name])


def _late(candidate: Candidate) -> tuple[float, float, int]:
    """What the order "on_time" sorts by; the first of several objectives counts."""
    share = -math.inf if candidate.at_most is None else _vector(candidate.at_most)[0]
    return -round(share, 2) if math.isfinite(share) else -share, candidate.ratio, -candidate.cut


def by_maxima(curve: Sequence[float]) -> list[float]:
    """A curve as a prior that takes its strict local maxima first, as the papers do: by height, then all others.

    >>> by_maxima([1.0, 3.0, 2.0, 5.0, 4.0, 6.0])  # places, the best has the highest number
    [0.0, 4.0, 1.0, 5.0, 2.0, 3.0]
    """
    maxima = {*local_maxima(np.array(curve, dtype=float))}
    worst_first = sorted(range(len(curve)), key=lambda place: (place in maxima, curve[place]))
    return [float(worst_first.index(place)) for place in range(len(curve))]


def _vector(value: Value) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)


def _require(holds: bool, where: str, given: object, expected: str) -> None:
    if not holds:
        raise ScenarioError(f"{shown(given)} is out of range, it must be {expected}", where=where)
