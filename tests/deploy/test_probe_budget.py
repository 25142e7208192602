"""Probes never cost more than they may."""

from __future__ import annotations

import numpy as np
import pytest

from splitimpera.deploy.probe_budget import LEAST_BYTES_PER_S, SECONDS, SHARE, ProbeBudget


def greedy(budget, traffic, probe=500, step_s=0.01, seconds=60.0):
    """Bytes of probes that go when one is tried at each step; `traffic` is of each step."""
    spent = []
    for place in range(int(seconds / step_s)):
        t = place * step_s
        if size := traffic(place):
            budget.sent(size, t)
        spent.append(probe if budget.may_probe(probe, t) else 0)
    return np.array(spent, float)


def test_without_traffic_it_is_the_least_rate():
    spent = greedy(ProbeBudget(), lambda _: 0)
    assert spent.sum() == pytest.approx(60 * LEAST_BYTES_PER_S, rel=0.02)
    assert spent.sum() <= 60 * LEAST_BYTES_PER_S


def test_with_much_traffic_it_is_its_share():
    spent = greedy(ProbeBudget(), lambda _: 20_000)  # 2 MB/s
    assert 0.85 * 60 * 2e6 * SHARE < spent.sum() <= 60 * 2e6 * SHARE
    assert spent[-500:].sum() == pytest.approx(5 * 2e6 * SHARE, rel=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_never_more_than_the_larger_of_both_so_far(seed):
    rng = np.random.default_rng(seed)
    sizes = (
        rng.integers(0, 100_000, 6000)
        * (rng.random(6000) < rng.choice([0.01, 0.1, 1.0]))
        * (np.arange(6000) // 1000 % 2)
    )
    spent = np.cumsum(greedy(ProbeBudget(), lambda place: int(sizes[place]), probe=int(rng.integers(50, 5000))))
    time_s = np.arange(6000) * 0.01
    most = LEAST_BYTES_PER_S * time_s + SHARE * np.cumsum(sizes)
    assert (spent <= most + 1e-6).all()
    assert spent[-1] >= 0.8 * LEAST_BYTES_PER_S * 60


def test_what_is_saved_is_bounded():
    budget = ProbeBudget()
    assert not budget.may_probe(1, 0.0)
    assert budget.most_bytes == LEAST_BYTES_PER_S * SECONDS
    assert not budget.may_probe(int(budget.most_bytes) + 1, 1e6)
    assert budget.may_probe(int(budget.most_bytes), 1e6)
    assert not budget.may_probe(1, 1e6)


def test_a_clock_that_stands_still_or_goes_back_earns_nothing():
    budget = ProbeBudget()
    budget.sent(10_000_000, 10.0)
    assert not budget.may_probe(100, 10.0)
    assert not budget.may_probe(100, 5.0)
    assert not budget.may_probe(100, 10.0)
    assert budget.may_probe(100, 10.1)
