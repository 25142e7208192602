"""Interactive figures (Plotly), drawn from results alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from splitimpera import units
from splitimpera.report.results import Results
from splitimpera.saliency.curve import log10_or_gap

COLOURS = {"LC": "#E69F00", "RC": "#0072B2", "SC": "#009E73"}  # Okabe and Ito: told apart without colour vision
CURVE_COLOUR = "#0072B2"
STAR_COLOUR = "#D55E00"
BAR_COLOUR = "rgba(128,128,128,0.35)"
PALETTE = ("#0072B2", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#D55E00")  # the same authors'
BREAKDOWN_PLANS = 12
TIMES_S = [digit * 10.0**power for power in range(-6, 4) for digit in (1, 2, 5)]
TIME_AXIS = {"type": "log", "tickvals": TIMES_S, "ticktext": [units.format_time(time_s) for time_s in TIMES_S]}
"""A logarithmic axis with whole words: Plotly's own labels leave the unit away between decades."""


def curve_points(results: Results) -> list[Results]:
    """The cuts that have a CS, in order, each with `log_cs` and the reasons why it is a candidate."""
    reasons = {candidate["cut"]: candidate["reasons"] for candidate in results["candidates"]}
    return [
        cut | {"log_cs": float(log10_or_gap([cut["cs"]])[0]), "reasons": reasons.get(cut["index"], [])}
        for cut in results["cuts"]
        if cut["cs"] is not None
    ]


def saliency_figure(results: Results) -> go.Figure:
    """log10 CS over the cuts with the candidates starred, and the bytes that cross there."""
    points = curve_points(results)
    names = [point["name"] for point in points]
    figure = make_subplots(specs=[[{"secondary_y": True}]])
    figure.add_bar(
        x=names,
        y=[point["bytes"] for point in points],
        name="bytes that cross (float32)",
        marker_color=BAR_COLOUR,
        hovertemplate="%{x}: %{y:,} bytes<extra></extra>",
    )
    figure.add_scatter(
        x=names,
        y=[point["log_cs"] for point in points],
        name="log10 CS",
        mode="lines+markers",
        line={"color": CURVE_COLOUR},
        customdata=[[point["index"], " x ".join(map(str, point["shapes"][0]))] for point in points],
        hovertemplate="cut %{customdata[0]}, behind %{x}<br>log10 CS %{y:.2f}, sends %{customdata[1]}<extra></extra>",
        secondary_y=True,
    )
    starred = [point for point in points if point["reasons"]]
    figure.add_scatter(
        x=[point["name"] for point in starred],
        y=[point["log_cs"] for point in starred],
        name="candidate",
        mode="markers",
        marker={"symbol": "star", "size": 15, "color": STAR_COLOUR},
        text=[", ".join(point["reasons"]) for point in starred],
        hovertemplate="%{x}: %{text}<extra></extra>",
        secondary_y=True,
    )
    # the second axis is drawn above the first: the curve must not lie behind the bars
    figure.update_yaxes(title_text="log10 CS", side="left", tickmode="auto", showgrid=True, secondary_y=True)
    bytes_axis = {"type": "log", "dtick": 1, "exponentformat": "SI", "ticksuffix": "B", "showgrid": False}
    figure.update_yaxes(title_text="bytes", side="right", secondary_y=False, **bytes_axis)
    figure.update_xaxes(title_text="cut behind layer", tickangle=-45, automargin=True)
    return _plain(figure)


def classes_figure(results: Results) -> go.Figure:
    """log10 CS of each class's pictures, relative to the curve of all: where a class would rather be split."""
    points = curve_points(results)
    whole = np.array([point["log_cs"] for point in points])
    figure = go.Figure()
    for name, values in results["curve"]["per_class"].items():
        figure.add_scatter(
            x=[point["name"] for point in points],
            y=log10_or_gap(values) - whole,
            name=name,
            mode="lines+markers",
            hovertemplate=f"class {name}, behind %{{x}}: %{{y:+.2f}}<extra></extra>",
        )
    figure.update_xaxes(title_text="cut behind layer", tickangle=-45, automargin=True)
    figure.update_yaxes(title_text="log10 CS of the class / CS of all")
    return _plain(figure)


