"""Two designs side by side: which settings differ, what each requires and recommends, what each plan does in either."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isclose
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from splitimpera.core import units
from splitimpera.records.requirement import METRICS
from splitimpera.report.schema import PlanEntry, RequirementEntry, Results
from splitimpera.report.selection import main_times, metric_names
from splitimpera.report.tables import outside, verdict_style
from splitimpera.report.words import (
    UNBOUNDED,
    decision_words,
    format_metric,
    plan_words,
    short_name,
    value_words,
    verdict_words,
)

PLANS_SHOWN = 12
SAME = 1e-4
"""Values this near to each other, as a share, are written alike, with four digits."""


@dataclass(frozen=True)
class Difference:
    """A setting that the two runs do not share; None where one of them has it not."""

    name: str
    first: object
    second: object


@dataclass(frozen=True)
class Pair:
    """One plan in both runs, by its id and as people call it; None where one of them has it not."""

    id: str
    name: str
    first: PlanEntry | None
    second: PlanEntry | None


@dataclass(frozen=True)
class Comparison:
    """Two runs.

    Attributes:
        settings: what differs in what was run.
        pairs: every plan of either, in the order of the first run, then what only the second has.
        metrics: those that a plan of either has.
    """

    first: Results
    second: Results
    settings: tuple[Difference, ...]
    pairs: tuple[Pair, ...]
    metrics: tuple[str, ...]


def compare(first: Results, second: Results) -> Comparison:
    """Set two runs side by side."""
    ours, theirs = dict(_settings(first)), dict(_settings(second))
    settings = tuple(
        Difference(name, ours.get(name), theirs.get(name))
        for name in dict.fromkeys([*ours, *theirs])
        if ours.get(name) != theirs.get(name)
    )
    left, right = first.by_id, second.by_id
    named = {id: plan_words(plan, run.cut_names) for run in (second, first) for id, plan in run.by_id.items()}
    pairs = tuple(Pair(id, named[id], left.get(id), right.get(id)) for id in dict.fromkeys([*left, *right]))
    metrics = tuple(dict.fromkeys([*metric_names(first), *metric_names(second)]))
    return Comparison(first, second, settings, pairs, metrics)


def _settings(results: Results) -> Iterator[tuple[str, object]]:
    """What was run, each value under its full name; requirements are compared by themselves."""
    yield from _flat("", results.scenario.model_dump(exclude={"requirements", "folder", "units"}))
    for key in ("seed", "replications", "quality", "splitimpera_version"):
        yield f"run {key}", getattr(results, key)
    for part, count in results.samples:
        yield f"samples {part}", count
    yield "layers", len(results.layers)
    yield f"base {results.quality_title}", format_metric(results.quality, results.base_quality)


def _flat(name: str, value: object) -> Iterator[tuple[str, object]]:
    entries: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        entries = [(f"{name}.{key}" if name else str(key), entry) for key, entry in value.items()]
    elif isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        entries = [(f"{name}[{place}]", entry) for place, entry in enumerate(value)]
    for inner, entry in entries:
        yield from _flat(inner, entry)
    if not entries and value not in (None, {}, []):
        yield name, value


def requirements_of(comparison: Comparison) -> list[tuple[str, str]]:
    """Each requirement of either run, and which run has it: "both", "first" or "second"."""
    texts = [[_with_weight(requirement) for requirement in run.requirements] for run in runs(comparison)]
    found = dict.fromkeys([*texts[0], *texts[1]])
    return [
        (text, "both" if text in texts[0] and text in texts[1] else "first" if text in texts[0] else "second")
        for text in found
    ]


def runs(comparison: Comparison) -> tuple[Results, Results]:
    return comparison.first, comparison.second


def _with_weight(requirement: RequirementEntry) -> str:
    weight = requirement.weight
    return requirement.text if weight is None else f"{requirement.text} (preferred, weight {weight:g})"


def change_of(pair: Pair, metric: str) -> str:
    """By how much a metric of the second run differs: shares in percentage points, all else as a share of the first."""
    before, after = _value(pair.first, metric), _value(pair.second, metric)
    if before is None or after is None:
        return ""
    if isclose(before, after, rel_tol=SAME):
        return "same"
    if METRICS[metric].dimension is units.FRACTION:
        return f"{100 * (after - before):+.3g} points"
    return f"{100 * (after / before - 1):+.3g} %" if before else "from 0"


def _value(plan: PlanEntry | None, metric: str) -> float | None:
    if plan is None or (not plan.stable and metric.startswith(UNBOUNDED)):
        return None
    return plan.metrics.get(metric)


def warning_words(comparison: Comparison) -> str:
    """A warning where plans of one name are not the same thing in both runs."""
    layers = [[layer.name for layer in run.layers] for run in runs(comparison)]
    if layers[0] == layers[1]:
        return ""
    return "The networks differ, so that plans of the same name may be split at different places."


def comparison_tables(comparison: Comparison) -> RenderableType:
    """For the terminal: decisions, settings, requirements, and the best plans of either run."""
    lines: list[RenderableType] = [_decisions(comparison), _differences(comparison), _plans(comparison)]
    if warning := warning_words(comparison):
        lines.append(Text(f"Warning: {warning}", "yellow"))
    return Group(*lines)


def _decisions(comparison: Comparison) -> RenderableType:
    table = Table(title="Decision", title_justify="left", box=SIMPLE_HEAD, show_header=False)
    for name, run in zip(("first", "second"), runs(comparison), strict=True):
        table.add_row(name, outside(run.scenario.name), outside(decision_words(run)))
    return table


def _differences(comparison: Comparison) -> RenderableType:
    table = Table(title="What differs", title_justify="left", box=SIMPLE_HEAD)
    for name in ("setting", "first", "second"):
        table.add_column(name, overflow="fold")
    for entry in comparison.settings:
        table.add_row(*map(outside, (entry.name, written(entry.first), written(entry.second))))
    for text, where in requirements_of(comparison):
        if where != "both":
            table.add_row("requirement", *(outside(text if where == run else "-") for run in ("first", "second")))
    return table if table.row_count else Text("Settings and requirements are the same.")


def written(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(written(entry) for entry in value)
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _plans(comparison: Comparison) -> RenderableType:
    table = Table(title="Plans", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("plan and run", overflow="fold")  # the others keep their width
    metrics = shown_metrics(comparison)
    for name in metrics:
        table.add_column(short_name(name), justify="right", no_wrap=True)
    table.add_column("verdict")
    worth = _worth_showing(comparison)
    for pair in worth:
        table.add_row(outside(pair.id, "bold"))
        for name, plan in (("first", pair.first), ("second", pair.second)):
            verdict = Text(verdict_words(plan), verdict_style(plan))
            table.add_row(f"  {name}", *(value_words(plan, metric) for metric in metrics), verdict)
        if pair.first and pair.second:
            table.add_row("  change", *(Text(change_of(pair, metric), "dim") for metric in metrics), "")
        table.add_section()
    hidden = len(comparison.pairs) - len(worth)
    return Group(table, Text(f"and {hidden} more plans; --out FILE.html shows all", "dim")) if hidden else table


def shown_metrics(comparison: Comparison) -> list[str]:
    """The quality of either run, and the main metrics."""
    qualities = dict.fromkeys(run.quality for run in runs(comparison))
    waits = dict.fromkeys(metric for run in runs(comparison) for metric in main_times(run))
    return [*qualities, *waits, "fps", *(["payload_bytes"] if "latency_p95" in waits else [])]


def _worth_showing(comparison: Comparison) -> list[Pair]:
    """The plans that either recommends or has nearest, then the first run's best."""
    decisions = [run.recommendation for run in runs(comparison)]
    named = {decision.plan or decision.nearest for decision in decisions}
    first = [pair for pair in comparison.pairs if pair.id in named]
    others = [pair for pair in comparison.pairs if pair.id not in named]
    return [*first, *others][:PLANS_SHOWN]
