"""Tables of a study for the terminal, as wide as 80 columns: what wins, what failed, what was studied."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from splitimpera.report.study_wins import Wins, wins_of
from splitimpera.report.study_words import (
    axis_words,
    covered_words,
    duration,
    failures,
    headline,
    latency_text,
    metric_text,
    name_of,
    place_words,
    rest_words,
    where_words,
)
from splitimpera.report.tables import PLAN_CHARACTERS, name_cell, outside
from splitimpera.studies.study_results import StudyResults

DESIGNS_SHOWN = 12
FAILURES_SHOWN = 8
AXES_SHOWN = 12


def study_account(results: StudyResults) -> RenderableType:
    """The account of a study, finished or not."""
    wins = wins_of(results)
    lines: list[RenderableType] = [outside(headline(wins), "bold")]
    if wins.designs:
        lines.append(_winners(wins, results))
    lines += map(outside, rest_words(wins))
    if wins.failed:
        lines.append(_failures(wins))
    if wins.axes:
        lines.append(_axes(wins))
    if len(results.workers) > 1:
        lines.append(_workers(results))
    return Group(*lines, *(outside(line, "dim") for line in covered_words(results, wins)))


def _winners(wins: Wins, results: StudyResults) -> RenderableType:
    """The designs with most cells; each with its figures in the cell where it is worth most."""
    table = _table("Designs that win")
    table.add_column("plan", overflow="fold", max_width=PLAN_CHARACTERS)
    for name in ("cells", "certain", name_of(results.quality), "p95"):
        table.add_column(name, justify="right", overflow="fold")
    table.add_column("where", overflow="fold", ratio=1)
    for design in wins.designs[:DESIGNS_SHOWN]:
        best = max(
            (chosen for place in design.wins if (row := wins.cells[place].row) and (chosen := row.chosen)),
            key=lambda plan: float("-inf") if plan.value is None else plan.value,
        )
        table.add_row(
            name_cell(design.id, PLAN_CHARACTERS),
            str(len(design.wins)),
            str(design.certain),
            metric_text(results.quality, best.metrics.get(results.quality)),
            latency_text(best),
            outside(where_words(design.wins, wins)),
        )
    notes = [f"{name_of(results.quality)} and p95: where the design is worth most"]
    if hidden := len(wins.designs) - DESIGNS_SHOWN:
        notes += [f"and {hidden} more designs, in study.html"] if hidden > 0 else []
    return Group(table, *(outside(note, "dim") for note in notes))


def _workers(results: StudyResults) -> RenderableType:
    """Who evaluated how much, machine by machine."""
    table = _table("Where cells were evaluated")
    table.add_column("machine", overflow="fold")
    for name in ("processes", "cells", "time of all"):
        table.add_column(name, justify="right", no_wrap=True)
    machines: dict[str, list[tuple[int, float]]] = {}
    for name, did in results.workers.items():
        machines.setdefault(name.rpartition(":")[0], []).append(did)
    for machine, processes in sorted(machines.items()):
        count, time_s = sum(count for count, _ in processes), sum(time_s for _, time_s in processes)
        table.add_row(outside(machine), str(len(processes)), str(count), duration(time_s))
    return table


def _failures(wins: Wins) -> RenderableType:
    table = _table("What failed")
    table.add_column("reason", overflow="fold", ratio=3)
    table.add_column("cells", justify="right", no_wrap=True)
    table.add_column("for example", overflow="fold", ratio=2)
    found = failures(wins)
    for reason, count, first in found[:FAILURES_SHOWN]:
        table.add_row(outside(reason, "red"), str(count), outside(place_words(first, wins.axes)))
    hidden = len(found) - FAILURES_SHOWN
    return Group(table, Text(f"and {hidden} more reasons", "dim")) if hidden > 0 else table


def _axes(wins: Wins) -> RenderableType:
    table = _table("Ranges")
    table.add_column("key", overflow="fold", max_width=30)
    table.add_column("values", overflow="fold", ratio=1)
    for axis in wins.axes[:AXES_SHOWN]:
        table.add_row(outside("\n".join(axis.keys)), outside(axis_words(axis)))
    hidden = len(wins.axes) - AXES_SHOWN
    return Group(table, Text(f"and {hidden} more ranges", "dim")) if hidden > 0 else table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
