"""Draws from samples: as often as they are there, and as alike as their neighbours were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitimpera.cost.spread import QUANTILES, block_length, drawn, lognormal, of_quartiles, spread_of


def autoregressive(r, count, seed=0):
    """Times whose logarithm is a first-order autoregression."""
    rng = np.random.default_rng(seed)
    noise = np.zeros(count)
    noise[0] = rng.normal()
    for i in range(1, count):
        noise[i] = r * noise[i - 1] + np.sqrt(1 - r * r) * rng.normal()
    return np.exp(0.2 * noise)


def lag_one(values):
    centred = values - values.mean()
    return float(centred[1:] @ centred[:-1] / (centred @ centred))


@given(st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=50))
def test_a_spread_is_what_the_samples_are_over_their_median(samples):
    spread = spread_of(samples)
    if len(set(samples)) == 1:
        assert spread == ()
    else:
        np.testing.assert_allclose(np.array(spread) * np.median(samples), samples)


@pytest.mark.parametrize("samples", [[], [0.0], [0.0, 0.0, 1.0]])
def test_what_has_no_median_has_no_spread(samples):
    assert spread_of(samples) == ()


@pytest.mark.parametrize("r", [0.0, 0.9])
def test_the_mean_of_the_draws_is_the_mean_of_the_samples(r):
    spread = spread_of(autoregressive(r, 60))
    chances = np.random.default_rng(1).random((400, 1000))
    means = drawn(spread, chances).mean(1)
    assert abs(means.mean() - np.mean(spread)) < 4 * means.std() / 20
    # whole blocks, started anywhere: every sample is drawn equally often
    found, counts = np.unique(drawn(spread, chances), return_counts=True)
    assert set(found) == set(spread)
    assert counts.max() / counts.min() < 1.2


def test_draws_are_as_alike_as_their_neighbours_were():
    for r in (0.5, 0.8, 0.95):
        spread = spread_of(autoregressive(r, 500))
        draws = drawn(spread, np.random.default_rng(2).random(50_000))
        assert lag_one(draws) == pytest.approx(lag_one(np.array(spread)), abs=0.15)
        assert block_length(spread) > 1


def test_independent_samples_are_drawn_one_by_one():
    lengths = [block_length(spread_of(autoregressive(0.0, 100, seed))) for seed in range(100)]
    assert np.mean([length == 1 for length in lengths]) > 0.9
    rising = spread_of(np.arange(1.0, 41.0))
    assert block_length(rising) == 20


def test_a_longer_run_begins_as_a_shorter_one():
    spread = spread_of(autoregressive(0.8, 60))
    chances = np.random.default_rng(3).random(1000)
    np.testing.assert_array_equal(drawn(spread, chances)[:333], drawn(spread, chances[:333]))


@pytest.mark.parametrize("ratio", [1.05, 1.3, 3.0])
def test_lognormal_quantiles(ratio):
    spread = np.array(lognormal(ratio))
    assert len(spread) == QUANTILES
    assert np.median(spread) == pytest.approx(1.0, rel=0.01)
    assert np.percentile(spread, 95) == pytest.approx(ratio, rel=0.05)
    assert block_length(tuple(spread)) == 1
    assert lognormal(1.0) == ()


def test_a_spread_of_quartiles_has_them():
    spread = np.array(of_quartiles(0.010, 0.001))
    low, middle, high = np.percentile(0.010 * spread, [25, 50, 75])
    assert middle == pytest.approx(0.010, rel=0.01)
    assert (high - low) / 2 == pytest.approx(0.001, rel=0.05)
    assert of_quartiles(0.01, 0.0) == of_quartiles(0.0, 0.01) == ()
    assert max(of_quartiles(1e-9, 1.0)) < 40
