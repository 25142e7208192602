"""Interactive figures of early exits (Plotly), drawn from results alone."""

from __future__ import annotations

import plotly.graph_objects as go

from splitimpera.core.units import format_fraction
from splitimpera.report.palette import COLOURS, PALETTE
from splitimpera.report.schema import Results
from splitimpera.report.style import draw_limits, faint, plain, quality_axis, text, time_axis


def exits_figure(results: Results) -> go.Figure:
    """Quality against the share of frames that leave at each exit alone, and what the drawn plan's thresholds make."""
    figure, plan, names = go.Figure(), results.early_plan, results.cut_names
    for index, curve in enumerate(results.exit_curves):
        colour, group = PALETTE[index % len(PALETTE)], text(f"exit after {names[curve.cut]}")
        figure.add_scatter(
            x=[*curve.share, *curve.share[::-1]],
            y=[*curve.quality_low, *curve.quality_high[::-1]],
            fill="toself",
            fillcolor=faint(colour),
            mode="none",
            hoverinfo="skip",
            showlegend=False,
            legendgroup=group,
        )
        figure.add_scatter(
            x=curve.share,
            y=curve.quality,
            customdata=curve.threshold,
            mode="lines",
            name=group,
            legendgroup=group,
            line={"color": colour, "width": 2},
            hovertemplate=f"<b>{group}</b><br>{text(results.quality_title)} %{{y:.4~g}}, %{{x:.1%}} leave "
            "from a confidence of %{customdata:.3f} on<extra></extra>",
        )
        for exit in () if plan is None else plan.exits:
            # on the curve: where a threshold of its own makes as many leave, whatever other exits take before
            if exit.cut == curve.cut and len(exit.thresholds) == 1:
                at = sum(threshold >= exit.thresholds[0] for threshold in curve.threshold[1:])
                figure.add_scatter(
                    x=[curve.share[at]],
                    y=[curve.quality[at]],
                    mode="markers",
                    name="chosen threshold",
                    legendgroup=group,
                    showlegend=False,
                    marker={"symbol": "circle-open", "size": 14, "color": colour, "line": {"width": 3}},
                    hovertemplate=f"<b>{group}</b><br>threshold {exit.thresholds[0]:.3f}<extra></extra>",
                )
    figure.update_xaxes(title_text="frames that leave", tickformat=".0%")
    figure.update_yaxes(**quality_axis(results))
    draw_limits(figure, results, results.quality, upright=False, words=False)
    return plain(figure)


def answered_figure(results: Results) -> go.Figure:
    """How long frames take that each exit answers, and those that the end of the plan does."""
    figure, plan = go.Figure(), results.early_plan
    if plan is None:
        return plain(figure)
    names = results.cut_names
    parts = [(f"exit after {names[exit.cut]}", exit.share, exit.latency_s) for exit in plan.exits]
    parts += [(plan.devices[-1], 1 - sum(exit.share for exit in plan.exits), plan.went_on_latency_s)]
    known = [(text(f"{name}, {format_fraction(share)}"), latency_s) for name, share, latency_s in parts if latency_s]
    known.reverse()
    low, first, middle, third, high = zip(*(latency_s for _, latency_s in known), strict=True)
    figure.add_box(
        y=[name for name, _ in known],
        lowerfence=low,
        q1=first,
        median=middle,
        q3=third,
        upperfence=high,
        orientation="h",
        name=text(plan.id),
        line={"color": COLOURS["EE"]},
    )
    reached = [value for _, latency_s in known for value in latency_s]
    figure.update_xaxes(title_text="latency by who answers: 5, 25, 50, 75 and 95 % of the frames")
    figure.update_xaxes(**time_axis(reached, results, "latency"))
    figure.update_yaxes(automargin=True)
    return plain(figure, height=160 + 40 * len(known))
