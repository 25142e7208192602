"""Loss patterns in rounds: as many as an accuracy needs, and what its interval says then."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from beds import TIMES, known_bed, plan, run

import splitimpera as sei
from splitimpera.core.statistics import contribution_draws, ends, wilson_interval
from splitimpera.evaluation.rounds import wanted
from splitimpera.evaluation.run import evaluate_all
from splitimpera.models.datasets import Samples
from splitimpera.tasks.classification import RightClass

QUALITY = RightClass()


def numbers(right):
    return np.stack([right, np.ones_like(right)], axis=-1).astype(float)


def estimated(patterns, intact, rng, most=40):
    """Rounds of patterns drawn at random until they are enough: the share of right ones, and its 95 % interval."""
    samples = np.arange(len(intact))
    found, enough = [], 1
    while len(found) < min(enough, most):
        draws = rng.integers(patterns.shape[1], size=(enough - len(found), len(samples)))
        found += [numbers(patterns[samples, drawn]) for drawn in draws]
        enough = wanted(np.stack(found), numbers(intact))
    contributions = np.stack(found)
    value = QUALITY.value(contributions.mean(0).sum(0))
    if len(found) == 1:
        return value, wilson_interval(value, len(samples)), 1
    return value, ends(contribution_draws(contributions, QUALITY.value)), len(found)


@pytest.mark.slow
@pytest.mark.parametrize("fragile", [0.02, 0.1, 0.4])
def test_the_interval_covers_what_it_says_where_all_patterns_are_known(fragile):
    """A population whose every pattern is known: 2000 runs of 300 samples each, drawn with their patterns."""
    rng = np.random.default_rng(1)
    population, patterns = 20_000, 50
    intact = rng.random(population) < 0.85
    # some samples are right under some patterns and wrong under others
    chance = np.where(rng.random(population) < fragile, rng.random(population), 0.0)
    flips = rng.random((population, patterns)) < chance[:, None]
    outcomes = intact[:, None] ^ flips
    truth = outcomes.mean()
    values, covered, rounds = [], 0, []
    for _ in range(2000):
        chosen = rng.integers(population, size=300)
        value, (low, high), count = estimated(outcomes[chosen], intact[chosen], rng)
        values.append(value)
        covered += low <= truth <= high
        rounds.append(count)
    assert 0.93 <= covered / 2000 <= 0.97
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert abs(np.mean(values) - truth) < 3 * error
    assert (np.mean(rounds) > 1.5) == (fragile > 0.02)


def test_more_patterns_are_wanted_where_they_matter():
    intact = np.arange(200) % 5 > 0
    assert wanted(numbers(intact)[None], numbers(intact)) == 1
    few = intact.copy()
    few[3] = not few[3]
    assert wanted(numbers(few)[None], numbers(intact)) == 1
    rng = np.random.default_rng(0)
    noisy = np.stack([numbers(intact ^ (rng.random(200) < 0.3)) for _ in range(2)])
    assert wanted(noisy[:1], numbers(intact)) == 2  # at most twice as many, for it may be less than that
    assert wanted(noisy, numbers(intact)) == 4
    same = np.stack([noisy[0]] * 2)  # what differs from the intact, and always alike, is no chance
    assert wanted(same, numbers(intact)) == 2


def test_a_few_rounds_say_what_all_patterns_say():
    bed = known_bed()
    seen = bed.data.validation
    half = Samples(seen.inputs, torch.where(torch.arange(20) % 2 > 0, seen.labels, (seen.labels + 1) % 10))
    bed = sei.Testbed(bed.graph, replace(bed.data, validation=half), bed.workload)
    lossy, rngs = plan(1, loss=0.03, mtu_bytes=300), {"p": np.random.default_rng(0)}
    whole = run(bed, lossy, replications=4)
    (found,) = evaluate_all([lossy], bed, TIMES, rngs, replications=4, most_patterns=1000)
    evaluation = found.evaluation
    assert 1 <= evaluation.loss_patterns < 50  # of 4 * 1000 / 20
    assert evaluation.contributions.shape == (evaluation.loss_patterns, 20, 2)
    assert whole.loss_patterns is None
    low, high = evaluation.quality_ci
    assert low <= whole.quality <= high
    np.testing.assert_array_equal(evaluation.latency_s, whole.latency_s)
    assert evaluation.lost_packet_rate == whole.lost_packet_rate
    once = evaluate_all([lossy], bed, TIMES, rngs, most_patterns=1)[0].evaluation
    assert once.loss_patterns == 1
    assert set(np.unique(once.contributions)) <= {0.0, 1.0}


def test_no_more_patterns_are_evaluated_once_the_verdict_is_settled():
    bed, asked = known_bed(), []

    def settled(which, interval):
        asked.append((which.id, interval))
        return True

    lossy = plan(1, loss=0.4, mtu_bytes=120)
    rngs = {"p": np.random.default_rng(0)}
    one = evaluate_all([lossy], bed, TIMES, rngs, most_patterns=1000, settled=settled)[0].evaluation
    assert one.loss_patterns == 1
    assert asked == [("p", QUALITY.interval(one.contributions[0]))]
