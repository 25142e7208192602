"""A policy's file, its cells, and when a change is worth it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitimpera.core.errors import BundleError, SimulationError
from splitimpera.records.policy import PlanKey, Policy, PolicyPlan, load_policy, read_policy, written_policy

RATES = [1e5, 1e6, 1e7]
LOSSES = [0.0, 0.1]
LOCAL, HEAD, REMOTE = (None, None, 0.0, None), (4, "uint8", 16.0, "udp"), (0, "png", 0.0, "tcp")


def plan(id, configuration, key, values, errors=None):
    keys = dict(zip(PlanKey._fields, key, strict=True))
    return PolicyPlan(id=id, configuration=configuration, **keys, values=values, errors=errors or [0.0] * len(values))


def policy(**changes):
    given = {
        "name": "digits",
        "objective": "on_time_accuracy",
        "prior": "uniform",
        "rates_bps": RATES,
        "delays_s": [],
        "losses": LOSSES,
        "weights": [0.25, 0.15, 0.25, 0.15, 0.1, 0.1],
        "plans": [
            plan("LC", "LC", LOCAL, [0.8] * 6),
            plan("SC04", "SC", HEAD, [0.0, 0.0, 0.9, 0.85, 0.905, 0.86], [0.02] * 6),
            plan("RC", "RC", REMOTE, [0.0, 0.0, 0.0, 0.0, 0.95, 0.0], [0.01] * 6),
        ],
        "chosen": [0, 0, 1, 1, 2, 1],
        "expected": 0.84,
        "of_all": 0.85,
        "bound": 0.84,
    }
    return Policy(**(given | changes))


def test_a_file_comes_back_as_it_was():
    assert read_policy(written_policy(policy())) == policy()


def test_a_file_is_found_where_it_is(tmp_path):
    (tmp_path / "policy.json").write_bytes(written_policy(policy()))
    assert load_policy(tmp_path / "policy.json") == policy()
    with pytest.raises(BundleError, match=r"the policy .* does not exist; make it again with 'splitimpera policy'"):
        load_policy(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("condition", "cell", "outside"),
    [
        ((1e5, 0.02, 0.0), 0, ()),
        ((3e5, 3.0, 0.04), 0, ()),  # the borders are at 316 kbit/s and 5 %; nothing is said of delays
        ((3.3e5, 0.0, 0.06), 3, ()),
        ((0.0, 0.0, 0.0), 0, ("rate",)),
        ((1e9, 0.0, 1.0), 5, ("rate", "loss")),
        ((1e7, 0.0, 0.1), 5, ()),
    ],
)
def test_each_condition_has_a_cell_and_what_lies_outside_is_marked(condition, cell, outside):
    place = policy().at(*condition)
    assert (place.cell, place.outside) == (cell, outside)


def test_the_cells_of_three_axes_are_counted_with_the_loss_going_fastest():
    plans = [plan("LC", "LC", LOCAL, [0.5] * 12)]
    found = policy(delays_s=[0.01, 0.1], plans=plans, weights=[1 / 12] * 12, chosen=[0] * 12)
    seen = [found.at(rate, delay, loss).cell for rate in RATES for delay in (0.01, 0.1) for loss in LOSSES]
    assert seen == list(range(12))


@pytest.mark.parametrize("condition", [(float("nan"), 0, 0), (-1, 0, 0), (1e6, float("inf"), 0), (1e6, 0, 1.1)])
def test_what_is_no_condition_is_refused(condition):
    with pytest.raises(SimulationError, match="out of range"):
        policy().at(*condition)


def test_a_change_must_gain_more_than_chance():
    found = policy()
    assert found.better(0, 2) == 1  # 10 points
    assert found.better(1, 4) == 2  # 4.5 points, the standard error of the difference is 2.2
    assert found.margin(1, 2, 4) == pytest.approx(0.0005**0.5)
    assert found.better(2, 4) is None
    noisy = [found.plans[0], found.plans[1].model_copy(update={"errors": [0.05] * 6}), found.plans[2]]
    assert policy(plans=noisy).better(1, 4) is None
    close = plan("LC", "LC", LOCAL, [0.8] * 6), plan("SC04", "SC", HEAD, [0.8095] * 6)
    assert policy(plans=[*close], chosen=[1] * 6).better(0, 0) is None  # less than a point
    assert found.gain(4) == pytest.approx(0.045)
    assert policy(plans=[close[0]], chosen=[0] * 6).gain(0) == 0.8


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.01, 0.1]))
def test_a_change_never_leads_to_another_at_the_same_condition(seed, scale):
    rng = np.random.default_rng(seed)
    values, errors = rng.random((5, 6)) * 0.3, rng.random((5, 6)) * scale
    plans = [
        plan(f"P{place}", "SC", HEAD, *map(np.ndarray.tolist, rows))
        for place, rows in enumerate(zip(values, errors, strict=True))
    ]
    found = policy(plans=plans, chosen=values.argmax(axis=0).tolist())
    for cell in range(6):
        for current in range(5):
            there = found.better(current, cell)
            if there is None:
                assert values[:, cell].max() - values[current, cell] <= found.margin(
                    current, int(values[:, cell].argmax()), cell
                )
            else:
                assert values[there, cell] - values[current, cell] > found.margin(current, there, cell) >= 0.01
                assert found.better(there, cell) is None


def test_where_nothing_is_feasible_there_is_no_plan():
    nothing = [plan("LC", "LC", LOCAL, [0.0] + [0.8] * 5)]
    assert policy(plans=nothing, chosen=[None, 0, 0, 0, 0, 0]).better(0, 0) is None


def test_another_bundles_plans_are_refused():
    known = {"LC": PlanKey(*LOCAL), "SC04": PlanKey(*HEAD), "RC": PlanKey(*REMOTE), "SC09": PlanKey(*HEAD)}
    policy().check_plans(known)
    with pytest.raises(
        BundleError, match=r"policy.json: the policy is for other plans: there is no 'RC'; there are LC"
    ):
        policy().check_plans({name: key for name, key in known.items() if name != "RC"})
    other = known | {"SC04": PlanKey(5, "uint8", 16.0, "udp")}
    with pytest.raises(BundleError, match=r"'SC04': cut 4, uint8, udp, bottleneck 16 is expected, there is cut 5"):
        policy().check_plans(other)
    assert policy().place("RC") == 2
    with pytest.raises(BundleError, match="no plan 'SC99'; it has LC, SC04, RC"):
        policy().place("SC99")


def changed(**changes):
    return json.dumps(json.loads(written_policy(policy())) | changes).encode()


def with_plan(place, **changes):
    plans = json.loads(written_policy(policy()))["plans"]
    plans[place] |= changes
    return changed(plans=plans)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "a JSON object is expected"),
        (b"{}", "the policy has version none, this program reads 1"),
        (changed(version=2), "version 2"),
        (changed(version=True), "version True"),
        (changed(more=1), "more: Extra inputs"),
        (changed(rates_bps=[1e5, 1e5, 1e7]), "the values of the rate do not ascend"),
        (changed(rates_bps=[1e6, 1e5, 1e7]), "the values of the rate do not ascend"),
        (changed(rates_bps=[0.0, 1e6, 1e7]), r"rates_bps.0: .* 1"),
        (changed(losses=[0.0, 1.0]), r"losses.1: .* less than 1"),
        (changed(losses=[0.0, 0.05, 0.1]), "9 cells have 6 weights"),
        (changed(weights=[0.5] * 6), "the weights add up to 3, 1 is expected"),
        (changed(chosen=[0, 0, 1, 1, 2]), "6 cells have 5 chosen"),
        (changed(chosen=[0, 0, 1, 1, 3, 1]), "cell 4 has plan 3, there are plans 0 to 2"),
        (changed(chosen=[0, 0, -1, 1, 2, 1]), "chosen.2"),
        (changed(chosen=[0, 2, 1, 1, 2, 1]), "cell 1 has plan 'RC', though 'LC' is worth 0.8 more there"),
        (changed(chosen=[0, None, 1, 1, 2, 1]), "cell 1 has no plan, though 'LC' is feasible there"),
        (changed(plans=[]), "plans: List should have at least 1"),
        (with_plan(1, id="LC"), "two plans have one name: LC, LC, RC"),
        (with_plan(1, values=[0.5]), "6 cells have 1 values of 'SC04'"),
        (with_plan(1, errors=[]), "6 cells have 0 errors of 'SC04'"),
        (with_plan(1, values=[-1.0] * 6), "plans.1.values.0"),
        (with_plan(1, values=["much"] * 6), "plans.1.values.0"),
        (written_policy(policy()).replace(b"0.84", b"NaN"), "NaN is no number"),
        (b"\xff" + written_policy(policy()), "not text in UTF-8"),
    ],
)
def test_nonsense_is_refused_with_its_place(content, said):
    with pytest.raises(BundleError, match=said) as caught:
        read_policy(content)
    assert str(caught.value).startswith("policy.json: ")
