"""Thresholds of early exits against brute force, and what becomes of samples with them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from splitimpera.core.errors import ScenarioError
from splitimpera.qos.exit_choice import choose_exits, given_exits, oracle, stricter, what_becomes
from splitimpera.qos.exit_search import cheapest_thresholds
from splitimpera.records.exits import NOBODY, ExitCosts, ExitTable, confidences, leaves_at
from splitimpera.records.plan import Exit


def table_of(rng, exits, samples, classes=3, decimals=2):
    """Heads that are the surer the more often they are right; some confidences are equal."""
    sure = np.round(rng.uniform(0.3, 0.99, (exits, samples)), decimals)
    right = (rng.uniform(size=(exits + 1, samples)) < np.vstack([sure, np.full(samples, 0.9)])).astype(float)
    return ExitTable(tuple(range(1, exits + 1)), sure, rng.integers(0, classes, (exits, samples)), right, classes)


def worth(table, by_exit, thresholds):
    """Missing accuracy is added by the caller: cost and share of right answers, the plain way."""
    cost = right = 0.0
    for sample in range(table.samples):
        for exit, own in enumerate(thresholds):
            needed = own[0] if len(own) == 1 else own[table.answers[exit, sample]]
            if table.confidence[exit, sample] >= needed:
                break
        else:
            exit = len(thresholds)
        cost, right = cost + by_exit[exit], right + table.right[exit, sample]
    return cost / table.samples, right / table.samples


def best_of_all(table, by_exit, needed, per_class=False):
    """The least missing accuracy, and the least cost with it, over every choice of thresholds that differ."""
    choices = []
    for exit in range(len(table.cuts)):
        values = [*np.unique(table.confidence[exit]), NOBODY]
        choices.append([*product(values, repeat=table.classes)] if per_class else [(value,) for value in values])
    found = (worth(table, by_exit, thresholds) for thresholds in product(*choices))
    return min((round(max(0.0, needed - right), 9), round(cost, 9)) for cost, right in found)


def reached(table, by_exit, needed, thresholds):
    cost, right = worth(table, by_exit, thresholds)
    return round(max(0.0, needed - right), 9), round(cost, 9)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("exits", "samples"), [(1, 12), (2, 9), (3, 6)])
def test_the_search_finds_what_brute_force_finds(seed, exits, samples):
    rng = np.random.default_rng(seed)
    table = table_of(rng, exits, samples)
    by_exit = np.cumsum(rng.uniform(0.5, 3, exits + 1))
    needed = float(table.right[-1].mean()) - 0.1
    found, rank = cheapest_thresholds(table, by_exit, needed)
    assert rank[:2] == pytest.approx(reached(table, by_exit, needed, found), abs=1e-8)
    assert reached(table, by_exit, needed, found) == best_of_all(table, by_exit, needed)


@pytest.mark.parametrize("seed", range(6))
def test_thresholds_of_classes_are_found_as_by_brute_force(seed):
    rng = np.random.default_rng(seed)
    table = table_of(rng, 1, 14)
    by_exit, needed = np.array([1.0, 5.0]), float(table.right[-1].mean()) - 0.1
    shared, _ = cheapest_thresholds(table, by_exit, needed)
    found, _ = cheapest_thresholds(table, by_exit, needed, per_class=True)
    assert [len(own) for own in found] == [3]
    of_found = reached(table, by_exit, needed, found)
    assert of_found == best_of_all(table, by_exit, needed, per_class=True)
    assert of_found <= reached(table, by_exit, needed, shared)


def test_an_accuracy_out_of_reach_gives_the_nearest():
    table = table_of(np.random.default_rng(3), 2, 9)
    by_exit = np.array([1.0, 2.0, 4.0])
    found, _ = cheapest_thresholds(table, by_exit, 1.5)
    assert reached(table, by_exit, 1.5, found) == best_of_all(table, by_exit, 1.5)
    assert not choose_exits(table, ExitCosts((1.0, 2.0, 4.0), (0.0, 0.0)), least=1.5).kept_accuracy


def test_many_different_confidences_are_thinned_out(monkeypatch):
    rng = np.random.default_rng(0)
    table = table_of(rng, 2, 400, decimals=12)
    by_exit, needed = np.array([1.0, 2.0, 4.0]), float(table.right[-1].mean()) - 0.02
    exact = reached(table, by_exit, needed, cheapest_thresholds(table, by_exit, needed)[0])
    monkeypatch.setattr("splitimpera.qos.exit_search.MOST_LEVELS", 50)
    thinned = reached(table, by_exit, needed, cheapest_thresholds(table, by_exit, needed)[0])
    assert thinned >= exact
    assert thinned[1] <= 1.05 * exact[1]


def test_thresholds_lie_between_confidences():
    """So that an engine that rounds in another place lets the same frames leave."""
    table = table_of(np.random.default_rng(1), 2, 30)
    by_exit = np.array([1.0, 2.0, 4.0])
    found, _ = cheapest_thresholds(table, by_exit, float(table.right[-1].mean()) - 0.1)
    for own, sure in zip(found, table.confidence, strict=True):
        assert np.abs(sure - own[0]).min() > 1e-3
    before = leaves_at(table.confidence, table.answers, found)
    assert (leaves_at(table.confidence + 1e-4, table.answers, found) == before).all()
    assert (leaves_at(table.confidence - 1e-4, table.answers, found) == before).all()


def test_chosen_on_one_half_and_judged_on_the_other():
    table = table_of(np.random.default_rng(5), 2, 301)
    costs = ExitCosts((1.0, 2.0, 10.0), (0.1, 0.1))
    found = choose_exits(table, costs, loss=0.05, seed=2)
    assert (found.chosen_on.samples, found.judged_on.samples) == (150, 151)
    assert found.kept_accuracy
    assert found.chosen_on.lost <= 0.05 + 1e-9
    assert found.exits
    assert found.chosen_on.cost < 10
    assert sum(found.judged_on.shares) == pytest.approx(1)
    low, high = found.judged_on.lost_interval
    assert low <= found.judged_on.lost <= high
    whole = sum(
        share * accuracy
        for share, accuracy in zip(found.judged_on.shares, found.judged_on.accuracies, strict=True)
        if share
    )
    assert whole == pytest.approx(found.judged_on.accuracy)
    assert found.oracle.accuracy >= found.judged_on.accuracy
    assert choose_exits(table, costs, loss=0.05, seed=2) == found
    fewer = choose_exits(table, costs, loss=0.05, share=0.3)
    assert (fewer.chosen_on.samples, fewer.judged_on.samples) == (90, 211)
    other = choose_exits(table, costs, loss=0.05, seed=3)
    assert other.judged_on != found.judged_on


def test_thresholds_are_raised_as_far_as_others_ask_for():
    """On pictures that nothing was chosen on, thresholds that were only the cheapest lose more than is allowed."""
    rng, costs, plain, careful = np.random.default_rng(0), ExitCosts((1.0, 4.0), (0.0,)), [], []
    for seed in range(15):
        table = table_of(rng, 1, 400, decimals=12)
        found = choose_exits(table, costs, loss=0.01, share=0.25, seed=seed)
        ours = table.take(np.random.default_rng(seed).permutation(400)[:100])
        others = table.take(np.random.default_rng(seed).permutation(400)[100:])
        cheapest, _ = cheapest_thresholds(ours, costs.by_exit, float(ours.right[-1].mean()) - 0.01)
        plain.append(what_becomes(others, [Exit(1, cheapest[0])], costs).lost)
        careful.append(found.judged_on.lost)
    assert np.mean(careful) < 0.01 < np.mean(plain)
    assert stricter(((NOBODY,), (0.0, 0.8)), 2.0)[0] == (NOBODY,)


def test_heads_that_do_not_pay_are_left_out():
    table = table_of(np.random.default_rng(5), 2, 300)
    cheap, dear = ExitCosts((1.0, 2.0, 10.0), (0.1, 0.1)), ExitCosts((1.0, 2.0, 10.0), (9.5, 0.1))
    assert {exit.cut for exit in choose_exits(table, cheap, loss=0.2).exits} == {1, 2}
    assert [exit.cut for exit in choose_exits(table, dear, loss=0.2).exits] == [2]
    nothing = choose_exits(table, ExitCosts((9.0, 9.0, 10.0), (20.0, 20.0)), loss=0.2)
    assert nothing.exits == ()
    assert nothing.judged_on.shares == (1.0,)
    assert nothing.judged_on.cost == 10
    assert nothing.judged_on.lost == 0
    assert nothing.kept_accuracy


def test_the_oracle_takes_the_first_that_is_right():
    right = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0]], dtype=float)
    table = ExitTable((1, 2), np.zeros((2, 4)), np.zeros((2, 4), dtype=int), right, 3)
    found = oracle(table, ExitCosts((1.0, 2.0, 4.0), (0.0, 1.0)))
    assert found.shares == (0.25, 0.25, 0.5)
    assert found.cost == (1 + 3 + 5 + 5) / 4
    assert found.accuracy == 0.75
    assert found.accuracies == (1.0, 1.0, 0.5)


def test_given_thresholds():
    table = table_of(np.random.default_rng(2), 2, 40)
    assert given_exits(table, 0.8) == (Exit(1, (0.8,)), Exit(2, (0.8,)))
    of_class = given_exits(table, {1: 0.7})
    assert of_class[0].thresholds == (NOBODY, 0.7, NOBODY)
    found = what_becomes(table, of_class, ExitCosts((1.0, 2.0, 4.0), (0.0, 0.0)))
    sure = (table.confidence >= 0.7) & (table.answers == 1)
    assert found.shares[-1] == pytest.approx(1 - sure.any(axis=0).mean())


@pytest.mark.parametrize(
    ("threshold", "words"),
    [
        (0.9999, "the surest has a confidence of"),
        (1.0, "no frame leaves"),
        (1.2, "between 0 and 1"),
        (float("nan"), "between 0 and 1"),
        ({7: 0.5}, "there is no class 7"),
        ({0: -1.0}, "between 0 and 1"),
    ],
)
def test_thresholds_that_make_no_sense(threshold, words):
    with pytest.raises(ScenarioError, match=words) as caught:
        given_exits(table_of(np.random.default_rng(2), 2, 40), threshold)
    assert caught.value.where == "exits.threshold"


def test_too_few_samples_to_choose_on():
    table = table_of(np.random.default_rng(2), 1, 1)
    with pytest.raises(ScenarioError, match="there are 1"):
        choose_exits(table, ExitCosts((1.0, 2.0), (0.0,)))


def test_confidences_stay_below_what_nobody_reaches():
    sure, answers = confidences(np.array([[1000.0, 0.0, -1000.0], [np.nan, 1.0, 0.0], [np.inf, 0.0, 0.0]]))
    assert sure[0] < NOBODY
    assert sure[0] == pytest.approx(1)
    assert sure[1] == sure[2] == 0
    assert answers[0] == 0
    assert leaves_at(sure[None], answers[None], [(NOBODY,)]).tolist() == [-1, -1, -1]
    assert leaves_at(sure[None], answers[None], [(0.0,)]).tolist() == [0, 0, 0]
