"""The same figures as PNG, without a browser (matplotlib)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

from splitimpera.core import units
from splitimpera.core.array_types import FloatArray
from splitimpera.core.errors import shown
from splitimpera.records.requirement import METRICS
from splitimpera.report.drawing import png
from splitimpera.report.figures import front
from splitimpera.report.results import Results, curve_points
from splitimpera.report.style import COLOURS, CURVE_COLOUR, STAR_COLOUR

LABEL_CHARACTERS = 40


def saliency_png(results: Results) -> bytes:
    """log10 CS and bytes over the cuts, candidates starred."""
    points = curve_points(results)
    figure = Figure(figsize=(10, 5), layout="constrained")
    draw_curve(
        figure.add_subplot(),
        [point["name"] for point in points],
        [point["log_cs"] for point in points],
        [point["bytes"] for point in points],
        [place for place, point in enumerate(points) if point["reasons"]],
        "log10 CS",
    )
    return png(figure)


def draw_curve(
    axes: Axes,
    names: Sequence[str],
    values: Sequence[float] | FloatArray,
    sizes: Sequence[int],
    starred: Sequence[int],
    label: str,
) -> None:
    """A score over the cuts, the bytes that cross there as bars behind it, stars at the candidates."""
    places = range(len(names))
    bars = axes.twinx()
    bars.bar(places, sizes, color="0.85", zorder=0, label="bytes that cross")
    bars.set_yscale("log")
    bars.set_ylabel("bytes")
    axes.set_zorder(bars.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.plot(places, values, "o-", color=CURVE_COLOUR, label=label)
    axes.plot(starred, [values[place] for place in starred], "*", markersize=16, color=STAR_COLOUR, label="candidate")
    axes.set_xticks(places, [_label(name) for name in names], rotation=60, ha="right")
    axes.set_xlabel("cut behind layer")
    axes.set_ylabel(label)
    axes.figure.legend(loc="outside upper center", ncols=3, frameon=False)


def plans_png(results: Results) -> bytes:
    """Quality against p95 latency of every stable plan."""
    quality = results["quality"]
    stable = [plan for plan in results["plans"] if plan["stable"]]
    chosen = [plan for plan in stable if plan["id"] == results["recommendation"]["plan"]]
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.add_subplot()
    steps = front(results)
    axes.step(*_places(steps, quality), where="post", color="0.6", linewidth=1, label="front")
    for kind, colour in COLOURS.items():
        for feasible, marker in ((True, "o"), (False, "x")):
            plans = [p for p in stable if p["configuration"] == kind and p["feasible"] is feasible]
            if plans:
                label = f"{kind}, {'fits' if feasible else 'does not fit'}"
                axes.plot(*_places(plans, quality), marker, color=colour, markersize=9, label=label)
    for plan in chosen:
        axes.plot(*_places([plan], quality), "*", markersize=22, mfc="none", color=STAR_COLOUR)
        place = plan["metrics"]["latency_p95"], plan["metrics"][quality]
        axes.annotate(_label(plan["id"]), place, (12, -14), textcoords="offset points")
    for requirement in results["requirements"]:
        style: dict[str, Any] = {
            "linestyle": "--" if requirement["weight"] is None else ":",
            "color": STAR_COLOUR,
            "linewidth": 1,
        }
        if requirement["metric"] == quality:
            axes.axhline(requirement["limit"], **style)
        elif requirement["metric"] == "latency_p95":
            axes.axvline(requirement["limit"], **style)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter("s"))
    if METRICS[quality].dimension is units.FRACTION:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("p95 latency")
    axes.set_ylabel(quality)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=6, frameon=False)
    return png(figure)


def _label(name: str) -> str:
    """A name as it can be drawn: short enough for a figure, and a dollar begins no formula."""
    return shown(name, LABEL_CHARACTERS).replace("$", r"\$")


def _places(plans: Sequence[Results], quality: str) -> tuple[list[float], list[float]]:
    """What is not known is not drawn."""
    values = [(plan["metrics"]["latency_p95"], plan["metrics"][quality]) for plan in plans]
    known = [pair for pair in values if None not in pair]
    return [x for x, _ in known], [y for _, y in known]
