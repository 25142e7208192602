"""How long requests wait for tokens at other rates and delays of the link."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np
import pytest

from splitimpera.evaluation.token_timeline import TokenTimeline
from splitimpera.net.budget import WorkError
from splitimpera.qos.recommendation import recommend
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.outcome import Evaluation
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.requirement import parse_requirement
from splitimpera.records.token_outcome import TokenOutcome
from splitimpera.records.token_times import TokenTimes
from splitimpera.records.token_workload import Lengths, TokenWorkload
from splitimpera.records.traffic import Workload
from splitimpera.studies.token_sweep import FACTORS, SHORTEST_S, token_curves, token_plans

BOARD, SERVER = Device("board"), Device("server")
LINK = Link("radio", rate_bps=1e6, delay_s=0.02)
WORKLOAD = Workload(0.05, 10, tokens=TokenWorkload(Lengths(20), Lengths(10), 64))
TIMES = (
    TokenTimes(prefill=((1, 0.01), (101, 0.11)), decode=((0, 0.01),), how="estimated"),
    TokenTimes(prefill=((1, 0.001), (101, 0.011)), decode=((0, 0.001),), how="estimated"),
)
LC = Plan("LC", (BOARD,))


def over(link=LINK, cut=3):
    return Plan(f"{'SC' if cut else 'RC'}{cut}", (BOARD, SERVER), (Hop(cut, "float16", "tcp", link),))


def simulated(plan, workload):
    """The real timeline, of a split that sends 256 bytes a token."""
    line = TokenTimeline(plan, workload, TIMES[: len(plan.devices)], 256.0, [np.random.default_rng(0)])
    return Evaluation(plan, 0.9, (0.8, 1.0), line.latency_s, stable=line.stable, tokens=line.tokens)


@pytest.fixture(scope="module")
def curves():
    return token_curves([over(), LC, over(cut=0)], WORKLOAD, simulated)


def test_each_plan_has_a_curve_over_rate_and_one_over_delay(curves):
    found = [(curve.parameter, curve.plan.id, curve.now) for curve in curves]
    plans = ["SC3", "LC", "RC0"]
    assert found == [*(("rate", name, 1e6) for name in plans), *(("delay", name, 0.02) for name in plans)]
    assert curves[0].values == tuple(1e6 * factor for factor in FACTORS)
    assert curves[3].values == tuple(0.02 * factor for factor in FACTORS)


def test_a_split_pays_each_round_trip_and_the_others_do_not(curves):
    split, alone, whole = (np.array(curve.metrics["tpot"]) for curve in curves[3:])
    delays_s = np.array(curves[3].values)
    assert split - split[0] == pytest.approx(2 * (delays_s - delays_s[0]), rel=0.02)
    assert np.ptp(alone) == 0
    assert alone[0] == pytest.approx(0.01)
    assert whole == pytest.approx(0.001, rel=0.05)  # it streams
    waits_s = np.array(curves[5].metrics["ttft"])
    assert (np.diff(waits_s) > 2 * np.diff(delays_s) - 1e-9).all()


def test_more_rate_never_makes_anybody_wait_longer(curves):
    for curve in curves[:3]:
        for waits_s in curve.metrics.values():
            assert (np.diff(waits_s) <= 1e-12).all()
    assert curves[0].metrics["ttft"][0] > 2 * curves[0].metrics["ttft"][-1]


def test_a_plan_without_a_link_is_tried_once():
    tried = []

    def trial(plan, workload):
        tried.append(plan.id)
        return simulated(plan, workload)

    token_curves([over(), LC], WORKLOAD, trial)
    assert tried.count("LC") == 2
    assert tried.count("SC3") == 2 * len(FACTORS)


def outcome(plan, stable=True, tpot_s=0.02):
    tokens = TokenOutcome(np.full((1, 2), 0.5), np.full((1, 2), tpot_s), np.full((1, 2), tpot_s), np.ones(1))
    return Evaluation(plan, 0.9, (0.8, 1.0), np.full((1, 2), 1.0), stable=stable, tokens=tokens)


def test_what_has_no_bound_is_infinite_and_what_is_too_much_is_left_out():
    def trial(plan, _):
        rate_bps = plan.hops[0].link.rate_bps
        if rate_bps > 2e6:
            raise WorkError("too much")
        return outcome(plan, stable=rate_bps >= 1e6, tpot_s=np.nan)

    curve = token_curves([over()], WORKLOAD, trial)[0]
    assert curve.values == (1e6 / 16, 1e6 / 4, 1e6)
    assert curve.metrics["ttft"] == curve.metrics["ttft_p95"] == (inf, inf, 0.5)
    assert curve.metrics["tpot"] == (inf, inf, inf)  # there is none: each answer is a single token


def test_of_an_unstable_plan_later_tokens_are_known():
    curve = token_curves([over()], WORKLOAD, lambda plan, _: outcome(plan, stable=False))[0]
    assert set(curve.metrics["ttft"]) == {inf}
    assert set(curve.metrics["tpot"]) == set(curve.metrics["tpot_p95"]) == {0.02}


def test_a_link_without_delay_is_given_some():
    link = replace(LINK, delay_s=0.0)
    curve = token_curves([over(link)], WORKLOAD, lambda plan, _: outcome(plan))[1]
    assert (curve.parameter, curve.now) == ("delay", 0.0)
    assert curve.values == tuple(SHORTEST_S * factor for factor in FACTORS)


def test_values_stay_within_what_a_link_may_be():
    curve = token_curves([over(replace(LINK, delay_s=1000.0))], WORKLOAD, lambda plan, _: outcome(plan))[1]
    assert curve.values == (62.5, 250.0, 1000.0)


def test_without_a_link_there_is_nothing_to_vary():
    assert token_curves([LC], WORKLOAD, simulated) == ()


@pytest.mark.parametrize(
    ("limit", "chosen", "expected"),
    [("tpot <= 50 ms", "SC3", ["SC3", "LC", "RC0"]), ("tpot <= 1 ms", None, ["RC0", "LC"])],
)
def test_the_chosen_plan_or_the_nearest_goes_with_the_best_of_the_others(limit, chosen, expected):
    split = replace(outcome(over()), cut_depth=3)
    slower = replace(outcome(over(cut=4), tpot_s=0.03), cut_depth=4)
    alone = replace(outcome(LC, tpot_s=0.04), cut_depth=9, cannot_run=("too big",))
    wanted = [limit, "cut_depth >= 1"] if chosen else [limit]
    decision = recommend(
        [slower, split, outcome(over(cut=0), tpot_s=0.01), alone], list(map(parse_requirement, wanted)), "tpot"
    )
    assert (decision.chosen and decision.chosen.id) == chosen
    assert [plan.id for plan in token_plans(decision)] == expected
