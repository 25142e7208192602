"""A study's ranges as people read them: names, values with units, ticks, and places in words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from splitimpera.core import units
from splitimpera.core.errors import UnitError, printable, shown
from splitimpera.scenario.ranges import DIMENSIONS, Axis
from splitimpera.studies.study_results import StudyResults

Write = Callable[[float], str]
Tick = tuple[float, str]

FEW_VALUES = 12
"""So many values have a tick each, however they are spaced."""
NAMED_VALUES = 3
"""So many values are named one by one where they make no span."""
LABEL_CHARACTERS = 40
_WRITERS: dict[str, Write] = {
    units.TIME.name: units.format_time,
    units.BIT_RATE.name: units.format_rate,
    units.SIZE.name: units.format_bytes,
    units.FRACTION.name: units.format_fraction,
    units.FREQUENCY.name: lambda value: f"{value:.4g}/s",
    units.POWER.name: lambda value: f"{value:.4g} W",
}
_FRACTIONS = ("loss", "packet_loss")
_SECTIONS = {"links": "link", "devices": "device", "requirements": "requirement", "workload": "", "network": "network"}


@dataclass(frozen=True)
class ReadAxis:
    """A range, its values in rising order where they are numbers.

    Attributes:
        keys: Of the scenario; several where ranges are zipped.
        name: "link rate".
        labels: A value each, as short as can be.
        full: The same with what the zipped keys have there.
        numbers: In SI units; None where the values are no numbers.
        spaced: "log", "linear" or "listed".
        ticks: At which places what is written; places may lie between two values.
        rank: For each step of the range its place among the labels.
        write: Writes a number of it.
    """

    keys: tuple[str, ...]
    name: str
    labels: tuple[str, ...]
    full: tuple[str, ...]
    numbers: tuple[float, ...] | None
    spaced: str
    ticks: tuple[Tick, ...]
    rank: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def span(self, places: Collection[int]) -> str | None:
        """Some of its values in words: "at most 2 Mbit/s"; None where it takes too many words, or they are all."""
        wanted = sorted(places)
        if not wanted or len(wanted) == len(self):
            return None
        first, last = self.labels[wanted[0]], self.labels[wanted[-1]]
        if len(wanted) == 1:
            return first
        if self.numbers is not None and all(after - before == 1 for before, after in pairwise(wanted)):
            if wanted[0] == 0:
                return f"at most {last}"
            return f"at least {first}" if wanted[-1] == len(self) - 1 else f"from {first} to {last}"
        if len(wanted) > NAMED_VALUES:
            return None
        *others, end = (self.labels[place] for place in wanted)
        return f"{', '.join(others)} or {end}"


def read_axes(results: StudyResults) -> tuple[ReadAxis, ...]:
    """All axes of a study, in its order."""
    keys = [key for axis in results.axes for key in axis.keys]
    short = {key: _name(key) for key in keys}
    counts = Counter(short.values())
    names = {key: name if counts[name] == 1 else printable(key) for key, name in short.items()}
    return tuple(_read(axis, spaced, names) for axis, spaced in zip(results.axes, results.spaced, strict=True))


def _name(key: str) -> str:
    """'links[0].rate' -> 'link rate'.

    >>> _name("links[0].rate"), _name("devices[1].slowdown"), _name("workload.fps"), _name("requirements[0]")
    ('link rate', 'device 1 slowdown', 'fps', 'requirement')
    """
    section, _, rest = key.partition(".")
    base, _, number = section.rstrip("]").partition("[")
    place = number if number not in ("", "0") else ""
    words = [_SECTIONS.get(base, base), place, rest.replace("_", " ").replace(".", " ")]
    return printable(" ".join(filter(None, words)))


def _read(axis: Axis, spaced: str, names: dict[str, str]) -> ReadAxis:
    columns = list(zip(*axis.values, strict=True))
    read = [_values(key, values) for key, values in zip(axis.keys, columns, strict=True)]
    own = next((place for place, (_, labels, _) in enumerate(read) if len(set(labels)) == len(labels)), None)
    full = [
        "; ".join(f"{names[key]} {labels[step]}" for key, (_, labels, _) in zip(axis.keys, read, strict=True))
        for step in range(len(axis.values))
    ]
    if own is None:  # no key alone tells the steps apart
        numbers, labels, write = None, tuple(full) if len(read) > 1 else read[0][1], None
    else:
        numbers, labels, write = read[own]
    steps = range(len(labels))
    order = list(steps) if numbers is None else sorted(steps, key=numbers.__getitem__)
    rising = None if numbers is None else tuple(numbers[step] for step in order)
    shown_labels = tuple(labels[step] for step in order)
    return ReadAxis(
        keys=axis.keys,
        name=names[axis.keys[own or 0]],
        labels=shown_labels,
        full=tuple(full[step] for step in order),
        numbers=rising,
        spaced=spaced,
        ticks=_ticks(shown_labels, rising, spaced, write),
        rank=_inverse(order),
    )


def _inverse(order: Sequence[int]) -> tuple[int, ...]:
    ranks = [0] * len(order)
    for place, step in enumerate(order):
        ranks[step] = place
    return tuple(ranks)


def _values(key: str, values: Sequence[Any]) -> tuple[tuple[float, ...] | None, tuple[str, ...], Write | None]:
    """The values as numbers, where they are, and as text; and what writes others like them."""
    leaf = key.rpartition(".")[2]
    plain = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    candidates: Sequence[units.Dimension] = DIMENSIONS
    if leaf.endswith(_FRACTIONS):
        candidates = [units.FRACTION]
    elif plain or not any(isinstance(value, str) and not _bare(value) for value in values):
        candidates = [units.FACTOR]
    for dimension in candidates:
        try:
            numbers = tuple(units.parse(value, dimension) for value in values)
        except UnitError:
            continue
        write = _fps if leaf == "fps" else _WRITERS.get(dimension.name, _plain)
        for digits in (3, 12):
            labels = tuple(write(float(f"{number:.{digits}g}")) for number in numbers)
            if len(set(labels)) == len(set(numbers)):
                return numbers, labels, write
        return numbers, tuple(shown(value, LABEL_CHARACTERS) for value in values), write
    return None, tuple(shown(value, LABEL_CHARACTERS) for value in values), None


def _plain(value: float) -> str:
    return f"{value:.4g}"


def _fps(value: float) -> str:
    return f"{value:.4g} fps"


def _bare(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _ticks(
    labels: Sequence[str], numbers: Sequence[float] | None, spaced: str, write: Write | None
) -> tuple[Tick, ...]:
    """Each value's own where there are few; else round numbers, at places between the values."""
    last = len(labels) - 1
    if numbers is None or write is None or spaced == "listed" or len(labels) <= FEW_VALUES:
        return tuple(enumerate(labels))
    low, high = numbers[0], numbers[-1]
    if spaced == "log" and low > 0:
        return tuple((last * _share(at, low, high), write(at)) for at in round_log(low, high))
    if high > low:
        return tuple((last * (at - low) / (high - low), write(at)) for at in round_linear(low, high))
    return tuple(enumerate(labels))


def _share(value: float, low: float, high: float) -> float:
    """How far a number has come between two, by equal factors."""
    return math.log(value / low) / math.log(high / low) if high > low else 0.0


def round_log(low: float, high: float) -> list[float]:
    """Round numbers between two positive ones, for a logarithmic axis.

    >>> round_log(0.001, 0.05)
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05]
    """
    decades = math.log10(high / low)
    digits = (1, 2, 3, 4, 5, 6, 7, 8, 9) if decades < 0.7 else (1, 2, 5) if decades <= 3.5 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [float(f"{digit}e{power}") for power in powers for digit in digits]
    return [each for each in found if low * (1 - 1e-9) <= each <= high * (1 + 1e-9)]


def round_linear(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers between two, equally far from each other.

    >>> round_linear(0.0, 0.1)
    [0.0, 0.02, 0.04, 0.06, 0.08, 0.1]
    """
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{place * step:.12g}") for place in range(first, last + 1)]
