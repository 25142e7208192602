"""Interactive figures of the plans (Plotly), drawn from results alone.

The page finds traces and lines by their `meta` and `name`, and moves them when its limits are moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from splitimpera.core import units
from splitimpera.report.layer_names import wrapped
from splitimpera.report.palette import COLOURS, PALETTE, PARTS, STAR_COLOUR
from splitimpera.report.schema import PlanEntry, Results
from splitimpera.report.selection import breakdown_plans, configurations, front, latency_plans, placed
from splitimpera.report.style import draw_limits, faint, plain, quality_axis, text, time_axis
from splitimpera.report.token_words import frame_word
from splitimpera.report.words import format_metric, plan_words, verdict_lines

_Placed = tuple[PlanEntry, float, float]


def plans_figure(results: Results) -> go.Figure:
    """Quality against p95 latency of every stable plan, what is best in these two, and the limits on them."""
    quality = results.quality
    stable: list[_Placed] = [(plan, *at) for plan in results.plans if (at := placed(plan, quality))]
    figure = go.Figure()
    steps = front(results)
    figure.add_scatter(
        x=[latency_s for _, latency_s, _ in steps],
        y=[value for _, _, value in steps],
        mode="lines",
        line={"shape": "hv", "color": "rgba(128,128,128,0.7)", "width": 1.5},
        name="front: none is quicker and better",
        hoverinfo="skip",
    )
    for kind in configurations(results):
        colour = COLOURS[kind]
        for feasible in (True, False):
            among = [each for each in stable if (each[0].configuration, each[0].feasible) == (kind, feasible)]
            _add_plans(figure, among, results)
            figure.data[-1].update(
                name=f"{kind}, {'feasible' if feasible else 'infeasible'}",
                meta={"kind": kind, "feasible": feasible},
                error_y_color=colour,
                marker={
                    "color": colour,
                    "size": 11,
                    "symbol": "circle" if feasible else "x-thin",
                    "line": {"width": 2, "color": colour},
                },
            )
    chosen = [each for each in stable if each[0].id == results.recommendation.plan]
    figure.add_scatter(
        x=[latency_s for _, latency_s, _ in chosen],
        y=[value for _, _, value in chosen],
        mode="markers",
        name="recommended",
        meta={"chosen": True},
        marker={"symbol": "star-open", "size": 22, "color": STAR_COLOUR, "line": {"width": 2}},
        hoverinfo="skip",
    )
    figure.update_xaxes(title_text="p95 latency", **time_axis([at for _, at, _ in stable], results, "latency_p95"))
    figure.update_yaxes(**quality_axis(results))
    draw_limits(figure, results, quality, upright=False)
    draw_limits(figure, results, "latency_p95", upright=True)
    return plain(figure, height=520)


def _add_plans(figure: go.Figure, plans: Sequence[_Placed], results: Results) -> None:
    quality, names = results.quality, results.cut_names
    figure.add_scatter(
        x=[latency_s for _, latency_s, _ in plans],
        y=[value for _, _, value in plans],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [(plan.quality_ci or [value, value])[1] - value for plan, _, value in plans],
            "arrayminus": [value - (plan.quality_ci or [value, value])[0] for plan, _, value in plans],
            "thickness": 1,
        },
        mode="markers",
        showlegend=bool(plans),
        ids=[plan.id for plan, _, _ in plans],
        customdata=[
            [
                f"{text(plan_words(plan, names))}</b><br>{text(plan.id)}",
                format_metric(quality, value),
                "<br>".join(map(text, verdict_lines(plan))),
            ]
            for plan, _, value in plans
        ],
        hovertemplate="<b>%{customdata[0]}<br>" + text(results.quality_title) + " %{customdata[1]}, p95 %{x:.4s}s<br>"
        "%{customdata[2]}<extra></extra>",
    )


def latency_figure(results: Results) -> go.Figure:
    """How the latency of the stable plans is distributed: one line a plan, around it a band over the replications.

    The best plan of each configuration and transport is shown; a click in the legend shows others.
    """
    figure = go.Figure()
    shares, drawn, names = results.latency_shares, latency_plans(results), results.cut_names
    reached: list[float] = []
    for plan, leading in drawn:
        colour, group = COLOURS[plan.configuration], text(plan.id)
        chosen = plan.id == results.recommendation.plan
        shown: dict[str, Any] = {"legendgroup": group, "visible": True if leading else "legendonly"}
        middle, low, high = (
            curve or []
            for curve in (plan.latency_quantiles_s, plan.latency_quantiles_low_s, plan.latency_quantiles_high_s)
        )
        reached += [*middle[:1], *middle[-1:]]
        figure.add_scatter(
            x=[*low, *high[::-1]],
            y=[*shares, *shares[::-1]],
            fill="toself",
            fillcolor=faint(colour),
            mode="none",
            hoverinfo="skip",
            showlegend=False,
            **shown,
        )
        figure.add_scatter(
            x=middle,
            y=shares,
            mode="lines",
            name=_in_legend(plan.id, chosen),
            line={"color": colour, "width": 4 if chosen else 2, "dash": _dash(plan.transport)},
            hovertemplate=f"<b>{text(plan_words(plan, names))}</b><br>%{{y:.1%}} within %{{x:.4s}}s<extra></extra>",
            **shown,
        )
    figure.update_xaxes(title_text="latency", **time_axis(reached, results, "latency"))
    figure.update_yaxes(title_text=f"{frame_word(results)}s with a response by then", tickformat=".0%")
    draw_limits(figure, results, "latency", upright=True)
    plain(figure, height=520)
    # many plans: beside the figure, where the legend scrolls
    figure.update_layout(legend={"orientation": "v", "x": 1.02, "y": 1, "yanchor": "top"})
    return figure


def loss_figure(results: Results) -> go.Figure:
    """Quality against the share of packets lost, of the best plans over UDP, with 95 % bands."""
    figure = go.Figure()
    by_id, names, quality = results.by_id, results.cut_names, text(results.quality_title)
    for index, curve in enumerate(results.loss_curves):
        colour, group = PALETTE[index % len(PALETTE)], text(curve.plan)
        chosen = curve.plan == results.recommendation.plan
        said = text(plan_words(by_id[curve.plan], names)) if curve.plan in by_id else group
        figure.add_scatter(
            x=[*curve.loss, *curve.loss[::-1]],
            y=[*curve.quality_low, *curve.quality_high[::-1]],
            fill="toself",
            fillcolor=faint(colour),
            mode="none",
            hoverinfo="skip",
            showlegend=False,
            legendgroup=group,
        )
        figure.add_scatter(
            x=curve.loss,
            y=curve.quality,
            mode="lines+markers",
            name=_in_legend(curve.plan, chosen),
            legendgroup=group,
            line={"color": colour, "width": 4 if chosen else 2},
            hovertemplate=f"<b>{said}</b><br>{quality} %{{y:.4~g}} at %{{x:.0%}} loss<extra></extra>",
        )
    figure.update_xaxes(title_text="packets lost", tickformat=".0%")
    figure.update_yaxes(**quality_axis(results))
    draw_limits(figure, results, results.quality, upright=False, words=False)
    return plain(figure)


def breakdown_figure(results: Results) -> go.Figure:
    """Where the time of a frame goes in the best plans: device, encode, link, queue, server; hatched: estimated."""
    plans = breakdown_plans(results)[::-1]
    figure = go.Figure()
    add_parts(figure, plans, [plan.parts_s for plan in plans], results)
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title_text=f"mean time of a {frame_word(results)}", ticksuffix="s", tickformat="~s")
    figure.update_yaxes(automargin=True)
    draw_limits(figure, results, "latency", upright=True, words=False)
    plain(figure, height=160 + 28 * max(len(plans), 6))
    figure.update_layout(legend_traceorder="normal")
    return figure


def add_parts(
    figure: go.Figure, plans: Sequence[PlanEntry], of_plans: Sequence[Mapping[str, float]], results: Results
) -> None:
    """A bar a plan, in order from below, of the seconds that its parts take; hatched: estimated."""
    names = results.cut_names
    for kind, colour in PARTS.items():
        parts = [
            {name: time_s for name, time_s in of_plan.items() if part_kind(name, plan) == kind}
            for of_plan, plan in zip(of_plans, plans, strict=True)
        ]
        guessed = [any(name in plan.estimates for name in part) for part, plan in zip(parts, plans, strict=True)]
        figure.add_bar(
            x=[sum(part.values()) for part in parts],
            y=[text(plan.id) for plan in plans],
            name=kind,
            orientation="h",
            marker={"color": colour, "pattern": {"shape": ["/" if guess else "" for guess in guessed], "size": 6}},
            customdata=[
                [text(plan_words(plan, names)), _details(part, plan)] for part, plan in zip(parts, plans, strict=True)
            ],
            hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]}<extra></extra>",
        )


def part_kind(part: str, plan: PlanEntry) -> str:
    """To which of `PARTS` a part of a frame's time belongs; the response's downlink is the link's, too."""
    device, _, work = part.partition(": ")
    if work in ("queue", "encode"):
        return work
    if on_link(part):
        return "link"
    return "device" if device == plan.devices[0] else "server"


def on_link(part: str) -> bool:
    """Whether a part of a frame's time is a link's: it bears its name alone, or the way that tokens go."""
    return part.partition(": ")[2] in ("", "up", "down")


def _details(parts: dict[str, float], plan: PlanEntry) -> str:
    lines = [
        f"{text(name)}: {units.format_time(time_s)}{' (estimated)' if name in plan.estimates else ''}"
        for name, time_s in parts.items()
    ]
    networks = [name.partition(": ")[0] for name in parts if name.endswith(": network")]
    lines += [
        f"{text(device)} in all: p50 {units.format_time(plan.device_p50_s[device])}, p95 {units.format_time(p95_s)}"
        for device, p95_s in plan.device_p95_s.items()
        if device in networks and device in plan.device_p50_s
    ]
    return "<br>".join(lines)


def _in_legend(plan: str, chosen: bool) -> str:
    """In lines, where an id is long."""
    return "<br>".join(map(text, wrapped(plan, 40))) + (" (recommended)" if chosen else "")


def _dash(transport: str | None) -> str:
    """TCP's lines are broken, UDP's are not."""
    return "dash" if transport is not None and transport.startswith("tcp") else "solid"
