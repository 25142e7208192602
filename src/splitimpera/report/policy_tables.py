"""A policy for the terminal: the plans at hand, and which is used where."""

from __future__ import annotations

import math

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table

from splitimpera.core.units import format_fraction, format_rate, format_time
from splitimpera.qos.policy_regions import Region, regions
from splitimpera.records.policy import Policy
from splitimpera.report.tables import outside

REGIONS_SHOWN = 20
WRITERS = {"rate": format_rate, "delay": format_time, "loss": format_fraction}


def policy_account(policy: Policy) -> RenderableType:
    """The account of a policy."""
    found = regions(policy)
    lines: list[RenderableType] = [outside(headline(policy), "bold"), _regions(policy, found)]
    return Group(*lines, *(outside(note, "dim") for note in notes(policy, found)))


def headline(policy: Policy) -> str:
    """What the plans at hand are worth, in a sentence."""
    count = len(policy.plans)
    plans = "1 plan is" if count == 1 else f"{count} plans are"
    return (
        f"{plans} worth {policy.expected:.4g} in the mean over {len(policy.chosen)} link conditions; "
        f"all plans together would be worth {policy.of_all:.4g}"
    )


def notes(policy: Policy, found: list[Region]) -> list[str]:
    """What else is to be known, a sentence each."""
    said = [f"value: {policy.objective}, 0 where a plan is not feasible; conditions: {policy.prior}"]
    said.append(f"a change of plans must gain more than the values' standard error, and than {policy.least_margin:g}")
    if policy.bound > policy.expected * (1 + 1e-9):
        said.append(f"the choice is not proven to be the best: none is worth more than {policy.bound:.4g}")
    if all(plan.configuration != "LC" for plan in policy.plans):
        said.append("no local plan is at hand: without the link there are no answers")
    unused = [plan.id for place, plan in enumerate(policy.plans) if place not in policy.chosen]
    if unused:
        said.append(f"nowhere the best, at hand to fall back to: {', '.join(unused)}")
    if hidden := max(0, len(found) - REGIONS_SHOWN):
        said.append(f"and {hidden} more regions")
    return said


def _regions(policy: Policy, found: list[Region]) -> Table:
    table = Table(title="Which plan where", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    names = [name for name, axis in policy.axes.items() if axis]
    for name in names:
        table.add_column(name, overflow="fold")
    table.add_column("plan", overflow="fold", min_width=20)
    for name in ("share", "value", "gain"):
        table.add_column(name, justify="right", no_wrap=True)
    for region in found[:REGIONS_SHOWN]:
        plan = "none is feasible" if region.plan is None else region.plan
        figures = [f"{region.weight:.1%}", *(f"{value:.3f}" for value in (region.value, region.gain))]
        table.add_row(*(bounds_words(policy, region, name) for name in names), outside(plan), *figures)
    return table


def bounds_words(policy: Policy, region: Region, name: str) -> str:
    """From where to where, or on which side of a border."""
    (low, high), axis, write = region.bounds[name], policy.axes[name], WRITERS[name]
    first, last = math.isclose(low, axis[0], abs_tol=1e-15), math.isclose(high, axis[-1])
    if len(axis) == 1 or (first and last):
        return "any" if len(axis) > 1 else write(axis[0])
    if first or last:
        return f"below {write(high)}" if first else f"above {write(low)}"
    return f"{write(low)} to {write(high)}"
