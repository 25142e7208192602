"""Intervals of shares hold the truth as often as they say, also where losses come in bursts."""

from __future__ import annotations

import numpy as np
import pytest

from splitimpera.core.statistics import tolerant_distance, wilson_interval
from splitimpera.net.transports import simulate
from splitimpera.records.link import Link
from splitimpera.records.traffic import Workload
from splitimpera.verification.shares import block_frames, clustered_interval, newcombe_same

RUNS = 400


def covered(draw, truth, runs=RUNS):
    """In which share of all runs the interval holds the truth."""
    found = []
    for seed in range(runs):
        hits, totals = draw(np.random.default_rng(seed))
        low, high = clustered_interval(hits, totals)
        found.append(low <= truth <= high)
    return np.mean(found)


@pytest.mark.parametrize(("share", "packets"), [(0.01, 4), (0.05, 4), (0.05, 30), (0.5, 1)])
def test_independent_losses(share, packets):
    def draw(rng):
        return rng.binomial(packets, share, 600), np.full(600, packets)

    assert covered(draw, share) >= 0.98


def test_losses_in_bursts_on_a_simulated_link():
    """Twelve packets a frame, twenty of which are lost in a row: Wilson's interval alone would be far too narrow."""
    link = Link(rate_bps=1e8, loss=0.05, loss_burst=20.0)
    frames = Workload(20.0, 600, frame_bytes=17_000)
    naive = []

    def draw(rng):
        sent = simulate(link, frames, "udp", rng)
        low, high = wilson_interval(sent.lost_packet_rate, int(sent.packets.sum()), 0.99)
        naive.append(low <= 0.05 <= high)
        return sent.lost_packets, sent.packets

    assert covered(draw, 0.05, 200) >= 0.965
    assert np.mean(naive) < 0.7


def test_few_or_no_losses():
    nothing = np.zeros(100, dtype=int)
    assert clustered_interval(nothing, nothing + 5)[0] == 0
    assert 0.005 < clustered_interval(nothing, nothing + 5)[1] < 0.03
    assert clustered_interval(nothing + 5, nothing + 5)[1] == 1
    assert clustered_interval(nothing[:1], nothing[:1] + 5) == (0.0, 1.0)
    assert clustered_interval(nothing, nothing) == (0.0, 1.0)
    assert [block_frames(count) for count in (1, 100, 600, 10_000)] == [1, 5, 12, 50]


def test_two_shares_that_are_the_same_are_seldom_told_apart():
    rng = np.random.default_rng(0)
    pairs = rng.binomial([90, 120], 0.9, (2000, 2)) / [90, 120]
    same = [newcombe_same(a, wilson_interval(a, 90, 0.99), b, wilson_interval(b, 120, 0.99)) for a, b in pairs.tolist()]
    assert np.mean(same) == pytest.approx(0.99, abs=0.008)
    apart = 0.6, wilson_interval(0.6, 90, 0.99), 0.9, wilson_interval(0.9, 120, 0.99)
    assert not newcombe_same(*apart)
    assert not newcombe_same(*apart[2:], *apart[:2])


def test_the_distance_has_a_tolerance():
    values = np.random.default_rng(0).normal(0.02, 0.001, 1000)
    assert tolerant_distance(values, values + 2e-4) == 0
    assert tolerant_distance(values, values * 1.049) == 0
    assert tolerant_distance(values, values + 0.01) == 1
    assert tolerant_distance(values, values + 0.01) == tolerant_distance(values + 0.01, values)
    half = np.concatenate([values[:500], values[500:] + 1])
    assert tolerant_distance(values, half) == pytest.approx(0.5, abs=0.01)
