"""All interactive figures of the report (Plotly), drawn from results alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import plotly.graph_objects as go

from splitimpera.report.exit_figures import answered_figure, exits_figure
from splitimpera.report.network_figures import classes_figure, layers_figure
from splitimpera.report.plan_figures import breakdown_figure, latency_figure, loss_figure, plans_figure
from splitimpera.report.schema import PlanEntry, Results
from splitimpera.report.selection import token_plans
from splitimpera.report.tier_figures import cut_pairs, cuts_figure
from splitimpera.report.token_figures import first_token_figure, next_token_figure, waits_figure, waits_over


def figures(results: Results, shown: Sequence[PlanEntry] | None = None) -> dict[str, go.Figure]:
    """Every figure of the report, by name; those that would be empty are left out.

    Where only some plans are `shown`, the figures are of these; that of both cuts is of all.
    """
    every = results
    if shown is not None:
        results = results.model_copy(update={"plans": list(shown)})
    stable = any(plan.stable for plan in results.plans)
    curve = bool(results.curve.cuts)
    makers: dict[str, tuple[bool, Callable[[Results], go.Figure]]] = {
        "plans": (stable, plans_figure),
        "cuts": (bool(cut_pairs(every)), lambda _: cuts_figure(every)),
        "classes": (curve and len(results.curve.per_class) > 1, classes_figure),
        "layers": (bool(results.layers), layers_figure),
        "latency": (stable, latency_figure),
        "breakdown": (stable, breakdown_figure),
        "first_token": (any(plan.stable for plan in token_plans(every)), lambda _: first_token_figure(every)),
        "next_token": (bool(token_plans(every)), lambda _: next_token_figure(every)),
        "over_rate": (bool(waits_over(every, "rate")), lambda _: waits_figure(every, "rate")),
        "over_delay": (bool(waits_over(every, "delay")), lambda _: waits_figure(every, "delay")),
        "loss": (bool(results.loss_curves), loss_figure),
        "exits": (bool(results.exit_curves), exits_figure),
        "answered": (results.early_plan is not None, answered_figure),
    }
    return {name: make(results) for name, (wanted, make) in makers.items() if wanted}
