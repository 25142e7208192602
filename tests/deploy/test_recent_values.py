"""Levels and shares from observations of which everything is known."""

from __future__ import annotations

from math import exp, inf, log

import numpy as np
import pytest

from splitimpera.core.statistics import wilson_interval
from splitimpera.deploy.recent_values import SmoothedLevel, SmoothedShare, WindowedLevel, WindowedShare

LEVELS = {
    "smoothed": lambda: SmoothedLevel(3.0),
    "smoothed rate": lambda: SmoothedLevel(3.0, rate=True),
    "windowed": lambda: WindowedLevel(3.0),
}
SHARES = {"smoothed": lambda: SmoothedShare(3.0), "windowed": lambda: WindowedShare(3.0)}
levels = pytest.mark.parametrize("make", LEVELS.values(), ids=LEVELS)
shares = pytest.mark.parametrize("make", SHARES.values(), ids=SHARES)


@levels
def test_nothing_is_known_before_the_first_observation_and_no_bounds_after_one(make):
    level = make()
    assert level.estimate(0.0) is None
    assert level.quantile(0.5, 0.0) is None
    level.add(7.0, 1.0)
    found = level.estimate(1.5)
    assert (found.value, found.low, found.high, found.age_s, found.count) == (pytest.approx(7.0), 0.0, inf, 0.5, 1)


@levels
@pytest.mark.parametrize("value", [0.0, -1.0, inf, float("nan")])
def test_what_is_no_level_is_passed_over(make, value):
    level = make()
    level.add(value, 0.0)
    assert level.estimate(0.0) is None


@levels
def test_the_interval_holds_the_truth_about_as_often_as_it_says(make):
    """Independent observations, of which mean, median and (to 1 in 1000) mean of the inverse are 1."""
    rng, inside = np.random.default_rng(5), []
    for _ in range(400):
        level, t = make(), 0.0
        while t < 9.0:
            t += rng.exponential(0.1)
            level.add(1.0 + rng.uniform(-0.05, 0.05), t)
        found = level.estimate(t)
        inside.append(found.low <= 1.0 <= found.high)
    assert 0.90 <= np.mean(inside) <= 0.99


def test_weights_depend_on_time_and_not_on_the_number_of_observations():
    level = SmoothedLevel(2.0)
    level.add(10.0, 0.0)
    level.add(4.0, 3.0)
    old = exp(-3.0 / 2.0)
    assert level.estimate(3.0).value == pytest.approx((10 * old + 4) / (old + 1))
    assert level.estimate(3.0).count == pytest.approx((old + 1) ** 2 / (old**2 + 1))


def test_a_smoothed_rate_is_that_of_the_mean_time():
    level = SmoothedLevel(1e9, rate=True)
    level.add(1e6, 0.0)
    level.add(3e6, 1.0)
    assert level.estimate(1.0).value == pytest.approx(2 / (1 / 1e6 + 1 / 3e6))


def test_a_window_forgets_at_once():
    level = WindowedLevel(2.0)
    for t, value in enumerate([1.0, 2.0, 3.0, 4.0, 5.0]):
        level.add(value, t)
    assert level.estimate(4.0).value == 4.0
    assert level.estimate(4.9).value == 4.0
    assert level.estimate(5.9).value == 5.0
    assert level.estimate(6.1) is None


@levels
def test_bounds_alone_give_a_least_value(make):
    level = make()
    for t, bound in enumerate([4.0, 6.0, 5.0]):
        level.add(bound, t / 10, at_least=True)
    found = level.estimate(0.3)
    assert found.at_least
    assert found.age_s == inf
    assert 4.0 <= found.value <= 6.0


@levels
def test_a_bound_beneath_what_was_seen_says_nothing_and_one_above_lifts_it(make):
    level = make()
    for t in range(20):
        level.add(5.0 + t % 2, t / 20)
    before = level.estimate(1.0).value
    for t in range(20):
        level.add(2.0, 1 + t / 1000, at_least=True)
    assert level.estimate(1.02).value == pytest.approx(before, abs=0.51)
    assert level.estimate(1.02).count == pytest.approx(20, rel=0.1)
    for t in range(60):
        level.add(50.0, 1.1 + t / 1000, at_least=True)
    assert level.estimate(1.2).value > 2 * before
    assert level.estimate(1.2).at_least


