"""What all interactive figures share: colours, axes, limits, and text made harmless."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from math import log10
from typing import Any

import plotly.graph_objects as go

from splitimpera.core import units
from splitimpera.report.layer_names import short_labels
from splitimpera.report.palette import STAR_COLOUR
from splitimpera.report.schema import RequirementEntry, Results
from splitimpera.report.words import axis_title


def plain(figure: go.Figure, height: int = 460) -> go.Figure:
    """Transparent, so that the page's own colours show; the legend above."""
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "color": "#333"},
        margin={"l": 70, "r": 70, "t": 30, "b": 60},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        height=height,
    )
    figure.update_xaxes(gridcolor="rgba(128,128,128,0.25)", zeroline=False)
    figure.update_yaxes(gridcolor="rgba(128,128,128,0.25)", zeroline=False)
    return figure


def time_axis(times_s: Iterable[float], results: Results, metric: str) -> dict[str, Any]:
    """A logarithmic axis for times and the limits on a metric, as `draw_limits` has them.

    Its labels are written out: Plotly's own leave the unit away between decades.
    """
    limits_s = [requirement.limit for _, requirement in limits_on(results, metric)]
    known = [time_s for time_s in (*times_s, *limits_s) if time_s > 0]
    span = max(known, default=1.0) / min(known, default=1.0)
    dense, middling, wide = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8), (1, 1.5, 2, 3, 5, 7), (1, 2, 5)
    digits: tuple[float, ...] = dense if span < 8 else middling if span < 30 else wide
    ticks_s = [float(f"{digit}e{power}") for power in range(-6, 5) for digit in digits]
    labels = [units.format_time(time_s) for time_s in ticks_s]
    return {"type": "log", "tickvals": ticks_s, "ticktext": labels, "automargin": True}


def faint(colour: str) -> str:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.2)"


def text(words: object) -> str:
    """For a figure: Plotly reads some HTML in labels, and names are the user's."""
    return escape(str(words), quote=False)


def labels(names: Sequence[str], indices: Sequence[int]) -> list[str]:
    """Of an axis of layers: each only once, in lines where they are long."""
    return [text(label).replace("\n", "<br>") for label in short_labels(names, indices)]


def quality_axis(results: Results) -> dict[str, Any]:
    """The axis of the quality, whichever the task has."""
    axis: dict[str, Any] = {"title_text": text(axis_title(results))}
    return axis | ({"tickformat": ".1~%"} if results.quality_metric.dimension is units.FRACTION else {})


def limits_on(results: Results, metric: str) -> list[tuple[int, RequirementEntry]]:
    """The requirements on a metric (or on all that begin with `metric_`), each with its place."""
    wanted = enumerate(results.requirements)
    return [(i, each) for i, each in wanted if each.metric == metric or each.metric.startswith(f"{metric}_")]


def draw_limits(figure: go.Figure, results: Results, metric: str, *, upright: bool, words: bool = True) -> None:
    """A broken line, with the requirement's text, for each limit that `limits_on` finds.

    The lines are called limit-0, limit-1, ... by the requirement's place, so that the page can move them.
    """
    drawn = [x for trace in figure.data for x in trace.x or () if isinstance(x, float)]
    for place, requirement in limits_on(results, metric):
        name, limit = f"limit-{place}", requirement.limit
        style: dict[str, Any] = {
            "line_dash": "dash" if requirement.weight is None else "dot",
            "line_color": STAR_COLOUR,
            "name": name,
        }
        note: dict[str, Any] = {"text": text(requirement.text) if words else "", "showarrow": False, "name": name}
        if upright:
            figure.add_vline(x=limit, **style)
            # an annotation on a logarithmic axis wants the exponent
            at = log10(limit) if figure.layout.xaxis.type == "log" else limit
            # beside a line at the right end there is no room for words on its right
            side = "right" if drawn and limit > (max(drawn) + min(drawn)) / 2 else "left"
            if side == "right":  # then the words of level lines make room
                figure.update_annotations({"x": 0, "xanchor": "left"}, {"xref": "paper", "xanchor": "right"})
            figure.add_annotation(x=at, xanchor=side, y=0, yref="paper", yanchor="bottom", yshift=8, **note)
        else:
            figure.add_hline(y=limit, **style)
            at = log10(limit) if figure.layout.yaxis.type == "log" else limit
            figure.add_annotation(x=1, xref="paper", xanchor="right", y=at, yanchor="bottom", **note)
