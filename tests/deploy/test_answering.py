"""One outcome a frame, nothing beneath the privacy floor, and the deadline kept wherever the device can."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from itertools import product
from math import inf, isfinite, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitimpera.core.errors import PlanError
from splitimpera.deploy.answering import Action, AnsweredBy, Answering, Known, Mode
from splitimpera.deploy.breaker import Circuit

WELL = Known(
    now_s=10.0,
    deadline_s=10.1,
    device_s=0.04,
    remote_s=0.02,
    circuit=Circuit.CLOSED,
    outage=False,
    cut_depth=3,
)
CAN = {Mode.PREFER_DEVICE, Mode.PREFER_SERVER, Mode.DEVICE_ONLY}


@dataclass(frozen=True)
class World:
    """What really happens.

    Attributes:
        answer_s: How long after the beginning the server answers; infinite: never.
        failure_s: The same of its word that it will not; whichever comes first.
        late_s: How late timers are.
    """

    answer_s: float = inf
    failure_s: float = inf
    late_s: float = 0.0
    device_fails: bool = False


def played(answering, known, world):
    """A frame in that world: the frame, when the device began with it (None: never), and how often it ended."""
    frame = answering.begin(known)
    events, began_s, outcomes = [], None, []
    free_s = known.now_s + (known.head_s if frame.sends else 0.0)
    takes_s = known.device_s if not frame.sends or known.rest_s is None else known.rest_s

    def start(now_s):
        nonlocal began_s
        assert began_s is None
        began_s = max(now_s, free_s)
        heapq.heappush(events, (began_s + takes_s, "device"))

    def note():
        if frame.answered_by is not None and (not outcomes or outcomes[-1] is not frame.answered_by):
            outcomes.append(frame.answered_by)

    note()
    if frame.sends:
        heapq.heappush(
            events, min((known.now_s + world.answer_s, "answer"), (known.now_s + world.failure_s, "failure"))
        )
    if frame.computes:
        start(known.now_s)
    while True:
        wake = (frame.wake_s + world.late_s, "wake")
        now_s, event = heapq.heappop(events) if events and events[0] <= wake else wake
        if now_s == inf:
            return frame, began_s, outcomes
        if event == "wake":
            if frame.passed(now_s):
                start(now_s)
            assert frame.wake_s > now_s  # it does not wait for what has passed
        elif event == "answer":
            frame.server_answered(now_s)
        elif event == "failure" and frame.server_failed(now_s):
            start(now_s)
        elif event == "device" and world.device_fails:
            frame.device_failed(now_s)
        elif event == "device":
            frame.device_answered(now_s)
        note()


def promises_hold(answering, known, world, had_last):
    frame, began_s, outcomes = played(answering, known, world)
    mode, left_s = answering.mode, known.deadline_s - known.now_s
    server_ends = isfinite(min(world.answer_s, world.failure_s)) or isfinite(known.deadline_s)
    device_ends = frame.computes and not world.device_fails
    if server_ends or device_ends or not frame.sends:
        assert len(outcomes) == 1
    else:
        assert outcomes == []  # nothing ever came, and there is no deadline; the client's own timeout ends it
        return
    by, on_time = frame.answered_by, frame.answered_s <= known.deadline_s
    if frame.sends:
        assert mode is not Mode.DEVICE_ONLY
        assert known.cut_depth is not None
        assert known.cut_depth >= answering.floor
        assert known.circuit is not None
        assert not known.outage
        assert left_s > 0
    else:
        assert by is not AnsweredBy.SERVER
    if mode is Mode.SERVER_ONLY:
        assert began_s is None
    if by in (AnsweredBy.SERVER, AnsweredBy.DEVICE):
        assert on_time
    if mode in CAN and known.device_s is not None and known.device_s <= left_s and not world.device_fails:
        assert by in (AnsweredBy.SERVER, AnsweredBy.DEVICE), (frame.action, world)
    if by in (AnsweredBy.STALE, AnsweredBy.NONE):
        assert (by is AnsweredBy.STALE) == had_last
    # what is begun is not begun in vain
    if began_s is not None and not world.device_fails:
        takes_s = known.rest_s if frame.sends and known.rest_s is not None else known.device_s
        assert began_s + takes_s <= known.deadline_s + world.late_s
    assert frame.reason


@pytest.mark.slow
def test_every_small_case():
    """Times in 64ths of a second, which add up exactly."""
    unit = 1 / 64
    cases = product(
        Mode,
        [False, True],  # hedge
        [0, 2],  # floor
        [None, 0, 1, 2],  # cut depth
        [None, Circuit.HALF_OPEN, Circuit.CLOSED],
        [False, True],  # outage
        [None, 2, 4, 5],  # device
        [None, 3, 9],  # remote
        [(0, None), (1, None), (1, 3)],  # head, rest
        [0, 4, inf],  # time left
        [False, True],  # there is a last answer
    )
    worlds = [World(1 * unit), World(4 * unit), World(failure_s=0.0), World(failure_s=3 * unit), World()]
    worlds += [World(5 * unit, device_fails=True), World(2 * unit, late_s=unit / 4)]
    count = 0
    for mode, hedge, floor, depth, circuit, outage, device, remote, (head, rest), left, last in cases:
        answering = Answering(mode, floor, hedge, spare_s=unit / 4)
        known = Known(
            64.0,
            64.0 + left * unit,
            None if device is None else device * unit,
            None if remote is None else remote * unit,
            circuit,
            outage,
            depth,
            head * unit,
            None if rest is None else rest * unit,
        )
        for world in worlds:
            answering._last_s = 63.0 if last else -inf
            promises_hold(answering, known, world, last)
            count += 1
    assert count == 4 * 2 * 2 * 4 * 3 * 2 * 4 * 3 * 3 * 3 * 2 * len(worlds)


TIMES = st.integers(0, 40).map(lambda units: units / 64)
NEVER = TIMES | st.just(inf)


@pytest.mark.slow
@given(
    st.sampled_from(Mode),
    st.booleans(),
    st.integers(0, 4),
    st.builds(
        Known,
        now_s=st.just(64.0),
        deadline_s=NEVER.map(lambda left_s: 64.0 + left_s),
        device_s=st.none() | TIMES,
        remote_s=st.none() | TIMES,
        circuit=st.sampled_from([None, *Circuit]).filter(lambda one: one is not Circuit.OPEN),
        outage=st.booleans(),
        cut_depth=st.none() | st.integers(0, 5),
        head_s=TIMES,
        rest_s=st.none() | TIMES,
    ),
    st.builds(World, NEVER, NEVER, st.sampled_from([0.0, 1 / 128, 1 / 64]), st.booleans()),
    st.booleans(),
)
@settings(max_examples=1000)
def test_whatever_is_known_and_happens(mode, hedge, floor, known, world, last):
    answering = Answering(mode, floor, hedge, spare_s=1 / 64)
    if last:
        answering.answered(63.0)
    promises_hold(answering, known, world, last)


# Single stories -------------------------------------------------------------------------------------------------------


def begun(mode=Mode.PREFER_SERVER, hedge=False, floor=0, **differs):
    frame = Answering(mode, floor, hedge).begin(replace(WELL, **differs))
    return frame.action, frame.latest_s


@pytest.mark.parametrize(
    ("mode", "differs", "action"),
    [
        (Mode.PREFER_DEVICE, {}, Action.COMPUTE),
        (Mode.PREFER_DEVICE, {"device_s": 0.2}, Action.SEND),
        (Mode.PREFER_DEVICE, {"device_s": None, "outage": True}, Action.NONE),
        (Mode.PREFER_SERVER, {}, Action.SEND),
        (Mode.PREFER_SERVER, {"device_s": None}, Action.SEND),
        (Mode.PREFER_SERVER, {"circuit": None}, Action.COMPUTE),
        (Mode.PREFER_SERVER, {"outage": True}, Action.COMPUTE),
        (Mode.PREFER_SERVER, {"cut_depth": None}, Action.COMPUTE),
        (Mode.PREFER_SERVER, {"circuit": Circuit.HALF_OPEN}, Action.BOTH),
        (Mode.PREFER_SERVER, {"head_s": 0.07}, Action.COMPUTE),
        (Mode.PREFER_SERVER, {"head_s": 0.07, "every_s": 0.05}, Action.COMPUTE),
        (Mode.PREFER_SERVER, {"head_s": 0.07, "every_s": 0.03}, Action.SEND),
        (Mode.PREFER_SERVER, {"head_s": 0.07, "every_s": 0.03, "remote_s": 0.05}, Action.COMPUTE),
        (Mode.PREFER_SERVER, {"head_s": 0.07, "every_s": 0.03, "remote_s": None}, Action.COMPUTE),
        (Mode.PREFER_SERVER, {"head_s": 0.03, "rest_s": 0.01}, Action.SEND),
        (Mode.DEVICE_ONLY, {}, Action.COMPUTE),
        (Mode.DEVICE_ONLY, {"device_s": 0.2}, Action.NONE),
        (Mode.SERVER_ONLY, {}, Action.SEND),
        (Mode.SERVER_ONLY, {"circuit": Circuit.HALF_OPEN}, Action.SEND),
        (Mode.SERVER_ONLY, {"circuit": None}, Action.NONE),
    ],
)
def test_what_a_frame_begins_with(mode, differs, action):
    assert begun(mode, **differs)[0] is action


def test_hedging_begins_here_only_where_the_estimate_passes_the_time_left():
    assert begun(hedge=True, remote_s=0.09)[0] is Action.SEND
    assert begun(hedge=True, remote_s=0.11) == (Action.BOTH, None)
    assert begun(hedge=True, remote_s=None)[0] is Action.SEND
    action, latest_s = begun(hedge=False, remote_s=0.11)
    assert action is Action.SEND
    assert latest_s == pytest.approx(10.058)


def test_the_server_is_waited_for_until_the_device_has_to_begin():
    frame = Answering(Mode.PREFER_SERVER).begin(WELL)
    assert frame.wake_s == frame.latest_s == pytest.approx(10.1 - 0.04 - 0.002)
    assert not frame.passed(10.05)
    assert frame.passed(frame.latest_s)
    assert not frame.passed(frame.wake_s - 0.01)
    frame.server_answered(10.09)  # it came after all, before the device was through
    assert (frame.answered_by, frame.answered_s) == (AnsweredBy.SERVER, 10.09)
    frame.device_answered(10.098)
    assert frame.answered_by is AnsweredBy.SERVER
    assert frame.wake_s == inf


def test_a_timer_that_is_far_too_late_begins_nothing_in_vain():
    frame = Answering(Mode.PREFER_SERVER).begin(WELL)
    assert not frame.passed(10.07)
    assert frame.wake_s == 10.1
    frame.server_answered(10.09)
    assert frame.answered_by is AnsweredBy.SERVER


def test_a_refusal_lets_the_device_begin_at_once():
    frame = Answering(Mode.PREFER_SERVER).begin(WELL)
    assert frame.server_failed(10.01)
    assert not frame.server_failed(10.01)
    frame.device_answered(10.05)
    assert (frame.answered_by, frame.answered_s) == (AnsweredBy.DEVICE, 10.05)


def test_a_device_that_fails_leaves_the_frame_to_the_server():
    frame = Answering(Mode.PREFER_SERVER, hedge=True).begin(replace(WELL, remote_s=1.0))
    assert frame.action is Action.BOTH
    frame.device_failed(10.03)
    frame.device_answered(10.04)  # nothing that has failed answers
    assert frame.answered_by is None
    frame.server_answered(10.1)
    assert frame.answered_by is AnsweredBy.SERVER


def test_a_frame_that_both_fail_on_has_its_outcome_at_once():
    for first_device in (True, False):
        frame = Answering(Mode.PREFER_SERVER, hedge=True).begin(replace(WELL, remote_s=1.0))
        frame.device_failed(10.01) if first_device else frame.server_failed(10.01)
        assert frame.answered_by is None
        frame.server_failed(10.02) if first_device else frame.device_failed(10.02)
        assert (frame.answered_by, frame.answered_s) == (AnsweredBy.NONE, 10.02)


def test_a_late_answer_is_the_last_one_of_frames_to_come():
    answering = Answering(Mode.SERVER_ONLY, stale_s=0.5)
    first = answering.begin(WELL)
    assert not first.passed(10.1)
    assert first.answered_by is AnsweredBy.NONE
    first.server_answered(10.2)
    assert first.answered_by is AnsweredBy.NONE
    out = replace(WELL, outage=True)
    assert answering.begin(replace(out, now_s=10.4, deadline_s=10.5)).answered_by is AnsweredBy.STALE
    assert answering.begin(replace(out, now_s=10.5, deadline_s=10.6)).answered_by is AnsweredBy.NONE  # too old
    answering.answered(10.3)
    answering.answered(10.1)  # of an earlier frame, later
    assert answering.begin(replace(out, now_s=10.7, deadline_s=10.8)).answered_by is AnsweredBy.STALE
    never = Answering(Mode.SERVER_ONLY, stale_s=0.0)
    never.answered(10.0)
    assert never.begin(out).answered_by is AnsweredBy.NONE


def test_an_answer_after_the_deadline_is_none_even_where_no_timer_struck():
    frame = Answering(Mode.SERVER_ONLY).begin(WELL)
    frame.server_answered(10.1001)
    assert frame.answered_by is AnsweredBy.NONE


def test_an_answer_of_a_server_that_was_not_asked_is_no_answer():
    frame = Answering(Mode.DEVICE_ONLY).begin(WELL)
    frame.server_answered(10.01)
    assert frame.answered_by is None
    asked = Answering(Mode.SERVER_ONLY).begin(WELL)
    asked.device_answered(10.01)
    assert asked.answered_by is None


@pytest.mark.parametrize("mode", Mode)
def test_no_mode_sends_what_lies_before_the_floor(mode):
    for device_s in (None, 0.01, 1.0):
        frame = Answering(mode, floor=4).begin(replace(WELL, device_s=device_s))
        assert not frame.sends
    if mode is not Mode.DEVICE_ONLY:
        assert Answering(mode, floor=3).begin(replace(WELL, device_s=None)).sends


def test_modes_are_held_to_the_plans():
    Answering(Mode.SERVER_ONLY, floor=3).check([None, 0, 3], device_can=False)
    Answering(Mode.PREFER_SERVER, floor=9).check([None, 0, 3], device_can=True)
    Answering(Mode.DEVICE_ONLY).check([None], device_can=True)
    with pytest.raises(PlanError, match=r"^mode: server-only answers no frame: no plan sends after 4 layers or more; "):
        Answering(Mode.SERVER_ONLY, floor=4).check([None, 0, 3], device_can=True)
    with pytest.raises(
        PlanError, match=r"^mode: device-only answers no frame: the device cannot run the whole network"
    ):
        Answering(Mode.DEVICE_ONLY).check([0, 3], device_can=False)
    with pytest.raises(
        PlanError, match=r"no plan sends after 4 .* and the device cannot run the whole network; export"
    ):
        Answering(Mode.PREFER_DEVICE, floor=4).check([0, 3], device_can=False)


@pytest.mark.parametrize("wrong", [{"floor": -1}, {"stale_s": nan}, {"spare_s": inf}])
def test_values_that_are_none_are_refused(wrong):
    with pytest.raises(PlanError, match="expected 0"):
        Answering(Mode.PREFER_SERVER, **wrong)
