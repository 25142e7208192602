"""Interactive figures of requests to a language model (Plotly), drawn from results alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import plotly.graph_objects as go

from splitimpera.core import units
from splitimpera.report.palette import COLOURS
from splitimpera.report.plan_figures import add_parts
from splitimpera.report.schema import PlanEntry, Results
from splitimpera.report.selection import token_metrics, token_plans
from splitimpera.report.style import draw_limits, limits_on, plain, text, time_axis
from splitimpera.report.token_entries import TokenCurveEntry
from splitimpera.report.token_words import TITLES
from splitimpera.report.words import plan_words, worst_words

SYMBOLS = {"LC": "square", "RC": "circle", "SC": "diamond", "EE": "x"}
PARAMETERS = {"rate": units.format_rate, "delay": units.format_time}
NOW_COLOUR = "rgba(128,128,128,0.9)"


def first_token_figure(results: Results) -> go.Figure:
    """Where the time to the first token goes; of a plan that is unstable it has no end, and there is no bar."""
    return _parts_figure(results, "ttft", [plan for plan in token_plans(results) if plan.stable])


def next_token_figure(results: Results) -> go.Figure:
    """Where the time from each token to its next goes."""
    return _parts_figure(results, "tpot", token_plans(results))


def _parts_figure(results: Results, metric: Literal["ttft", "tpot"], plans: Sequence[PlanEntry]) -> go.Figure:
    figure, shown = go.Figure(), list(plans)[::-1]
    add_parts(figure, shown, [_parts_s(plan, metric) for plan in shown], results)
    what = "to the first token" if metric == "ttft" else "from each token to its next"
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title_text=f"mean time {what}", ticksuffix="s", tickformat="~s", rangemode="tozero")
    figure.update_yaxes(automargin=True)
    draw_limits(figure, results, metric, upright=True, words=False)
    plain(figure, height=180 + 34 * len(shown))
    figure.update_layout(legend_traceorder="normal")
    return figure


def _parts_s(plan: PlanEntry, metric: Literal["ttft", "tpot"]) -> dict[str, float]:
    if plan.tokens is None:
        return {}
    return plan.tokens.ttft_parts_s if metric == "ttft" else plan.tokens.tpot_parts_s


def waits_figure(results: Results, parameter: Literal["rate", "delay"]) -> go.Figure:
    """TTFT (full) and TPOT (broken) of each plan over the link's rate or delay, both axes logarithmic."""
    figure, reached = go.Figure(), list[float]()
    first, following = token_metrics(results)
    curves = waits_over(results, parameter)
    by_id, write = results.by_id, PARAMETERS[parameter]
    for curve in curves:
        colour, plan = COLOURS[curve.configuration], by_id.get(curve.plan)
        name = text(curve.plan) + (" (recommended)" if curve.plan == results.recommendation.plan else "")
        said = text(curve.plan if plan is None else f"{plan_words(plan, results.cut_names)}, {worst_words(plan)}")
        for metric, dash in ((first, "solid"), (following, "dash")):
            times_s = _waits_s(curve, metric)
            reached += [time_s for time_s in times_s if time_s is not None]
            figure.add_scatter(
                x=curve.values,
                y=times_s,
                customdata=[
                    [write(value), _written(time_s)] for value, time_s in zip(curve.values, times_s, strict=True)
                ],
                mode="lines+markers",
                name=f"{name}: {TITLES[metric]}",
                legendgroup=name,
                line={"color": colour, "width": 2.5, "dash": dash},
                marker={"symbol": SYMBOLS[curve.configuration], "size": 8, "color": colour},
                hovertemplate=f"<b>{said}</b><br>{TITLES[metric]} %{{customdata[1]}} at %{{customdata[0]}}"
                "<extra></extra>",
            )
    title = "the link's rate" if parameter == "rate" else "the link's delay, one way"
    values = sorted({value for curve in curves for value in curve.values if value > 0})
    ticks = {"tickvals": values, "ticktext": list(map(write, values))}
    figure.update_xaxes(title_text=title, type="log", **ticks)
    reached += [limit.limit for _, limit in limits_on(results, following)]
    figure.update_yaxes(title_text="time", **time_axis(reached, results, first))
    for metric in (first, following):
        draw_limits(figure, results, metric, upright=False)
    for now in {curve.now for curve in curves if curve.now > 0}:
        figure.add_vline(x=now, line={"color": NOW_COLOUR, "width": 1.5, "dash": "dot"})
    return plain(figure, height=520)


def waits_over(results: Results, parameter: str) -> list[TokenCurveEntry]:
    """The curves over one number of the link that have any point."""
    return [curve for curve in results.token_curves if curve.parameter == parameter and curve.values]


def _waits_s(curve: TokenCurveEntry, metric: str) -> list[float | None]:
    return {
        "ttft": curve.ttft_s,
        "ttft_p95": curve.ttft_p95_s,
        "tpot": curve.tpot_s,
        "tpot_p95": curve.tpot_p95_s,
    }[metric]


def _written(time_s: float | None) -> str:
    return "" if time_s is None else units.format_time(time_s)
