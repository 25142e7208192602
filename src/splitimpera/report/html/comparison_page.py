"""Two runs side by side as one HTML file, without a script."""

from __future__ import annotations

from typing import NamedTuple

from splitimpera.core.version import __version__
from splitimpera.records.requirement import title_of
from splitimpera.report.comparison import (
    Comparison,
    Pair,
    change_of,
    requirements_of,
    runs,
    warning_words,
    written,
)
from splitimpera.report.html.rendering import asset, render
from splitimpera.report.words import decision_words, value_words, verdict_words


class Cell(NamedTuple):
    """A value in either run, and by how much the second differs."""

    first: str
    second: str
    change: str = ""


def comparison_html(comparison: Comparison) -> str:
    """The whole page."""
    chosen = [run.recommendation.plan for run in runs(comparison)]
    return render(
        "comparison",
        css=asset("page.css"),
        runs=runs(comparison),
        decisions=list(map(decision_words, runs(comparison))),
        warning=warning_words(comparison),
        settings=[(entry.name, written(entry.first), written(entry.second)) for entry in comparison.settings],
        requirements=requirements_of(comparison),
        columns=["plan", "verdict", *map(title_of, comparison.metrics)],
        rows=[
            {"id": pair.id, "words": pair.name, "chosen": pair.id in chosen, "cells": _cells(pair, comparison)}
            for pair in comparison.pairs
        ],
        version=__version__,
    )


def _cells(pair: Pair, comparison: Comparison) -> list[Cell]:
    values = [
        Cell(value_words(pair.first, metric), value_words(pair.second, metric), change_of(pair, metric))
        for metric in comparison.metrics
    ]
    return [Cell(verdict_words(pair.first), verdict_words(pair.second)), *values]
