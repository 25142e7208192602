"""The interactive figure of both cuts of a chain of three devices (Plotly), drawn from results alone."""

from __future__ import annotations

from math import log10

import plotly.graph_objects as go

from splitimpera.core import units
from splitimpera.report.layer_names import axis_words
from splitimpera.report.palette import STAR_COLOUR
from splitimpera.report.schema import PlanEntry, Results
from splitimpera.report.selection import drawn_plan
from splitimpera.report.style import labels, plain, text
from splitimpera.report.words import WORDS

FEWEST_PAIRS = 4
MOST_WORDED = 14
"""Up to so many cuts on an axis have room for words in each place."""
QUICK, SLOW, ENDLESS = "#F2F8FC", "#56A0D3", "#C4C4C4"

Pair = tuple[int, int]


def cut_pairs(results: Results) -> dict[Pair, list[PlanEntry]]:
    """The plans of a chain of three devices by both of its cuts; empty for others, and for fewer than four pairs.

    A plan that ends on a device before the last one has the end of the network as its further cuts.
    """
    names = [device.name for device in results.scenario.devices]
    end = max(results.cut_names, default=0)
    found: dict[Pair, list[PlanEntry]] = {}
    for plan in results.plans if len(names) == 3 else ():
        cuts = [hop.cut for hop in plan.hops]
        if plan.devices == names[: len(cuts) + 1] and results.cut_names.keys() >= set(cuts):
            first, second = (*cuts, end, end)[:2]
            found.setdefault((first, second), []).append(plan)
    between = sum(len(plans[0].hops) == 2 for plans in found.values())
    return found if between >= FEWEST_PAIRS else {}


def quickest(plans: list[PlanEntry]) -> PlanEntry:
    """The feasible plan of the lowest p95 latency; where none is feasible, of all that are stable and can run."""
    among = [plan for plan in plans if plan.feasible] or [p for p in plans if p.stable and not p.cannot_run] or plans
    return min(among, key=lambda plan: _p95_s(plan) or float("inf"))


def cuts_figure(results: Results) -> go.Figure:
    """The best p95 latency at each pair of cuts, which pairs have a feasible plan, and the pair that is chosen."""
    pairs, chosen = cut_pairs(results), drawn_plan(results)
    rows, columns = (sorted({pair[axis] for pair in pairs}) for axis in (1, 0))
    best = {pair: quickest(plans) for pair, plans in pairs.items()}
    known = {pair: log10(time_s) for pair, plan in best.items() if (time_s := _p95_s(plan))}
    worded = max(len(rows), len(columns)) <= MOST_WORDED
    figure = go.Figure()
    for there, colours in ((known, [[0, QUICK], [1, SLOW]]), (best.keys() - known, [[0, ENDLESS], [1, ENDLESS]])):
        cells = [[(first, second) if (first, second) in there else None for first in columns] for second in rows]
        figure.add_heatmap(
            z=[[None if cell is None else known.get(cell, 0.0) for cell in row] for row in cells],
            text=[["" if cell is None else _said(best[cell], worded) for cell in row] for row in cells],
            customdata=[["" if cell is None else _hovered(best[cell], cell, pairs) for cell in row] for row in cells],
            texttemplate="%{text}",
            textfont={"color": "#000", "size": 11},
            hovertemplate="%{customdata}<extra></extra>",
            hoverongaps=False,
            colorscale=colours,
            showscale=there is known and bool(known),
            colorbar={"title": {"text": "p95 latency", "side": "right"}, **_ticks(list(known.values()))},
            xgap=1,
            ygap=1,
        )
    for (first, second), plans in pairs.items():
        if any(plan.id == chosen.id for plan in plans):
            x, y = columns.index(first), rows.index(second)
            box = {"x0": x - 0.5, "x1": x + 0.5, "y0": y - 0.5, "y1": y + 0.5}
            figure.add_shape(type="rect", name="chosen", line={"color": STAR_COLOUR, "width": 4}, **box)
    devices, end = [device.name for device in results.scenario.devices], max(results.cut_names)
    for axis, cuts, place in ((figure.update_xaxes, columns, 0), (figure.update_yaxes, rows, 1)):
        names = [results.cut_names[cut] for cut in cuts]
        ticks = labels(names, cuts)
        if cuts[-1] == end:
            ticks[-1] = "nowhere"
        title = text(axis_words(f"{devices[place]} to {devices[place + 1]} after layer", names))
        axis(
            title={"text": title, "standoff": 14},
            tickvals=list(range(len(cuts))),
            ticktext=ticks,
            automargin=True,
            showgrid=False,
        )
    plain(figure, height=180 + max(240, 40 * min(len(rows), 16)))
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(showgrid=False)
    return figure


def _p95_s(plan: PlanEntry) -> float | None:
    """What can be drawn: an unstable plan has no latency, nor has one that cannot run."""
    time_s = plan.metrics["latency_p95"]
    return time_s if plan.stable and not plan.cannot_run and time_s is not None and time_s > 0 else None


def _said(plan: PlanEntry, worded: bool) -> str:
    time_s = _p95_s(plan)
    if not worded:
        return "" if plan.feasible else "✕"
    if plan.feasible and time_s:
        return f"<b>{_short(time_s)}</b>"
    return f"{_short(time_s)}<br>✕" if time_s else _why(plan)


def _hovered(plan: PlanEntry, pair: Pair, pairs: dict[Pair, list[PlanEntry]]) -> str:
    feasible = sum(each.feasible for each in pairs[pair])
    time_s = _p95_s(plan)
    reached = f"p95 {_short(time_s)}" if time_s else _why(plan)
    return f"<b>{text(plan.id)}</b><br>{reached}<br>{feasible} of {len(pairs[pair])} plans here are feasible"


def _why(plan: PlanEntry) -> str:
    return WORDS["cannot_run" if plan.cannot_run else "unstable" if not plan.stable else "not_known"]


def _short(time_s: float) -> str:
    return units.format_time(float(f"{time_s:.3g}"))


def _ticks(logs: list[float]) -> dict[str, list[float] | list[str]]:
    """Five, evenly spread over the logarithms, in words."""
    low, high = min(logs, default=0.0), max(logs, default=0.0)
    at = [low + (high - low) * step / 4 for step in range(5)] if high > low else [low]
    return {"tickvals": at, "ticktext": [units.format_time(float(f"{10**log:.2g}")) for log in at]}
