"""The choice of a few plans, against trying all sets."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitimpera.core.errors import PlanError
from splitimpera.qos.policy_choice import choose_plans


def stored(segments, plans):
    return sum({name: size for place in plans for name, size in segments[place].items()}.values())


def expected(values, weights, plans):
    worth = np.nan_to_num(values[list(plans)], nan=0.0, neginf=0.0)
    return float(worth.max(axis=0, initial=0.0) @ (weights / weights.sum()))


def best_of_all(values, weights, most, must=(), segments=None, memory_bytes=None):
    """The largest value of any set; None where none fits."""
    found = [
        expected(values, weights, plans)
        for size in range(1, most + 1)
        for plans in combinations(range(len(values)), size)
        if set(must) <= set(plans) and (segments is None or stored(segments, plans) <= memory_bytes)
    ]
    return max(found, default=None)


@st.composite
def cases(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    plans, conditions = draw(st.integers(1, 9)), draw(st.integers(1, 12))
    # few different values, so that there are ties; some plans cannot be used everywhere
    values = rng.integers(0, draw(st.sampled_from([3, 10, 1000])), (plans, conditions)) / 10
    values[rng.random(values.shape) < draw(st.sampled_from([0.0, 0.3, 0.8]))] = rng.choice([np.nan, -np.inf, 0.0])
    weights = rng.random(conditions) * (rng.random(conditions) < 0.8) + (np.arange(conditions) == 0) * 0.1
    must = [int(place) for place in rng.permutation(plans)[: draw(st.integers(0, 2))]]
    most = draw(st.integers(max(1, len(must)), 5))
    return values, weights, most, must, rng


@given(cases())
@settings(max_examples=300, deadline=None)
def test_no_other_set_is_worth_more(case):
    values, weights, most, must, _ = case
    found = choose_plans(values, weights, most, must=must)
    assert found.exact
    assert found.expected == pytest.approx(best_of_all(values, weights, most, must), abs=1e-9)
    assert found.expected == pytest.approx(expected(values, weights, found.plans), abs=1e-9)
    assert set(must) <= set(found.plans)
    assert len(found.plans) <= most
    for place in set(found.plans) - set(must):  # none is there for nothing
        assert expected(values, weights, [other for other in found.plans if other != place]) < found.expected


@given(cases(), st.sampled_from([30, 60, 100]))
@settings(max_examples=300, deadline=None)
def test_memory_is_never_exceeded_and_shared_segments_count_once(case, memory_bytes):
    values, weights, most, must, rng = case
    sizes = rng.integers(1, 40, 6)
    segments = [{int(name): int(sizes[name]) for name in rng.permutation(6)[: rng.integers(0, 4)]} for _ in values]
    wanted = min(most, len(values))
    there = any(
        set(must) <= set(plans) and stored(segments, plans) <= memory_bytes
        for plans in combinations(range(len(values)), wanted)
    )
    try:
        found = choose_plans(values, weights, most, must=must, segments=segments, memory_bytes=memory_bytes)
    except PlanError:
        return  # no false acceptance below; that heads are never refused falsely is the next test
    assert there
    assert found.exact
    assert found.bytes == stored(segments, found.plans) <= memory_bytes
    best = best_of_all(values, weights, most, must, segments, memory_bytes)
    assert found.expected == pytest.approx(best, abs=1e-9)


@given(cases(), st.integers(0, 120))
@settings(max_examples=300, deadline=None)
def test_heads_are_refused_only_where_no_such_set_fits(case, memory_bytes):
    """Deeper heads contain shallower ones; some have an encoder of their own."""
    values, weights, most, must, rng = case
    layers = rng.integers(0, 30, 5)
    segments = []
    for place in range(len(values)):
        head = {("layer", layer): int(layers[layer]) for layer in range(rng.integers(0, 6))}
        segments.append(head | ({("encoder", place): int(rng.integers(1, 20))} if rng.random() < 0.5 else {}))
    there = any(
        set(must) <= set(plans) and stored(segments, plans) <= memory_bytes
        for plans in combinations(range(len(values)), min(most, len(values)))
    )
    given = {"must": must, "segments": segments, "memory_bytes": memory_bytes}
    if there:
        assert choose_plans(values, weights, most, **given).bytes <= memory_bytes
    else:
        with pytest.raises(PlanError, match=r"must be there take|do not hold"):
            choose_plans(values, weights, most, **given)


def test_a_large_choice_is_exact_where_plans_have_their_conditions():
    """As on a link: each plan has a rate from which on it works."""
    rng = np.random.default_rng(3)
    rates = np.linspace(0, 1, 256)
    values = np.array([(rates >= start) * (0.5 + start / 2) for start in np.sort(rng.random(60))])
    values += rng.random(values.shape) * 0.02 * (values > 0)
    assert choose_plans(values, np.ones(256), 4).exact
    pair = choose_plans(values, np.ones(256), 2)
    assert pair.exact
    assert pair.expected == pytest.approx(best_of_all(values, np.ones(256), 2))


def test_a_choice_that_is_not_proven_says_so_and_bounds_the_rest():
    rng = np.random.default_rng(0)
    values, weights = rng.random((14, 40)), np.ones(40)
    short = choose_plans(values, weights, 4, most_nodes=3)
    best = best_of_all(values, weights, 4)
    assert not short.exact
    assert short.expected <= best + 1e-12
    assert short.bound >= best - 1e-12
    assert short.expected >= (1 - np.exp(-1)) * best  # what adding the best one at a time warrants
    assert choose_plans(values, weights, 4).expected == pytest.approx(best)


def test_greedy_alone_is_not_enough():
    """The single best plan is in no best pair."""
    values = np.array([[6.0, 6.0, 6.0, 6.0], [9.0, 9.0, 0.0, 0.0], [0.0, 0.0, 9.0, 9.0]])
    found = choose_plans(values, np.ones(4), 2)
    assert (found.plans, found.expected, found.exact) == ((1, 2), 9.0, True)


def test_what_memory_cannot_bear_is_refused_with_what_it_can():
    values, segments = np.eye(3), [{"a": 100}, {"b": 100}, {"c": 100}]
    assert choose_plans(values, np.ones(3), 3, segments=segments, memory_bytes=300).bytes == 300
    with pytest.raises(PlanError, match=r"plans: 299 B do not hold 3 plans, they hold 2; ask for fewer"):
        choose_plans(values, np.ones(3), 3, segments=segments, memory_bytes=299)
    with pytest.raises(PlanError, match=r"must be there take 200 B, the device has 150 B"):
        choose_plans(values, np.ones(3), 3, must=[0, 2], segments=segments, memory_bytes=150)


@pytest.mark.parametrize(
    ("values", "weights", "more", "said"),
    [
        (np.ones((2, 3)), np.ones(2), {}, "shapes"),
        (np.zeros((0, 3)), np.ones(3), {}, "shapes"),
        (np.full((1, 1), np.inf), np.ones(1), {}, "not infinitely much"),
        (-np.ones((1, 1)), np.ones(1), {}, "0 or more"),
        (np.ones((1, 1)), np.zeros(1), {}, "not all of them 0"),
        (np.ones((1, 1)), np.array([np.nan]), {}, "weights"),
        (np.ones((2, 1)), np.ones(1), {"must": [2]}, "plans 0 to 1"),
        (np.ones((2, 1)), np.ones(1), {"must": [-1]}, "plans 0 to 1"),
        (np.ones((2, 1)), np.ones(1), {"must": [0, 1]}, "at least 2 that must be"),
        (np.ones((2, 1)), np.ones(1), {"segments": [{}]}, "segments of 1 plans"),
        (np.ones((2, 1)), np.ones(1), {"segments": [{"a": 1}, {"a": 2}]}, "segment a has 2 bytes, 1 before"),
        (np.ones((2, 1)), np.ones(1), {"segments": [{"a": -1}, {}]}, "segment a has -1 bytes"),
    ],
)
def test_what_makes_no_sense_is_refused(values, weights, more, said):
    with pytest.raises(PlanError, match=said):
        choose_plans(values, weights, 1, **more)