def plans_figure(results: Results) -> go.Figure:
    """Accuracy against p95 latency of every stable plan, with the limits that the requirements set."""
    figure = go.Figure()
    stable = [plan for plan in results["plans"] if plan["stable"]]
    chosen = results["recommendation"]["plan"]
    for kind, colour in COLOURS.items():
        for feasible in (True, False):
            plans = [p for p in stable if p["configuration"] == kind and p["feasible"] is feasible]
            if not plans:
                continue
            figure.add_scatter(
                x=[plan["latency_p95_s"] for plan in plans],
                y=[plan["accuracy"] for plan in plans],
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": [plan["accuracy_ci"][1] - plan["accuracy"] for plan in plans],
                    "arrayminus": [plan["accuracy"] - plan["accuracy_ci"][0] for plan in plans],
                    "thickness": 1,
                    "color": colour,
                },
                mode="markers",
                name=f"{kind}, {'fits' if feasible else 'does not fit'}",
                marker={
                    "color": colour,
                    "size": 11,
                    "symbol": "circle" if feasible else "x-thin",
                    "line": {"width": 2, "color": colour},
                },
                customdata=[[plan["id"], _fate(plan)] for plan in plans],
                hovertemplate="<b>%{customdata[0]}</b><br>accuracy %{y:.2%}, p95 %{x:.4s}s<br>"
                "%{customdata[1]}<extra></extra>",
            )
    for plan in stable:
        if plan["id"] == chosen:
            figure.add_scatter(
                x=[plan["latency_p95_s"]],
                y=[plan["accuracy"]],
                mode="markers",
                name="recommended",
                marker={"symbol": "star-open", "size": 22, "color": STAR_COLOUR, "line": {"width": 2}},
                hoverinfo="skip",
            )
    for requirement in results["requirements"]:
        line: dict[str, Any] = {"line_dash": "dash", "line_color": STAR_COLOUR}
        words: dict[str, Any] = {"text": requirement["text"], "showarrow": False}
        if requirement["metric"] == "accuracy":
            figure.add_hline(y=requirement["limit"], **line)
            figure.add_annotation(x=1, xref="paper", xanchor="right", y=requirement["limit"], yanchor="top", **words)
        elif requirement["metric"] == "latency_p95":
            figure.add_vline(x=requirement["limit"], **line)
            place = float(np.log10(requirement["limit"]))  # an annotation on a logarithmic axis wants the exponent
            figure.add_annotation(x=place, xanchor="left", y=0, yref="paper", yanchor="bottom", **words)
    figure.update_xaxes(title_text="p95 latency", **TIME_AXIS)
    figure.update_yaxes(title_text="accuracy", tickformat=".0%")
    return _plain(figure)


def latency_figure(results: Results) -> go.Figure:
    """How the latency of the stable plans is distributed: one line a plan, around it a band from seed to seed.

    The best plan of each configuration and transport is shown; a click in the legend shows others.
    """
    figure = go.Figure()
    shares = results["latency_shares"]
    for plan in latency_plans(results):
        colour, group = COLOURS[plan["configuration"]], plan["id"]
        chosen = group == results["recommendation"]["plan"]
        shown: dict[str, Any] = {"legendgroup": group, "visible": True if plan["shown"] else "legendonly"}
        low, high = plan["latency_quantiles_low_s"], plan["latency_quantiles_high_s"]
        figure.add_scatter(
            x=[*low, *high[::-1]],
            y=[*shares, *shares[::-1]],
            fill="toself",
            fillcolor=_faint(colour),
            mode="none",
            hoverinfo="skip",
            showlegend=False,
            **shown,
        )
        figure.add_scatter(
            x=plan["latency_quantiles_s"],
            y=shares,
            mode="lines",
            name=group + (" (recommended)" if chosen else ""),
            line={"color": colour, "width": 4 if chosen else 2, "dash": _dash(plan["transport"])},
            hovertemplate=f"<b>{group}</b><br>%{{y:.1%}} within %{{x:.4s}}s<extra></extra>",
            **shown,
        )
    for requirement in results["requirements"]:
        if requirement["metric"].startswith("latency"):
            figure.add_vline(x=requirement["limit"], line_dash="dash", line_color=STAR_COLOUR)
            place = float(np.log10(requirement["limit"]))
            figure.add_annotation(
                x=place, xanchor="left", y=0, yref="paper", yanchor="bottom", text=requirement["text"], showarrow=False
            )
    figure.update_xaxes(title_text="latency", **TIME_AXIS)
    figure.update_yaxes(title_text="frames answered by then", tickformat=".0%")
    _plain(figure)
    # many plans: beside the figure, where the legend scrolls
    figure.update_layout(legend={"orientation": "v", "x": 1.02, "y": 1, "yanchor": "top"}, height=520)
    return figure


