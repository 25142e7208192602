"""A change is found where it was made, and none where there is none, whatever the noise."""

from __future__ import annotations

import numpy as np
import pytest

from splitimpera.verification.departures import Departure, departures, highest, own_spread, threshold

CHANCE = 0.001


def spans(beyond, chance=CHANCE, **odds):
    return departures(np.asarray(beyond), threshold(len(beyond), chance), **odds)


def test_frames_as_expected_raise_no_more_false_alarms_than_promised():
    rng = np.random.default_rng(0)
    raised = sum(bool(spans(run, 0.05)) for run in rng.random((2000, 300)) < 0.25)
    assert raised <= 0.05 * 2000  # a bound that holds for any length, so that far fewer are found
    assert sum(bool(spans(run)) for run in rng.random((2000, 300)) < 0.25) <= 2


@pytest.mark.parametrize("change", [0, 1, 40, 500, 900])
def test_a_change_is_found_where_it_was_made(change):
    rng = np.random.default_rng(change)
    off = []
    for _ in range(50):
        share = np.where(np.arange(1000) < change, 0.1, 0.9)
        (one,) = spans(rng.random(1000) < share)
        assert one.end is None
        off.append(one.start - change)
    assert abs(np.median(off)) <= 1
    assert np.percentile(np.abs(off), 90) <= 8


def test_what_is_over_has_an_end_and_may_come_again():
    beyond = np.zeros(400, dtype=bool)
    beyond[50:120] = beyond[300:400] = True
    assert spans(beyond) == [Departure(50, 120), Departure(300, None)]


def test_few_frames_are_no_change():
    beyond = np.zeros(600, dtype=bool)
    beyond[100:110] = beyond[-8:] = True
    assert spans(beyond) == []
    assert spans([]) == spans([True]) == []


def test_a_rare_thing_that_becomes_less_rare_is_found():
    rng = np.random.default_rng(3)
    share = np.where(np.arange(2000) < 800, 0.02, 0.15)
    (one,) = spans(rng.random(2000) < share, usual=0.02, often=0.09)
    assert one.end is None
    assert abs(one.start - 800) < 60


def test_the_highest_sum_is_that_of_the_longest_run():
    beyond = np.array([True, False, True, True, True, False, True])
    assert highest(beyond) == pytest.approx(3 * np.log(3))
    assert highest(np.zeros(5, dtype=bool)) == 0
    assert departures(beyond, highest(beyond)) == [Departure(2, None)]
    assert departures(beyond, highest(beyond) + 1e-9) == []


def test_the_spread_of_frames_does_not_see_a_change_in_level():
    rng = np.random.default_rng(4)
    noise = rng.lognormal(0, 0.1, 1000)
    changed = noise * np.where(np.arange(1000) < 470, 1, 3)
    np.testing.assert_allclose(own_spread(changed), own_spread(noise), rtol=0.03)
    assert own_spread(np.zeros(100)) == (1.0, 1.0)
