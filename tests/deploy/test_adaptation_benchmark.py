"""The benchmark of adaptation on a small case of its own: who is how good is known beforehand."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from adaptation import Case, Row, row_of, run_trace, table
from adaptation_ways import Static, oracle
from changing_link import Frame, PlanFacts, World, frames_of_log, worths

from splitimpera.deploy.frame_log import FrameLine, RunLine
from splitimpera.records.link import Trace
from splitimpera.records.policy import Policy, PolicyPlan

FPS, DEADLINE_S = 20.0, 0.1
LARGE = PlanFacts("large", 4000, 0.002, 0.002, (0.0, 1.0), (0.9, 0.0))
SMALL = PlanFacts("small", 100, 0.010, 0.002, (0.0, 1.0), (0.6, 0.0))
LOCAL = PlanFacts("local", 0, 0.2, 0.0, (0.0,), (0.9,))
PLANS = {facts.id: facts for facts in (LARGE, SMALL, LOCAL)}
UNEVEN = Trace("uneven", (0.0, 6.0), 12.0, rate_bps=(4e6, 0.2e6))


@pytest.fixture(scope="module")
def case():
    rates = [1e5, 3e5, 1e6, 3e6]
    values = {"large": [0.0, 0.0, 0.9, 0.9], "small": [0.6] * 4, "local": [0.0] * 4}
    plans = [
        PolicyPlan(
            id=name,
            configuration="LC" if name == "local" else "SC",
            cut=None if name == "local" else 1,
            codec=None if name == "local" else "uint8",
            bottleneck=0.0,
            transport=None if name == "local" else "udp",
            values=each,
            errors=[0.0] * 4,
        )
        for name, each in values.items()
    ]
    policy = Policy(
        name="made up",
        objective="on_time_accuracy",
        prior="even",
        rates_bps=rates,
        delays_s=[],
        losses=[],
        weights=[0.25] * 4,
        plans=plans,
        chosen=[1, 1, 0, 0],
        expected=0.75,
        of_all=0.75,
        bound=0.75,
    )
    return Case(PLANS, policy, FPS, DEADLINE_S)


@pytest.fixture(scope="module")
def found(case):
    return run_trace(case, UNEVEN, 12.0, 1)


def test_who_is_how_good(found):
    means = {name: worth.mean() for name, worth in found.items()}
    assert means["small"] == pytest.approx(0.6)
    assert 0.4 < means["large"] < 0.5  # half of the time, and what its queue spoils
    assert 0.72 < means["oracle"] < 0.76
    assert means["ours"] > means["small"] + 0.05  # of 0.15 that there are, in 12 s
    assert means["oracle"] >= max(means.values()) - 1e-9


def test_runs_are_the_same_again_and_know_no_future(case, found):
    again = run_trace(case, UNEVEN, 3.0, 1)
    for name in found.keys() - {"oracle"}:
        assert np.array_equal(again[name][0, :50], found[name][0, :50]), name


def test_the_oracle_keeps_to_the_minimal_stay(case):
    script = oracle(case.link(UNEVEN, 0.0), PLANS, FPS, DEADLINE_S, 240)
    changes = [place for place in range(1, 240) if script[place][0] != script[place - 1][0]]
    assert 1 <= len(changes) <= 3
    assert all(np.diff(changes) >= FPS)


def test_more_packets_more_losses(case):
    link = case.link(UNEVEN, 0.0, loss=0.1)
    worth = {}
    for name in ("large", "small"):
        frames = World(link, PLANS, FPS, DEADLINE_S, 0).run(Static(name), 100)
        worth[name] = worths(frames, PLANS, DEADLINE_S).mean() / PLANS[name].accuracies[0]
    assert worth["small"] == pytest.approx(0.9, abs=0.08)
    assert worth["large"] == pytest.approx(0.9**3, abs=0.15)


def test_a_late_answer_is_worth_nothing_and_a_known_one_is_right_or_wrong():
    frames = [
        Frame(1.0, "large", 1.09),
        Frame(1.0, "large", 1.11),
        Frame(1.0, None),
        Frame(1.0, "large", 1.05, 0.5),
        Frame(1.0, "large", 1.05, right=True),
        Frame(1.0, "large", 1.05, right=False),
    ]
    assert worths(frames, PLANS, DEADLINE_S).tolist() == pytest.approx([0.9, 0.0, 0.0, 0.45, 1.0, 0.0])


def test_logs_of_real_runs_are_scored_alike():
    run = RunLine(
        bundle="b",
        plan="small",
        made_by="",
        machine="",
        engine="",
        threads=1,
        carrier="udp",
        transport="udp",
        secure="none",
        source="",
        fps=FPS,
        deadline_s=DEADLINE_S,
        begun="",
        round_trip_s=0.03,
    )
    lines = [
        FrameLine(frame=0, sample=0, outcome="ok", due_s=0.0, response_s=0.05, packets=1, lost_packets=0),
        FrameLine(frame=1, sample=1, outcome="lost", due_s=0.05),
        FrameLine(frame=2, sample=2, outcome="ok", due_s=0.1, response_s=0.15, packets=1, label=3, predicted=3),
    ]
    assert worths(frames_of_log(run, lines), PLANS, DEADLINE_S).tolist() == pytest.approx([0.6, 0.0, 1.0])


def test_goals_are_told_where_they_are_missed():
    worth = {"a": 0.5, "ours": 0.4, "oracle": 0.6}
    row = row_of("t", {name: np.full((2, 40), value) for name, value in worth.items()}, 10, ["a"])
    assert row.best == "a"
    assert row.missed == ["66.7% of the oracle", "10.0 points below a", "not above a"]
    good = Row("t", worth, "a", (0.99, 0.98, 1.0), (0.01, 0.005, 0.02))
    assert good.missed == []
    assert "| t | **50.0** | 40.0 | 60.0 |" in list(table([good]))[2]