def test_a_bound_is_believed_when_all_else_is_old():
    level = SmoothedLevel(1.0)
    level.add(9.0, 0.0)
    level.add(2.0, 1.0, at_least=True)
    assert level.estimate(1.0).value == 9.0
    level.add(2.0, 9.0, at_least=True)
    assert level.estimate(9.0).value == pytest.approx(2.0, rel=0.01)


def test_the_median_with_bounds_is_that_of_kaplan_and_meier():
    """Worked by hand: 1, 2+, 3, 4, 5+, 6; above 2+ four share its weight, above 5+ one."""
    level = WindowedLevel(10.0)
    for value, at_least in [(3, False), (2, True), (6, False), (1, False), (5, True), (4, False)]:
        level.add(float(value), 0.0, at_least)
    steps = {1: 1 / 6, 3: 1 / 6 + 5 / 24, 4: 1 / 6 + 10 / 24, 6: 1.0}
    for value, reached in steps.items():
        assert level.quantile(reached - 1e-6, 0.0) == value
    assert level.estimate(0.0).value == 4.0


def test_the_windowed_quantile_is_that_of_the_values():
    level = WindowedLevel(10.0)
    for value in range(1, 101):
        level.add(float(value), 0.0)
    assert level.quantile(0.95, 0.0) == 95.0
    assert level.quantile(0.05, 0.0) == 5.0


@pytest.mark.parametrize("rate", [False, True])
def test_the_smoothed_quantile_is_about_that_of_the_values(rate):
    rng, level = np.random.default_rng(1), SmoothedLevel(1e9, rate)
    values = 10.0 + rng.normal(size=4000)
    for value in values:
        level.add(value, 0.0)
    for share in (0.05, 0.95):
        assert level.quantile(share, 0.0) == pytest.approx(np.quantile(values, share), rel=0.03)


@shares
def test_a_share_has_wilsons_interval_where_groups_are_of_one(make):
    share = make()
    for place in range(40):
        share.add(1, place in (3, 17, 30), 1.0)
    found = share.estimate(2.0)
    assert (found.value, found.age_s) == (pytest.approx(3 / 40), 1.0)
    assert (found.low, found.high) == pytest.approx(wilson_interval(3 / 40, found.count), abs=1e-4)
    assert found.count == pytest.approx(40, rel=0.05)


@shares
def test_groups_that_fare_alike_are_worth_as_much_as_one_thing_each(make):
    share = make()
    for place in range(40):
        share.add(20, 20 * (place % 4 == 0), 0.0)
    found = share.estimate(0.0)
    assert found.value == pytest.approx(0.25)
    assert found.count == pytest.approx(40, rel=0.1)
    assert found.high - found.low > 0.2


@shares
def test_the_interval_of_a_share_holds_the_truth_about_as_often_as_it_says(make):
    rng, inside = np.random.default_rng(8), {0.0: [], 0.05: []}
    for chance, seen in inside.items():
        for _ in range(300):
            share = make()
            for t in np.arange(0.0, 9.0, 0.05):
                share.add(20, rng.binomial(20, chance), t)
            found = share.estimate(9.0)
            seen.append(found.low <= chance <= found.high)
    assert np.mean(inside[0.0]) == 1.0
    assert 0.90 <= np.mean(inside[0.05]) <= 0.99


@shares
def test_an_empty_group_is_none(make):
    share = make()
    share.add(0, 0, 0.0)
    assert share.estimate(0.0) is None


def test_a_window_of_shares_ends():
    share = WindowedShare(2.0)
    share.add(10, 5, 0.0)
    share.add(10, 0, 1.5)
    assert share.estimate(1.9).value == 0.25
    assert share.estimate(2.5).value == 0.0
    assert share.estimate(4.0) is None


def test_smoothed_shares_weigh_by_age():
    share = SmoothedShare(1.0)
    share.add(10, 10, 0.0)
    share.add(10, 0, log(4))
    assert share.estimate(2.0).value == pytest.approx(0.2)
