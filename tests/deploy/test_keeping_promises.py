"""Servers, plans and answers together, through outages of a simulated link, with a clock that is injected."""

from __future__ import annotations

import heapq
from itertools import count, pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from splitimpera.deploy.answering import AnsweredBy, Answering, Known, Mode
from splitimpera.deploy.breaker import Circuit, CircuitRules
from splitimpera.deploy.servers import Servers
from splitimpera.deploy.switching import Cause, Proposal, Switching

PERIOD_S, DEADLINE_S, DEVICE_S, ROUND_TRIP_S, TIMEOUT_S = 0.05, 0.1, 0.04, 0.03, 0.25
DEPTHS = {"local": None, "early": 2, "late": 5}


def ignored(now_s):
    pass


def run(out, until_s, device_s=DEVICE_S, seed=0):
    """Frames through a link that is out in some spans: nothing that is sent, or would come, within one arrives.

    Returns:
        the frames with when each began, and the changes of the plan.
    """
    changes, frames, events, order = [], [], [], count()
    rng = np.random.default_rng(seed)
    servers = Servers([("one", 1)], CircuitRules(), rng)
    local = None if device_s is None else "local"
    plans = Switching([plan for plan in DEPTHS if plan != "local" or local], "early", local, told=changes.append)
    answering = Answering(Mode.PREFER_SERVER, floor=1)

    def at(time_s, what):
        heapq.heappush(events, (time_s, next(order), what))

    def down(time_s):
        return any(begin_s <= time_s < end_s for begin_s, end_s in out)

    def ask(server, now_s, came=ignored, lost=ignored):
        attempt = server.begin(now_s)
        if attempt is None:
            return

        def answered(now_s):
            server.succeeded(attempt, now_s)
            came(now_s)

        def silent(now_s):
            server.failed(attempt, now_s, "no answer")
            lost(now_s)

        if down(now_s) or down(now_s + ROUND_TRIP_S):
            at(now_s + TIMEOUT_S, silent)
        else:
            at(now_s + ROUND_TRIP_S, answered)

    def begin(now_s):
        for server in servers.due(now_s):
            ask(server, now_s)
        server = servers.use(now_s)
        allowed = None if server is None else server.breaker.allows(now_s)
        cut_off = None if allowed is Circuit.CLOSED else "the circuit is open"
        other = "late" if plans.chosen == "early" else "early"
        plan = plans.next(now_s, Proposal(other, 1.0), cut_off)
        depth = None if plan is None else DEPTHS[plan]
        frame = answering.begin(Known(now_s, now_s + DEADLINE_S, device_s, ROUND_TRIP_S, allowed, False, depth))
        frames.append((now_s, frame))

        def compute(now_s):
            at(now_s + device_s, frame.device_answered)

        def lost(now_s):
            if frame.server_failed(now_s):
                compute(now_s)

        def wake(now_s):
            if frame.passed(now_s):
                compute(now_s)
            if frame.answered_by is None:
                at(max(frame.wake_s, now_s), wake)

        if frame.sends:
            ask(server, now_s, frame.server_answered, lost)
        if frame.computes:
            compute(now_s)
        if frame.answered_by is None:
            at(frame.wake_s, wake)

    for number in range(round(until_s / PERIOD_S)):
        at(number * PERIOD_S, begin)
    while events:
        now_s, _, what = heapq.heappop(events)
        what(now_s)
    return frames, changes


def by(frames, from_s, until_s):
    return [frame.answered_by for begun_s, frame in frames if from_s <= begun_s < until_s]


def test_an_outage_of_three_seconds():
    recovered_s = []
    for seed in range(100):
        frames, changes = run([(2.0, 5.0)], 10.0, seed=seed)
        assert set(by(frames, 0.0, 1.9)) == {AnsweredBy.SERVER}
        assert set(by(frames, 2.0, 5.0)) == {AnsweredBy.DEVICE}
        assert AnsweredBy.STALE not in by(frames, 0.0, 10.0)
        back = [change.now_s for change in changes if change.cause is Cause.RETURN]
        assert len(back) == 1
        recovered_s.append(back[0] - 5.0)
    # a probe that was lost just before, the longest wait, and the probes after it, each begun with a frame
    rules = CircuitRules()
    assert max(recovered_s) <= TIMEOUT_S + rules.longest_wait_s + (rules.successes + 1) * PERIOD_S < 2.0


def test_a_device_that_cannot_gives_the_last_answer_once_more():
    frames, _ = run([(2.0, 5.0)], 10.0, device_s=None)
    assert set(by(frames, 2.0, 5.0)) == {AnsweredBy.STALE}
    assert set(by(frames, 7.0, 10.0)) == {AnsweredBy.SERVER}
    frames, _ = run([(0.0, 5.0)], 6.0, device_s=None)
    assert set(by(frames, 0.0, 4.9)) == {AnsweredBy.NONE}


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0.01, 3)), max_size=8), st.integers(0, 100))
@settings(max_examples=30)
def test_however_the_link_comes_and_goes(spans, seed):
    out = [(begin_s, begin_s + long_s) for begin_s, long_s in spans]
    frames, changes = run(out, 16.0, seed=seed)
    for begun_s, frame in frames:
        assert frame.answered_by in (AnsweredBy.SERVER, AnsweredBy.DEVICE)
        assert frame.answered_s <= begun_s + DEADLINE_S
    for cause in (Cause.SWITCH, Cause.RETURN):
        times_s = [change.now_s for change in changes if change.cause is cause]
        assert all(after - before >= 1.0 for before, after in pairwise(times_s))
    calm_s = max([end_s for _, end_s in out], default=0.0) + 2.0
    assert set(by(frames, calm_s, 16.0)) <= {AnsweredBy.SERVER}
    if calm_s < 15.0:
        assert by(frames, calm_s, 16.0) != []
