"""From values to a policy, and a policy in bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitimpera.core.errors import PlanError
from splitimpera.qos.policy_regions import regions
from splitimpera.qos.policy_table import Offer, best_policy
from splitimpera.records.policy import PolicyPlan, read_policy, written_policy

RATES, DELAYS, LOSSES = [1e5, 1e6, 1e7, 1e8], [0.01, 0.1], [0.0, 0.01, 0.1]
ABOUT = {"name": "made", "objective": "on_time_accuracy", "prior": "uniform"}
GRID = {"rates_bps": RATES, "delays_s": DELAYS, "losses": LOSSES}


def plan(id, values, configuration="SC"):
    values = [float(value) for value in np.ravel(values)]
    return PolicyPlan(
        id=id,
        configuration=configuration,
        cut=None if configuration == "LC" else 3,
        codec=None,
        bottleneck=0.0,
        transport=None,
        values=values,
        errors=[0.0] * len(values),
    )


def offer(plans, weights=None, **more):
    count = len(plans[0].values)
    return Offer(plans, np.ones(count) if weights is None else np.array(weights), **more)


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_each_cell_has_the_best_plan_at_hand_and_boxes_cover_it_once(seed, most):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 4, (5, 24)) / 4 * (rng.random((5, 24)) < 0.7)
    plans = [plan(f"P{place}", row, "LC" if place == 2 else "SC") for place, row in enumerate(values)]
    weights = rng.random(24) + 0.01
    if not values.any():
        return
    policy = best_policy(offer(plans, weights), most, **ABOUT, **GRID)
    assert read_policy(written_policy(policy)) == policy
    assert most == 1 or "P2" in [each.id for each in policy.plans]  # the local one
    assert len(policy.plans) <= most
    at_hand = np.array([each.values for each in policy.plans])
    for cell, place in enumerate(policy.chosen):
        best = at_hand[:, cell].max()
        assert (best == 0) if place is None else (at_hand[place, cell] == best > 0)
    assert policy.expected == pytest.approx(at_hand.max(axis=0) @ weights / weights.sum())
    assert policy.of_all == pytest.approx(values.max(axis=0) @ weights / weights.sum())
    found = regions(policy)
    assert sorted(cell for region in found for cell in region.cells) == list(range(24))
    for region in found:
        assert {
            None if policy.chosen[cell] is None else policy.plans[policy.chosen[cell]].id for cell in region.cells
        } == {region.plan}
    assert sum(region.weight for region in found) == pytest.approx(1)
    assert sum(region.weight * region.value for region in found) == pytest.approx(policy.expected)


def test_boxes_have_the_bounds_that_the_cells_have():
    """One plan above 3 Mbit/s where little is lost, the other elsewhere."""
    remote = np.zeros((4, 2, 3))
    remote[2:, :, :2] = 0.95
    plans = [plan("LC", np.full(24, 0.8), "LC"), plan("RC", remote)]
    policy = best_policy(offer(plans), 2, **ABOUT, **GRID)
    boxes = regions(policy)
    far = [region for region in boxes if region.plan == "RC"]
    assert len(far) == 1
    assert far[0].bounds["rate"] == pytest.approx((10**6.5, 1e8))
    assert far[0].bounds["delay"] == (0.01, 0.1)
    assert far[0].bounds["loss"] == pytest.approx((0, 0.01 * 10**0.5))
    assert far[0].value == pytest.approx(0.95)
    assert far[0].gain == pytest.approx(0.15)
    assert far[0].weight == pytest.approx(8 / 24)
    assert len(boxes) == 3
    assert policy.plans[0].id == "LC"  # used most
    for region in boxes:  # whatever lies in the bounds is in one of the cells
        inside = [np.mean(region.bounds[name]) for name in ("rate", "delay", "loss")]
        assert policy.at(*inside).cell in region.cells


def test_what_is_not_looked_at_has_no_bounds():
    grid = {"rates_bps": RATES, "delays_s": [], "losses": []}
    policy = best_policy(offer([plan("LC", [0, 0.5, 0.5, 0.5], "LC")]), 4, **ABOUT, **grid)
    found = regions(policy)
    assert [(region.plan, len(region.cells), [*region.bounds]) for region in found] == [
        ("LC", 3, ["rate"]),
        (None, 1, ["rate"]),
    ]


@pytest.mark.parametrize(("first", "wanted"), [("A", ["A", "A", "B"]), ("B", ["A", "B", "B"])])
def test_equal_plans_go_by_their_rank(first, wanted):
    grid = {"rates_bps": RATES[:3], "delays_s": [], "losses": []}
    plans = [plan("A", [0.9, 0.8, 0.0]), plan("B", [0.0, 0.8, 0.9])]
    ranks = np.array([[0] * 3, [1] * 3] if first == "A" else [[1] * 3, [0] * 3])
    found = best_policy(offer(plans, ranks=ranks), 3, **ABOUT, **grid)
    assert [found.plans[place].id for place in found.chosen] == wanted


def test_plans_that_add_nothing_are_left_out():
    grid = {"rates_bps": RATES[:2], "delays_s": [], "losses": []}
    plans = [plan("A", [0.95, 0.9]), plan("B", [0.9, 0.9]), plan("C", [0.5, 0.0])]
    assert [each.id for each in best_policy(offer(plans), 3, **ABOUT, **grid).plans] == ["A"]


def test_weights_decide():
    grid = {"rates_bps": RATES[:2], "delays_s": [], "losses": []}
    plans = [plan("slow", [0.9, 0.0]), plan("fast", [0.0, 0.8])]
    kept = [best_policy(offer(plans, weights), 1, **ABOUT, **grid).plans[0].id for weights in ([1, 1], [1, 2])]
    assert kept == ["slow", "fast"]


def test_memory_is_for_all_plans_together():
    grid = {"rates_bps": RATES[:2], "delays_s": [], "losses": []}
    plans = [plan("LC", [0.1, 0.1], "LC"), plan("A", [0.9, 0]), plan("B", [0, 0.9])]
    given = offer(plans, segments=[{"all": 100}, {"all": 100, "one": 10}, {"all": 100, "other": 10}])
    assert len(best_policy(given, 3, memory_bytes=120, **ABOUT, **grid).plans) == 3
    with pytest.raises(PlanError, match="119 B do not hold 3 plans, they hold 2"):
        best_policy(given, 3, memory_bytes=119, **ABOUT, **grid)


def test_no_policy_is_made_of_nothing():
    with pytest.raises(PlanError, match="no plan is feasible at any link condition; look at other"):
        best_policy(offer([plan("A", np.zeros(24))]), 4, **ABOUT, **GRID)
    with pytest.raises(PlanError, match="65 plans are asked for, at most 64"):
        best_policy(offer([plan("A", np.ones(24))]), 65, **ABOUT, **GRID)
