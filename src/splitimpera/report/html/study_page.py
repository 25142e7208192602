"""A study as one HTML file, with all that it needs: words, the map of designs, the Pareto front, tables.

The figures are drawn by the page's own scripts, not by Plotly: regions are hatched and bordered, cells can be walked
through by keys, and the file stays small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Any

from splitimpera.core.errors import printable, shown
from splitimpera.core.version import __version__
from splitimpera.report import study_words as words
from splitimpera.report.html.rendering import as_data, asset, render
from splitimpera.report.palette import OTHER_COLOUR, OTHER_LETTER, ink_on
from splitimpera.report.study_axes import ReadAxis
from splitimpera.report.study_front import Plans, charts, gathered
from splitimpera.report.study_progress import progress_charts
from splitimpera.report.study_wins import (
    MOST_COLOURS,
    Design,
    Key,
    Wins,
    design_words,
    key_of,
    wins_of,
)
from splitimpera.report.words import WORDS
from splitimpera.studies.study_results import Cell, PlanRow, StudyResults

MOST_CELLS = 30_000
"""On the map; of more, every second value of the longest axis is left out, until they fit."""
MOST_ROWS = 40
"""Of a table."""
TEXTS_CHARACTERS = 400_000
"""Of all reasons together; those of further cells are in cells.csv."""
TEXT_CHARACTERS = 400
FACETS = 6
COLUMNS = (
    *("state", "group", "plan", "certainty", "quality", "latency", "value"),
    *("second", "feasible", "plans", "why", "index"),
)
"""What is said of a cell. Its state is w (a plan wins), n (none is feasible), f (failed) or l (left to do)."""


def study_html(results: StudyResults) -> str:
    """The whole page.

    Other files of the study are linked by name: `cells.csv`, `plans.csv`.
    """
    wins = wins_of(results)
    plans = gathered(results)
    front, progress = charts(results, wins, plans), progress_charts(results)
    steps = _steps([len(axis) for axis in wins.axes])
    painted = wins.designs[:MOST_COLOURS]
    data = {
        "axes": [_axis(axis, step) for axis, step in zip(wins.axes, steps, strict=True) if len(axis) > 1],
        "facets": FACETS,
        "infeasible": WORDS["unsatisfiable"],
        "quality": words.name_of(results.quality),
        "value": words.value_name(results),
        "designs": [{"id": it.id, "letter": it.letter, "colour": it.colour, "ink": ink_on(it.colour)} for it in painted]
        + [{"id": "another design", "letter": OTHER_LETTER, "colour": OTHER_COLOUR, "ink": ink_on(OTHER_COLOUR)}],
        **_Told(results, wins).data(plans.rows, steps),
        "front": front,
        "progress": progress,
    }
    return render(
        "study",
        name=shown(results.name),
        search=results.goal == "search",
        css=asset("page.css") + asset("study.css"),
        scripts=[asset("svg_drawing.js"), asset("study_map.js"), asset("study_charts.js")],
        data=as_data(data),
        headline=words.headline(wins),
        any_wins=bool(wins.designs),
        told=[_told(design, wins) for design in wins.designs[: words.TOLD_DESIGNS]],
        legend=[(design, ink_on(design.colour)) for design in painted],
        others=words.others_words(wins),
        rest=words.rest_words(wins),
        thinned=[(axis.name, step) for axis, step in zip(wins.axes, steps, strict=True) if step > 1],
        wins=wins,
        other_designs=len(wins.designs) > MOST_COLOURS,
        other_colour=OTHER_COLOUR,
        other_letter=OTHER_LETTER,
        front=front,
        front_said=_front_said(plans, front),
        progress=progress,
        designs=[_row(design, wins, results) for design in wins.designs[:MOST_ROWS]],
        hidden=max(len(wins.designs) - MOST_ROWS, 0),
        quality=words.name_of(results.quality),
        value=words.value_name(results),
        failures=[
            (reason, count, words.place_words(first, wins.axes))
            for reason, count, first in words.failures(wins)[:MOST_ROWS]
        ],
        covered=words.covered_words(results, wins),
        axes=[(", ".join(map(printable, axis.keys)), axis.name, words.axis_words(axis)) for axis in wins.axes],
        version=__version__,
    )


def _steps(lengths: Sequence[int]) -> list[int]:
    """For each axis which values the map has: every one, every second, ...

    >>> _steps([100, 100]), _steps([10_000, 10])
    ([1, 1], [4, 1])
    """
    steps = [1] * len(lengths)
    while prod(kept := [-(-length // step) for length, step in zip(lengths, steps, strict=True)]) > MOST_CELLS:
        steps[kept.index(max(kept))] *= 2
    return steps


def _axis(axis: ReadAxis, step: int) -> dict[str, Any]:
    last = (len(axis) - 1) // step
    return {
        "name": axis.name,
        "key": ", ".join(map(printable, axis.keys)),
        "labels": axis.labels[::step],
        "full": axis.full[::step] if len(axis.keys) > 1 else None,
        "ticks": [(round(at / step, 3), label) for at, label in axis.ticks if at <= last * step],
        "numbers": axis.numbers is not None,
    }


@dataclass
class _Told:
    """What the page says of each cell, a column each; names and reasons are there once."""

    results: StudyResults
    wins: Wins
    numbers: dict[Key, int] = field(default_factory=dict)
    rows: list[PlanRow] = field(default_factory=list)
    texts: dict[str, int] = field(default_factory=dict)
    room: int = TEXTS_CHARACTERS

    def data(self, first: Sequence[PlanRow], steps: Sequence[int]) -> dict[str, Any]:
        """Cells in the order of the map, the last axis fastest; the `first` plans have the first numbers."""
        for row in first:
            self._number(row)
        group = {key_of(design.plan): place for place, design in enumerate(self.wins.designs[:MOST_COLOURS])}
        places = product(*(range(0, len(axis), step) for axis, step in zip(self.wins.axes, steps, strict=True)))
        told = [self._cell(self.wins.cells.get(place), group) for place in places]
        return {
            "cells": {name: list(column) for name, column in zip(COLUMNS, zip(*told, strict=True), strict=True)},
            "names": [(printable(row.id), design_words(row)) for row in self.rows],
            "texts": list(self.texts),
        }

    def _cell(self, cell: Cell | None, group: Mapping[Key, int]) -> tuple[Any, ...]:
        """The entries of `COLUMNS`."""
        if cell is None or cell.state == "left" or (cell.state == "done" and cell.row is None):
            return ("l", -1, -1, "", "", "", "", -1, 0, 0, -1, -1 if cell is None else cell.index)
        if cell.row is None or cell.state == "failed":
            why = self._text(words.reason_words(cell.reason))
            return ("f", -1, -1, "", "", "", "", -1, 0, 0, why, cell.index)
        row = cell.row
        plan, won = row.chosen or row.closest, row.chosen is not None
        place = group.get(key_of(row.chosen), MOST_COLOURS) if row.chosen else -1
        return (
            "w" if won else "n",
            place if place < MOST_COLOURS else len(group),
            self._number(plan),
            printable(row.certainty) if won else "",
            words.quality_text(plan, self.results) if plan else "",
            words.latency_text(plan) if plan else "",
            words.value_text(plan.value, self.results) if plan else "",
            self._number(row.runner_up),
            row.feasible,
            row.plans,
            self._text(" ".join(row.reasons) if won else "; ".join(plan.misses if plan else ())),
            cell.index,
        )

    def _number(self, row: PlanRow | None) -> int:
        if row is None:
            return -1
        number = self.numbers.setdefault(key_of(row), len(self.rows))
        if number == len(self.rows):
            self.rows.append(row)
        return number

    def _text(self, text: str) -> int:
        """A reason's number; -1 for none, and -2 where the page has no more room for another."""
        text = shown(text, TEXT_CHARACTERS)
        if not text:
            return -1
        if text not in self.texts:
            if len(text) > self.room:
                return -2
            self.room -= len(text)
            self.texts[text] = len(self.texts)
        return self.texts[text]


