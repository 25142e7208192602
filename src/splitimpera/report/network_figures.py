"""Interactive figures of the network: saliency over the cuts, of all and of each class, and what each layer costs."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from splitimpera.report.results import Results, curve_points, log_cs
from splitimpera.report.style import BAR_COLOUR, CURVE_COLOUR, STAR_COLOUR, labels, plain, text

CLASSES_DRAWN = 20
COSTS = {"macs": "MACs", "parameters": "parameters", "bytes": "output bytes"}


def saliency_figure(results: Results) -> go.Figure:
    """log10 CS over the cuts with the candidates starred, and the bytes that cross there."""
    points = curve_points(results)
    names = labels(points)
    values = [_gap(point["log_cs"]) for point in points]
    figure = make_subplots(specs=[[{"secondary_y": True}]])
    figure.add_bar(
        x=names,
        y=[point["bytes"] for point in points],
        name="bytes that cross",
        marker_color=BAR_COLOUR,
        hovertemplate="%{x}: %{y:,} bytes<extra></extra>",
    )
    figure.add_scatter(
        x=names,
        y=values,
        name="log10 CS",
        mode="lines+markers",
        line={"color": CURVE_COLOUR},
        customdata=[[point["index"], " x ".join(map(str, point["shapes"][0]))] for point in points],
        hovertemplate="cut %{customdata[0]}, behind %{x}<br>log10 CS %{y:.2f}, sends %{customdata[1]}<extra></extra>",
        secondary_y=True,
    )
    starred = [place for place, point in enumerate(points) if point["reasons"]]
    figure.add_scatter(
        x=[names[place] for place in starred],
        y=[values[place] for place in starred],
        name="candidate",
        mode="markers",
        marker={"symbol": "star", "size": 15, "color": STAR_COLOUR},
        text=[text(", ".join(points[place]["reasons"])) for place in starred],
        hovertemplate="%{x}: %{text}<extra></extra>",
        secondary_y=True,
    )
    # the second axis is drawn above the first: the curve must not lie behind the bars
    figure.update_yaxes(title_text="log10 CS", side="left", tickmode="auto", showgrid=True, secondary_y=True)
    bytes_axis = {"type": "log", "dtick": 1, "tickformat": "~s", "ticksuffix": "B", "showgrid": False}
    figure.update_yaxes(title_text="bytes", side="right", secondary_y=False, **bytes_axis)
    figure.update_xaxes(title_text="cut behind layer", tickangle=-45, automargin=True)
    return plain(figure)


def drawn_classes(results: Results) -> list[str]:
    """At most `CLASSES_DRAWN`, where there are more those whose curves are furthest from that of all pictures."""
    curves = results["curve"]["per_class"]
    if len(curves) <= CLASSES_DRAWN:
        return list(curves)
    whole = np.array([point["log_cs"] for point in curve_points(results)])
    apart = {name: float(np.nanmax(np.abs(log_cs(values) - whole), initial=0.0)) for name, values in curves.items()}
    furthest = sorted(apart, key=lambda name: -apart[name])[:CLASSES_DRAWN]
    return [name for name in curves if name in furthest]


def classes_figure(results: Results) -> go.Figure:
    """log10 CS of each class's pictures, relative to the curve of all: where a class would rather be split."""
    points = curve_points(results)
    whole = np.array([point["log_cs"] for point in points])
    figure = go.Figure()
    for name in drawn_classes(results):
        figure.add_scatter(
            x=labels(points),
            y=[_gap(value) for value in log_cs(results["curve"]["per_class"][name]) - whole],
            name=text(name),
            mode="lines+markers",
            hovertemplate=f"class {text(name)}, behind %{{x}}: %{{y:+.2f}}<extra></extra>",
        )
    figure.update_xaxes(title_text="cut behind layer", tickangle=-45, automargin=True)
    figure.update_yaxes(title_text="log10 CS of the class / CS of all")
    return plain(figure)


def layers_figure(results: Results) -> go.Figure:
    """What each layer costs, and as a line which share of the whole all layers up to there cost; of sizes no sum."""
    layers = results["layers"]
    names = labels(layers)
    figure = make_subplots(
        rows=len(COSTS), shared_xaxes=True, vertical_spacing=0.05, specs=[[{"secondary_y": True}] for _ in COSTS]
    )
    for row, (key, words) in enumerate(COSTS.items(), start=1):
        values = [layer[key] for layer in layers]
        figure.add_bar(
            x=names,
            y=values,
            name=words,
            showlegend=False,
            marker_color=CURVE_COLOUR,
            customdata=[text(layer["operation"]) for layer in layers],
            hovertemplate=f"%{{x}} (%{{customdata}}): %{{y:,.4~s}} {words}<extra></extra>",
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
    figure.update_xaxes(title_text="layer", tickangle=-45, automargin=True, row=len(COSTS), col=1)
    return plain(figure, height=210 * len(COSTS) + 60)


def _gap(value: float) -> float | None:
    """Four digits draw any curve; a gap where there is no value."""
    return float(f"{value:.5g}") if np.isfinite(value) else None
