"""Tables: the terminal's, and plans.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from splitimpera import units
from splitimpera.report.results import Results
from splitimpera.saliency.curve import log10_or_gap

PLANS_SHOWN = 12
CURVE_ROWS = 40
NOT_IN_CSV = (
    *("parts_s", "hops", "devices", "accuracy_ci", "misses", "latency_p95_seeds_s"),
    *("latency_quantiles_s", "latency_quantiles_low_s", "latency_quantiles_high_s"),
)


def plans_csv(results: Results) -> str:
    """One line a plan, best first; SI units as in results.json. An unstable plan has no latencies."""
    columns = [key for key in results["plans"][0] if key not in NOT_IN_CSV]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*columns, "accuracy_low", "accuracy_high", "misses"])
    for plan in results["plans"]:
        misses = "; ".join(miss["requirement"] for miss in plan["misses"])
        cells = [_cell(plan[key]) if plan["stable"] or not key.startswith("latency_") else "" for key in columns]
        writer.writerow([*cells, *plan["accuracy_ci"], misses])
    return file.getvalue()


def _cell(value: object) -> object:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else value


def show(results: Results, console: Console) -> None:
    """The account on the terminal: the curve, the plans, the recommendation."""
    console.print(_curve(results))
    console.print(_plans(results))
    console.print(recommendation(results))


def recommendation(results: Results) -> RenderableType:
    """The decision, in words."""
    decision = results["recommendation"]
    if decision["plan"]:
        title, style = f"Recommended: {decision['plan']}", "green"
        low, high = decision["test_accuracy_ci"]
        last = [
            f"On {results['pictures']['test']} test pictures that had no part in choosing it, it is right on "
            f"{decision['test_accuracy']:.2%} ({low:.1%} to {high:.1%})."
        ]
    else:
        title, style, last = f"Nothing fits; nearest: {decision['nearest']}", "yellow", []
    return Panel(Text("\n".join([*decision["reasons"], *last])), title=title, border_style=style, title_align="left")


def _curve(results: Results) -> RenderableType:
    points = [cut for cut in results["cuts"] if cut["cs"] is not None]
    if not points:
        return Text("No cut has a cumulative saliency.")
    reasons = {candidate["cut"]: candidate["reasons"] for candidate in results["candidates"]}
    logs = log10_or_gap([cut["cs"] for cut in points])
    if not np.isfinite(logs).any():
        return Text("Cumulative saliency is 0 at every cut.")
    line = Text.assemble("log10 CS  ", (sparkline(logs), "cyan"), f"  {np.nanmin(logs):.2f} to {np.nanmax(logs):.2f}")
    shown = points if len(points) <= CURVE_ROWS else [cut for cut in points if cut["index"] in reasons]
    table = Table(title="Cumulative saliency: where the network may be split", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("cut", justify="right")
    table.add_column("behind layer", no_wrap=True)
    table.add_column("sends", no_wrap=True)
    for name in ("bytes", "log10 CS"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("peak", no_wrap=True)
    for cut, log in zip(points, logs, strict=True):
        if cut not in shown:
            continue
        why = reasons.get(cut["index"], [])
        table.add_row(
            str(cut["index"]),
            cut["name"],
            " x ".join(str(size) for size in cut["shapes"][0]),
            units.format_bytes(cut["bytes"]),
            f"{log:.2f}",
            "* " + ", ".join(reason.split()[0] for reason in why) if why else "",
            style="bold" if why else "",
        )
    return Group(table, line)


def _plans(results: Results) -> RenderableType:
    plans = results["plans"]
    table = Table(title=f"Plans, best first ({len(plans)} in all)", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("plan", no_wrap=True)
    for name in ("bytes", "accuracy", "p95", "fps"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict")
    for plan in _worth_showing(plans):
        table.add_row(
            plan["id"],
            units.format_bytes(plan["payload_bytes"]) if plan["hops"] else "-",
            f"{plan['accuracy']:.1%}",
            units.format_time(plan["latency_p95_s"]) if plan["stable"] else "grows",
            f"{plan['fps']:.3g}",
            Text("fits", "green") if plan["feasible"] else Text(_misses(plan["misses"]), "red"),
        )
    hidden = len(plans) - table.row_count
    return Group(table, Text(f"and {hidden} more, in plans.csv and report.html", "dim")) if hidden else table


def _misses(misses: list[Results]) -> str:
    """The worst miss with its margin, and how many more there are; a latency that grows without end is the worst."""
    worst = max(misses, key=lambda miss: (bool(miss["endless"]), -float(miss["margin"])))
    by = f"{100 * worst['margin']:+.2g}%" if worst["margin"] > -1 else "far off"
    word = "unstable" if worst["endless"] else f"{worst['metric']} {by}"
    return word + (f" (+{len(misses) - 1})" if len(misses) > 1 else "")


def sparkline(values: Iterable[float]) -> str:
    """A curve as a row of block characters, blank where a value is not finite."""
    blocks = "▁▂▃▄▅▆▇█"
    heights = np.asarray(list(values), dtype=float)
    low, high = np.nanmin(heights), np.nanmax(heights)
    steps = (heights - low) / (high - low or 1.0)
    return "".join(blocks[round(step * (len(blocks) - 1))] if np.isfinite(step) else " " for step in steps)


def _worth_showing(plans: list[Results]) -> list[Results]:
    """The best plans, and the best of each configuration."""
    first = plans[:PLANS_SHOWN]
    best = [next((plan for plan in plans if plan["configuration"] == kind), None) for kind in ("LC", "RC", "SC")]
    return first + [plan for plan in best if plan is not None and plan not in first]
