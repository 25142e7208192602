"""A study's file: a scenario, and the ranges of its keys that are covered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from splitimpera.core.errors import ScenarioError, shown
from splitimpera.core.files import read_file
from splitimpera.scenario.base_section import Section
from splitimpera.scenario.document import Place
from splitimpera.scenario.loading import LARGEST_BYTES, mapping_in, validated
from splitimpera.scenario.quantities import Fraction, Name, Text
from splitimpera.scenario.ranges import Axis, RangeSection, axes_of, cells, changed, place_of
from splitimpera.scenario.sections import Scenario, known_objective

MOST_PLANS = 10_000_000
MOST_CHECKED = 1_000
"""How many values of a range are tried before a study begins."""


class SearchSection(Section):
    """How the goal `search` chooses which bottlenecks are trained."""

    objectives: Annotated[
        list[Annotated[Text, AfterValidator(known_objective)]], Field(default_factory=list, max_length=5)
    ]
    """What it searches for: one metric, or several, whose Pareto front it keeps.
    Default: the scenario's `objective`."""
    strategy: Text = "halving+on_time"
    """The order of entry: `on_time`, `depth`, `bytes`, `cs`, `cs_maxima`, `random`, `exhaustive`; with `halving+`
    before it by successive halving, without it each is trained fully."""
    rungs: Annotated[list[Annotated[int, Field(ge=1, le=10_000)]], Field(min_length=1, max_length=10)] | None = None
    """Epochs of stage 2 at each rung, ascending; stage 1 has all of its epochs at the first.
    Default: a quarter of `bottlenecks.epochs`, and all."""
    eta: Annotated[int, Field(ge=2, le=100)] = 2
    """One in so many goes up to the next rung."""
    budget: Annotated[Fraction, Field(gt=0, le=1)] = 1.0
    """The share of what training all of them would cost."""


class StudySection(Section):
    """A study as its file has it; the scenario is a path beside it, or stands in it."""

    SECTIONS: ClassVar = {"ranges": RangeSection, "search": SearchSection}

    name: Name = "study"
    """Names the study; its journal belongs to this name. Default: the file's name."""
    scenario: str | dict[str, Any]
    """A scenario's file, by its path from here, or its keys."""
    ranges: Annotated[dict[str, RangeSection], Field(default_factory=dict)]
    """For each key, as messages write it (`links[0].rate`, `requirements[1]`, `workload.fps`), its values: a list, or a
    range.
    Default: none."""
    zip: Annotated[list[Annotated[list[str], Field(min_length=2)]], Field(default_factory=list)]
    """Lists of keys that go through their values together; all others are crossed. Default: none."""
    goal: Literal["map", "search"] = "map"
    """`map`: all plans of all cells are evaluated; `search`: not all bottlenecks are trained."""
    replications: Annotated[int, Field(ge=1, le=1000)] = 5
    """How often each link is simulated."""
    search: Annotated[SearchSection, Field(default_factory=SearchSection)]
    """How bottlenecks are searched for, where that is the goal. Default: by successive halving."""


@dataclass(frozen=True)
class Study:
    """A study, read and checked.

    Attributes:
        document: The scenario's document, without any range.
        folder: Where its relative paths start.
        axes: What is covered; zipped keys share an axis.
        spaced: How the values of each axis are spaced: log, linear or listed.
        search: How bottlenecks are searched for, where that is the goal.
    """

    name: str
    goal: Literal["map", "search"]
    document: Mapping[str, Any]
    folder: Path
    axes: tuple[Axis, ...]
    spaced: tuple[str, ...]
    replications: int
    search: SearchSection

    def __len__(self) -> int:
        """How many cells it has."""
        return math.prod(len(axis.values) for axis in self.axes)

    def values(self) -> Sequence[dict[str, Any]]:
        """The values of each cell, by key; the last axis goes fastest."""
        return list(cells(self.axes))

    def scenario(self, values: Mapping[str, Any]) -> Scenario:
        """The scenario of a cell.

        Raises:
            ScenarioError: its values do not fit together.
        """
        made = validated(Scenario, changed(self.document, values))
        made._folder = self.folder
        return made


def load_study(path: str | Path) -> Study:
    """Read a study's file, and the scenario that it names.

    Raises:
        ScenarioError: a file is missing, too large or no YAML, a key or value is wrong, a range is of a key that the
            scenario does not have, or there would be more than `MOST_PLANS` cells.

    Example:
        >>> from tempfile import mkdtemp
        >>> path = Path(mkdtemp()) / "rates.yaml"
        >>> _ = path.write_text('''
        ... scenario:
        ...   network: {model: digits-vgg16}
        ...   data: {source: digits}
        ...   devices: [{name: camera, preset: cortex-m7}, {name: server, preset: t4}]
        ...   links: [{rate: 1 Mbit/s, delay: 5 ms}]
        ...   workload: {fps: 20}
        ...   requirements: [latency_p95 <= 50 ms]
        ... ranges:
        ...   links[0].rate: {log: [1 Mbit/s, 100 Mbit/s], count: 5}
        ...   links[0].loss: [0 %, 5 %]
        ... ''')
        >>> study = load_study(path)
        >>> study.name, len(study), study.values()[1]
        ('rates', 10, {'links[0].rate': '1000000.0 bit/s', 'links[0].loss': '5 %'})
        >>> study.scenario(study.values()[1]).links[0].loss
        0.05
    """
    path = Path(path)
    content, lines = _document(path, "study")
    section = validated(StudySection, content, lines, path)
    if isinstance(section.scenario, str):
        inside = path.parent / section.scenario
        document, document_lines = _document(inside, "scenario")
        folder = inside.parent.resolve()
        validated(Scenario, document, document_lines, inside)
    else:
        document, folder = {"name": section.name, **section.scenario}, path.parent.resolve()
        inner = {place[1:]: line for place, line in lines.items() if place[:1] == ("scenario",)}
        validated(Scenario, document, inner, path)

    try:
        axes = axes_of(section.ranges, section.zip)
    except ScenarioError as error:
        raise error.at(f"{path}: {error.where}") from None
    spaced = tuple(_spacing(section.ranges[axis.keys[0]]) for axis in axes)
    study = Study(section.name, section.goal, document, folder, axes, spaced, section.replications, section.search)
    if len(study) > MOST_PLANS:
        told = " x ".join(str(len(axis.values)) for axis in axes)
        raise ScenarioError(
            f"{told} = {len(study)} cells, at most {MOST_PLANS} plans are looked at",
            where=str(path),
            hint="thin the ranges ('count'), or zip some of them",
        )
    for axis in axes:
        for key in axis.keys:
            place_of(key)
        for step in islice(axis.values, MOST_CHECKED):
            try:
                study.scenario(dict(zip(axis.keys, step, strict=True)))
            except ScenarioError as error:
                line = lines.get(("ranges", axis.keys[0]), 1)
                raise ScenarioError(f"{_written(axis.keys, step)}: {error}", where=f"{path}:{line}") from None
    return study


def _document(path: Path, what: str) -> tuple[dict[str, Any], dict[Place, int]]:
    raw = read_file(path, LARGEST_BYTES, ScenarioError, what=f"{what} file")
    return mapping_in(raw, path, what, "see docs/studies.md")


def _spacing(section: RangeSection) -> str:
    return "log" if section.log is not None else "linear" if section.linear is not None else "listed"


def _written(keys: Sequence[str], step: Sequence[Any]) -> str:
    return ", ".join(f"{key}: {shown(value)}" for key, value in zip(keys, step, strict=True))
