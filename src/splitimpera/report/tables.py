"""Tables: the terminal's, and plans.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from math import inf

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from splitimpera.core import units
from splitimpera.core.errors import printable
from splitimpera.records.requirement import METRICS
from splitimpera.report.results import Results, curve_points, format_metric

PLANS_SHOWN = 12
CURVE_ROWS = 40
CSV_UNITS = {"energy": "energy_j", "device_memory": "device_memory_bytes"}
"""Metrics whose column says the unit that their name leaves open; latencies get `_s`."""


def plans_csv(results: Results) -> str:
    """One line a plan, best first; SI units as in results.json. An unstable plan has no latencies."""
    metrics = metric_names(results)
    hop = ("cut", "codec", "bottleneck", "transport")
    judged = ("stable", "feasible", "certainty", "score", "penalty", "pareto")
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    columns = [_column(name) for name in metrics]
    ends = ("accuracy_low", "accuracy_high")
    writer.writerow(
        ["id", "configuration", *hop, *columns, *ends, *judged, "busiest_stage", "violations", "cannot_run"]
    )
    for plan in results["plans"]:
        values = [plan["metrics"].get(name) for name in metrics]
        if not plan["stable"]:
            values = [None if name.startswith("latency_") else v for name, v in zip(metrics, values, strict=True)]
        writer.writerow(
            [
                *(plan["id"], plan["configuration"], *(_cell(plan[key]) for key in hop)),
                *(_cell(value) for value in values),
                *plan["accuracy_ci"],
                *(_cell(plan[key]) for key in judged),
                plan["busiest_stage"],
                "; ".join(miss["requirement"] for miss in plan["violations"] + plan["soft_violations"]),
                "; ".join(plan["cannot_run"]),
            ]
        )
    return file.getvalue()


def metric_names(results: Results) -> list[str]:
    """The metrics that any plan has, in the order of the first plan that has them."""
    return list(dict.fromkeys(name for plan in results["plans"] for name in plan["metrics"]))


def _column(metric: str) -> str:
    return f"{metric}_s" if metric.startswith("latency_") else CSV_UNITS.get(metric, metric)


def _cell(value: object) -> object:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else value


def words(text: object, style: str = "") -> Text:
    """Text from outside: nothing in it is markup, and nothing moves the terminal."""
    return Text(printable(str(text)), style)


def show(results: Results, console: Console) -> None:
    """The account on the terminal: the curve, the plans, the recommendation."""
    console.print(_curve(results))
    console.print(_plans(results))
    console.print(recommendation(results))


def recommendation(results: Results) -> RenderableType:
    """The decision, in words."""
    decision = results["recommendation"]
    lines = list(decision["reasons"])
    if decision["plan"]:
        title = f"Recommended: {decision['plan']} ({decision['certainty']})"
        style = "green"
        low, high = decision["test_accuracy_ci"]
        value = METRICS[results["quality"]].format
        lines.append(
            f"On {results['pictures']['test']} test pictures that had no part in choosing it, its {results['quality']} "
            f"is {value(decision['test_accuracy'])} ({value(low)} to {value(high)})."
        )
    else:
        title, style = f"Nothing fits; nearest: {decision['nearest']}", "yellow"
    if decision["change"]:
        lines.append(f"The smallest change that helps: {change_words(decision['change'])}.")
    if results["capacity"]:
        lines.append(capacity_words(results["capacity"]))
    lines += [found["text"] for found in results["sensitivity"]]
    return Panel(words("\n".join(lines)), title=words(title), border_style=style, title_align="left")


def change_words(change: Results) -> str:
    return f"{change['text']}: then {change['plan']} fits"


def capacity_words(capacity: Results) -> str:
    """How many sensors may send at once, and what gives way then."""
    senders, busiest = capacity["senders"], capacity["busiest_stage"]
    if not senders:
        return f"Not even one sensor is carried: {busiest} cannot keep up."
    sensors = "1 sensor is" if senders == 1 else f"{senders} sensors are"
    return f"{sensors} carried" + (f"; with one more, {busiest} cannot keep up." if busiest else ", or more.")


def _curve(results: Results) -> RenderableType:
    points = curve_points(results)
    if not points:
        return Text("No cut has a cumulative saliency.")
    logs = [point["log_cs"] for point in points]
    if not np.isfinite(logs).any():
        return Text("Cumulative saliency is 0 at every cut.")
    line = Text.assemble("log10 CS  ", (sparkline(logs), "cyan"), f"  {np.nanmin(logs):.2f} to {np.nanmax(logs):.2f}")
    shown = points if len(points) <= CURVE_ROWS else [cut for cut in points if cut["reasons"]]
    table = Table(title="Cumulative saliency: where the network may be split", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("cut", justify="right")
    table.add_column("behind layer", no_wrap=True)
    table.add_column("sends", no_wrap=True)
    for name in ("bytes", "log10 CS"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("peak", no_wrap=True)
    for cut in shown:
        why = cut["reasons"]
        table.add_row(
            str(cut["index"]),
            words(cut["name"]),
            " x ".join(str(size) for size in cut["shapes"][0]),
            units.format_bytes(cut["bytes"]),
            f"{cut['log_cs']:.2f}",
            words("* " + ", ".join(reason.partition(" ")[0] for reason in why)) if why else "",
            style="bold" if why else "",
        )
    return Group(table, line)


def _plans(results: Results) -> RenderableType:
    plans, quality = results["plans"], results["quality"]
    title = f"Plans, best first ({len(plans)} in all)"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("plan", no_wrap=True)
    wanted = {requirement["metric"] for requirement in results["requirements"]}
    more = [name for name in ("energy", "device_memory", "cut_depth") if name in wanted]
    for name in ("bytes", quality, "p95", "fps", *map(short_name, more)):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict")
    for plan in _worth_showing(plans):
        metrics = plan["metrics"]
        table.add_row(
            words(plan["id"]),
            units.format_bytes(metrics["payload_bytes"]) if plan["hops"] else "-",
            format_metric(quality, metrics[quality]),
            format_metric("latency_p95", metrics["latency_p95"]) if plan["stable"] else "grows",
            "-" if metrics["fps"] is None else f"{metrics['fps']:.3g}",
            *(format_metric(name, metrics.get(name)) for name in more),
            _verdict(plan),
        )
    hidden = len(plans) - table.row_count
    return Group(table, Text(f"and {hidden} more, in plans.csv and report.html", "dim")) if hidden else table


def short_name(metric: str) -> str:
    """For a table's narrow columns."""
    short = {"payload_bytes": "bytes", "lost_packet_rate": "lost", "dropped_frames": "dropped", "cut_depth": "depth"}
    return short.get(metric, metric.removeprefix("latency_").removeprefix("device_"))


