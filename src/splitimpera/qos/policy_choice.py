"""Which few plans to have at hand, when at every link condition the best of them is used.

What a set of plans is worth is the expected value of its best plan. That never falls with one more plan, and what a
plan adds falls as the set grows (it is submodular, the "facility location" of Nemhauser, Wolsey and Fisher, "An
analysis of approximations for maximizing submodular set functions", Mathematical Programming 14, 1978). So a set cannot
become worth more than it is by what the best few candidates add to it now: branches below what is known are cut off.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.core.errors import PlanError, listed, shown
from splitimpera.core.units import format_bytes

Segments = Mapping[Hashable, int]
"""The parts that a plan needs on the device, with the bytes of each; plans share those of one name."""

MOST_NODES = 10_000
"""So many sets are tried before a choice is called good instead of the best."""
EQUAL = 1e-12
"""What differs by no more is the same, as sums are rounded."""


@dataclass(frozen=True)
class Choice:
    """Some plans, chosen together.

    Attributes:
        plans: Their places, ascending; plans that add nothing are left out.
        expected: The expected value of the best of them.
        bound: What no other such set exceeds.
        bytes: What they take on the device together.
        exact: Whether no other such set is worth more; else it was found by adding and exchanging, and `bound` says
            how much better another one could be.
    """

    plans: tuple[int, ...]
    expected: float
    bound: float
    bytes: int
    exact: bool


def choose_plans(
    values: FloatArray,
    weights: FloatArray,
    most: int,
    *,
    must: Sequence[int] = (),
    segments: Sequence[Segments] = (),
    memory_bytes: int | None = None,
    most_nodes: int = MOST_NODES,
) -> Choice:
    """The plans whose best-of has the largest expected value.

    Args:
        values: What each plan is worth at each condition, shape (plans, conditions), 0 or more; NaN and minus infinity,
            where a plan cannot be used, count 0.
        weights: How often each condition is met, shape (conditions,); only their proportions matter.
        most: At most so many plans.
        must: Places of plans that are among them.
        segments: What each plan needs on the device; empty: this is not looked at.
        memory_bytes: What the device has for all of them; None: no limit.
        most_nodes: How many sets may be tried to prove a choice the best.

    Raises:
        PlanError: values, weights and counts that make no sense, or so many plans that memory cannot bear them.

    Example:
        >>> values = np.array([[0.9, 0.9, 0.9], [0.99, 0.5, 0.0], [0.0, 0.0, 0.97], [0.95, 0.92, 0.0]])
        >>> choose_plans(values, np.ones(3), 2).plans
        (2, 3)
        >>> choose_plans(values, np.ones(3), 3, must=[0]).plans
        (0, 1, 2)
    """
    worth, shares = _checked(values, weights)
    count = len(worth)
    given: list[Segments] = [*segments] or [{}] * count
    if len(given) != count:
        raise PlanError(f"segments of {len(given)} plans are given, there are {count}", where="segments")
    forced = sorted(set(must))
    if forced and not 0 <= forced[0] <= forced[-1] < count:
        raise PlanError(f"{listed(must)}: there are plans 0 to {count - 1}", where="must")
    if most < max(1, len(forced)):
        least = f"{len(forced)} that must be among them" if forced else "1"
        raise PlanError(f"{most} plans are asked for, at least {least}", where="plans")
    store = _Store(given, memory_bytes)
    _check_memory(store, forced, min(most, count))
    search = _Search(worth * shares, store, most, most_nodes)
    start = search.greedy(forced)
    search.best, search.expected = start, search.worth(start)
    search.explore(forced, [place for place in range(count) if place not in forced])
    plans = _needed(search, forced)
    return Choice(
        plans=tuple(sorted(plans)),
        expected=search.expected,
        bound=max(search.expected, search.abandoned),
        bytes=store.bytes(plans),
        exact=search.abandoned <= search.expected + EQUAL,
    )


def _checked(values: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Values with zeros for what cannot be used, and weights that add up to 1."""
    worth, shares = np.array(values, dtype=np.float64), np.array(weights, dtype=np.float64)
    if worth.ndim != 2 or worth.size == 0 or shares.shape != worth.shape[1:]:
        given = f"{worth.shape} and {shares.shape}"
        raise PlanError(f"values and weights of shapes (plans, conditions) and (conditions,), given {given}")
    worth[np.isnan(worth) | (worth == -np.inf)] = 0.0
    if not (np.isfinite(worth).all() and (worth >= 0).all()):
        raise PlanError("a plan is worth 0 or more, and not infinitely much", where="values")
    if not (np.isfinite(shares).all() and (shares >= 0).all() and shares.sum() > 0):
        raise PlanError("weights are 0 or more, and not all of them 0", where="weights")
    return worth, shares / shares.sum()


