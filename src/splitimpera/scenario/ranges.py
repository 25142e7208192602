"""A scenario's keys, each with a range of values: what a study covers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from splitimpera.core import units
from splitimpera.core.errors import ScenarioError, UnitError, listed, shown
from splitimpera.scenario.base_section import Section
from splitimpera.scenario.document import Place, key_words

MOST_VALUES = 10_000
"""Of one range."""
DIMENSIONS = (units.TIME, units.BIT_RATE, units.SIZE, units.FRACTION, units.FREQUENCY, units.POWER, units.FACTOR)

Ends = Annotated[list[int | float | str], Field(min_length=2, max_length=2)]


class RangeSection(Section):
    """The values of one key: `values`, or `count` of them from end to end, spaced equally (`linear`) or by equal
    factors (`log`)."""

    values: Annotated[list[Any], Field(min_length=1, max_length=MOST_VALUES)] | None = None
    """The values themselves; a list in place of the mapping says the same. Default: none."""
    linear: Ends | None = None
    """Both ends of values that are spaced equally. Default: none."""
    log: Ends | None = None
    """Both ends of values that are spaced by equal factors. Default: none."""
    count: Annotated[int, Field(ge=2, le=MOST_VALUES)] | None = None
    """How many values `linear` and `log` have, both ends included. Default: none."""

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return {"values": value} if isinstance(value, list) else value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [key for key in ("values", "linear", "log") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                "one of values, linear and log is expected" + (f", given {listed(given)}" if given else "")
            )
        if (self.count is None) != (self.values is not None):
            raise ValueError("count says how many values linear and log have; give it with these alone")
        self.spread()
        return self

    def spread(self) -> list[Any]:
        """The values, as the scenario would have them.

        >>> RangeSection.model_validate({"log": ["1 Mbit/s", "100 Mbit/s"], "count": 3}).spread()
        ['1000000.0 bit/s', '10000000.0 bit/s', '100000000.0 bit/s']
        >>> RangeSection.model_validate({"linear": [1, 5], "count": 3}).spread()
        [1, 3, 5]
        """
        if self.values is not None:
            return self.values
        ends = self.linear or self.log
        assert ends is not None
        assert self.count is not None
        (low, high), unit = _numbers(ends)
        if self.log is not None and not low * high > 0:
            raise ValueError(f"equal factors lead from {shown(ends[0])} to {shown(ends[1])} nowhere; write linear")
        shares = [place / (self.count - 1) for place in range(self.count)]
        if self.log is not None:
            found = [math.copysign(abs(low) ** (1 - share) * abs(high) ** share, low) for share in shares]
        else:
            found = [low * (1 - share) + high * share for share in shares]
        found[0], found[-1] = low, high
        if all(isinstance(end, int) for end in ends) and all(abs(each - round(each)) < 1e-9 for each in found):
            return [round(each) for each in found]
        found = [float(f"{each:.12g}") for each in found]
        return [f"{each!r} {unit}" for each in found] if unit else found


def _numbers(ends: Sequence[int | float | str]) -> tuple[tuple[float, float], str]:
    """Two quantities of one dimension in SI units, and the unit."""
    if not any(isinstance(end, str) for end in ends):
        return (float(ends[0]), float(ends[1])), ""
    for dimension in DIMENSIONS:
        try:
            low, high = (units.parse(end, dimension) for end in ends)
        except UnitError:
            continue
        return (low, high), next(name for name, factor in dimension.units.items() if factor == 1.0)
    raise ValueError(f"{shown(ends[0])} and {shown(ends[1])} are not two quantities of one kind, as '1 ms' and '1 s'")


@dataclass(frozen=True)
class Axis:
    """Keys that go through their values together.

    Attributes:
        keys: "links[0].rate"; several where ranges are zipped.
        values: one tuple a step, with a value for each key.
    """

    keys: tuple[str, ...]
    values: tuple[tuple[Any, ...], ...]


def axes_of(ranges: Mapping[str, RangeSection], zipped: Sequence[Sequence[str]] = ()) -> tuple[Axis, ...]:
    """The axes of a study; all that is not zipped is crossed.

    Raises:
        ScenarioError: zipped ranges of other lengths, a key zipped twice, or one that has no range.

    Example:
        >>> made = {"links[0].loss": [0, 0.1], "devices[0].slowdown": [1, 2], "workload.fps": [5, 10]}
        >>> ranges = {key: RangeSection.model_validate(values) for key, values in made.items()}
        >>> [axis.keys for axis in axes_of(ranges, [["links[0].loss", "workload.fps"]])]
        [('links[0].loss', 'workload.fps'), ('devices[0].slowdown',)]
    """
    spread = {key: section.spread() for key, section in ranges.items()}
    group: dict[str, tuple[str, ...]] = {}
    for place, keys in enumerate(zipped):
        where = f"zip[{place}]"
        for key in keys:
            if key not in spread:
                raise ScenarioError(f"'{shown(key)}' has no range", where=where, hint=f"known: {listed(spread)}")
            if key in group:
                raise ScenarioError(f"'{shown(key)}' is zipped twice", where=where, hint="name it once")
            group[key] = tuple(keys)
        lengths = {key: len(spread[key]) for key in keys}
        if len(set(lengths.values())) > 1:
            told = listed(f"{key}: {length}" for key, length in lengths.items())
            raise ScenarioError(f"ranges of other lengths are zipped ({told})", where=where, hint="make them equal")
    together = dict.fromkeys(group.get(key, (key,)) for key in spread)
    return tuple(Axis(keys, tuple(zip(*(spread[key] for key in keys), strict=True))) for keys in together)


def cells(axes: Sequence[Axis]) -> Iterator[dict[str, Any]]:
    """Each combination of the axes' values, by key; the last axis goes fastest."""
    keys = [key for axis in axes for key in axis.keys]
    for steps in product(*(axis.values for axis in axes)):
        yield dict(zip(keys, (value for step in steps for value in step), strict=True))


def place_of(key: str) -> Place:
    """'links[0].rate' -> ('links', 0, 'rate').

    Raises:
        ScenarioError: this is no key.
    """
    found: list[str | int] = []
    for part in key.split("."):
        name, *indices = part.replace("]", "").split("[")
        if not name or not all(index.isascii() and index.isdigit() and len(index) < 6 for index in indices):
            raise ScenarioError(f"'{shown(key)}' is no key of a scenario", where="ranges", hint="write 'links[0].rate'")
        found += [name, *map(int, indices)]
    if key_words(tuple(found)) != key:
        raise ScenarioError(f"'{shown(key)}' is no key of a scenario", where="ranges", hint="write 'links[0].rate'")
    return tuple(found)


def changed(document: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A scenario's document with other values; the document itself is not changed.

    Raises:
        ScenarioError: a key leads through what is no section, or to an entry that a list does not have.
    """
    made = deepcopy(dict(document))
    for key, value in values.items():
        *way, last = place_of(key)
        inside: Any = made
        for place, part in enumerate([*way, last]):
            if isinstance(part, int):
                if not isinstance(inside, list) or part >= len(inside):
                    count = len(inside) if isinstance(inside, list) else 0
                    name = key_words(tuple(way[:place]))
                    raise ScenarioError(f"'{name}' has {count} entries", where=key, hint="count from 0")
            elif not isinstance(inside, dict):
                name = key_words(tuple(way[:place]))
                raise ScenarioError(f"'{name}' is no section with keys", where=key)
            if place == len(way):
                inside[part] = value
            elif isinstance(part, int):
                inside = inside[part]
            else:
                inside = inside.setdefault(part, {})
    return made
