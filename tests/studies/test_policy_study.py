"""From a study to a policy."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from report.made_study import DESIGNS, axis, made_study, plans_at, two_ranges

from splitimpera.core import units
from splitimpera.core.errors import PlanError
from splitimpera.qos.policy_choice import choose_plans
from splitimpera.records.link import Trace
from splitimpera.records.policy import read_policy, written_policy
from splitimpera.studies.policy_study import head_segments, policy_of

RATES, DELAYS, LOSSES = ["1 Mbit/s", "100 kbit/s", "10 Mbit/s"], ["5 ms", "50 ms"], [0, "5 %"]


def value_table(results):
    """What each design is worth in each of a study's cells, in the study's order."""
    names = [design["id"] for design in DESIGNS]
    cells = [{row.id: row.value or 0.0 for row in results.plans_of(cell.index)} for cell in results.cells]
    return np.array([[cell[name] for cell in cells] for name in names])


@pytest.mark.parametrize("most", [1, 2, 3, 4, 6])
def test_no_other_plans_are_worth_more(most):
    results = two_ranges()
    policy = policy_of(results, most)
    values = value_table(results)
    local = [place for place, design in enumerate(DESIGNS) if design["id"] == "LC"]
    best = max(
        values[list(plans)].max(axis=0).mean()
        for size in range(1, most + 1)
        for plans in combinations(range(len(values)), size)
        if most == 1 or set(local) <= set(plans)
    )
    assert policy.expected == pytest.approx(best)
    assert policy.bound == policy.expected
    assert policy.of_all == pytest.approx(values.max(axis=0).mean())
    assert most == 1 or "LC" in [plan.id for plan in policy.plans]
    assert read_policy(written_policy(policy)) == policy


def test_cells_are_found_whatever_the_order_of_ranges_and_values():
    """In the study the loss goes slowest and rates fall and rise."""
    axes = [axis("links[0].loss", LOSSES), axis("links[0].rate", RATES), axis("links[0].delay", DELAYS)]
    policy = policy_of(made_study(axes), 6)
    assert (policy.rates_bps, policy.delays_s, policy.losses) == ([1e5, 1e6, 1e7], [0.005, 0.05], [0.0, 0.05])
    for rate in RATES:
        for loss in LOSSES:
            best = plans_at({"links[0].rate": rate, "links[0].loss": loss})[0]
            place = policy.at(units.parse(rate, units.BIT_RATE), 0.005, units.parse(loss, units.FRACTION))
            assert policy.plans[policy.chosen[place.cell]].id == best.id
            assert policy.plans[policy.chosen[place.cell]].values[place.cell] == best.value


def test_margins_come_from_intervals():
    results = two_ranges()
    plans = results.plans_of

    def few(index):  # as a study has them: of the best two alone
        return [
            row if place < 2 else row.model_copy(update={"quality_ci": None}) for place, row in enumerate(plans(index))
        ]

    policy = policy_of(made_study(results.axes, plans_of=few), 4)
    error = 0.015 / (2 * 1.959964)
    for plan in policy.plans:
        assert plan.errors == pytest.approx([error] * len(policy.weights))
    assert policy.margin(0, 1, 0) == 0.01 > math.hypot(error, error)


def test_recordings_weigh_rates_alone():
    axes = [axis("links[0].rate", RATES), axis("links[0].loss", LOSSES)]
    trace = Trace("phone.up", (0.0, 3.0, 4.0), 10.0, rate_bps=(1e6, 0.0, 1e7))
    policy = policy_of(made_study(axes), 2, traces=[trace])
    assert policy.weights == pytest.approx([0, 0, 1 / 6, 1 / 6, 1 / 3, 1 / 3])
    assert policy.prior == (
        "rates as in 10 s of phone.up; in 10 % of it nothing could be sent, which is no condition here"
    )


def test_an_objective_that_should_be_small_ranks_plans_as_it_does():
    results = two_ranges()
    plans = results.plans_of

    def by_latency(index):
        return [
            row.model_copy(update={"value": -row.metrics["latency_p95"] if row.feasible else None})
            for row in plans(index)
        ]

    results = made_study(results.axes, plans_of=by_latency, objective="latency_p95")
    policy = policy_of(results, 6)
    largest = max(-row.value for _, row in results.every_plan() if row.feasible)
    for cell, place in enumerate(policy.chosen):
        feasible = [row for row in by_latency(cell) if row.feasible]
        if not feasible:
            assert place is None
            continue
        best = max(feasible, key=lambda row: row.value)
        assert policy.plans[place].id == best.id
        assert policy.plans[place].values[cell] == pytest.approx(1 + best.value / (2 * largest))
    assert policy.objective == "1 - latency_p95 / twice the largest of a feasible plan"
    assert {error for plan in policy.plans for error in plan.errors} == {0.0}


def test_what_makes_no_policy_is_refused():
    rates = axis("links[0].rate", RATES)
    with pytest.raises(
        PlanError, match=r"study 'digits over radio': 2 of 3 conditions are left to evaluate; run it to"
    ):
        policy_of(made_study([rates], left=(0, 2)))
    with pytest.raises(PlanError, match=r"1 of 3 conditions cannot be evaluated, the first: devices\[0\]"):
        policy_of(made_study([rates], failed=(1,)))
    with pytest.raises(PlanError, match=r"also has a range of devices\[0\].slowdown; give it one value"):
        policy_of(made_study([rates, axis("devices[0].slowdown", [1, 2])]))
    assert len(policy_of(made_study([rates, axis("devices[0].slowdown", [1])])).chosen) == 3
    with pytest.raises(PlanError, match=r"a value of links\[0\].rate stands there twice"):
        policy_of(made_study([axis("links[0].rate", ["1 Mbit/s", "1000 kbit/s"])]))
    with pytest.raises(PlanError, match="no plan is feasible at any link condition"):
        policy_of(made_study([axis("devices[0].slowdown", [1000])]))


def row(id, cut, memory, bottleneck=0.0):
    found = plans_at({})[0]
    return found.model_copy(
        update={"id": id, "cut": cut, "bottleneck": bottleneck, "metrics": {"device_memory": memory}}
    )


def taken(rows, wanted):
    segments = dict(zip([each.id for each in rows], head_segments(rows), strict=True))
    return choose_plans(
        np.eye(len(wanted)), np.ones(len(wanted)), 9, segments=[segments[name] for name in wanted]
    ).bytes


def test_heads_share_what_they_have_in_common():
    rows = [
        row("RC", 0, 0.0),
        row("LC", None, 900.0),
        row("SC2-raw", 2, 100.0),
        row("SC2-b16", 2, 130.0, 16.0),
        row("SC5-uint8", 5, 400.0),
        row("SC5-uint4", 5, 400.0),
        row("SC7-b8", 7, 90.0, 8.0),  # less than before: peaks of memory do not add up
    ]
    for each in rows:
        assert taken(rows, [each.id]) >= each.metrics["device_memory"]
    assert taken(rows, ["SC2-raw", "SC5-uint8", "SC5-uint4"]) == 400
    assert taken(rows, ["SC2-b16", "SC5-uint8"]) == 430
    assert taken(rows, ["RC"]) == 0
    assert taken(rows, [each.id for each in rows]) == 930
    with pytest.raises(PlanError, match="plan 'SC1': it is not known what it takes"):
        head_segments([row("SC1", 1, None)])


def test_memory_refuses_what_it_cannot_bear():
    results = two_ranges()
    sizes = {design["id"]: 100.0 * (1 + design.get("cut", 20)) for design in DESIGNS}
    plans = results.plans_of

    def sized(index):
        return [
            each.model_copy(update={"metrics": each.metrics | {"device_memory": sizes[each.id]}})
            for each in plans(index)
        ]

    results = made_study(results.axes, plans_of=sized)
    assert len(policy_of(results, 3, memory_bytes=2100).plans) == 3
    assert "LC" in [plan.id for plan in policy_of(results, 3, memory_bytes=2100).plans]
    assert "LC" not in [plan.id for plan in policy_of(results, 3, memory_bytes=2000).plans]  # the device cannot hold it
    own = {design["id"]: {design["id"]: 10} for design in DESIGNS}
    with pytest.raises(PlanError, match="20 B do not hold 3 plans, they hold 2"):
        policy_of(results, 3, memory_bytes=20, segments=own)
