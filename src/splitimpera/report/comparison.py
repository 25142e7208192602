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
from splitimpera.report.results import Results, format_metric
from splitimpera.report.tables import metric_names, short_name, words

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
    """One plan in both runs; None where one of them has it not."""

    id: str
    first: Results | None
    second: Results | None


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
    left, right = ({plan["id"]: plan for plan in run["plans"]} for run in (first, second))
    pairs = tuple(Pair(name, left.get(name), right.get(name)) for name in dict.fromkeys([*left, *right]))
    metrics = tuple(dict.fromkeys([*metric_names(first), *metric_names(second)]))
    return Comparison(first, second, settings, pairs, metrics)


def _settings(results: Results) -> Iterator[tuple[str, object]]:
    """What was run, each value under its full name; requirements are compared by themselves."""
    beside = ("requirements", "units", "folder")
    scenario = {key: value for key, value in results["scenario"].items() if key not in beside}
    yield from _flat("", scenario | {"links": results["links"]})
    for key in ("seed", "replications", "quality", "splitimpera_version"):
        yield f"run {key}", results[key]
    for part, count in results["pictures"].items():
        yield f"pictures {part}", count
    yield "layers", len(results["layers"])
    yield "base accuracy", format_metric(results["quality"], results["base_accuracy"])


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
    texts = [[_with_weight(requirement) for requirement in run["requirements"]] for run in runs(comparison)]
    found = dict.fromkeys([*texts[0], *texts[1]])
    return [
        (text, "both" if text in texts[0] and text in texts[1] else "first" if text in texts[0] else "second")
        for text in found
    ]


def runs(comparison: Comparison) -> tuple[Results, Results]:
    return comparison.first, comparison.second


def _with_weight(requirement: Results) -> str:
    weight = requirement["weight"]
    return str(requirement["text"]) if weight is None else f"{requirement['text']} (preferred, weight {weight:g})"


def decision_words(results: Results) -> str:
    """What a run recommends, in one line."""
    decision = results["recommendation"]
    if decision["plan"] is None:
        return f"nothing fits; nearest is {decision['nearest']}"
    value = format_metric(results["quality"], decision["test_accuracy"])
    return f"{decision['plan']}, {decision['certainty']}; {results['quality']} {value} on the test pictures"


def verdict_words(plan: Results | None) -> str:
    if plan is None:
        return "not tried"
    if plan["cannot_run"]:
        return "cannot run"
    return f"fits, {plan['certainty']}" if plan["feasible"] else f"misses {len(plan['violations'])}"


def value_words(plan: Results | None, metric: str) -> str:
    """A metric of a plan; of an unstable one no latency."""
    value = _value(plan, metric)
    if plan is not None and not plan["stable"] and metric.startswith("latency_"):
        return "grows"
    return "-" if value is None else format_metric(metric, value)


def change_words(pair: Pair, metric: str) -> str:
    """By how much a metric of the second run differs: shares in percentage points, all else as a share of the first."""
    before, after = _value(pair.first, metric), _value(pair.second, metric)
    if before is None or after is None:
        return ""
    if isclose(before, after, rel_tol=SAME):
        return "same"
    if METRICS[metric].dimension is units.FRACTION:
        return f"{100 * (after - before):+.3g} points"
    return f"{100 * (after / before - 1):+.3g} %" if before else "from 0"


def _value(plan: Results | None, metric: str) -> float | None:
    if plan is None or (not plan["stable"] and metric.startswith("latency_")):
        return None
    value: float | None = plan["metrics"].get(metric)
    return value


def beware(comparison: Comparison) -> str:
    """Words of warning where plans of one name are not the same thing in both runs."""
    layers = [[layer["name"] for layer in run["layers"]] for run in runs(comparison)]
    if layers[0] == layers[1]:
        return ""
    return "The networks differ, so that plans of the same name may be split at different places."


def comparison_tables(comparison: Comparison) -> RenderableType:
    """For the terminal: decisions, settings, requirements, and the best plans of either run."""
    lines: list[RenderableType] = [_decisions(comparison), _differences(comparison), _plans(comparison)]
    if warning := beware(comparison):
        lines.append(Text(f"Beware: {warning}", "yellow"))
    return Group(*lines)


def _decisions(comparison: Comparison) -> RenderableType:
    table = Table(title="Decision", title_justify="left", box=SIMPLE_HEAD, show_header=False)
    for name, run in zip(("first", "second"), runs(comparison), strict=True):
        table.add_row(name, words(run["scenario"]["name"]), words(decision_words(run)))
    return table


def _differences(comparison: Comparison) -> RenderableType:
    table = Table(title="What differs", title_justify="left", box=SIMPLE_HEAD)
    for name in ("setting", "first", "second"):
        table.add_column(name, overflow="fold")
    for entry in comparison.settings:
        table.add_row(*map(words, (entry.name, written(entry.first), written(entry.second))))
    for text, where in requirements_of(comparison):
        if where != "both":
            table.add_row("requirement", *(words(text if where == run else "-") for run in ("first", "second")))
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
    table.add_column("verdict", no_wrap=True)
    worth = _worth_showing(comparison)
    for pair in worth:
        table.add_row(words(pair.id, "bold"))
        for name, plan in (("first", pair.first), ("second", pair.second)):
            table.add_row(f"  {name}", *(value_words(plan, metric) for metric in metrics), verdict_words(plan))
        if pair.first and pair.second:
            table.add_row("  change", *(Text(change_words(pair, metric), "dim") for metric in metrics), "")
        table.add_section()
    hidden = len(comparison.pairs) - len(worth)
    return Group(table, Text(f"and {hidden} more plans; --out FILE.html shows all", "dim")) if hidden else table


def shown_metrics(comparison: Comparison) -> list[str]:
    """The quality of either run, and the main metrics."""
    qualities = dict.fromkeys(run["quality"] for run in runs(comparison))
    return [*qualities, "latency_p95", "fps", "payload_bytes"]


def _worth_showing(comparison: Comparison) -> list[Pair]:
    """The plans that either recommends or has nearest, then the first run's best."""
    decisions = [run["recommendation"] for run in runs(comparison)]
    named = {decision["plan"] or decision["nearest"] for decision in decisions}
    first = [pair for pair in comparison.pairs if pair.id in named]
    others = [pair for pair in comparison.pairs if pair.id not in named]
    return [*first, *others][:PLANS_SHOWN]
