"""What chance touches, and when a difference of two plans is more than that: exact cases by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from qos.test_choice import discordant, evaluated

from splitimpera.evaluation.chance import Chance, Draws

RIGHT = np.ones((2, 4))
NAN = math.nan


def with_latency(*runs, name="a"):
    """A plan that is always right, by the latencies of its frames, a row a seed."""
    return evaluated(name, RIGHT[: len(runs)], np.array(runs))


def test_the_interval_of_an_interpolated_percentile_holds_it():
    """Blocks of two frames, one of 1 s and one of 2 s: the median of every draw is 1 s, that of the frames 1.5 s."""
    draws = Draws(with_latency([1.0, 2.0, 1.0, 2.0], [2.0, 1.0, 2.0, 1.0]))
    assert draws.values["latency_p50"] == 1.5
    assert set(draws.of("latency_p50")) == {1.0}
    assert draws.intervals()["latency_p50"] == (1.0, 1.5)


def test_what_is_the_same_with_every_seed_is_no_matter_of_chance():
    """Frames without a latency included, where they are the same ones."""
    same = evaluated("a", RIGHT, np.array([[0.1, NAN, 0.3]] * 2), of_replications={"fps": np.array([30.0, 30.0])})
    draws = Draws(same)
    assert draws.of("latency_p95") is None
    assert draws.of("fps") is None
    assert draws.interval("latency_p95") == (same.metrics()["latency_p95"],) * 2
    other = evaluated("b", RIGHT, np.array([[0.1, NAN, 0.3], [0.1, 0.2, 0.3]]), of_replications={"fps": [30.0, 31.0]})
    assert Draws(other).of("latency_p95") is not None
    assert set(Draws(other).of("fps")) == {30.0, 30.5, 31.0}


def test_each_percentile_has_draws_of_its_own():
    rng = np.random.default_rng(0)
    draws = Draws(with_latency(*rng.random((2, 400))))
    medians = [float(np.median(draws.of(f"latency_p{share}"))) for share in (50, 95, 99)]
    np.testing.assert_allclose(medians, [0.5, 0.95, 0.99], atol=0.03)
    assert medians[1] + 0.02 < medians[2] <= draws.of("latency_max").max()


def test_only_answers_that_are_right_or_wrong_are_tested_as_such():
    """McNemar's test counts samples; means over replications, errors of elements and parts of an answer do not."""
    plan = evaluated("a", RIGHT)
    np.testing.assert_array_equal(Draws(plan).outcomes("accuracy"), np.ones(4))
    assert Draws(plan).outcomes("latency_p95") is None
    for change in ((1, 0, 0, 0.0), (slice(None), 0, 0, 0.5), (slice(None), 0, 1, 2.0)):
        plan = evaluated("a", RIGHT)
        *place, value = change
        plan.contributions[tuple(place)] = value
        assert Draws(plan).outcomes("accuracy") is None


@pytest.mark.parametrize(("only_one", "tied"), [(5, True), (6, False)])
def test_six_more_right_answers_are_no_chance(only_one, tied):
    """Of n samples that only one of two gets right, all the same one with probability 2 / 2**n: 6.25 %, 3.1 %."""
    first, second = discordant(100, 80, only_one, 0)
    found = Chance([evaluated("a", first), evaluated("b", second)]).difference("accuracy", 0, 1)
    assert found.chance
    assert found.tied is tied
    assert found.value == pytest.approx(only_one / 100)


def test_a_difference_whose_interval_begins_at_zero_is_chance():
    """One picture of one seed: more than a third of the draws leave it out, no draw turns it."""
    worse = np.ones((3, 20))
    worse[0, 0] = 0
    found = Chance([evaluated("a", np.ones((3, 20))), evaluated("b", worse)]).difference("accuracy", 0, 1)
    assert found.interval[0] == 0 < found.interval[1]
    assert found.tied


def test_the_tolerance_is_a_share_of_the_limit_or_of_the_larger_value():
    plans = [evaluated("a", RIGHT, payload=4.0), evaluated("b", RIGHT, payload=3.0)]
    for chance, tied in ((Chance(plans, 0.25), True), (Chance(plans, 0.24), False)):
        assert chance.tied("payload_bytes", 0, 1) is tied
        assert chance.tied("payload_bytes", 1, 0) is tied
        assert chance.tied("payload_bytes", 0, 1, limit=5.0)
        assert not chance.tied("payload_bytes", 0, 1, limit=3.0)


def test_what_is_infinite_for_both_differs_by_nothing():
    """Some draws take but the seed in which no frame is answered; there neither plan is better."""
    one, other = (with_latency([late, late], [NAN, NAN], name=name) for name, late in (("a", 0.02), ("b", 0.01)))
    found = Chance([one, other]).difference("latency_mean", 0, 1)
    assert found.interval == (0.0, pytest.approx(0.01))
    assert found.tied
    never = Chance([with_latency([NAN, NAN], name=name) for name in "ab"]).difference("latency_mean", 0, 1)
    assert (never.value, never.interval, never.chance, never.tied) == (0.0, (0.0, 0.0), False, True)