@dataclass(frozen=True)
class _Store:
    """The memory of the device."""

    segments: Sequence[Segments]
    limit: int | None

    def __post_init__(self) -> None:
        known: dict[Hashable, int] = {}
        for place, own in enumerate(self.segments):
            for name, size in own.items():
                if known.setdefault(name, size) != size or size < 0:
                    told = f"segment {shown(name)} has {size} bytes, {known[name]} before"
                    raise PlanError(told, where=f"segments[{place}]", hint="give others another name")

    def stored(self, plans: Sequence[int]) -> dict[Hashable, int]:
        """The segments of some plans; one that several share is there once."""
        return {name: size for place in plans for name, size in self.segments[place].items()}

    def bytes(self, plans: Sequence[int]) -> int:
        """What plans take together."""
        return sum(self.stored(plans).values())

    def most_beside(self, plans: Sequence[int], wanted: int) -> int:
        """How many plans fit, with some of them given, where always the one is added that takes least; 0: not these."""
        if not self.fits(plans):
            return 0
        stored, others = self.stored(plans), set(range(len(self.segments))) - {*plans}
        while len(self.segments) - len(others) < wanted:
            more = {
                place: sum(size for name, size in self.segments[place].items() if name not in stored)
                for place in others
            }
            place = min(more, key=lambda place: more[place])
            if self.limit is not None and sum(stored.values()) + more[place] > self.limit:
                break
            stored |= self.segments[place]
            others.remove(place)
        return len(self.segments) - len(others)

    def fits(self, plans: Sequence[int]) -> bool:
        return self.limit is None or self.bytes(plans) <= self.limit


def _check_memory(store: _Store, forced: Sequence[int], wanted: int) -> None:
    """Refuse a number of plans that memory cannot bear.

    From every plan on, those that take least beside it are added. Of heads of one network, of which a deeper one
    contains all shallower, that finds the smallest set there is.
    """
    if store.limit is None:
        return
    if not store.fits(forced):
        needed, there = format_bytes(store.bytes(forced)), format_bytes(store.limit)
        raise PlanError(f"the plans that must be there take {needed}, the device has {there}", where="memory")
    memory, longest = format_bytes(store.limit), 0
    for start in range(len(store.segments)):
        longest = max(longest, store.most_beside([*forced, *([start] if start not in forced else [])], wanted))
        if longest >= wanted:
            return
    raise PlanError(
        f"{memory} do not hold {wanted} plans, they hold {longest}",
        where="plans",
        hint="ask for fewer plans, or for some of shallower cuts",
    )


@dataclass
class _Search:
    """Branch and bound over sets of plans.

    Attributes:
        values: Times the weights, shape (plans, conditions).
        nodes: How many sets may still be tried.
        best, expected: The best set so far, and its value.
        abandoned: What sets that were not tried for lack of nodes cannot exceed.
    """

    values: FloatArray
    store: _Store
    most: int
    nodes: int
    best: list[int] = field(default_factory=list)
    expected: float = 0.0
    abandoned: float = 0.0

    def reached(self, plans: Sequence[int]) -> FloatArray:
        """The weighted value of the best of some plans at each condition."""
        found: FloatArray = self.values[list(plans)].max(axis=0, initial=0.0)
        return found

    def worth(self, plans: Sequence[int]) -> float:
        return float(self.reached(plans).sum())

    def gains(self, plans: Sequence[int], others: Sequence[int]) -> FloatArray:
        """What each of the others adds to some plans."""
        found: FloatArray = np.maximum(self.values[list(others)] - self.reached(plans), 0.0).sum(axis=1)
        return found

    def explore(self, plans: list[int], others: list[int]) -> None:
        """Try all sets of some plans and as many of the others as may be added."""
        here = self.worth(plans)
        if here > self.expected + EQUAL:
            self.best, self.expected = plans, here
        room = self.most - len(plans)
        others = [place for place in others if self.store.fits([*plans, place])]
        if not room or not others:
            return
        gains = self.gains(plans, others)
        order = np.argsort(-gains, kind="stable")
        falling, ranked = gains[order], [others[place] for place in order]
        for place in range(len(ranked)):
            bound = min(here + float(falling[place : place + room].sum()), self.worth([*plans, *ranked[place:]]))
            if bound <= self.expected + EQUAL:
                return
            if self.nodes <= 0:
                self.abandoned = max(self.abandoned, bound)
                return
            self.nodes -= 1
            self.explore([*plans, ranked[place]], ranked[place + 1 :])

    def greedy(self, forced: Sequence[int]) -> list[int]:
        """Add what adds most, then exchange one plan for another as long as that helps."""
        plans, everyone = list(forced), range(len(self.values))
        while len(plans) < self.most:
            others = [place for place in everyone if place not in plans and self.store.fits([*plans, place])]
            gains = self.gains(plans, others) if others else np.zeros(1)
            if gains.max() <= EQUAL:
                break
            plans.append(others[int(gains.argmax())])
        better: list[int] | None = plans
        while better is not None:
            plans, better = better, self._exchanged(better, forced)
        return plans

    def _exchanged(self, plans: list[int], forced: Sequence[int]) -> list[int] | None:
        """The best set with another plan in the place of one; None where none is better."""
        best, most = None, self.worth(plans) + EQUAL
        for leaving in plans:
            rest = [place for place in plans if place != leaving]
            others = [place for place in range(len(self.values)) if place not in plans]
            if leaving in forced or not others:
                continue
            found = self.worth(rest) + self.gains(rest, others)
            for place, value in zip(others, found, strict=True):
                if value > most and self.store.fits([*rest, place]):
                    best, most = [*rest, place], float(value)
        return best


def _needed(search: _Search, forced: Sequence[int]) -> list[int]:
    """The best set without what adds nothing to it."""
    plans = list(search.best)
    for place in sorted(search.best, key=lambda place: search.worth([place])):
        rest = [other for other in plans if other != place]
        if place not in forced and search.worth(rest) >= search.expected - EQUAL:
            plans = rest
    return plans
