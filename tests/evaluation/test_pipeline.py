"""Queues as stories with exact times, and against theory."""

from __future__ import annotations

import numpy as np
import pytest

from splitimpera.evaluation.pipeline import serve

NAN = np.nan


def left(arrivals, service, **options):
    return serve(np.array(arrivals, dtype=float), service, **options)


def test_first_come_first_served():
    np.testing.assert_allclose(left([0.0, 1.0, 1.5, 9.0], [2.0]), [2.0, 4.0, 6.0, 11.0])
    np.testing.assert_allclose(left([5.0, 0.0], [1.0]), [6.0, 1.0])


def test_a_frame_that_never_comes_delays_none():
    np.testing.assert_allclose(left([0.0, NAN, 1.0], [2.0]), [2.0, NAN, 4.0])


def test_the_newest_is_dropped_where_the_queue_is_full():
    # 0 is served until 4; 1 waits; 2 and 3 find no room; 5 waits again
    arrivals = [0.0, 1.0, 2.0, 3.0, 5.0]
    np.testing.assert_allclose(left(arrivals, [4.0], policy="drop-newest"), [4.0, 8.0, NAN, NAN, 12.0])


def test_the_oldest_is_dropped_where_the_queue_is_full():
    arrivals = [0.0, 1.0, 2.0, 3.0, 5.0]
    np.testing.assert_allclose(left(arrivals, [4.0], policy="drop-oldest"), [4.0, NAN, NAN, 8.0, 12.0])
    np.testing.assert_allclose(
        left(arrivals, [4.0], policy="drop-oldest", waiting_frames=2), [4.0, NAN, 8.0, 12.0, 16.0]
    )


def test_a_frame_that_comes_as_the_stage_gets_free_is_not_dropped():
    np.testing.assert_allclose(left([0.0, 2.0, 4.0], [2.0], policy="drop-newest"), [2.0, 4.0, 6.0])


@pytest.mark.parametrize("policy", ["drop-newest", "drop-oldest"])
def test_nobody_overtakes_a_frame_that_waits(policy):
    """The last one comes just as the first is done: it is the other's turn."""
    np.testing.assert_allclose(left([0.0, 1.0, 2.0], [2.0], policy=policy), [2.0, 4.0, 6.0])


def test_a_free_stage_takes_all_that_wait_together():
    # alone until 3; then those of 1 and 2 together, 4 s for two; the last one alone
    arrivals = [0.0, 1.0, 2.0, 4.0]
    np.testing.assert_allclose(left(arrivals, [3.0, 4.0]), [3.0, 7.0, 7.0, 10.0])
    np.testing.assert_allclose(left([0.0] * 5, [3.0, 4.0]), [4.0, 4.0, 8.0, 8.0, 11.0])


def test_nothing_waits_at_even_intervals_below_saturation():
    """D/D/1: with a service below the interval every frame takes the service alone, above it the queue grows evenly."""
    arrivals = np.arange(1000) * 0.1
    np.testing.assert_allclose(serve(arrivals, [0.0999]) - arrivals, 0.0999)
    np.testing.assert_allclose(serve(arrivals, [0.11]) - arrivals, 0.11 + 0.01 * np.arange(1000))


@pytest.mark.parametrize("load", [0.3, 0.6, 0.9])
def test_random_arrivals_wait_as_long_as_pollaczek_and_khinchine_say(load):
    """M/D/1: mean wait = load service / (2 (1 - load))."""
    rng = np.random.default_rng(1)
    waits = []
    for _ in range(20):
        arrivals = np.cumsum(rng.exponential(1 / load, 50_000))
        waits.append(np.mean(serve(arrivals, [1.0]) - arrivals - 1))
    expected = load / (2 * (1 - load))
    error = np.std(waits) / np.sqrt(len(waits))
    assert abs(np.mean(waits) - expected) < 4 * error
    assert error < 0.05 * expected


@pytest.mark.parametrize("policy", ["drop-newest", "drop-oldest"])
def test_a_full_queue_drops_as_many_as_the_loss_system_says(policy):
    """M/D/1 with room for one frame in service and one waiting.

    Of the embedded chain at departures with a = exp(-load): P(0 left behind) = a; the share that is served is
    1 / (load + a), by the mean cycle between departures. Which one is dropped does not matter for how many.
    """
    load, rng = 0.8, np.random.default_rng(2)
    served = []
    for _ in range(10):
        arrivals = np.cumsum(rng.exponential(1 / load, 20_000))
        served.append(np.isfinite(serve(arrivals, [1.0], policy)).mean())
    a = np.exp(-load)
    assert np.mean(served) == pytest.approx(1 / (load + a), abs=4 * np.std(served) / np.sqrt(len(served)))
