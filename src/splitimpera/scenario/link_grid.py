"""The link conditions that a policy is made for: "rate=0.03..50 Mbit/s, delay=5..100 ms, loss=0..10 %"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path

from splitimpera.core import units
from splitimpera.core.bounds import DELAY, LOSS, RATE, Bound
from splitimpera.core.errors import ScenarioError, UnitError, shown
from splitimpera.core.registry import nearest
from splitimpera.records.policy import MOST_CELLS
from splitimpera.scenario.loading import load_run
from splitimpera.scenario.ranges import Axis
from splitimpera.scenario.study_section import SearchSection, Study

OVER = "rate=0.03..50 Mbit/s, delay=5..100 ms, loss=0..10 %"
"""Where a user names no conditions."""
LONGEST_TEXT = 500
MOST_STEPS = 100
KEYS = {"rate": "links[0].rate", "delay": "links[0].delay", "loss": "links[0].loss"}
"""What the axes are called in a scenario."""


@dataclass(frozen=True)
class _Kind:
    dimension: units.Dimension
    bound: Bound
    steps: int


_KINDS = {
    "rate": _Kind(units.BIT_RATE, RATE, 8),
    "delay": _Kind(units.TIME, DELAY, 4),
    "loss": _Kind(units.FRACTION, LOSS, 4),
}
_AXIS = re.compile(r"(\w+)\s*=\s*(\S.*?)(?:\s*\.\.\s*(\S.*?))?(?:\s+in\s+(\d{1,9}))?")
_UNIT = re.compile(r"[^\d.\s]+$")
_BARE = re.compile(r"[-+]?[\d.]+(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class LinkGrid:
    """Rates, delays and losses, ascending; empty: the scenario's own stays."""

    rates_bps: tuple[float, ...] = ()
    delays_s: tuple[float, ...] = ()
    losses: tuple[float, ...] = ()

    def __len__(self) -> int:
        """How many conditions there are."""
        return prod(max(1, len(axis)) for axis in (self.rates_bps, self.delays_s, self.losses))

    def axes(self) -> tuple[Axis, ...]:
        """The same as a study's ranges, of the scenario's first link."""
        texts: dict[str, Sequence[str | float]] = {
            "rate": [f"{value!r} bit/s" for value in self.rates_bps],
            "delay": [f"{value!r} s" for value in self.delays_s],
            "loss": self.losses,
        }
        return tuple(Axis((KEYS[name],), tuple((value,) for value in axis)) for name, axis in texts.items() if axis)


def parse_grid(text: str, where: str = "--over") -> LinkGrid:
    """Read link conditions.

    Each axis is "name=from..to unit", with " in N" for N values, or "name=value unit". Rates and delays are spaced by
    equal factors, and so are losses, of which the first may be 0: then each is the square root of 10 times the one
    before.

    Args:
        text: As "rate=100 kbit/s..50 Mbit/s in 12, loss=0..10 %"; names are rate, delay and loss.
        where: What the message calls it.

    Raises:
        ScenarioError: no such name, one that stands there twice, ends that are no such quantities, out of bounds or the
            wrong way round, or too many values.

    Example:
        >>> parse_grid("rate=0.1..10 Mbit/s in 3, loss=0..10 % in 4").rates_bps
        (100000.0, 1000000.0, 10000000.0)
        >>> parse_grid("loss=0..10 % in 4, delay=20 ms")
        LinkGrid(rates_bps=(), delays_s=(0.02,), losses=(0.0, 0.01, 0.0316227766017, 0.1))
    """
    hint = f"write for example '{OVER}'"
    if len(text) > LONGEST_TEXT or not text.strip():
        raise ScenarioError(f"link conditions are expected, given '{shown(text)}'", where=where, hint=hint)
    found: dict[str, tuple[float, ...]] = {}
    for part in text.split(","):
        match = _AXIS.fullmatch(part.strip())
        if match is None:
            raise ScenarioError(f"a range is expected, given '{shown(part.strip())}'", where=where, hint=hint)
        name, low, high, steps = match.groups()
        if name not in _KINDS:
            raise ScenarioError(f"links have no '{shown(name)}' here", where=where, hint=nearest(name, _KINDS))
        if name in found:
            raise ScenarioError(f"'{name}' stands there twice", where=where, hint="name it once")
        found[name] = _values(_KINDS[name], low, high, steps, f"{where}: {name}")
    grid = LinkGrid(found.get("rate", ()), found.get("delay", ()), found.get("loss", ()))
    if len(grid) > MOST_CELLS:
        told = " x ".join(str(len(values)) for values in found.values())
        raise ScenarioError(
            f"{told} = {len(grid)} conditions, at most {MOST_CELLS} are looked at", where=where, hint="say 'in' fewer"
        )
    return grid


def _values(kind: _Kind, low: str, high: str | None, steps: str | None, where: str) -> tuple[float, ...]:
    """The values of an axis."""
    if high is not None and _BARE.fullmatch(low) and (unit := _UNIT.search(high)):
        low = f"{low} {unit[0]}"  # "5..100 ms"
    ends = [_quantity(kind, end, where) for end in (low, high) if end is not None]
    if len(ends) == 1:
        if steps is not None:
            raise ScenarioError(f"one value cannot become {steps}", where=where, hint="write 'from..to'")
        return (ends[0],)
    count = kind.steps if steps is None else int(steps)
    if not 2 <= count <= MOST_STEPS:
        raise ScenarioError(f"2 to {MOST_STEPS} values are expected, given {count}", where=where)
    values = [float(f"{value:.12g}") for value in _spread(ends[0], ends[1], count)]
    if any(after <= before for before, after in pairwise(values)):
        raise ScenarioError(
            f"values that rise are expected, given {shown(low)} to {shown(high)}",
            where=where,
            hint="write the smaller one first",
        )
    return tuple(values)


def _quantity(kind: _Kind, text: str, where: str) -> float:
    try:
        value = units.parse(text, kind.dimension)
    except UnitError as error:
        raise ScenarioError(error.problem, where=where, hint=error.hint) from None
    if not kind.bound.holds(value):
        raise ScenarioError(f"{shown(text)} is out of range, it must be {kind.bound} in SI units", where=where)
    return value


def _spread(low: float, high: float, count: int) -> Sequence[float]:
    """Values by equal factors; after a 0 each is the square root of 10 times the one before."""
    if low == 0:
        return [0.0, *(high / 10 ** (place / 2) for place in reversed(range(count - 1)))]
    return [low * (high / low) ** (place / (count - 1)) for place in range(count - 1)] + [high]


def study_over(path: str | Path, grid: LinkGrid, replications: int = 5) -> Study:
    """The study that evaluates a scenario's plans at every link condition of a grid.

    Args:
        path: A scenario, or the results of a design.

    Raises:
        ScenarioError: there is no scenario, its answers come back directly, or the grid is one of no axes.
    """
    scenario = load_run(path).scenario
    if scenario.workload.answers != "along":
        raise ScenarioError(
            "the plans of a policy have their answers along the way, not directly",
            where="workload.answers",
            hint="leave it out for a policy",
        )
    axes = grid.axes()
    if not axes:
        raise ScenarioError("no link condition is given", where="--over", hint=f"write for example '{OVER}'")
    return Study(
        name=f"{scenario.name}-policy",
        goal="map",
        document=scenario.document(),
        folder=scenario.folder,
        axes=axes,
        spaced=("log",) * len(axes),
        replications=replications,
        search=SearchSection.model_validate({}),
    )
