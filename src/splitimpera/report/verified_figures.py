"""Interactive figures of a verification (Plotly): the distributions over each other, the parts, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import log10
from typing import Any

import plotly.graph_objects as go

from splitimpera.core import units
from splitimpera.report.palette import STAR_COLOUR
from splitimpera.report.style import faint, plain, text
from splitimpera.report.verified import PartEntry, TimesEntry, Verification

PREDICTED, MEASURED = "#0072B2", "#D55E00"
COLOURS = {
    **{"device_wait": "#8C6D1F", "device": "#E69F00", "encode": "#CC79A7", "link": "#56B4E9"},
    **{"server_wait": "#7A4FA3", "decode": "#F0E442", "server": "#009E73", "rest": "#999999"},
}
HATCHES = ("x", "\\", "/", "-")
SHOWN = 0.998
"""Up to which share of the frames the distributions are drawn."""
TICKS = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8)


def verification_figures(verification: Verification) -> dict[str, go.Figure]:
    """Every figure, by name."""
    return {
        "distributions": _distributions(verification),
        "parts": _parts(verification),
        "frames": _frames(verification),
    }


def _distributions(verification: Verification) -> go.Figure:
    """The share of frames answered within a time, predicted with the band of its replications, and measured."""
    of = verification.distribution
    figure = go.Figure()
    figure.add_scatter(
        x=[*of.low_s, *of.high_s[::-1]],
        y=[*of.shares, *of.shares[::-1]],
        fill="toself",
        fillcolor=faint(PREDICTED),
        mode="none",
        hoverinfo="skip",
        name="predicted, quickest to slowest replication",
    )
    for name, values, colour in (("predicted", of.predicted_s, PREDICTED), ("measured", of.measured_s, MEASURED)):
        figure.add_scatter(
            x=values,
            y=of.shares,
            mode="lines",
            name=name,
            line={"color": colour, "width": 2.5},
            hovertemplate=f"<b>{name}</b><br>%{{y:.1%}} within %{{x:.4s}}s<extra></extra>",
        )
    limits = [one.requirement for one in verification.requirements if one.requirement.metric.startswith("latency_")]
    # the very slowest frames would take most of the room
    shown = next((place for place, share in enumerate(of.shares) if share >= SHOWN), -1)
    ends = [of.predicted_s[0], of.measured_s[0], of.predicted_s[shown], of.measured_s[shown]]
    # a limit far away would leave no room for the curves
    near = [one for one in limits if min(ends) / 2 < one.limit < 2 * max(ends)]
    for requirement in near:
        figure.add_vline(x=requirement.limit, line_dash="dash", line_color=STAR_COLOUR)
        figure.add_annotation(
            x=requirement.limit, xref="x", y=0.02, yref="paper", text=text(requirement.text), showarrow=False,
            xanchor="right", textangle=-90, yanchor="bottom",
        )  # fmt: skip
    axis = _time_axis(ends)
    low, high = 0.97 * min(ends), 1.05 * max([*ends, *(one.limit for one in near)])
    span = [log10(low), log10(high)] if axis.get("type") == "log" else [low, high]
    figure.update_xaxes(title_text="latency", range=span, **axis)
    figure.update_yaxes(title_text="frames answered by then", tickformat=".0%", range=[-0.02, 1.02])
    return plain(figure, height=440)


def _time_axis(times_s: Iterable[float]) -> dict[str, Any]:
    """Logarithmic where the times span more than threefold, with the unit on every label."""
    known = [time_s for time_s in times_s if time_s > 0]
    low, high = min(known), max(known)
    if high < 3 * low:
        return {"ticksuffix": "s", "tickformat": "~s"}
    ticks = [
        float(f"{digit}e{power}") for power in range(-6, 5) for digit in TICKS if high < 12 * low or digit in (1, 2, 5)
    ]
    return {"type": "log", "tickvals": ticks, "ticktext": [units.format_time(tick) for tick in ticks]}


def _parts(verification: Verification) -> go.Figure:
    """Two bars each, predicted above measured, for typical frames and for the slowest tenth."""
    rows: list[tuple[str, Callable[[PartEntry], TimesEntry | None], str]] = [
        ("slowest tenth, measured", lambda part: part.measured, "slow_s"),
        ("slowest tenth, predicted", lambda part: part.predicted, "slow_s"),
        ("typical, measured", lambda part: part.measured, "typical_s"),
        ("typical, predicted", lambda part: part.predicted, "typical_s"),
    ]
    figure = go.Figure()
    for part in verification.parts:
        if part.within is not None:
            continue
        values = [getattr(times, field) if (times := of(part)) else 0.0 for _, of, field in rows]
        figure.add_bar(
            x=values,
            y=[name for name, _, _ in rows],
            orientation="h",
            name=text(part.name),
            marker=_marker(part.key),
            hovertemplate=f"<b>{text(part.name)}</b><br>%{{y}}: %{{x:.4s}}s<extra></extra>",
        )
    figure.update_layout(barmode="stack", legend_traceorder="normal", bargap=0.25)
    figure.update_xaxes(title_text="mean time of a frame", ticksuffix="s", tickformat="~s")
    figure.update_yaxes(automargin=True)
    return plain(figure, height=320)


def _marker(key: str) -> dict[str, Any]:
    """The colour of a part; those of later hops, whose keys end in a number, are hatched."""
    name, _, digits = key.rpartition("_")
    if not digits.isdecimal():
        return {"color": COLOURS[key]}
    return {"color": COLOURS[name], "pattern": {"shape": HATCHES[int(digits) % len(HATCHES)]}}


def _frames(verification: Verification) -> go.Figure:
    """Each frame's latency in the order of the run, with the predicted median and p95, and where something drifts."""
    frames, of = verification.frames, verification.distribution
    figure = go.Figure()
    figure.add_scatter(
        x=[place * frames.of_each + 1 for place in range(len(frames.latency_s))],
        y=frames.latency_s,
        mode="markers",
        name="measured" + (f", the slowest of each {frames.of_each}" if frames.of_each > 1 else ""),
        marker={"color": MEASURED, "size": 4},
        hovertemplate="frame %{x}: %{y:.4s}s<extra></extra>",
    )
    last = len(frames.latency_s) * frames.of_each
    for one in verification.quantities[:2]:
        if one.predicted is not None:
            figure.add_scatter(
                x=[1, last],
                y=[one.predicted] * 2,
                mode="lines",
                name=f"predicted {one.name.removeprefix('latency_')}",
                line={"color": PREDICTED, "dash": "solid" if one.name.endswith("p50") else "dot"},
                hoverinfo="skip",
            )
    if len(verification.logs) == 1:
        for frame in {one.since_frame for one in verification.drift}:
            figure.add_vline(x=frame, line_dash="dash", line_color=STAR_COLOUR)
    known = [value for value in frames.latency_s if value is not None]
    figure.update_xaxes(title_text="frame")
    figure.update_yaxes(title_text="latency", automargin=True, **_time_axis([*known, of.predicted_s[0]]))
    return plain(figure, height=320)
