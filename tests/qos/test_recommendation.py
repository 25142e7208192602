from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import splitimpera as sei
from splitimpera.errors import RequirementError
from splitimpera.records import Evaluation, Plan

REQUIREMENTS = ["accuracy >= 0.9", "latency_p95 <= 50 ms", "fps >= 20"]


def evaluation(name, accuracy=0.95, latency=0.04, fps=30.0, payload=100.0, stable=True):
    samples = np.full((2, 5), latency)
    return Evaluation(Plan(name, ()), accuracy, (0.0, 1.0), samples, payload_bytes=payload, fps=fps, stable=stable)


def test_the_largest_smallest_margin_wins():
    decision = sei.recommend([evaluation("a", latency=0.045), evaluation("b", latency=0.048)], REQUIREMENTS)
    assert decision.chosen.id == "a"
    assert decision.chosen.score == pytest.approx((0.95 - 0.9) / 0.9)
    assert [verdict.id for verdict in decision.verdicts] == ["a", "b"]
    assert "a meets every requirement" in decision.reasons[0]


def test_ties_go_to_fewer_bytes_then_to_the_lower_id():
    plans = [evaluation("c", payload=9), evaluation("b", payload=5), evaluation("a", payload=5)]
    assert [verdict.id for verdict in sei.recommend(plans, REQUIREMENTS).verdicts] == ["a", "b", "c"]


def test_every_miss_is_named_with_its_margin():
    decision = sei.recommend([evaluation("good"), evaluation("bad", accuracy=0.45, latency=0.1)], REQUIREMENTS)
    bad = decision.verdicts[1]
    assert [(miss.requirement.metric, round(miss.margin, 9)) for miss in bad.misses] == [
        ("accuracy", -0.5),
        ("latency_p95", -1.0),
    ]
    assert not bad.feasible


def test_nothing_fits_is_a_result_with_a_way_out():
    decision = sei.recommend([evaluation("a", latency=0.06), evaluation("b", latency=0.08)], REQUIREMENTS)
    assert decision.chosen is None
    assert decision.nearest.id == "a"
    assert decision.relax == ("latency_p95 <= 60.03 ms",)
    relaxed = sei.recommend([evaluation("a", latency=0.06)], ["accuracy >= 0.9", *decision.relax, "fps >= 20"])
    assert relaxed.chosen.id == "a"


@pytest.mark.parametrize("limit", ["latency_p50 <= 1 h", "latency_max <= 50 ms", "latency_mean <= 1 s", "fps >= 10"])
def test_an_unstable_plan_meets_no_requirement_on_time(limit):
    """However good the simulated frames look, more of them would look worse."""
    decision = sei.recommend([evaluation("endless", latency=0.01, stable=False)], [limit])
    (verdict,) = decision.verdicts
    assert not verdict.feasible
    assert verdict.misses[0].endless
    assert verdict.misses[0].margin == -1
    assert decision.chosen is None
    assert decision.relax == ()
    assert "its latency grows without end" in decision.reasons[0]
    assert "Send fewer a second" in decision.reasons[1]
    for reason in decision.reasons:
        assert "10 ms" not in reason


def test_an_unstable_plan_names_how_many_frames_a_second_it_lacks():
    decision = sei.recommend([evaluation("endless", fps=15.0, stable=False)], REQUIREMENTS)
    latency, fps = decision.verdicts[0].misses
    assert latency.endless
    assert not fps.endless
    assert fps.margin == pytest.approx(-0.25)
    assert decision.relax == ()


def test_unstable_plans_come_last_and_are_never_nearest_to_stable_ones():
    plans = [evaluation("endless", latency=0.01, stable=False), evaluation("slow", latency=0.5)]
    decision = sei.recommend(plans, REQUIREMENTS)
    assert [verdict.id for verdict in decision.verdicts] == ["slow", "endless"]
    assert decision.nearest.id == "slow"
    assert decision.relax


def test_an_unstable_plan_may_meet_what_does_not_speak_of_time():
    decision = sei.recommend([evaluation("endless", stable=False)], ["accuracy >= 0.9"])
    assert decision.chosen.id == "endless"
    assert "unstable" in decision.reasons[-1]


def test_no_requirements_or_no_plans_are_refused():
    with pytest.raises(RequirementError, match="no requirement"):
        sei.recommend([evaluation("a")], [])
    with pytest.raises(RequirementError, match="no plan"):
        sei.recommend([], REQUIREMENTS)


values = st.tuples(st.floats(0, 1), st.floats(0.001, 0.2), st.floats(1, 100), st.integers(0, 5))


@given(st.lists(values, min_size=1, max_size=12))
def test_equals_brute_force(rows):
    plans = [evaluation(f"p{i:02}", a, t, f, b) for i, (a, t, f, b) in enumerate(rows)]
    decision = sei.recommend(plans, REQUIREMENTS)
    best = None
    for i, (a, t, f, b) in enumerate(rows):
        score = min((a - 0.9) / 0.9, (0.05 - t) / 0.05, (f - 20) / 20)
        if a >= 0.9 and t <= 0.05 and f >= 20:
            key = (-score, b, f"p{i:02}")
            best = key if best is None else min(best, key)
    if best is None:
        assert decision.chosen is None
    else:
        assert decision.chosen.evaluation.payload_bytes == best[1]
        assert decision.chosen.score == pytest.approx(-best[0], abs=1e-9)
