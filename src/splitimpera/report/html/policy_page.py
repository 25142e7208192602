"""A policy as one HTML file, with all that it needs: the map of plans, what they are worth, bounds, memory.

The map is drawn by the scripts of a study's page, with rates across, losses upright and a panel for each delay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.core.errors import printable, shown
from splitimpera.core.units import format_bytes
from splitimpera.core.version import __version__
from splitimpera.qos.policy_regions import regions
from splitimpera.records.policy import Policy, PolicyPlan
from splitimpera.report.html.rendering import as_data, asset, render
from splitimpera.report.palette import ink_on, plan_colours
from splitimpera.report.policy_tables import REGIONS_SHOWN, WRITERS, bounds_words, headline, notes
from splitimpera.report.study_wins import design_words
from splitimpera.studies.policy_study import DeviceNeeds

SHOWN_AXES = ("rate", "loss", "delay")
"""Across, upright, side by side."""
NAMES = {"rate": "rate of the link", "loss": "packets lost", "delay": "delay"}
FACETS = 6
BEST = 8
"""So many plans of a cell are told of."""
MOST_REGIONS = 200


def policy_html(policy: Policy, needs: DeviceNeeds | None = None) -> str:
    """The whole page.

    Args:
        needs: What the plans take on the device; None: it is not known.
    """
    found = regions(policy)
    colours = plan_colours([plan.id for plan in policy.plans])
    designs = [
        {"id": printable(plan.id), "letter": letter, "colour": colour, "ink": ink_on(colour)}
        for plan, (letter, colour) in zip(policy.plans, colours, strict=True)
    ]
    axes = [_axis(policy, name) for name in SHOWN_AXES if len(policy.axes[name]) > 1]
    data = {
        "title": "Which plan is used where",
        "axes": axes,
        "facets": FACETS,
        "infeasible": "No plan at hand is feasible",
        "designs": designs,
        "names": [(printable(plan.id), design_words(plan)) for plan in policy.plans],
        "texts": [],
        "least": policy.least_margin,
        **_cells(policy),
    }
    weights = np.array(policy.weights)
    return render(
        "policy",
        name=shown(policy.name),
        css=asset("page.css") + asset("study.css") + asset("policy.css"),
        scripts=[asset("svg_drawing.js"), asset("policy_map.js"), asset("study_map.js")],
        data=as_data(data),
        headline=headline(policy),
        notes=[printable(line) for line in notes(policy, found[:REGIONS_SHOWN])],
        cells=len(policy.chosen),
        legend=[design for place, design in enumerate(designs) if place in policy.chosen],
        infeasible=None in policy.chosen,
        never=bool((weights == 0).any()),
        beyond=any(any(axis["beyond"]) for axis in axes),
        alone=[f"{name} {WRITERS[name](axis[0])}" for name in SHOWN_AXES if len(axis := policy.axes[name]) == 1],
        plans=[_row(policy, place, designs[place], weights, needs) for place in range(len(policy.plans))],
        together=None if needs is None else format_bytes(needs.together),
        worths=_worths(policy, weights),
        columns=[name for name, axis in policy.axes.items() if axis],
        regions=[
            {
                "bounds": [bounds_words(policy, region, name) for name, axis in policy.axes.items() if axis],
                "plan": None if region.plan is None else designs[policy.place(region.plan)],
                "figures": [f"{region.weight:.1%}", f"{region.value:.3f}", f"{region.gain:.3f}"],
            }
            for region in found[:MOST_REGIONS]
        ],
        hidden=max(0, len(found) - MOST_REGIONS),
        version=__version__,
    )


def _axis(policy: Policy, name: str) -> dict[str, Any]:
    """An axis of the map. `spans`: from where to where each value holds; `beyond`: whether links can lie beyond its
    ends."""
    values, write = policy.axes[name], WRITERS[name]
    labels = _labels(values, write)
    borders = [write(float(f"{border:.3g}")) for border in policy.borders[name]]
    between = [f"{low} to {high}" for low, high in pairwise(borders)]
    return {
        "name": NAMES[name],
        "key": name,
        "labels": labels,
        "full": None,
        "ticks": list(enumerate(labels)),
        "numbers": True,
        "spans": [f"below {borders[0]}", *between, f"above {borders[-1]}"],
        "beyond": [values[0] > 0, name != "loss" or values[-1] < 1],
    }


def _labels(values: Sequence[float], write: Callable[[float], str]) -> list[str]:
    """The values in words, with as many digits as tell them apart."""
    for digits in (2, 3, 12):
        labels = [write(float(f"{value:.{digits}g}")) for value in values]
        if len({*labels}) == len(labels):
            break
    return labels


def _cells(policy: Policy) -> dict[str, Any]:
    """Columns with an entry a cell, in the order of the map: its last axis fastest."""
    steps = dict(zip(policy.axes, policy.shape, strict=True))
    order = []
    for place in product(*(range(steps[name]) for name in SHOWN_AXES)):
        at, cell = dict(zip(SHOWN_AXES, place, strict=True)), 0
        for name, count in steps.items():
            cell = cell * count + at[name]
        order.append(cell)
    chosen = [policy.chosen[cell] for cell in order]
    return {
        "cells": {
            "state": ["n" if place is None else "w" for place in chosen],
            "plan": [-1 if place is None else place for place in chosen],
            "group": [-1 if place is None else place for place in chosen],
            "met": [float(f"{policy.weights[cell]:.4g}") for cell in order],
            "best": [_best(policy.plans, cell) for cell in order],
        }
    }


def _best(plans: Sequence[PolicyPlan], cell: int) -> list[tuple[int, float, float]]:
    """The best plans of a cell: place, value and its standard error."""
    places = sorted(range(len(plans)), key=lambda place: -plans[place].values[cell])[:BEST]
    return [(place, round(plans[place].values[cell], 4), round(plans[place].errors[cell], 4)) for place in places]


def _row(
    policy: Policy, place: int, design: dict[str, str], weights: FloatArray, needs: DeviceNeeds | None
) -> dict[str, Any]:
    """A plan in the table."""
    plan = policy.plans[place]
    used = sum(weight for weight, chosen in zip(policy.weights, policy.chosen, strict=True) if chosen == place)
    others = [np.array(other.values) for other in policy.plans if other is not plan]
    without = float(np.max([*others, np.zeros(len(weights))], axis=0) @ weights)
    return {
        "design": design,
        "words": design_words(plan),
        "used": f"{used:.1%}",
        "feasible": f"{float((np.array(plan.values) > 0) @ weights):.1%}",
        "alone": f"{float(np.array(plan.values) @ weights):.4g}",
        "without": f"{without:.4g}",
        "memory": None if needs is None else format_bytes(needs.each[plan.id]),
    }


def _worths(policy: Policy, weights: FloatArray) -> list[dict[str, Any]]:
    """What the plans at hand are worth, and the best of them alone, beside all that there were."""
    best = max(policy.plans, key=lambda plan: float(np.array(plan.values) @ weights))
    count = len(policy.plans)
    rows = [("the best of them alone", printable(best.id), float(np.array(best.values) @ weights))]
    if count > 1:
        rows.append(("the plans at hand", f"{count}, each where it is best", policy.expected))
    if policy.bound > policy.expected * (1 + 1e-9):
        rows.append(("any other choice", f"of {count} plans, at most", policy.bound))
    rows.append(("all plans", "had the device room for them", policy.of_all))
    most = max(worth for _, _, worth in rows) or 1.0
    return [
        {"name": name, "note": note, "worth": f"{worth:.4g}", "share": f"{100 * worth / most:.1f}"}
        for name, note, worth in rows
    ]
