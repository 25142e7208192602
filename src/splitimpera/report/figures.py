"""Interactive figures of the plans (Plotly), and all figures together, drawn from results alone.

The page finds traces and lines by their `meta` and `name`, and moves them when its limits are moved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go

from splitimpera.core import units
from splitimpera.records.requirement import METRICS
from splitimpera.report.network_figures import classes_figure, layers_figure, saliency_figure
from splitimpera.report.results import Results, format_metric
from splitimpera.report.style import (
    COLOURS,
    PALETTE,
    STAR_COLOUR,
    draw_limits,
    faint,
    plain,
    quality_axis,
    text,
    time_axis,
)

LATENCIES_DRAWN = 40
BREAKDOWN_PLANS = 12
PARTS = {"device": "#E69F00", "encode": "#CC79A7", "link": "#56B4E9", "queue": "#D55E00", "server": "#009E73"}


def figures(results: Results) -> dict[str, go.Figure]:
    """Every figure of the report, by name; those that would be empty are left out."""
    makers: dict[str, Callable[[Results], go.Figure]] = {
        "plans": plans_figure,
        "saliency": saliency_figure,
        "classes": classes_figure,
        "layers": layers_figure,
        "latency": latency_figure,
        "breakdown": breakdown_figure,
        "loss": loss_figure,
    }
    stable = any(plan["stable"] for plan in results["plans"])
    wanted = {
        "plans": stable,
        "saliency": bool(results["curve"]["cuts"]),
        "classes": bool(results["curve"]["cuts"]) and len(results["curve"]["per_class"]) > 1,
        "layers": bool(results["layers"]),
        "latency": stable,
        "breakdown": stable,
        "loss": bool(results["loss_curves"]),
    }
    return {name: make(results) for name, make in makers.items() if wanted[name]}


def plans_figure(results: Results) -> go.Figure:
    """Quality against p95 latency of every stable plan, what is best in these two, and the limits on them."""
    quality = results["quality"]
    stable = [plan for plan in results["plans"] if plan["stable"] and _both_known(plan, quality)]
    figure = go.Figure()
    steps = front(results)
    figure.add_scatter(
        x=[plan["metrics"]["latency_p95"] for plan in steps],
        y=[plan["metrics"][quality] for plan in steps],
        mode="lines",
        line={"shape": "hv", "color": "rgba(128,128,128,0.7)", "width": 1.5},
        name="front: none is quicker and better",
        hoverinfo="skip",
    )
    for kind, colour in COLOURS.items():
        for fits in (True, False):
            _add_plans(figure, [p for p in stable if (p["configuration"], p["feasible"]) == (kind, fits)], quality)
            figure.data[-1].update(
                name=f"{kind}, {'fits' if fits else 'does not fit'}",
                meta={"kind": kind, "fits": fits},
                error_y_color=colour,
                marker={
                    "color": colour,
                    "size": 11,
                    "symbol": "circle" if fits else "x-thin",
                    "line": {"width": 2, "color": colour},
                },
            )
    chosen = [plan for plan in stable if plan["id"] == results["recommendation"]["plan"]]
    figure.add_scatter(
        x=[plan["metrics"]["latency_p95"] for plan in chosen],
        y=[plan["metrics"][quality] for plan in chosen],
        mode="markers",
        name="recommended",
        meta={"chosen": True},
        marker={"symbol": "star-open", "size": 22, "color": STAR_COLOUR, "line": {"width": 2}},
        hoverinfo="skip",
    )
    figure.update_xaxes(title_text="p95 latency", **time_axis(plan["metrics"]["latency_p95"] for plan in stable))
    figure.update_yaxes(**quality_axis(results))
    draw_limits(figure, results, quality, upright=False)
    draw_limits(figure, results, "latency_p95", upright=True)
    return plain(figure, height=520)


def _add_plans(figure: go.Figure, plans: Sequence[Results], quality: str) -> None:
    figure.add_scatter(
        x=[plan["metrics"]["latency_p95"] for plan in plans],
        y=[plan["metrics"][quality] for plan in plans],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [plan["accuracy_ci"][1] - plan["metrics"][quality] for plan in plans],
            "arrayminus": [plan["metrics"][quality] - plan["accuracy_ci"][0] for plan in plans],
            "thickness": 1,
        },
        mode="markers",
        showlegend=bool(plans),
        ids=[plan["id"] for plan in plans],
        customdata=[
            [text(plan["id"]), format_metric(quality, plan["metrics"][quality]), fate(plan, "<br>")] for plan in plans
        ],
        hovertemplate="<b>%{customdata[0]}</b><br>" + quality + " %{customdata[1]}, p95 %{x:.4s}s<br>"
        "%{customdata[2]}<extra></extra>",
    )


def front(results: Results) -> list[Results]:
    """The stable plans that can run and than which none is both quicker and better, by rising p95 latency."""
    quality = results["quality"]
    sign = 1 if METRICS[quality].better == "higher" else -1
    able = [p for p in results["plans"] if p["stable"] and not p["cannot_run"] and _both_known(p, quality)]
    able.sort(key=lambda plan: (plan["metrics"]["latency_p95"], -sign * plan["metrics"][quality]))
    best: list[Results] = []
    for plan in able:
        if not best or sign * plan["metrics"][quality] > sign * best[-1]["metrics"][quality]:
            best.append(plan)
    return best


def latency_figure(results: Results) -> go.Figure:
    """How the latency of the stable plans is distributed: one line a plan, around it a band from seed to seed.

    The best plan of each configuration and transport is shown; a click in the legend shows others.
    """
    figure = go.Figure()
    shares = results["latency_shares"]
    for plan in latency_plans(results):
        colour, group = COLOURS[plan["configuration"]], text(plan["id"])
        chosen = plan["id"] == results["recommendation"]["plan"]
        shown: dict[str, Any] = {"legendgroup": group, "visible": True if plan["shown"] else "legendonly"}
        low, high = plan["latency_quantiles_low_s"], plan["latency_quantiles_high_s"]
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
            x=plan["latency_quantiles_s"],
            y=shares,
            mode="lines",
            name=group + (" (recommended)" if chosen else ""),
            line={"color": colour, "width": 4 if chosen else 2, "dash": _dash(plan["transport"])},
            hovertemplate=f"<b>{group}</b><br>%{{y:.1%}} within %{{x:.4s}}s<extra></extra>",
            **shown,
        )
    reached = [plan["latency_quantiles_s"][end] for plan in latency_plans(results) for end in (0, -1)]
    figure.update_xaxes(title_text="latency", **time_axis(reached))
    figure.update_yaxes(title_text="frames answered by then", tickformat=".0%")
    draw_limits(figure, results, "latency", upright=True)
    plain(figure, height=520)
    # many plans: beside the figure, where the legend scrolls
    figure.update_layout(legend={"orientation": "v", "x": 1.02, "y": 1, "yanchor": "top"})
    return figure


def latency_plans(results: Results) -> list[Results]:
    """The best stable plans, in their order; `shown` marks the first of each configuration and transport."""
    seen: set[tuple[str, str | None]] = set()
    first: list[tuple[int, Results]] = []
    others: list[tuple[int, Results]] = []
    for place, plan in enumerate(results["plans"]):
        if plan["latency_quantiles_s"] is not None:
            kind = (plan["configuration"], plan["transport"])
            (others if kind in seen else first).append((place, plan | {"shown": kind not in seen}))
            seen.add(kind)
    kept = sorted([*first, *others][: max(LATENCIES_DRAWN, len(first))], key=lambda pair: pair[0])
    return [plan for _, plan in kept]


def loss_figure(results: Results) -> go.Figure:
    """Quality against the share of packets lost, of the best plans over UDP, with 95 % bands."""
    quality = results["quality"]
    figure = go.Figure()
    for index, curve in enumerate(results["loss_curves"]):
        colour, group = PALETTE[index % len(PALETTE)], text(curve["plan"])
        chosen = curve["plan"] == results["recommendation"]["plan"]
        figure.add_scatter(
            x=[*curve["loss"], *curve["loss"][::-1]],
            y=[*curve["accuracy_low"], *curve["accuracy_high"][::-1]],
            fill="toself",
            fillcolor=faint(colour),
            mode="none",
            hoverinfo="skip",
            showlegend=False,
            legendgroup=group,
        )
        figure.add_scatter(
            x=curve["loss"],
            y=curve["accuracy"],
            mode="lines+markers",
            name=group + (" (recommended)" if chosen else ""),
            legendgroup=group,
            line={"color": colour, "width": 4 if chosen else 2},
            hovertemplate=f"<b>{group}</b><br>{quality} %{{y:.4~g}} at %{{x:.0%}} loss<extra></extra>",
        )
    figure.update_xaxes(title_text="packets lost", tickformat=".0%")
    figure.update_yaxes(**quality_axis(results))
    draw_limits(figure, results, quality, upright=False, words=False)
    return plain(figure)


def breakdown_figure(results: Results) -> go.Figure:
    """Where the time of a frame goes in the best plans: device, encode, link, queue, server; hatched: estimated."""
    plans = breakdown_plans(results)[::-1]
    figure = go.Figure()
    for kind, colour in PARTS.items():
        parts = [{n: t for n, t in plan["parts_s"].items() if part_kind(n, plan) == kind} for plan in plans]
        guessed = [any(name in plan["estimates"] for name in part) for part, plan in zip(parts, plans, strict=True)]
        figure.add_bar(
            x=[sum(part.values()) for part in parts],
            y=[text(plan["id"]) for plan in plans],
            name=kind,
            orientation="h",
            marker={"color": colour, "pattern": {"shape": ["/" if guess else "" for guess in guessed], "size": 6}},
            customdata=[_details(part, plan) for part, plan in zip(parts, plans, strict=True)],
            hovertemplate="<b>%{y}</b><br>%{customdata}<extra></extra>",
        )
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title_text="mean time of a frame", ticksuffix="s", tickformat="~s")
    figure.update_yaxes(automargin=True)
    draw_limits(figure, results, "latency", upright=True, words=False)
    plain(figure, height=160 + 28 * max(len(plans), 6))
    figure.update_layout(legend_traceorder="normal")
    return figure


def breakdown_plans(results: Results) -> list[Results]:
    """The best stable plans, with the best of each configuration."""
    stable = [plan for plan in results["plans"] if plan["stable"]]
    kinds = [next((plan for plan in stable if plan["configuration"] == kind), None) for kind in COLOURS]
    best = stable[:BREAKDOWN_PLANS]
    return best + [plan for plan in kinds if plan is not None and plan not in best]


def part_kind(part: str, plan: Results) -> str:
    """To which of `PARTS` a part of a frame's time belongs; the answer's downlink is the link's, too."""
    device, _, work = part.partition(": ")
    if work in ("queue", "encode"):
        return work
    if not work:
        return "link"
    return "device" if device == plan["devices"][0] else "server"


def _details(parts: dict[str, float], plan: Results) -> str:
    return "<br>".join(
        f"{text(name)}: {units.format_time(time_s)}{' (estimated)' if name in plan['estimates'] else ''}"
        for name, time_s in parts.items()
    )


def fate(plan: Results, between: str) -> str:
    """In words whether a plan fits, and how surely, or what it misses; one line a miss."""
    if plan["cannot_run"]:
        return between.join(f"cannot run: {text(why)}" for why in plan["cannot_run"])
    if plan["feasible"]:
        return f"fits, {plan['certainty']}"
    return between.join(f"misses {text(miss['requirement'])}" for miss in plan["violations"])


def _both_known(plan: Results, quality: str) -> bool:
    return plan["metrics"]["latency_p95"] is not None and plan["metrics"][quality] is not None


def _dash(transport: str | None) -> str:
    """TCP's lines are broken, UDP's are not."""
    return "dash" if transport is not None and transport.startswith("tcp") else "solid"
