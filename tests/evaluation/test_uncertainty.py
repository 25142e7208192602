"""Bootstrap intervals: how often they hold the truth, and where they are a point."""

from __future__ import annotations

import numpy as np
import pytest

from splitimpera.evaluation.quality import Classification
from splitimpera.evaluation.uncertainty import latency_intervals, mean_interval, quality_interval


def test_an_accuracys_interval_holds_the_truth_as_often_as_it_says():
    rng, held = np.random.default_rng(0), 0
    for _ in range(300):
        right = rng.random((1, 300, 1)) < 0.9
        low, high = quality_interval(Classification(), np.concatenate([right, np.ones_like(right)], axis=2))
        held += low <= 0.9 <= high
    assert held / 300 == pytest.approx(0.9, abs=0.05)


def test_seeds_count_as_well_as_pictures():
    """Every picture is right with half of the seeds: pictures agree, seeds do not."""
    right = np.zeros((4, 100, 2))
    right[..., 1] = 1
    right[:2, :, 0] = 1
    low, high = quality_interval(Classification(), right)
    assert low <= 0.25
    assert high >= 0.75
    assert quality_interval(Classification(), right[:1]) == (1.0, 1.0)


def test_a_mean_over_seeds():
    assert mean_interval(np.array([2.0, 2.0, 2.0])) == (2.0, 2.0)
    low, high = mean_interval(np.arange(5.0))
    assert 0 < low < 2 < high < 4


def test_latencies_that_are_the_same_with_every_seed_are_certain():
    found = latency_intervals(np.tile(np.arange(1.0, 101.0), (3, 1)))
    assert found["latency_p50"] == (50.5, 50.5)
    assert found["latency_p95"] == pytest.approx((95.05, 95.05))
    assert found["latency_max"] == (100.0, 100.0)
    assert found["latency_mean"] == (50.5, 50.5)


def test_latencies_that_differ_from_seed_to_seed_are_not():
    seeds = np.array([[1.0] * 50, [2.0] * 50, [3.0] * 50])
    found = latency_intervals(seeds)
    assert found["latency_p50"] == (1.0, 3.0)
    assert found["latency_mean"][0] < 2 < found["latency_mean"][1]


def test_frames_that_were_dropped_have_no_latency():
    latency = np.array([[1.0, np.nan, 3.0]])
    assert latency_intervals(latency)["latency_max"] == (3.0, 3.0)
    assert latency_intervals(np.full((2, 3), np.nan))["latency_p50"] == (np.inf, np.inf)


def test_a_seed_without_an_answer_makes_the_upper_end_infinite():
    latency = np.array([[1.0, 1.0], [np.nan, np.nan]])
    low, high = latency_intervals(latency)["latency_p95"]
    assert low == 1.0
    assert high == np.inf
