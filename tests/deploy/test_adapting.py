"""By which plan frames are run: by a made-up policy, from estimates that are made up or come of a small link."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from splitimpera.core.errors import PlanError
from splitimpera.deploy.adapting import Adapting
from splitimpera.deploy.belief import Belief, LinkBelief, delay_beliefs, rate_beliefs, share_belief
from splitimpera.deploy.link_estimate import LinkEstimate
from splitimpera.deploy.messages import Response, Status
from splitimpera.deploy.recent_values import Estimate
from splitimpera.deploy.silence import Outage
from splitimpera.deploy.switching import Cause
from splitimpera.records.policy import Policy, PolicyPlan

RATES = [1e5, 3e5, 1e6, 3e6, 1e7]
SIZES = {"large": 20_000, "small": 1_000, "local": 0}


def policy(rates=RATES, losses=(), **values):
    """Without arguments: "large" is best from 1 Mbit/s on, "small" down to 0.1, and the device by itself is poor."""
    values = values or {"large": [0, 0, 0.9, 0.9, 0.9], "small": [0.7] * 5, "local": [0.2] * 5}
    about = {"cut": 1, "codec": "uint8", "bottleneck": 0.0, "transport": "udp"}
    of_local = dict.fromkeys(("cut", "codec", "transport"))
    plans = [
        PolicyPlan(id=name, values=each, errors=[0.0] * len(each), configuration="SC", **about)
        if name != "local"
        else PolicyPlan(id=name, values=each, errors=[0.0] * len(each), configuration="LC", **(about | of_local))
        for name, each in values.items()
    ]
    best = [int(np.argmax(column)) for column in np.array([*values.values()]).T]
    cells = len(best)
    return Policy(  # the cells of a rate, all losses, come one after another
        name="made up",
        objective="on_time_accuracy",
        prior="even",
        rates_bps=list(rates),
        delays_s=[],
        losses=list(losses),
        weights=[1 / cells] * cells,
        plans=plans,
        chosen=best,
        expected=0.5,
        of_all=0.5,
        bound=0.5,
    )


class Told:
    """An estimate that says what it is told to."""

    def __init__(self, rate=None, spread=0.0, count=50.0, at_least=False):
        self.rate, self.spread, self.count, self.at_least = rate, spread, count, at_least
        self.late, self.cut, self.least_round_trip_s = 0, None, 0.03
        self.queued, self.answer = 0.0, None
        self.lone = self

    def goodput(self, now_s):
        high = inf if self.at_least else self.rate
        age_s = inf if self.at_least else 0.0
        return None if self.rate is None else Estimate(self.rate, self.rate, high, age_s, self.count)

    def net_quantile(self, share, now_s):
        return inf if self.at_least else self.rate * np.exp(self.spread * (share - 0.5))

    def way_quantile(self, share, now_s):
        return 0.03

    def loss(self, now_s):
        return None

    def overdue(self, now_s):
        return self.late, 1e5

    def outage(self, now_s):
        return self.cut

    def queued_s(self, now_s):
        return self.queued

    def answer_s(self, size, now_s, share=0.5):
        return self.answer

    def sent(self, *what):
        self.size = what[1]

    def answered(self, *what): ...


def made(told, **more):
    changes = []
    return Adapting(policy(), SIZES, told, told=changes.append, **more), changes


@pytest.mark.parametrize(("rate", "plan"), [(2e5, "small"), (4e6, "large")])
def test_the_plan_follows_the_rate(rate, plan):
    adapting, _ = made(Told(rate))
    assert adapting.next(0.0).plan == plan


def test_where_nothing_is_known_the_prior_decides():
    adapting, changes = made(Told())
    choice = adapting.next(0.0)
    assert (adapting.switching.chosen, changes) == ("small", [])
    assert choice.reason.startswith("rate unknown") or choice.trial


def test_a_rate_that_is_often_low_is_none_to_rely_on():
    adapting, _ = made(Told(1.1e6))
    assert adapting.next(0.0).plan == "large"
    adapting, _ = made(Told(1.1e6, spread=4.0))
    assert adapting.next(0.0).plan == "small"


def test_frames_that_should_be_answered_speak_before_their_answers():
    told = Told(4e6)
    adapting, _ = made(told)
    assert adapting.next(0.0).plan == "large"
    told.late = 30
    assert adapting.next(1.0).plan == "small"


def test_what_the_plan_in_use_was_seen_to_be_worth_counts():
    told = Told(4e6)
    adapting, _ = made(told)
    assert adapting.next(0.0).plan == "large"
    for frame in range(10):
        adapting.sent(frame, 20_000, 14, 1.0 + frame / 20, 0.1)
        adapting.answered(frame, Response(Status.OK), 1.05 + frame / 20)
    told.rate = 2e5
    assert adapting.next(1.6).plan == "large"
    assert adapting.next(3.0).plan == "small"


def test_losses_that_the_latest_frames_did_not_meet_are_believed_of_no_plan():
    told = Told(4e6)
    told.loss = lambda _: Estimate(0.0, 0.0, 0.4, 0.0, 5)  # nothing of a few packets: it may be a tenth
    values = {"small": [0.7, 0.0] * 5, "large": [0, 0] * 2 + [0.9, 0.0] * 3}
    adapting = Adapting(policy(losses=[0.0, 0.1], **values), SIZES, told, first="small")
    adapting.switching.pin("small", 0.0)
    for frame in range(10):
        adapting.next(1.0 + frame / 20)
        adapting.sent(frame, 1_000, 1, 1.0 + frame / 20, 0.1)
        adapting.answered(frame, Response(Status.OK), 1.05 + frame / 20)
    adapting.switching.unpin()
    assert adapting.next(1.6).plan == "large"
    told.rate = 2e5
    assert adapting.next(3.0).plan == "small"


def test_an_outage_and_an_open_circuit_go_to_the_device_at_once():
    told = Told(4e6)
    adapting, changes = made(told)
    assert adapting.next(0.0).plan == "large"
    told.cut = Outage(-0.7)
    assert adapting.next(0.1).plan == "local"
    told.cut = None
    assert adapting.next(0.2).plan == "large"
    assert adapting.next(1.5, cut_off="the circuit is open").plan == "local"
    assert [change.cause for change in changes] == [Cause.SWITCH, Cause.FALLBACK, Cause.RETURN, Cause.FALLBACK]
    assert "nothing came for 0.8 s" in changes[1].reason


def test_a_trial_is_made_where_it_could_show_a_better_plan_and_is_paid_for():
    told = Told(1e5, at_least=True)
    adapting, _ = made(told)
    choices = [adapting.next(step / 20) for step in range(1000)]
    trials = [choice for choice in choices if choice.trial]
    assert trials
    assert {choice.plan for choice in trials} == {"large"}
    assert len(trials) * 20_000 <= 2000 * 50  # bytes in 50 s
    assert {choice.plan for choice in choices if not choice.trial} == {"small"}


def test_beside_a_trial_the_device_computes_where_its_plan_is_chosen():
    values = {"large": [0, 0, 0.9, 0.9, 0.9], "local": [0.8] * 5}
    told = Told(1e5, at_least=True)
    adapting = Adapting(policy(**values), {"large": 2_000, "local": 0}, told, first="local")
    told.rate = None
    trials = [choice for step in range(200) if (choice := adapting.next(step / 50)).trial]
    assert trials
    assert all((choice.plan, choice.beside) == ("large", "local") for choice in trials)


def test_no_trials_while_an_operator_holds_the_plan_or_the_rate_is_known():
    for told, pin in ((Told(1e5, at_least=True), True), (Told(2e5), False)):
        adapting, _ = made(told)
        if pin:
            adapting.switching.pin("small", 0.0)
        assert not any(adapting.next(step / 10).trial for step in range(200))


def test_a_frame_that_a_queue_makes_late_is_held_back_and_counts_as_late():
    told = Told(4e6)
    adapting, _ = made(told)
    told.answer = 0.2
    assert adapting.worth_sending(1000, 0.1, 0.0)  # no queue: it says what the link is like
    told.queued = 0.05
    assert not adapting.worth_sending(1000, 0.1, 0.0)
    assert adapting.worth_sending(1000, 0.3, 0.0)
    assert adapting.worth_sending(1000, inf, 0.0)


def test_the_estimate_is_told_sizes_with_headers():
    told = Told(4e6)
    adapting, _ = made(told, header_bytes=50)
    adapting.sent(0, 20_000, 14, 0.0)
    assert told.size == 20_000 + 14 * 50


def test_pings_stay_within_the_budget():
    adapting, _ = made(Told(4e6))
    pings = sum(adapting.ping_due(step / 1000) for step in range(10_000))
    assert 10 <= pings <= 2000 * 10 / 80


def test_plans_that_the_policy_does_not_have_are_an_error():
    with pytest.raises(PlanError, match="none of the plans other"):
        Adapting(policy(), {"other": 5}, LinkEstimate("udp"))
    with pytest.raises(PlanError, match="first"):
        Adapting(policy(), {"small": 5}, LinkEstimate("udp"), first="large")


# What is believed -----------------------------------------------------------------------------------------------------


def shares(*beliefs):
    return LinkBelief(beliefs, (), None).shares(policy())


def test_a_certain_rate_is_one_cell_and_none_is_the_prior():
    assert shares(Belief(1e6)).tolist() == [0, 0, 1, 0, 0]
    assert shares() == pytest.approx([0.2] * 5)


def test_at_least_leaves_the_prior_above():
    assert shares(Belief(1e6, 0.0, True)) == pytest.approx([0, 0, 1 / 3, 1 / 3, 1 / 3])


def test_beliefs_count_by_weight_and_add_up_to_one():
    found = shares(Belief(1e5, weight=3.0), Belief(1e7))
    assert found == pytest.approx([0.75, 0, 0, 0, 0.25])
    assert shares(Belief(5e5, 2.0), Belief(2e6, 0.4, True)).sum() == pytest.approx(1.0)


def test_what_is_old_is_believed_less():
    fresh, old = shares(Belief(1e6, 0.2)), shares(Belief(1e6, 0.2).grown(20.0))
    assert fresh[2] > 0.9 > old[2]


def test_of_a_link_nothing_is_believed_at_first_and_tcp_loses_nothing():
    link = LinkEstimate("tcp")
    assert rate_beliefs(link, 0.0) == delay_beliefs(link, 0.0) == ()
    assert share_belief(link.loss(0.0)) == Belief(0.0)
