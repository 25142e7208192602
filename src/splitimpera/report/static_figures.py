"""The main figures as PNG, without a browser (Matplotlib)."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter
from PIL import Image

from splitimpera.core import units
from splitimpera.core.image_text import image_bytes
from splitimpera.report.drawing import draw_curve, harmless, png
from splitimpera.report.layer_names import AXIS_CHARACTERS, wrapped
from splitimpera.report.palette import COLOURS, STAR_COLOUR
from splitimpera.report.schema import PlanEntry, Results
from splitimpera.report.selection import configurations, curve_points, front, placed
from splitimpera.report.style import time_axis
from splitimpera.report.words import axis_title, not_drawn_words, view_words


def saliency_png(results: Results) -> bytes:
    """log10 CS and bytes over the cuts, candidates starred."""
    points = curve_points(results)
    figure = Figure(figsize=(10, 5), layout="constrained")
    draw_curve(
        figure.add_subplot(),
        [point.cut.name for point in points],
        [point.cut.index for point in points],
        [point.log_cs for point in points],
        [point.cut.bytes for point in points],
        [place for place, point in enumerate(points) if point.reasons],
        "log10 CS",
    )
    return png(figure)


def plans_png(results: Results) -> bytes:
    """Quality against p95 latency of every stable plan."""
    quality = results.quality
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.add_subplot()
    steps = front(results)
    latencies_s, values = [x for _, x, _ in steps], [y for _, _, y in steps]
    axes.step(latencies_s, values, where="post", color="0.6", linewidth=1, label="front")
    for kind in configurations(results):
        colour = COLOURS[kind]
        for feasible, marker in ((True, "o"), (False, "x")):
            plans = [p for p in results.plans if p.configuration == kind and p.feasible is feasible]
            points = _points(plans, quality)
            if points:
                label = f"{kind}, {'feasible' if feasible else 'infeasible'}"
                axes.plot(*zip(*points, strict=True), marker, color=colour, markersize=9, label=label)
    for plan in results.plans:
        at = placed(plan, quality)
        if at and plan.id == results.recommendation.plan:
            axes.plot(*at, "*", markersize=22, mfc="none", color=STAR_COLOUR)
            axes.annotate(
                harmless("\n".join(wrapped(plan.id, 40, AXIS_CHARACTERS))), at, (12, -14), textcoords="offset points"
            )
    for requirement in results.requirements:
        style: dict[str, Any] = {
            "linestyle": "--" if requirement.weight is None else ":",
            "color": STAR_COLOUR,
            "linewidth": 1,
        }
        if requirement.metric == quality:
            axes.axhline(requirement.limit, **style)
        elif requirement.metric == "latency_p95":
            axes.axvline(requirement.limit, **style)
    axes.set_xscale("log")
    labels = time_axis(
        [at[0] for plan in results.plans if (at := placed(plan, quality))], results, "latency_p95"
    )  # Matplotlib's own are powers of ten within a decade
    axes.xaxis.set_major_locator(FixedLocator(labels["tickvals"]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda time_s, _: units.format_time(float(f"{time_s:.6g}"))))
    axes.xaxis.set_minor_locator(NullLocator())
    if results.quality_metric.dimension is units.FRACTION:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("\n".join(filter(None, ["p95 latency", not_drawn_words(results)])))
    axes.set_ylabel(harmless(axis_title(results)))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=6, frameon=False)
    return png(figure)


def samples_png(results: Results) -> bytes:
    """Test samples as rows, what comes of them as columns, and the colours of the classes; empty without samples."""
    shown = results.shown
    if shown is None:
        return b""
    views = list(dict.fromkeys(view for sample in shown.samples for view in sample.images))
    figure = Figure(figsize=(2.2 * len(views), 2.5 * len(shown.samples) + 0.6), layout="constrained")
    grid = figure.subplots(len(shown.samples), len(views), squeeze=False)
    for axes_of_row, sample in zip(grid, shown.samples, strict=True):
        for axes, view in zip(axes_of_row, views, strict=True):
            axes.set_axis_off()
            if view in sample.images:
                with Image.open(io.BytesIO(image_bytes(sample.images[view]))) as image:
                    axes.imshow(np.asarray(image.convert("RGB")), interpolation="nearest")
                axes.set_title(view_words(view, sample).replace(", ", ",\n"), fontsize=8)
    patches = [Patch(facecolor=each.colour, edgecolor="0.4", label=harmless(each.name)) for each in shown.classes]
    if patches:
        figure.legend(handles=patches, loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    return _in_few_colours(png(figure))


def _in_few_colours(file: bytes) -> bytes:
    """A PNG file of 256 colours, a third as large."""
    small = io.BytesIO()
    with Image.open(io.BytesIO(file)) as image:
        image.convert("RGB").quantize(256).save(small, "PNG", optimize=True)
    return small.getvalue()


def _points(plans: Iterable[PlanEntry], quality: str) -> list[tuple[float, float]]:
    """What is not known is not drawn."""
    return [at for plan in plans if (at := placed(plan, quality))]