def _front_said(plans: Plans, front: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is drawn in the first chart, and what is not."""
    said = []
    if front:
        points = front[0]["points"]
        said.append(
            f"{points} plans of all cells together, feasible or not; only feasible ones have a value. "
            "None in any cell is both better and quicker, or smaller, than those on the line."
        )
        if front[0]["binned"]:
            said.append(
                "They are many: a square stands for all plans there, the fuller the more, and tells of the best."
            )
    if plans.unstable:
        said.append(f"{plans.unstable} plans are unstable, so that they have no latency, and not drawn.")
    if plans.unknown:
        said.append(f"{plans.unknown} plans are not drawn, for their quality was not computed.")
    return said


def _told(design: Design, wins: Wins) -> dict[str, Any]:
    return {"design": design, "ink": ink_on(design.colour), "text": words.win_words(design, wins)}


def _row(design: Design, wins: Wins, results: StudyResults) -> dict[str, Any]:
    """A design in the table: what it does, and from where to where its figures go in the cells that it wins."""
    won = [chosen for place in design.wins if (row := wins.cells[place].row) and (chosen := row.chosen)]
    return {
        "design": design,
        "ink": ink_on(design.colour),
        "count": len(design.wins),
        "quality": _ends([plan.metrics.get(results.quality) for plan in won], results.quality),
        "latency": _ends([plan.metrics.get("latency_p95") for plan in won], "latency_p95"),
        "where": words.where_words(design.wins, wins)
        or ("everywhere" if len(design.wins) == wins.total else "scattered"),
    }


def _ends(values: Sequence[float | None], metric: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    low, high = (words.metric_text(metric, float(f"{end:.3g}")) for end in (min(known), max(known)))
    return low if low == high else f"{low} to {high}"