def _verdict(plan: Results) -> Text:
    """Whether it fits and how surely, or its worst miss with the margin and how many more there are."""
    if plan["cannot_run"]:
        return Text("cannot run", "red")
    if plan["feasible"]:
        return Text(f"fits, {plan['certainty']}", "green" if plan["certainty"] == "certain" else "yellow")
    return words(_misses(plan["violations"]), "red")


def _misses(misses: list[Results]) -> str:
    """A latency that grows without end is the worst."""
    worst = max(misses, key=lambda miss: (bool(miss["unbounded"]), -margin_of(miss)))
    by = f"{100 * worst['margin']:+.2g}%" if margin_of(worst) > -1 else "far off"
    word = "unstable" if worst["unbounded"] else f"{short_name(worst['metric'])} {by}"
    return word + (f" (+{len(misses) - 1})" if len(misses) > 1 else "")


def margin_of(judged: Results) -> float:
    """A margin as a number: null stands for minus infinity."""
    return -inf if judged["margin"] is None else float(judged["margin"])


def sparkline(values: Iterable[float]) -> str:
    """A curve as a row of block characters, blank where a value is not finite."""
    blocks = "▁▂▃▄▅▆▇█"
    heights = np.asarray(list(values), dtype=float)
    finite = heights[np.isfinite(heights)]
    low, high = finite.min(), finite.max()
    steps = (heights - low) / (high - low or 1.0)
    return "".join(blocks[round(step * (len(blocks) - 1))] if np.isfinite(step) else " " for step in steps)


def _worth_showing(plans: list[Results]) -> list[Results]:
    """The best plans, and the best of each configuration."""
    first = plans[:PLANS_SHOWN]
    best = [next((plan for plan in plans if plan["configuration"] == kind), None) for kind in ("LC", "RC", "SC")]
    return first + [plan for plan in best if plan is not None and plan not in first]
