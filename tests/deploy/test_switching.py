"""From plan to plan: no flapping, whatever is proposed and however the link comes and goes."""

from __future__ import annotations

from itertools import pairwise
from math import inf, nan

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from splitimpera.core.errors import PlanError
from splitimpera.deploy.switching import Cause, Proposal, Switching

PLANS = ("local", "early", "late", "all")


def made(first="early", local="local", **more):
    changes = []
    return Switching(PLANS, first, local, told=changes.append, **more), changes


def causes(changes):
    return [change.cause for change in changes]


def test_a_proposal_that_gains_enough_is_followed():
    plans, changes = made(margin=0.02)
    assert plans.next(0.0, Proposal("late", 0.02)) == "early"
    assert plans.next(0.1, Proposal("late", nan)) == "early"
    assert plans.next(0.2, Proposal("late", 0.03, "5 Mbit/s")) == "late"
    (change,) = changes
    assert (change.now_s, change.before, change.after) == (0.2, "early", "late")
    assert change.reason == "gains 0.03: 5 Mbit/s"


def test_a_plan_stays_for_a_while():
    plans, _ = made()
    assert plans.next(0.0, Proposal("late", 1.0)) == "late"
    assert plans.next(0.999, Proposal("all", 1.0)) == "late"
    assert plans.next(1.0, Proposal("all", 1.0)) == "all"


def test_the_plan_itself_may_be_proposed():
    plans, changes = made()
    assert plans.next(0.0, Proposal("early", 1.0)) == "early"
    assert changes == []


def test_an_adversary_gets_one_switch_a_second_and_not_less():
    plans, changes = made()
    for step in range(10_000):
        plans.next(step / 1000, Proposal("late" if plans.chosen == "early" else "early", inf))
    assert len(changes) == 10


def test_falling_back_is_at_once_and_no_switch():
    plans, changes = made()
    assert plans.next(0.0, Proposal("late", 1.0)) == "late"
    assert plans.next(0.1, cut_off="nothing for 2 s") == "local"
    assert plans.next(0.2) == "late"
    assert plans.next(1.0, Proposal("all", 1.0)) == "all"  # the stay is counted from the switch
    assert causes(changes) == [Cause.SWITCH, Cause.FALLBACK, Cause.RETURN, Cause.SWITCH]
    assert changes[1].reason == "nothing for 2 s"


def test_a_link_that_comes_and_goes_leaves_the_frames_on_the_device():
    plans, changes = made()
    used = [plans.next(step / 100, cut_off="open" if step % 2 else None) for step in range(1000)]
    assert causes(changes).count(Cause.RETURN) <= 10
    assert used.count("local") > 980
    assert all(plan == "local" for plan in used[1::2])


def test_without_a_local_plan_none_is_left_and_the_return_is_at_once():
    plans, changes = made(local=None)
    used = [plans.next(step / 100, cut_off="open" if step % 2 else None) for step in range(6)]
    assert used == ["early", None, "early", None, "early", None]
    assert changes[0].after is None


def test_proposals_are_passed_over_while_the_server_is_out_of_reach():
    plans, changes = made()
    plans.next(0.0, Proposal("all", 1.0), cut_off="open")
    assert plans.chosen == "early"
    assert plans.next(0.5, Proposal("all", 1.0)) == "all"
    assert causes(changes) == [Cause.FALLBACK, Cause.RETURN, Cause.SWITCH]


def test_nothing_is_recorded_where_the_local_plan_was_chosen_anyway():
    plans, changes = made(first="local")
    assert plans.next(0.0, cut_off="open") == plans.next(0.1) == "local"
    assert changes == []


def test_a_pin_is_obeyed_until_it_is_taken_away():
    plans, changes = made()
    plans.next(0.0, Proposal("late", 1.0))
    plans.pin("all", 0.1)
    assert plans.next(5.0, Proposal("early", 1.0)) == "all"
    assert plans.next(6.0, cut_off="open") == "local"
    assert plans.next(7.0) == "all"
    plans.pin("late", 7.0)
    assert plans.used == "late"
    plans.unpin()
    assert plans.next(8.0, Proposal("early", 1.0)) == "early"
    assert causes(changes) == [Cause.SWITCH, Cause.PIN, Cause.FALLBACK, Cause.RETURN, Cause.PIN, Cause.SWITCH]


def test_a_switch_stays_away_from_a_pin():
    plans, _ = made()
    plans.pin("all", 0.0)
    plans.unpin()
    assert plans.next(0.9, Proposal("early", 1.0)) == "all"
    assert plans.next(1.0, Proposal("early", 1.0)) == "early"


@pytest.mark.parametrize("first", ["early", "local"])
def test_a_pin_out_of_reach_is_used_from_the_return_on(first):
    plans, changes = made(first)
    plans.next(0.0, cut_off="open")
    plans.pin("all", 0.1)
    assert plans.used == plans.next(0.2, cut_off="open") == "local"
    assert plans.next(0.3) == "all"
    assert causes(changes)[-1] is Cause.RETURN


def test_plans_that_may_not_be_used_are_refused():
    with pytest.raises(PlanError, match=r"^first: expected one of the plans local, early, late, all, got 'raw'; "):
        Switching(PLANS, "raw")
    with pytest.raises(PlanError, match=r"^local: "):
        Switching(PLANS, "early", "raw")
    plans, _ = made()
    with pytest.raises(PlanError, match=r"^policy: "):
        plans.next(0.0, Proposal("raw", inf))
    with pytest.raises(PlanError, match=r"^pin: "):
        plans.pin("raw", 0.0)
    assert not plans.pinned
    with pytest.raises(PlanError, match=r"^margin: expected 0 or more, got nan"):
        made(margin=nan)
    with pytest.raises(PlanError, match=r"^least_stay_s: "):
        made(least_stay_s=-1.0)


STEPS_S = st.sampled_from([0.0, 1e-3, 0.02, 0.1, 0.25, 0.333, 0.999, 1.0, 1.5])
CALLS = st.lists(
    st.tuples(
        STEPS_S,
        st.none() | st.builds(Proposal, st.sampled_from(PLANS), st.sampled_from([-1.0, 0.0, 0.01, 0.02, inf])),
        st.sampled_from([None, None, "open"]),
    ),
    max_size=120,
)


@given(CALLS, st.sampled_from(PLANS), st.sampled_from([None, "local"]), st.floats(0, 1e6))
@example([(0.1, Proposal(plan, inf), None) for plan in PLANS * 20], "early", "local", 0.0)
def test_whatever_is_proposed_there_is_one_switch_a_second(calls, first, local, now_s):
    plans, changes = made(first, local)
    reached_s = None
    for step_s, proposal, cut_off in calls:
        now_s += step_s
        before = plans.chosen
        used = plans.next(now_s, proposal, cut_off)
        assert used == plans.used
        if cut_off:
            reached_s = None
            assert used == local
            assert plans.chosen == before
        else:
            reached_s = now_s if reached_s is None else reached_s
            assert used == plans.chosen or (used == local and now_s - reached_s < 1.0)
    for cause in (Cause.SWITCH, Cause.RETURN)[: 1 if local is None else 2]:
        times_s = [change.now_s for change in changes if change.cause is cause]
        assert all(after - one >= 1.0 for one, after in pairwise(times_s))
    walk = [first, *(change.after for change in changes)]
    assert [change.before for change in changes] == walk[:-1]
    assert walk[-1] == plans.used
    assert all(change.before != change.after and change.reason for change in changes)
