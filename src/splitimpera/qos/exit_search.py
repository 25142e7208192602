"""Thresholds of exits with the least cost: every pair of them that differs on some samples is tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from splitimpera.core.array_types import Array, FloatArray, IntArray
from splitimpera.records.exits import NOBODY, ExitTable, leaves_at

MOST_LEVELS = 1000
"""As many thresholds are tried one against the other; of more that differ, this many evenly spread ones."""
FEW_LEVELS = 50
"""As many in a first search from each of several starts."""
MOST_PAIRS = 64
"""Pairs of thresholds that are tried in one round; of more, some at random."""
ROUNDS = 20
_CLOSE = 1e-9

Thresholds = tuple[tuple[float, ...], ...]
"""Of each exit, one for all classes or one for each."""
Rank = tuple[float, float, float]
"""Missing accuracy, then cost, then wrong answers: the less of each the better."""


def cheapest_thresholds(
    table: ExitTable, by_exit: FloatArray, needed: float, *, per_class: bool = False
) -> tuple[Thresholds, Rank]:
    """The thresholds with the least mean cost at which the accuracy is what is needed, or nearest to it.

    Only where a threshold lies among the confidences of the samples matters, so that all that differ are tried: for one
    exit and for two, this is exact up to `MOST_LEVELS` samples. Of several exits, or classes, two at a time are chosen
    anew, the best of all their pairs with the others held, until nothing gets better; from several starts. A threshold
    lies midway between two confidences, so that rounding makes no difference elsewhere.

    Args:
        by_exit: what a frame costs that leaves at each exit, and last one that leaves at none, (exits + 1,).
        needed: the share of right answers.

    Example:
        >>> sure, right = np.array([[0.9, 0.6, 0.8, 0.3]]), np.array([[1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]])
        >>> table = ExitTable((5,), sure, np.zeros((1, 4), dtype=int), right, classes=10)
        >>> thresholds, (missing, cost, wrong) = cheapest_thresholds(table, np.array([1.0, 4.0]), 0.75)
        >>> round(thresholds[0][0], 2), missing, cost, wrong
        (0.7, 0.0, 2.5, 0.25)

    Returns:
        The thresholds, and how good they are on these samples.
    """
    search, exits = _Search(table, by_exit, needed), len(table.cuts)
    starts = [*search.starts()]
    if exits > 2:  # else there is but one pair, all of which is tried
        starts = [search.improved(start, search.shared, FEW_LEVELS) for start in starts]
    best = search.improved(min(starts, key=search.rank), search.shared)
    if per_class and exits:
        single = tuple(values * table.classes for values in best)
        best = min((single, search.improved(single, search.of_classes)), key=search.rank)
    return best, search.rank(best)


Place = tuple[int, int | None]
"""Where a threshold stands: an exit, and a class or None for all."""


class _Search:
    def __init__(self, table: ExitTable, by_exit: FloatArray, needed: float) -> None:
        self.table, self.by_exit, self.needed = table, by_exit, needed
        self.exits, self.levels = len(table.cuts), MOST_LEVELS
        self.shared: list[Place] = [(exit, None) for exit in range(self.exits)]
        self.of_classes: list[Place] = [
            (exit, int(number)) for exit in range(self.exits) for number in np.unique(table.answers[exit])
        ]

    def starts(self) -> Iterator[Thresholds]:
        """Nobody leaves; everybody who is surer than this, or that; everybody at one exit."""
        for value in (NOBODY, 0.9, 0.5, 0.0):
            yield ((value,),) * self.exits
        for open_one in range(self.exits):
            yield tuple((0.0,) if exit == open_one else (NOBODY,) for exit in range(self.exits))

    def rank(self, thresholds: Thresholds) -> Rank:
        cost, right = self._worth(self._first(self._passing(thresholds)))
        return self._ranked(float(cost.mean()), float(right.mean()))

    def _ranked(self, cost: float, right: float) -> Rank:
        missing = max(0.0, self.needed - right)
        return round(missing, 9), float(f"{cost:.9g}"), round(1 - right, 9)  # but for rounding

    def improved(self, thresholds: Thresholds, places: Sequence[Place], levels: int | None = None) -> Thresholds:
        """Two thresholds at a time chosen anew among so many, `MOST_LEVELS`, until nothing gets better."""
        self.levels = levels or MOST_LEVELS
        rng = np.random.default_rng(0)
        every: list[tuple[Place, Place | None]] = [*combinations(places, 2)] or [(place, None) for place in places]
        rank = self.rank(thresholds)
        for _ in range(ROUNDS if len(every) > 1 else 1):
            before = rank
            order = rng.permutation(len(every))[:MOST_PAIRS]
            for first, second in (every[which] for which in order):
                tried = self._swept(thresholds, first, second)
                if (found := self.rank(tried)) < rank:
                    thresholds, rank = tried, found
            if rank == before:
                break
        return thresholds

    def _swept(self, thresholds: Thresholds, first: Place, second: Place | None) -> Thresholds:
        """The best of all pairs of these two thresholds, the others held."""
        passing = self._passing(thresholds)
        groups = [self._group(place) for place in (first, second)]
        for place, group in zip((first, second), groups, strict=True):
            if place is not None:
                passing[place[0]] &= ~group
        neither = self._first(passing)
        one, other = (
            neither if place is None else np.where(group, np.minimum(neither, place[0]), neither)
            for place, group in zip((first, second), groups, strict=True)
        )
        levels_1, rank_1 = self._levels(first, one < neither)
        levels_2, rank_2 = self._levels(second, other < neither)
        totals = []
        for v00, v10, v01, v11 in zip(*map(self._worth, (neither, one, other, np.minimum(one, other))), strict=True):
            alone_1, alone_2 = (_added(v10 - v00, rank_1, len(levels_1)), _added(v01 - v00, rank_2, len(levels_2)))
            both = np.zeros((len(levels_1) + 1, len(levels_2) + 1))
            np.add.at(both, (rank_1, rank_2), v11 - v10 - v01 + v00)
            both = both[:-1, :-1].cumsum(axis=0).cumsum(axis=1)
            totals.append((v00.sum() + alone_1[:, None] + alone_2[None, :] + both) / self.table.samples)
        cost, right = totals
        missing = np.maximum(0.0, self.needed - right)
        missing[missing < _CLOSE] = 0.0
        near = np.round(cost / (float(self.by_exit.max()) or 1.0), 9)
        best = np.lexsort((-right.ravel(), near.ravel(), missing.ravel()))[0]
        row, column = np.unravel_index(best, cost.shape)
        made = self._with(thresholds, first, float(levels_1[row]))
        return made if second is None else self._with(made, second, float(levels_2[column]))

    def _levels(self, place: Place | None, moved: Array) -> tuple[FloatArray, IntArray]:
        """Thresholds to try, the first of which nobody reaches, and for each sample the first that it reaches.

        Args:
            moved: which samples leave elsewhere when they reach it.
        """
        if place is None:
            return np.array([NOBODY]), np.ones(len(moved), dtype=np.int64)
        confidence = self.table.confidence[place[0]]
        there = np.unique(confidence[moved])[::-1]
        between = (there + np.append(there[1:], 0.0)) / 2
        if len(between) > self.levels:
            between = between[np.linspace(0, len(between) - 1, self.levels).round().astype(np.int64)]
        levels = np.concatenate([[NOBODY], between])
        reached = np.searchsorted(-levels, -confidence, side="left")
        return levels, np.where(moved, reached, len(levels))

    def _with(self, thresholds: Thresholds, place: Place, value: float) -> Thresholds:
        exit, number = place
        own = thresholds[exit]
        changed = (value,) if number is None else (*own[:number], value, *own[number + 1 :])
        return (*thresholds[:exit], changed, *thresholds[exit + 1 :])

    def _group(self, place: Place | None) -> Array:
        """The samples that a threshold speaks of."""
        if place is None or place[1] is None:
            return np.full(self.table.samples, place is not None)
        found: Array = self.table.answers[place[0]] == place[1]
        return found

    def _passing(self, thresholds: Thresholds) -> Array:
        """Which samples are sure enough at each exit, wherever else they are, (exits, samples)."""
        some = [
            leaves_at(self.table.confidence[[exit]], self.table.answers[[exit]], [own]) == 0
            for exit, own in enumerate(thresholds)
        ]
        return np.array(some).reshape(self.exits, self.table.samples)

    def _first(self, passing: Array) -> IntArray:
        """The first exit at which each sample passes; the number of exits where there is none."""
        everybody = np.concatenate([passing, np.ones((1, self.table.samples), dtype=bool)])
        return np.asarray(everybody.argmax(axis=0), dtype=np.int64)

    def _worth(self, left: IntArray) -> tuple[FloatArray, FloatArray]:
        """What each sample costs and how right it is, leaving there."""
        return self.by_exit[left], self.table.right[left, np.arange(self.table.samples)]


def _added(values: FloatArray, rank: IntArray, levels: int) -> FloatArray:
    """The sum over all samples that pass at each level."""
    return np.bincount(rank, weights=values, minlength=levels + 1)[:levels].cumsum()
