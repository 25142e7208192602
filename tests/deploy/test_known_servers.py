"""Which server of several the frames go to, on exact times."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitimpera.core.errors import LinkError
from splitimpera.deploy.breaker import Circuit, CircuitRules
from splitimpera.deploy.servers import Servers

NEAR, FAR, LAST = ("near", 7433), ("far", 7433), ("last", 7433)
RULES = CircuitRules(failures=2, successes=2, probe_s=0.5)


def made(*addresses, seed=0):
    changes, circuits = [], []
    servers = Servers(
        addresses or (NEAR, FAR, LAST),
        RULES,
        np.random.default_rng(seed),
        well_s=5.0,
        check_s=1.0,
        told=changes.append,
        circuit_told=lambda address, change: circuits.append((address, change.after)),
    )
    return servers, changes, circuits


def ask(server, now_s, well):
    attempt = server.begin(now_s)
    if attempt is not None and well:
        server.succeeded(attempt, now_s)
    elif attempt is not None:
        server.failed(attempt, now_s, "no answer")


def run(servers, up, from_s, until_s, step_s=0.1):
    """Frames and health checks at servers of which `up(place, now_s)` answer at once; says which had each frame."""
    had = []
    for step in range(round((until_s - from_s) / step_s)):
        now_s = from_s + step * step_s
        server = servers.use(now_s)
        had.append(None if server is None else server.address)
        for one in [*([] if server is None else [server]), *servers.due(now_s)]:
            ask(one, now_s, up(one.place, now_s))
    return had


def always(place, now_s):
    return True


def but_the_first(place, now_s):
    return place > 0


def test_the_preferred_one_is_used_as_long_as_it_is_well():
    servers, changes, _ = made()
    assert set(run(servers, always, 0.0, 20.0)) == {NEAR}
    assert changes == []


def test_the_next_one_takes_over_at_once():
    servers, changes, circuits = made()
    had = run(servers, but_the_first, 0.0, 3.0)
    assert had[:2] == [NEAR, NEAR]
    assert set(had[2:]) == {FAR}
    (change,) = changes
    assert (change.before, change.after) == (NEAR, FAR)
    assert change.reason == "the circuit to near:7433 is open: no answer"
    assert circuits[0] == (NEAR, Circuit.OPEN)
    assert servers.all[0].health is not None
    assert not servers.all[0].health.well


def test_there_is_a_way_back_after_a_while():
    servers, changes, circuits = made()
    had = run(servers, lambda place, now_s: place > 0 or now_s >= 3.0, 0.0, 20.0)
    closed = circuits.index((NEAR, Circuit.CLOSED))
    assert closed > 0
    back_s = 0.1 * (len(had) - had[::-1].index(FAR))
    well_s = servers.all[0].health.since_s
    assert 3.0 <= well_s < 3.0 + RULES.longest_wait_s + 0.1
    assert well_s + 5.0 <= back_s < well_s + 5.2
    assert had[-1] == NEAR
    assert changes[-1].reason == "it is preferred and has been well for 5 s"


def test_one_that_comes_and_goes_does_not_take_the_frames_along():
    servers, changes, _ = made()
    had = run(servers, lambda place, now_s: place > 0 or now_s % 4.0 < 2.5, 3.0, 60.0)
    assert len(changes) == 1
    assert set(had[5:]) == {FAR}


def test_nobody_goes_back_to_one_of_which_nothing_was_heard():
    servers, _, _ = made()
    run(servers, lambda place, now_s: place > 0 or now_s >= 0.5, 0.0, 3.0)
    assert servers.all[0].breaker.circuit is Circuit.CLOSED
    for now_s in np.arange(3.0, 30.0, 0.1):  # no health checks
        assert servers.use(now_s).address == FAR
        ask(servers.all[1], now_s, True)


def test_of_servers_that_are_out_the_first_that_takes_a_probe_is_tried():
    servers, changes, _ = made(NEAR, FAR)
    for server in servers.all:
        ask(server, 0.0, False)
        ask(server, 0.0, False)
    now_s = 0.0
    assert servers.use(now_s) is None
    assert changes[-1].after is None
    trial = servers.use(2.0)
    assert trial is servers.all[0]
    assert servers.used is None
    attempt = trial.begin(2.0)
    assert servers.use(2.1) is servers.all[1]  # one probe at a time
    trial.succeeded(attempt, 2.1)
    ask(trial, 2.1, True)
    assert servers.use(2.2) is servers.used is servers.all[0]
    assert (changes[-1].before, changes[-1].reason) == (None, "none was well")


def test_those_not_in_use_are_asked_now_and_then():
    servers, _, _ = made()
    asked = []
    for step in range(100):
        for server in servers.due(step / 10):
            asked.append((server.address, step))
            ask(server, step / 10, True)
    assert asked == [(address, step) for step in range(0, 100, 10) for address in (FAR, LAST)]


@pytest.mark.parametrize(
    ("addresses", "more", "told"),
    [
        ([], {}, "servers: no server is in the list; "),
        ([NEAR, FAR, NEAR], {}, "servers: 'near:7433' is in the list twice; "),
        ([NEAR], {"well_s": 0.0}, "well_s: expected a time above 0 s, got 0.0"),
        ([NEAR], {"check_s": float("inf")}, "check_s: expected a time above 0 s, got inf"),
    ],
)
def test_lists_that_are_none_are_refused(addresses, more, told):
    with pytest.raises(LinkError, match=told):
        Servers(addresses, RULES, np.random.default_rng(0), **more)


@given(
    st.lists(st.lists(st.floats(0.05, 8.0), min_size=1, max_size=8), min_size=1, max_size=4),
    st.integers(0, 1000),
)
def test_however_servers_come_and_go(spans_s, seed):
    """Each is up and down in turns, the last of it up for good."""
    ends_s = [np.cumsum(spans) for spans in spans_s]

    def up(place, now_s):
        ended = int(np.searchsorted(ends_s[place], now_s, side="right"))
        return (len(ends_s[place]) - ended) % 2 == 0

    addresses = [(f"server {place}", 7433) for place in range(len(spans_s))]
    servers, changes, _ = made(*addresses, seed=seed)
    calm_s = max(float(ends[-1]) for ends in ends_s)
    run(servers, up, 0.0, calm_s)
    # a server is left for a preferred one only where that has been well for a while, and else where it is not well
    for change in changes:
        preferred = change.before and change.after and addresses.index(change.after) < addresses.index(change.before)
        assert change.before != change.after
        assert (
            change.before is None
            or "is open" in change.reason
            or "is half-open" in change.reason
            or (preferred and "well for 5 s" in change.reason)
        )
    had = run(servers, up, calm_s, calm_s + 10.0)
    # all are well: within a wait and two probes there is one to use, and after `well_s` it is the first
    assert None not in had[round(RULES.longest_wait_s / 0.1) + 3 :]
    assert set(had[80:]) == {addresses[0]}
