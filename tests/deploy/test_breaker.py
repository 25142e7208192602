"""When a circuit opens, waits, tries and closes, on exact times."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitimpera.core.errors import LinkError
from splitimpera.deploy.breaker import Breaker, Circuit, CircuitRules

RULES = CircuitRules(failures=3, share=0.5, window=10, first_wait_s=0.2, longest_wait_s=1.0, probe_s=0.5, successes=2)


def made(rules=RULES, seed=0):
    changes = []
    return Breaker(rules, np.random.default_rng(seed), changes.append), changes


def fail(breaker, now_s, times=1, **asked):
    for _ in range(times):
        attempt = breaker.begin(now_s)
        assert attempt is not None
        breaker.failed(attempt, now_s, "no answer", **asked)


def succeed(breaker, now_s, times=1):
    for _ in range(times):
        attempt = breaker.begin(now_s)
        assert attempt is not None
        breaker.succeeded(attempt, now_s)


def opened(seed=0):
    breaker, changes = made(seed=seed)
    fail(breaker, 0.0, 3)
    return breaker, changes


def test_answers_to_pings_close_a_circuit_while_a_probe_is_on_its_way():
    breaker = Breaker(CircuitRules(failures=1, successes=2, first_wait_s=0.1), np.random.default_rng(0))
    breaker.failed(breaker.begin(0.0), 0.0, "no answer")
    breaker.alive(0.01)  # nobody asked: the next probe may go at once
    assert breaker.circuit is not Circuit.CLOSED
    probe = breaker.begin(0.2)
    breaker.alive(0.21)
    breaker.alive(0.22)
    assert breaker.circuit is Circuit.CLOSED
    breaker.failed(probe, 0.3, "the probe was lost")  # it began before
    assert breaker.circuit is Circuit.CLOSED


def test_a_circuit_is_tripped_at_once():
    breaker = Breaker(CircuitRules(), np.random.default_rng(0))
    breaker.trip(1.0, "nothing came")
    assert breaker.circuit is Circuit.OPEN
    assert breaker.begin(1.0) is None


def test_failures_in_a_row_open_it():
    breaker, changes = made()
    fail(breaker, 0.0, 2)
    succeed(breaker, 0.1)
    fail(breaker, 0.2, 2)
    assert breaker.circuit is Circuit.CLOSED
    fail(breaker, 0.3)
    assert breaker.circuit is Circuit.OPEN
    assert [(one.now_s, one.before, one.after) for one in changes] == [(0.3, Circuit.CLOSED, Circuit.OPEN)]
    assert changes[0].reason == "3 failures in a row, the last: no answer"


def test_a_share_of_failures_opens_it():
    breaker, changes = made()
    for place in range(5):
        assert breaker.circuit is Circuit.CLOSED
        succeed(breaker, place)
        fail(breaker, place + 0.5)
    assert breaker.circuit is Circuit.OPEN
    assert changes[0].reason == "5 of 10 frames failed, the last: no answer"


def test_fewer_failures_than_the_share_do_not():
    breaker, changes = made()
    for place in range(100):
        succeed(breaker, place, 3)
        fail(breaker, place, 2)
    assert changes == []


def test_nothing_goes_while_it_is_open():
    breaker, changes = opened()
    wait_s = changes[0].wait_s
    assert 0 < wait_s <= 0.2
    assert breaker.allows(wait_s * 0.999) is breaker.begin(wait_s * 0.999) is None
    assert breaker.circuit is Circuit.OPEN
    assert breaker.allows(wait_s) is Circuit.HALF_OPEN
    assert breaker.circuit is Circuit.OPEN  # asking changes nothing
    assert breaker.begin(wait_s) is not None
    assert breaker.circuit is Circuit.HALF_OPEN


def test_probes_go_one_by_one_and_close_it():
    breaker, changes = opened()
    first = breaker.begin(1.0)
    assert breaker.begin(1.1) is None
    breaker.succeeded(first, 1.2)
    assert breaker.circuit is Circuit.HALF_OPEN
    second = breaker.begin(1.2)
    breaker.succeeded(second, 1.3)
    assert breaker.circuit is Circuit.CLOSED
    assert breaker.since_s == 1.3
    assert changes[-1].reason == "2 probes succeeded"
    fail(breaker, 1.4, 2)
    assert breaker.circuit is Circuit.CLOSED  # what was before does not count


def test_a_probe_that_fails_opens_it_again():
    breaker, changes = opened()
    succeed(breaker, 1.0)
    fail(breaker, 1.1)
    assert breaker.circuit is Circuit.OPEN
    assert changes[-1].reason == "a probe failed: no answer"
    assert breaker.allows(1.1) is None
    succeed(breaker, 3.0)
    assert breaker.circuit is Circuit.HALF_OPEN  # the probe before the failure does not count


def test_a_probe_of_which_nothing_is_told_fails():
    breaker, changes = opened()
    forgotten = breaker.begin(1.0)
    assert breaker.begin(1.499) is None
    assert breaker.circuit is Circuit.HALF_OPEN
    breaker.allows(1.5)
    assert breaker.circuit is Circuit.OPEN
    assert changes[-1].reason == "a probe failed: nothing was told of it"
    breaker.failed(forgotten, 1.6, "too late to matter")
    assert len(changes) == 3


def waits_s(seed, times):
    """The waits of a server that never answers."""
    breaker, changes = opened(seed)
    now_s = 0.0
    for _ in range(times - 1):
        now_s += changes[-1].wait_s
        fail(breaker, now_s)
    return [change.wait_s for change in changes if change.after is Circuit.OPEN]


def test_waits_are_drawn_between_nothing_and_a_bound_that_doubles_up_to_a_limit():
    waits = np.array([waits_s(seed, 6) for seed in range(400)])
    bounds = np.array([0.2, 0.4, 0.8, 1.0, 1.0, 1.0])
    assert (waits >= 0).all()
    assert (waits <= bounds).all()
    # uniform: the mean of 400 lies within four standard errors of the middle
    assert waits.mean(axis=0) / bounds == pytest.approx(np.full(6, 0.5), abs=4 * 12**-0.5 / 20)


def test_the_bound_starts_anew_after_it_closed():
    breaker, changes = opened()
    for now_s in (10.0, 20.0, 30.0):
        fail(breaker, now_s)
    succeed(breaker, 40.0, 2)
    for seed_draws in range(50):
        fail(breaker, 50.0 + 10 * seed_draws, 3)
        assert changes[-1].wait_s <= 0.2
        succeed(breaker, 55.0 + 10 * seed_draws, 2)


def test_same_seed_same_waits():
    assert waits_s(1, 5) == waits_s(1, 5) != waits_s(2, 5)


def test_what_is_told_of_earlier_frames_says_nothing_of_a_probe():
    breaker, changes = made()
    early = [breaker.begin(0.0) for _ in range(6)]
    for attempt in early[:3]:
        breaker.failed(attempt, 0.1, "no answer")
    breaker.begin(1.0)
    breaker.failed(early[3], 1.1, "no answer")
    breaker.succeeded(early[4], 1.1)
    breaker.succeeded(early[5], 1.1)
    assert breaker.circuit is Circuit.HALF_OPEN
    assert len(changes) == 2


def test_an_answer_while_it_is_open_lets_a_probe_go_at_once():
    breaker, changes = made()
    early = breaker.begin(0.0)
    fail(breaker, 0.0, 3)
    now_s = changes[0].wait_s / 2
    assert breaker.allows(now_s) is None
    breaker.succeeded(early, now_s)
    assert breaker.allows(now_s) is Circuit.HALF_OPEN


def test_a_server_that_asks_to_be_left_alone_is():
    breaker, changes = made()
    early = breaker.begin(0.0)
    fail(breaker, 0.0, wait_s=5.0)
    assert breaker.circuit is Circuit.OPEN
    assert changes[0].reason == "no answer, and asked to wait for 5 s"
    assert 5.0 <= changes[0].wait_s <= 5.2
    breaker.succeeded(early, 1.0)  # others of its answers do not shorten that
    assert breaker.allows(4.999) is None
    assert breaker.allows(5.2) is Circuit.HALF_OPEN


@pytest.mark.parametrize(
    ("given_", "where"),
    [
        ({"failures": 0}, "failures"),
        ({"window": 0}, "window"),
        ({"successes": 0}, "successes"),
        ({"share": 0.0}, "share"),
        ({"share": 1.1}, "share"),
        ({"probe_s": float("nan")}, "probe_s"),
        ({"longest_wait_s": float("inf")}, "longest_wait_s"),
        ({"first_wait_s": 2.0}, "first_wait_s"),
    ],
)
def test_rules_that_make_no_breaker_are_refused(given_, where):
    with pytest.raises(LinkError, match=f"^{where}: "):
        dataclasses.replace(RULES, **given_)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "succeeded", "failed", "asked", "forget"]),
        st.sampled_from([0.0, 0.01, 0.1, 0.3, 0.5, 2.0]),
        st.integers(0, 5),
    ),
    max_size=80,
)
STEPS = {
    (Circuit.CLOSED, Circuit.OPEN),
    (Circuit.OPEN, Circuit.HALF_OPEN),
    (Circuit.HALF_OPEN, Circuit.OPEN),
    (Circuit.HALF_OPEN, Circuit.CLOSED),
}


@given(EVENTS, st.integers(0, 1000))
def test_whatever_happens_its_changes_are_a_walk_and_a_server_that_is_well_again_is_used(events, seed):
    breaker, changes = made(seed=seed)
    now_s, attempts, closed_until_s = 0.0, [], 0.0
    for event, step_s, which in events:
        now_s += step_s
        if event == "begin":
            attempt = breaker.begin(now_s)
            if breaker.circuit is Circuit.OPEN:
                assert attempt is None
            if attempt is not None:
                assert now_s >= closed_until_s
                attempts.append(attempt)
        elif attempts and event == "forget":
            attempts.pop(which % len(attempts))
        elif attempts and event == "succeeded":
            breaker.succeeded(attempts.pop(which % len(attempts)), now_s)
        elif attempts:
            before = len(changes)
            asked_s = 0.7 if event == "asked" else 0.0
            breaker.failed(attempts.pop(which % len(attempts)), now_s, "no answer", asked_s)
            if len(changes) > before and asked_s and "asked" in changes[-1].reason:
                closed_until_s = now_s + asked_s
    for one, after in pairwise(changes):
        assert one.after is after.before
        assert one.now_s <= after.now_s
    assert all((one.before, one.after) in STEPS and one.reason for one in changes)
    # from now on every frame is answered within 10 ms
    until_s = max(now_s, closed_until_s) + RULES.longest_wait_s + RULES.probe_s + RULES.longest_wait_s + 0.1
    while breaker.circuit is not Circuit.CLOSED:
        attempt = breaker.begin(now_s)
        now_s += 0.01
        if attempt is not None:
            breaker.succeeded(attempt, now_s)
        assert now_s <= until_s