def loss_figure(results: Results) -> go.Figure:
    """Accuracy against the share of packets lost, of the best plans over UDP, with 95 % bands."""
    figure = go.Figure()
    for index, curve in enumerate(results["loss_curves"]):
        colour = PALETTE[index % len(PALETTE)]
        chosen = curve["plan"] == results["recommendation"]["plan"]
        figure.add_scatter(
            x=[*curve["loss"], *curve["loss"][::-1]],
            y=[*curve["accuracy_low"], *curve["accuracy_high"][::-1]],
            fill="toself",
            fillcolor=_faint(colour),
            mode="none",
            hoverinfo="skip",
            showlegend=False,
            legendgroup=curve["plan"],
        )
        figure.add_scatter(
            x=curve["loss"],
            y=curve["accuracy"],
            mode="lines+markers",
            name=curve["plan"] + (" (recommended)" if chosen else ""),
            legendgroup=curve["plan"],
            line={"color": colour, "width": 4 if chosen else 2},
            hovertemplate=f"<b>{curve['plan']}</b><br>%{{y:.1%}} right at %{{x:.0%}} loss<extra></extra>",
        )
    for requirement in results["requirements"]:
        if requirement["metric"] == "accuracy":
            figure.add_hline(y=requirement["limit"], line_dash="dash", line_color=STAR_COLOUR)
    figure.update_xaxes(title_text="packets lost", tickformat=".0%")
    figure.update_yaxes(title_text="accuracy", tickformat=".0%")
    return _plain(figure)


def latency_plans(results: Results) -> list[Results]:
    """The stable plans, best first; `shown` marks the first of each configuration and transport."""
    seen: set[tuple[str, str | None]] = set()
    plans = []
    for plan in results["plans"]:
        if plan["stable"]:
            kind = (plan["configuration"], plan["transport"])
            plans.append(plan | {"shown": kind not in seen})
            seen.add(kind)
    return plans


def _dash(transport: str | None) -> str:
    """TCP's lines are broken, UDP's are not."""
    return "dash" if transport is not None and transport.startswith("tcp") else "solid"


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.2)"


def breakdown_figure(results: Results) -> go.Figure:
    """Where the time of a frame goes, for the best plans."""
    figure = go.Figure()
    plans = [plan for plan in results["plans"] if plan["stable"]][:BREAKDOWN_PLANS][::-1]
    parts = dict.fromkeys(part for plan in plans[::-1] for part in plan["parts_s"])
    for part in parts:
        figure.add_bar(
            x=[plan["parts_s"].get(part) for plan in plans],
            y=[plan["id"] for plan in plans],
            name=part,
            orientation="h",
            hovertemplate="%{y}<br>" + part + ": %{x:.3s}s<extra></extra>",
        )
    for requirement in results["requirements"]:
        if requirement["metric"].startswith("latency"):
            figure.add_vline(
                x=requirement["limit"], line_dash="dash", line_color=STAR_COLOUR, annotation_text=requirement["text"]
            )
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title_text="mean time of a frame", ticksuffix="s", exponentformat="SI")
    figure.update_yaxes(automargin=True)
    return _plain(figure)


def _fate(plan: Results) -> str:
    return (
        "fits" if plan["feasible"] else "misses " + "<br>misses ".join(miss["requirement"] for miss in plan["misses"])
    )


def _plain(figure: go.Figure) -> go.Figure:
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "color": "#333"},
        margin={"l": 70, "r": 70, "t": 30, "b": 60},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        height=460,
    )
    figure.update_xaxes(gridcolor="rgba(128,128,128,0.25)", zeroline=False)
    figure.update_yaxes(gridcolor="rgba(128,128,128,0.25)", zeroline=False)
    return figure
