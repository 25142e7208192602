"""A policy's page says what the policy says, cell by cell, and names are harmless."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_study import DESIGNS, LOSSES, RATES, axis, made_study, two_ranges
from test_study_page import EVIL, SURROGATE, data_of, text_of

from splitimpera.qos.policy_regions import regions
from splitimpera.records.policy import Policy, PolicyPlan
from splitimpera.report import policy_html
from splitimpera.studies.policy_study import device_needs, policy_of

DELAYS = ["5 ms", "20 ms", "100 ms"]


def three_ranges():
    axes = [axis("links[0].delay", DELAYS), axis("links[0].rate", RATES), axis("links[0].loss", LOSSES)]
    return made_study(axes, ("listed", "log", "listed"))


def test_cells_of_the_map_are_those_of_the_policy():
    policy = policy_of(three_ranges(), 4)
    data = data_of(policy_html(policy))
    assert [one["name"] for one in data["axes"]] == ["rate of the link", "packets lost", "delay"]
    cells, place = data["cells"], 0
    for rate in policy.rates_bps:
        for loss in policy.losses:
            for delay in policy.delays_s:
                cell = policy.at(rate, delay, loss).cell
                assert cells["plan"][place] == policy.chosen[cell]
                assert cells["met"][place] == pytest.approx(policy.weights[cell], rel=1e-3)
                for number, value, error in cells["best"][place]:
                    assert value == pytest.approx(policy.plans[number].values[cell], abs=1e-4)
                    assert error == pytest.approx(policy.plans[number].errors[cell], abs=1e-4)
                place += 1
    assert place == len(cells["plan"])


def test_the_tables_say_what_plans_are_worth():
    policy = policy_of(two_ranges(), 3)
    told = text_of(policy_html(policy))
    assert f"the plans at hand 3, each where it is best {policy.expected:.4g}" in told
    assert f"all plans had the device room for them {policy.of_all:.4g}" in told
    alone = {
        each.id: sum(weight * value for weight, value in zip(policy.weights, each.values, strict=True))
        for each in policy.plans
    }
    best = max(alone, key=alone.__getitem__)
    assert f"the best of them alone {best} {alone[best]:.4g}" in told
    for place, each in enumerate(policy.plans):
        used = sum(weight for weight, chosen in zip(policy.weights, policy.chosen, strict=True) if chosen == place)
        assert f"{used:.1%}" in told
        assert f"{alone[each.id]:.4g}" in told
    for region in regions(policy):
        assert f"{region.weight:.1%} {region.value:.3f} {region.gain:.3f}" in told
    assert "Together they take" not in told


def test_memory_is_that_of_all_with_what_they_share_once():
    memory = {design["id"]: 1000 * (2 + place) for place, design in enumerate(DESIGNS)}
    made = made_study([axis("links[0].rate", RATES)], ("log",))

    def plans_of(index, before=made.plans_of):
        rows = before(index)
        return [row.model_copy(update={"metrics": row.metrics | {"device_memory": memory[row.id]}}) for row in rows]

    results = replace(made, plans_of=plans_of)
    policy = policy_of(results, 3)
    needs = device_needs(results, policy)
    assert set(needs.each) == {each.id for each in policy.plans}
    assert max(needs.each.values()) <= needs.together <= sum(needs.each.values())
    told = text_of(policy_html(policy, needs))
    assert "Together they take" in told
    assert device_needs(made, policy) is None


def test_links_beyond_the_grid_and_never_met_are_marked():
    policy = policy_of(two_ranges(), 3)
    data = data_of(policy_html(policy))
    assert [one["beyond"] for one in data["axes"]] == [[True, True], [False, True]]
    assert [len(one["spans"]) for one in data["axes"]] == [len(RATES), len(LOSSES)]
    assert "never met" not in text_of(policy_html(policy))
    weights = [0.0, *[1 / (len(policy.weights) - 1)] * (len(policy.weights) - 1)]
    assert "never met" in text_of(policy_html(policy.model_copy(update={"weights": weights})))


def small(**changes):
    given = {
        **{"name": "digits", "objective": "on_time_accuracy", "prior": "uniform", "rates_bps": [], "delays_s": []},
        **{"losses": [], "weights": [1.0], "expected": 0.0, "of_all": 0.0, "bound": 0.0, "chosen": [None]},
        "plans": [
            PolicyPlan(
                **{"id": "LC", "configuration": "LC", "cut": None, "codec": None, "bottleneck": 0.0},
                **{"transport": None, "values": [0.0], "errors": [0.0]},
            )
        ],
    }
    return Policy(**given | changes)


def test_a_policy_of_one_cell_in_which_nothing_is_feasible():
    told = text_of(policy_html(small()))
    assert "no plan at hand is feasible" in told
    assert "none is feasible" in told


def test_names_that_would_do_harm_are_words():
    policy = policy_of(two_ranges(), 3)
    evil = f"{EVIL}{SURROGATE}"
    plans = [each.model_copy(update={"id": f"{each.id}{evil}"}) for each in policy.plans]
    page = policy_html(policy.model_copy(update={"plans": plans, "name": evil, "prior": evil, "objective": evil}))
    assert "<img" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
