from __future__ import annotations

import pytest

from splitimpera.errors import RequirementError
from splitimpera.qos.requirement import parse_requirement


@pytest.mark.parametrize(
    ("text", "metric", "limit"),
    [
        ("accuracy >= 0.97", "accuracy", 0.97),
        ("accuracy>=97%", "accuracy", 0.97),
        ("latency_p95 <= 50 ms", "latency_p95", 0.05),
        ("fps >= 20", "fps", 20.0),
        ("payload_bytes <= 2 kB", "payload_bytes", 2000.0),
    ],
)
def test_requirements(text, metric, limit):
    requirement = parse_requirement(text)
    assert (requirement.metric, requirement.limit) == (metric, pytest.approx(limit))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("be quick", "is not a requirement"),
        (5, "is not a requirement"),
        ("latency_p97 <= 50 ms", "did you mean 'latency_p9"),
        ("accuracy <= 0.9", "higher accuracy is better"),
        ("latency_p95 >= 50 ms", "lower latency_p95 is better"),
        ("latency_p95 < 50 ms", "write 'latency_p95 <= ...'"),
        ("latency_p95 <= 50", "the unit is missing"),
        ("latency_p95 <= 50 mbit/s", "is not a time"),
        ("accuracy >= 97", "write '97 %'"),
        ("accuracy >= 0", "not above 0"),
        ("fps >= -3", "not above 0"),
    ],
)
def test_what_is_no_requirement_says_why(text, message):
    with pytest.raises(RequirementError) as caught:
        parse_requirement(text)
    assert message in str(caught.value)


def test_margins_are_shares_of_the_limit():
    upper, lower = parse_requirement("latency_p95 <= 50 ms"), parse_requirement("fps >= 20")
    assert upper.margin(0.04) == pytest.approx(0.2)
    assert upper.margin(0.06) == pytest.approx(-0.2)
    assert lower.margin(30) == pytest.approx(0.5)
    assert lower.margin(10) == pytest.approx(-0.5)
    assert upper.met(0.05)
    assert lower.met(20)


def test_a_relaxed_requirement_is_met_by_the_value():
    for text, value in (("latency_p95 <= 50 ms", 0.063123), ("accuracy >= 97 %", 0.95432), ("fps >= 20", 12.345678)):
        relaxed = parse_requirement(parse_requirement(text).relaxed(value))
        assert relaxed.met(value)
        assert relaxed.margin(value) < 0.003
