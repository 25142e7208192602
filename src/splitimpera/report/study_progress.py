"""How a search went: what each training found, the best so far, and how much training was spent, over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from splitimpera.core.errors import printable
from splitimpera.records.requirement import METRICS
from splitimpera.report.study_axes import Tick, round_linear
from splitimpera.report.study_front import MOST_POINTS, ValueAxis
from splitimpera.report.study_words import duration, metric_text, name_of, value_name, value_text
from splitimpera.studies.study_results import SearchStep, StudyResults


def progress_charts(results: StudyResults) -> list[dict[str, Any]]:
    """Two charts over one axis of time, as data for the page; none where nothing was searched."""
    steps = results.search
    if not steps:
        return []
    end_s = max(step.elapsed_s for step in steps) or 1.0
    across = [round(step.elapsed_s / end_s, 4) for step in steps]
    _, unit_s = _unit(end_s)
    xticks = [
        (round(at * unit_s / end_s, 4), _time_text(at * unit_s, end_s)) for at in round_linear(0.0, end_s / unit_s)
    ]
    improving = {place for place, step in enumerate(steps) if place == 0 or step.best != steps[place - 1].best}
    thinned = range(0, len(steps), max(1, math.ceil(len(steps) / MOST_POINTS)))
    kept = sorted({*thinned, *sorted(improving)[-MOST_POINTS:], len(steps) - 1})
    return [
        *_best(results, kept, across, xticks, improving),
        _spent(steps, kept, across, xticks),
    ]


def _best(
    results: StudyResults,
    kept: Sequence[int],
    across: Sequence[float],
    xticks: list[Tick],
    improving: set[int],
) -> list[dict[str, Any]]:
    steps = results.search
    worth = [value for step in steps for value in (step.value, step.best) if value is not None]
    if not worth:
        return []
    upright = ValueAxis(worth, [], partial(_value_text, results=results))
    best = [(across[place], value) for place in kept if (value := steps[place].best) is not None]
    if best:  # as far as the search has come
        best.append((across[-1], best[-1][1]))
    found = [(place, value) for place in kept if (value := steps[place].value) is not None]
    return [
        {
            "key": "best",
            "y": f"value ({_value_name(results)})",
            "xticks": xticks,
            "yticks": upright.ticks(),
            "line": [[x, round(upright.place(value), 4)] for x, value in best],
            "mark": {
                "x": [across[place] for place, _ in found],
                "y": [round(upright.place(value), 4) for _, value in found],
                "front": [int(place in improving) for place, _ in found],
                "said": [_said(steps[place], results) for place, _ in found],
            },
        }
    ]


def _spent(
    steps: Sequence[SearchStep], kept: Sequence[int], across: Sequence[float], xticks: list[Tick]
) -> dict[str, Any]:
    most = max(step.spent for step in steps) or 1.0
    return {
        "key": "spent",
        "y": "training spent, epochs",
        "xticks": xticks,
        "yticks": [(round(at / most, 4), f"{at:.4g}") for at in round_linear(0.0, most, 4)],
        "line": [[0.0, 0.0], *([across[place], round(steps[place].spent / most, 4)] for place in kept)],
        "mark": {"x": [], "y": [], "front": [], "said": []},
    }


def _said(step: SearchStep, results: StudyResults) -> str:
    best = _value_text(step.best, results)
    return (
        f"{printable(step.candidate)}, rung {step.rung}: value {_value_text(step.value, results)}; best so far {best}, "
        f"after {duration(step.elapsed_s)} and {step.spent:.4g} epochs"
    )


def _value_name(results: StudyResults) -> str:
    """What candidates are worth, as it is called."""
    first = next(iter(results.searched), "")
    if first not in METRICS:
        return value_name(results)
    name = name_of(first)
    if first.startswith("on_time_"):
        name = f"on-time {name_of(first.removeprefix('on_time_'))}"
    return name if METRICS[first].better == "higher" else f"1 / (1 + {name})"


def _value_text(value: float | None, results: StudyResults) -> str:
    first = next(iter(results.searched), "")
    if first in METRICS and METRICS[first].better == "higher":
        return metric_text(first, value)
    if first not in METRICS:
        return value_text(value, results)
    return "-" if value is None else f"{value:.4g}"


def _time_text(time_s: float, end_s: float) -> str:
    unit, seconds = _unit(end_s)
    return f"{time_s / seconds:.3g} {unit}"


def _unit(end_s: float) -> tuple[str, float]:
    """In which the whole is told, and its seconds."""
    return next((each for each in (("h", 3600.0), ("min", 60.0)) if end_s >= 3 * each[1]), ("s", 1.0))
