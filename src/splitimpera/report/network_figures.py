"""Interactive figures of the network: saliency over the cuts of each class, and what each layer costs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from splitimpera.report.layer_names import axis_words
from splitimpera.report.palette import CURVE_COLOUR, STAR_COLOUR
from splitimpera.report.schema import Results
from splitimpera.report.selection import CurvePoint, curve_points, drawn_classes, log_cs
from splitimpera.report.style import labels, plain, text

COSTS = {"macs": "MACs", "parameters": "parameters", "bytes": "output bytes"}


def classes_figure(results: Results) -> go.Figure:
    """log10 CS of each class's samples, relative to the curve of all: where a class would rather be split."""
    points = curve_points(results)
    whole = np.array([point.log_cs for point in points])
    figure = go.Figure()
    for name in drawn_classes(results):
        figure.add_scatter(
            x=_labels(points),
            y=[_gap(value) for value in log_cs(results.curve.per_class[name]) - whole],
            name=text(name),
            mode="lines+markers",
            customdata=[text(point.cut.name) for point in points],
            hovertemplate=f"class {text(name)}, after %{{customdata}}: %{{y:+.2f}}<extra></extra>",
        )
    figure.update_xaxes(title_text=_axis("cut after layer", points), tickangle=-45, automargin=True)
    figure.update_yaxes(title_text="log10 CS of the class / CS of all")
    return plain(figure)


def layers_figure(results: Results) -> go.Figure:
    """What each layer costs, and as a line which share of the whole all layers up to there cost; of sizes no sum."""
    layers = results.layers
    paths = [layer.name for layer in layers]
    names = labels(paths, [layer.index for layer in layers])
    figure = make_subplots(
        rows=len(COSTS), shared_xaxes=True, vertical_spacing=0.05, specs=[[{"secondary_y": True}] for _ in COSTS]
    )
    for row, (key, words) in enumerate(COSTS.items(), start=1):
        values = [getattr(layer, key) for layer in layers]
        figure.add_bar(
            x=names,
            y=values,
            name=words,
            showlegend=False,
            marker_color=CURVE_COLOUR,
            customdata=[f"{text(layer.name)} ({text(layer.operation)})" for layer in layers],
            hovertemplate=f"%{{customdata}}: %{{y:,.4~s}} {words}<extra></extra>",
            row=row,
            col=1,
        )
        total = sum(values)
        if key != "bytes" and total:
            figure.add_scatter(
                x=names,
                y=[value / total for value in accumulate(values)],
                name="share up to this layer",
                legendgroup="share",
                showlegend=row == 1,
                mode="lines",
                line={"color": STAR_COLOUR},
                hovertemplate=f"up to %{{x}}: %{{y:.1%}} of all {words}<extra></extra>",
                row=row,
                col=1,
                secondary_y=True,
            )
        side: dict[str, Any] = {"row": row, "col": 1}
        figure.update_yaxes(title_text=words, tickformat="~s", secondary_y=False, **side)
        figure.update_yaxes(
            tickformat=".0%", tickvals=[0, 0.5, 1], range=[0, 1.02], showgrid=False, secondary_y=True, **side
        )
    figure.update_xaxes(
        title_text=text(axis_words("layer", paths)), tickangle=-45, automargin=True, row=len(COSTS), col=1
    )
    return plain(figure, height=210 * len(COSTS) + 60)


def _labels(points: Sequence[CurvePoint]) -> list[str]:
    return labels([point.cut.name for point in points], [point.cut.index for point in points])


def _axis(title: str, points: Sequence[CurvePoint]) -> str:
    return text(axis_words(title, [point.cut.name for point in points]))


def _gap(value: float) -> float | None:
    """Four digits draw any curve; a gap where there is no value."""
    return float(f"{value:.5g}") if np.isfinite(value) else None
