"""Tables: the terminal's, and plans.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from splitimpera.core import units
from splitimpera.core.errors import printable
from splitimpera.report.layer_names import LINE_CHARACTERS, wrapped
from splitimpera.report.schema import PlanEntry, Results, ViolationEntry
from splitimpera.report.selection import best_and_each_kind, curve_points, main_times, metric_names
from splitimpera.report.token_words import TITLES, sender_word
from splitimpera.report.words import (
    UNBOUNDED,
    WORDS,
    capacity_words,
    certainty_words,
    change_words,
    choice_words,
    format_metric,
    not_computed,
    shape_words,
    short_name,
    value_words,
    worst_words,
)

PLANS_SHOWN = 12
CURVE_ROWS = 40
PLAN_CHARACTERS = 20
LAYER_CHARACTERS = 11
CSV_UNITS = {"energy": "energy_j", "device_memory": "device_memory_bytes", "token_energy": "token_energy_j"}
"""Metrics whose column says the unit that their name leaves open; times get `_s`."""


def plans_csv(results: Results) -> str:
    """One line a plan, best first; SI units as in results.json. An unstable plan has no latencies."""
    return csv_of(results.plans, metric_names(results))


def csv_of(plans: Sequence[PlanEntry], metrics: Sequence[str]) -> str:
    """The same of some plans, with some metrics; where any has early exits, how many frames these answer."""
    file, early = io.StringIO(), any(plan.exits for plan in plans)
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        [
            *("id", "configuration", "cut", "codec", "bottleneck", "transport"),
            *map(_column, metrics),
            *("quality_low", "quality_high", "stable", "feasible", "certainty", "score", "penalty", "pareto"),
            *("busiest_stage", "device_p95_s", "violations", "cannot_run"),
            *(("left_early", "stood_in") if early else ()),
        ]
    )
    for plan in plans:
        silent = UNBOUNDED if not plan.stable else ()
        values = [None if name.startswith(silent) else plan.metrics.get(name) for name in metrics]
        row = [
            *(plan.id, plan.configuration, plan.cut, plan.codec, plan.bottleneck, plan.transport),
            *(*values, *(plan.quality_ci or (None, None)), plan.stable, plan.feasible, plan.certainty),
            *(plan.score, plan.penalty, plan.pareto, plan.busiest_stage, plan.device_p95_s.get(plan.devices[0])),
            "; ".join(map(_violated, [*plan.violations, *plan.soft_violations])),
            "; ".join(plan.cannot_run),
            *((sum(exit.share for exit in plan.exits), plan.stood_in) if early else ()),
        ]
        writer.writerow(map(_cell, row))
    return file.getvalue()


def _violated(violation: ViolationEntry) -> str:
    return violation.requirement + (f" ({WORDS['not_computed']})" if not_computed(violation) else "")


def _column(metric: str) -> str:
    return f"{metric}_s" if metric.startswith(("latency_", "ttft", "tpot")) else CSV_UNITS.get(metric, metric)


def _cell(value: object) -> object:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else value


def outside(text: object, style: str = "") -> Text:
    """Text from outside: nothing in it is markup, and nothing moves the terminal."""
    return Text(printable(str(text)), style)


def name_cell(name: str, characters: int = LINE_CHARACTERS) -> Text:
    """A layer's name or a plan's id, in lines where it is long."""
    return outside("\n".join(wrapped(name, characters)))


def show(results: Results, console: Console) -> None:
    """The account on the terminal: the curve, the plans, the recommendation."""
    console.print(_curve(results))
    console.print(_plans(results))
    console.print(recommendation(results))


def recommendation(results: Results) -> RenderableType:
    """The decision, in words."""
    decision = results.recommendation
    lines = list(decision.reasons)
    if decision.plan and decision.test_quality_ci and decision.test_quality is not None:
        title, style = f"Recommended: {decision.plan} ({decision.certainty})", "green"
        value = results.quality_metric.format
        low, high = map(value, decision.test_quality_ci)
        lines.append(
            f"On {results.samples.test} test samples that had no part in choosing it, its {results.quality_title} "
            f"is {value(decision.test_quality)} ({low} to {high})."
        )
    else:
        title, style = WORDS["unsatisfiable"], "yellow"
        lines.insert(0, certainty_words(results))
    if decision.change:
        lines.append(f"The smallest change that helps: {change_words(decision.change)}.")
    if results.capacity:
        lines.append(capacity_words(results.capacity, sender_word(results)))
    lines += [found.text for found in results.sensitivity]
    content = outside("\n".join(lines))
    if decision.plan:
        content = Text("\n").join([outside(choice_words(results), "bold"), content])
    return Panel(content, title=outside(title), border_style=style, title_align="left")


def _curve(results: Results) -> RenderableType:
    points = curve_points(results)
    if not points:
        return Text("No cut has a cumulative saliency.")
    logs = [point.log_cs for point in points]
    if not np.isfinite(logs).any():
        return Text("Cumulative saliency is 0 at every cut.")
    line = Text.assemble("log10 CS  ", (sparkline(logs), "cyan"), f"  {np.nanmin(logs):.2f} to {np.nanmax(logs):.2f}")
    shown = points if len(points) <= CURVE_ROWS else [point for point in points if point.reasons]
    table = Table(
        title="Cumulative saliency: where the network may be split",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("cut", justify="right", no_wrap=True, min_width=3)
    table.add_column("after layer", overflow="fold", min_width=LAYER_CHARACTERS)
    table.add_column("sends", no_wrap=True)
    for name in ("bytes", "log10 CS"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("peak")
    for point in shown:
        cut = point.cut
        peak = "* " + ", ".join(reason.partition(" ")[0] for reason in point.reasons) if point.reasons else ""
        table.add_row(
            str(cut.index),
            name_cell(cut.name),
            shape_words(*cut.shapes),
            units.format_bytes(cut.bytes),
            f"{point.log_cs:.2f}",
            outside(peak),
            style="bold" if peak else "",
        )
    return Group(table, line)


def _plans(results: Results) -> RenderableType:
    plans, quality = results.plans, results.quality
    title = f"Plans, best first ({len(plans)} in all)"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("plan", overflow="fold")
    wanted = {requirement.metric for requirement in results.requirements}
    more = [name for name in ("energy", "token_energy", "tokens_per_s", "device_memory", "cut_depth") if name in wanted]
    times = main_times(results)
    headings = ["bytes", results.quality_title, "p95", "fps"]
    if results.asks_tokens:  # of which what a request sends says little
        headings = ["\n".join(results.quality_title.rsplit(" ", 1)), *(TITLES[name] for name in times), "req/s"]
    for name in (*headings, *map(short_name, more)):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", min_width=None if more else 17)  # where there is room for it
    shown = best_and_each_kind(plans, PLANS_SHOWN)
    for plan in shown:
        fps = plan.metrics["fps"]
        table.add_row(
            name_cell(plan.id, PLAN_CHARACTERS),
            *([] if results.asks_tokens else [value_words(plan, "payload_bytes") if plan.hops else "-"]),
            value_words(plan, quality),
            *(value_words(plan, name) for name in times),
            "-" if fps is None else f"{fps:.3g}",
            *(format_metric(name, plan.metrics.get(name)) for name in more),
            outside(worst_words(plan), verdict_style(plan)),
        )
    notes = []
    if hidden := len(plans) - len(shown):
        notes.append(f"and {hidden} more, in plans.csv and report.html")
    if any(plan.metrics.get(quality) is None for plan in shown):
        notes.append(f"{results.quality_title} -: not computed; whatever it is, the plan is infeasible")
    return Group(table, *(Text(note, "dim") for note in notes))


def verdict_style(plan: PlanEntry | None) -> str:
    """The colour of a verdict."""
    if plan is None:
        return "dim"
    return ("green" if plan.certainty == "certain" else "yellow") if plan.feasible else "red"


def sparkline(values: Iterable[float]) -> str:
    """A curve as a row of block characters, blank where a value is not finite."""
    blocks = "▁▂▃▄▅▆▇█"
    heights = np.asarray(list(values), dtype=float)
    finite = heights[np.isfinite(heights)]
    low, high = finite.min(), finite.max()
    steps = (heights - low) / (high - low or 1.0)
    return "".join(blocks[round(step * (len(blocks) - 1))] if np.isfinite(step) else " " for step in steps)
