from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import splitimpera as sei
from splitimpera.errors import RequirementError
from splitimpera.records import Evaluation, Plan

REQUIREMENTS = ["accuracy >= 0.9", "latency_p95 <= 50 ms", "fps >= 20"]


def evaluation(name, accuracy=0.95, latency=0.04, fps=30.0, payload=100.0):
    return Evaluation(Plan(name, ()), accuracy, (0.0, 1.0), np.full(10, latency), payload_bytes=payload, fps=fps)


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
