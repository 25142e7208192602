"""The same figures as PNG, without a browser (matplotlib)."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

from splitimpera.records import FloatArray
from splitimpera.report.figures import COLOURS, CURVE_COLOUR, STAR_COLOUR, curve_points
from splitimpera.report.files import png
from splitimpera.report.results import Results


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
    axes.set_xticks(places, names, rotation=60, ha="right")
    axes.set_xlabel("cut behind layer")
    axes.set_ylabel(label)
    axes.figure.legend(loc="outside upper center", ncols=3, frameon=False)


def plans_png(results: Results) -> bytes:
    """Accuracy against p95 latency of every stable plan."""
    stable = [plan for plan in results["plans"] if plan["stable"]]
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.add_subplot()
    for kind, colour in COLOURS.items():
        for feasible, marker in ((True, "o"), (False, "x")):
            plans = [p for p in stable if p["configuration"] == kind and p["feasible"] is feasible]
            if plans:
                x, y = ([plan[key] for plan in plans] for key in ("latency_p95_s", "accuracy"))
                label = f"{kind}, {'fits' if feasible else 'does not fit'}"
                axes.plot(x, y, marker, color=colour, markersize=9, label=label)
    for plan in stable:
        if plan["id"] == results["recommendation"]["plan"]:
            axes.plot(plan["latency_p95_s"], plan["accuracy"], "*", markersize=22, mfc="none", color=STAR_COLOUR)
            axes.annotate(plan["id"], (plan["latency_p95_s"], plan["accuracy"]), (12, -14), textcoords="offset points")
    for requirement in results["requirements"]:
        if requirement["metric"] == "accuracy":
            axes.axhline(requirement["limit"], linestyle="--", color=STAR_COLOUR, linewidth=1)
        elif requirement["metric"] == "latency_p95":
            axes.axvline(requirement["limit"], linestyle="--", color=STAR_COLOUR, linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter("s"))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("p95 latency")
    axes.set_ylabel("accuracy")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=6, frameon=False)
    return png(figure)
