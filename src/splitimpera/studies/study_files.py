"""A study's folder: study.json says what it covers, the journal what was found, cells.csv and plans.csv hold it all."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from splitimpera.core.errors import OutputError, shown_path
from splitimpera.core.files import read_file, write_output
from splitimpera.scenario.ranges import Axis, cells
from splitimpera.studies.journal import Journal
from splitimpera.studies.study_results import Cell, CellRow, PlanRow, SearchStep, StudyResults

FACTS, JOURNAL, VALUES = "study.json", "study.journal", "values.sqlite"
CELLS, PLANS, PAGE = "cells.csv", "plans.csv", "study.html"
LARGEST_BYTES = 2_000_000_000
VERSION = 1


class Facts(BaseModel):
    """What a study covers, in its folder's study.json.

    Attributes:
        keys: The journal's key of each cell; empty where its values do not fit together.
        refused: Why, by the cell's place.
        searched: The metrics that are searched for.
        searches: What the steps of each search are known by in the journal: one for each common ground.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    name: str
    goal: Literal["map", "search"]
    axes: list[tuple[tuple[str, ...], list[tuple[Any, ...]]]]
    spaced: list[str]
    requirements: list[str]
    objective: str
    quality: str
    seed: int
    replications: int
    keys: list[Annotated[str, Field(max_length=64)]]
    refused: dict[int, str] = {}
    searched: list[str] = []
    searches: list[str] = []


def identity(name: str) -> str:
    """What a study's journal is known by."""
    return re.sub(r"[^\w-]", "_", name, flags=re.ASCII)[:64]


def open_journal(folder: Path, name: str, write: bool = False) -> Journal:
    """The journal of a study.

    Raises:
        OutputError: it is of another study, of another version, cannot be opened, or has a writer.
    """
    return Journal(folder / JOURNAL, "study", identity(name), write)


def write_facts(folder: Path, facts: Facts) -> None:
    """Write study.json, whole or not at all."""
    write_output(folder / FACTS, facts.model_dump_json(indent=1).encode(), "--out")


def read_facts(folder: Path) -> Facts:
    """Read it.

    Raises:
        OutputError: there is none, or it is no study's.
    """
    path = folder / FACTS
    hint = "give the folder that 'splitimpera study run' wrote to"
    raw = read_file(path, LARGEST_BYTES, OutputError, what="study file", hint=hint)
    try:
        version = json.loads(raw).get("version") if raw[:1] == b"{" else None
    except ValueError:
        version = None
    if isinstance(version, int) and version != VERSION:
        raise OutputError(
            f"'{shown_path(path)}' has version {version}, {VERSION} is expected", hint="use the version that wrote it"
        )
    try:
        return Facts.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise OutputError(f"'{shown_path(path)}' is no study: {first['msg']}", hint=hint) from None


def read_study(folder: str | Path) -> StudyResults:
    """A study as far as it has come, also while it runs.

    Args:
        folder: Where `study` keeps it.

    Raises:
        OutputError: there is none in this folder, or it cannot be read.
    """
    folder = Path(folder)
    facts = read_facts(folder)
    return results_of(facts, open_journal(folder, facts.name))


def results_of(facts: Facts, journal: Journal) -> StudyResults:
    """What a journal holds of a study; plans are read from it when they are asked for."""
    axes = tuple(Axis(keys, tuple(values)) for keys, values in facts.axes)
    found: list[Cell] = []
    workers: dict[str, tuple[int, float]] = {}
    for index, values in enumerate(cells(axes)):
        key = facts.keys[index] if index < len(facts.keys) else ""
        body = journal.get(f"cell:{key}")
        if body is not None:
            count, spent_s = workers.get(body["worker"], (0, 0.0))
            workers[body["worker"]] = count + 1, spent_s + float(body["spent_s"])
            found.append(Cell(index, values, "done", row=CellRow.model_validate(body["row"])))
        elif index in facts.refused:
            found.append(Cell(index, values, "failed", facts.refused[index]))
        elif f"failed:{key}" in journal:
            found.append(Cell(index, values, "failed", str(journal[f"failed:{key}"])))
        else:
            found.append(Cell(index, values, "left"))
    return StudyResults(
        name=facts.name,
        goal=facts.goal,
        axes=axes,
        spaced=tuple(facts.spaced),
        requirements=tuple(facts.requirements),
        objective=facts.objective,
        quality=facts.quality,
        seed=facts.seed,
        replications=facts.replications,
        cells=found,
        plans_of=partial(_plans_of, journal, facts.keys),
        spent_s=sum(spent_s for _, spent_s in workers.values()),
        workers=workers,
        search=[step for name in facts.searches for step in steps_of(journal, name)],
        searched=tuple(facts.searched),
    )


def steps_of(journal: Journal, name: str) -> Iterator[SearchStep]:
    """The steps of a search, by what they are known by."""
    for count in itertools.count(1):
        body = journal.get(f"step:{name}:{count}")
        if body is None:
            return
        yield SearchStep(**{key: value for key, value in body.items() if key not in ("key", "worths")})


def _plans_of(journal: Journal, keys: Sequence[str], index: int) -> list[PlanRow]:
    return [PlanRow.model_validate(row) for row in journal[f"cell:{keys[index]}"]["plans"]]


# Tables --------------------------------------------------------------------------------------------------------------


def write_tables(folder: Path, results: StudyResults) -> list[Path]:
    """Write cells.csv, a line a cell, and plans.csv, a line a plan in a cell; SI units."""
    contents = {CELLS: _csv(_cell_lines(results)), PLANS: _csv(_plan_lines(results))}
    for name, content in contents.items():
        write_output(folder / name, content, "--out")
    return [folder / name for name in contents]


def _cell_lines(results: StudyResults) -> Iterator[list[Any]]:
    keys = [key for axis in results.axes for key in axis.keys]
    of_best = [results.quality, "latency_p95", "payload_bytes", "lost_packet_rate"]
    yield ["cell", *keys, "state", "plans", "feasible", "chosen", "certainty", "value", *of_best, "reason"]
    for cell in results.cells:
        row, best = cell.row, cell.row.chosen if cell.row else None
        metrics = [best.metrics.get(name) if best else None for name in of_best]
        counts = [row.plans, row.feasible] if row else [None, None]
        chosen = [best.id, best.certainty, best.value] if best else [None, None, None]
        yield [cell.index, *(cell.values[key] for key in keys), cell.state, *counts, *chosen, *metrics, cell.reason]


def _plan_lines(results: StudyResults) -> Iterator[list[Any]]:
    keys = [key for axis in results.axes for key in axis.keys]
    own = ["id", "configuration", "cut", "cut_name", "codec", "bottleneck", "transport"]
    judged = ["stable", "feasible", "certainty", "value"]
    names: list[str] = []
    for cell, plan in results.every_plan():
        if not names:
            names = sorted(plan.metrics)
            yield ["cell", *keys, *own, *names, "quality_low", "quality_high", *judged, "misses"]
        line = [getattr(plan, name) for name in own] + [plan.metrics.get(name) for name in names]
        line += [*(plan.quality_ci or (None, None)), *(getattr(plan, name) for name in judged)]
        yield [cell.index, *(cell.values[key] for key in keys), *line, "; ".join(plan.misses)]


def _csv(lines: Iterable[Sequence[Any]]) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    for line in lines:
        writer.writerow(str(value).lower() if isinstance(value, bool) else value for value in line)
    return file.getvalue().encode("utf-8", "backslashreplace")
