"""Intervals against tables, coverage, and what is known in closed form."""

from __future__ import annotations

import doctest
from math import comb, inf, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitimpera.core import statistics
from splitimpera.core.statistics import (
    DRAWS,
    LatencyDraws,
    contribution_draws,
    ends,
    mcnemar_p,
    mean_draws,
    quantile_interval,
    student_interval,
    wilson_interval,
)


def test_the_examples_in_the_documentation():
    assert doctest.testmod(statistics).failed == 0


@pytest.mark.parametrize(
    ("freedom", "factor"), [(1, 12.7062), (2, 4.30265), (4, 2.77645), (5, 2.57058), (29, 2.04523), (1000, 1.96234)]
)
def test_students_factors_are_the_tables(freedom, factor):
    values = np.random.default_rng(0).normal(size=freedom + 1)
    low, high = student_interval(values)
    assert (high - low) / 2 == pytest.approx(factor * values.std(ddof=1) / sqrt(freedom + 1), rel=1e-5)


def test_students_interval_by_hand():
    low, high = student_interval(np.array([1.0, 2.0, 3.0]))
    assert (high - 2, 2 - low) == pytest.approx((4.30265 / np.sqrt(3),) * 2, rel=1e-5)
    assert student_interval(np.array([1.0])) == (-inf, inf)


def test_wilsons_interval():
    low, high = wilson_interval(0.9, 100)
    assert (low, high) == pytest.approx((0.8256, 0.9448), abs=1e-4)
    assert wilson_interval(1.0, 50)[1] == 1.0
    assert wilson_interval(0.0, 50)[0] == pytest.approx(0.0, abs=1e-12)


def test_the_order_statistics_are_the_tables():
    """For 100 samples the median lies between the 40th and the 61st (binomial tables)."""
    samples = np.random.default_rng(0).permutation(np.arange(1.0, 101))
    assert [quantile_interval(samples, share) for share in (0.5, 0.95, 0.99)] == [(40, 61), (90, 100), (97, inf)]
    assert quantile_interval(samples[:1], 0.5)[0] == -inf


@given(st.integers(1, 400), st.sampled_from([0.5, 0.9, 0.95, 0.99]), st.integers(0, 10))
def test_an_interval_holds_its_quantile(count, share, seed):
    samples = np.random.default_rng(seed).exponential(size=count)
    low, high = quantile_interval(samples, share)
    assert low <= np.quantile(samples, share) <= high


def test_intervals_cover_the_true_quantile_as_often_as_promised():
    rng, true = np.random.default_rng(1), -np.log(0.05)
    runs = [quantile_interval(rng.exponential(size=200), 0.95) for _ in range(1000)]
    assert 0.94 <= np.mean([low <= true <= high for low, high in runs]) <= 0.99


@given(st.integers(0, 30), st.integers(0, 30))
def test_mcnemars_test_is_binomial(first, second):
    n, least = first + second, min(first, second)
    expected = min(1.0, 2 * sum(comb(n, k) for k in range(least + 1)) / 2**n)
    assert mcnemar_p(first, second) == pytest.approx(expected)


def share_right(total):
    return total[..., 0] / total[..., 1]


def answers(right):
    return np.stack([right, np.ones_like(right)], axis=2).astype(float)


def test_an_accuracys_interval_holds_the_truth_as_often_as_it_says():
    rng, held = np.random.default_rng(0), 0
    for _ in range(300):
        low, high = ends(contribution_draws(answers(rng.random((1, 300)) < 0.9), share_right))
        held += low <= 0.9 <= high
    assert held / 300 == pytest.approx(0.95, abs=0.035)


def test_replications_count_as_well_as_samples():
    """Every sample is right in half of the replications: samples agree, replications do not."""
    right = np.zeros((4, 100))
    right[:2] = 1
    low, high = ends(contribution_draws(answers(right), share_right))
    assert low <= 0.25
    assert high >= 0.75
    assert ends(contribution_draws(answers(right[:1]), share_right)) == (1.0, 1.0)


def test_a_difference_of_draws_is_paired():
    """Two plans that agree on all samples but one differ by at most that, though either is unsure by several."""
    right = np.random.default_rng(0).random((1, 200)) < 0.8
    other = right.copy()
    other[0, 0] = ~other[0, 0]
    one, two = (contribution_draws(answers(given), share_right) for given in (right, other))
    assert np.abs(one - two).max() <= 10 / 200
    assert np.ptp(ends(one)) > 0.08


def test_a_mean_over_replications():
    assert ends(mean_draws(np.array([2.0, 2.0, 2.0]))) == (2.0, 2.0)
    low, high = ends(mean_draws(np.arange(5.0)))
    assert 0 < low < 2 < high < 4


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 50), (5, 400)])
@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_the_quick_quantile_is_the_plain_one(shape, share):
    rng = np.random.default_rng(3)
    latency = rng.exponential(size=shape)
    latency[rng.random(shape) < 0.1] = np.nan
    if np.isnan(latency).all():
        latency[:] = 1.0
    draws = LatencyDraws(latency)
    found = draws.quantile(share)
    for draw in range(0, DRAWS, 41):
        reached = np.cumsum(draws.weights[draw][draws.block])
        if reached[-1] == 0:
            assert found[draw] == inf
        else:
            assert found[draw] == draws.values[np.searchsorted(reached, share * reached[-1])]


def test_frames_in_a_row_that_are_slow_together_make_the_interval_wider():
    rng = np.random.default_rng(0)
    slow = rng.random((1, 500)) < 0.05
    together = np.repeat(slow, 10, axis=1).astype(float)
    apart = rng.permuted(together, axis=1)
    widths = [np.ptp(ends(LatencyDraws(latency).mean())) for latency in (together, apart)]
    assert widths[0] > 1.5 * widths[1]


def test_frames_without_a_latency():
    draws = LatencyDraws(np.array([[1.0, np.nan, 3.0]] * 2))
    largest = draws.maximum()
    assert set(largest[np.isfinite(largest)]) == {1.0, 3.0}
    assert np.isinf(largest).mean() < 0.01  # where only the dropped frame was drawn
    none = LatencyDraws(np.full((2, 3), np.nan))
    for values in (none.mean(), none.quantile(0.95), none.maximum()):
        assert (values == inf).all()
    half = LatencyDraws(np.array([[1.0, 1.0], [np.nan, np.nan]]))
    assert ends(half.quantile(0.95)) == (1.0, inf)
