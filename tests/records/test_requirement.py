from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitimpera.core.errors import RequirementError
from splitimpera.records.requirement import (
    METRICS,
    Requirement,
    check_consistent,
    check_metrics,
    parse_requirement,
    quality_of,
)


@pytest.mark.parametrize(
    ("text", "metric", "limit"),
    [
        ("accuracy >= 0.97", "accuracy", 0.97),
        ("accuracy>=97%", "accuracy", 0.97),
        ("latency_p95 <= 50 ms", "latency_p95", 0.05),
        ("fps >= 20", "fps", 20.0),
        ("payload_bytes <= 2 kB", "payload_bytes", 2000.0),
        ("miou >= 70 %", "miou", 0.7),
        ("on_time_miou >= 0.6", "on_time_miou", 0.6),
        ("rmse <= 1.5", "rmse", 1.5),
        ("on_time_rmse <= 2", "on_time_rmse", 2.0),
        ("dropped_frames <= 1 %", "dropped_frames", 0.01),
        ("energy <= 50 mJ", "energy", 0.05),
        ("device_memory <= 4 MiB", "device_memory", 4 * 2.0**20),
        ("cut_depth >= 1", "cut_depth", 1.0),
        ("cut_depth >= 3 layers", "cut_depth", 3.0),
        ("ttft_p95 <= 300 ms", "ttft_p95", 0.3),
        ("tpot <= 40 ms", "tpot", 0.04),
        ("tokens_per_s >= 20 tokens/s", "tokens_per_s", 20.0),
        ("tokens_per_s >= 20", "tokens_per_s", 20.0),
        ("token_energy <= 5 mJ", "token_energy", 0.005),
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
        ("tokens_per_s >= 20 fps", "is not a rate of tokens"),
        ("tpot >= 1 ms", "lower tpot is better"),
        ("dropped_frames <= 0", "write the most that you would bear, such as '3 %'"),
        ("dropped_frames >= 0.1", "lower dropped_frames is better"),
        ("rmse >= 1", "lower rmse is better"),
        ("energy <= 50", "the unit is missing"),
        ("energy <= 5 W", "is not an energy"),
        ("device_memory <= 5 ms", "is not a size in bytes"),
        ("cut_depth >= 1.5", "write 'cut_depth >= 2'"),
        ("cut_depth <= 3", "higher cut_depth is better"),
        ("cut_depth >= 3 m", "is not a number of layers"),
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


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("text", ["latency_p95 <= 50 ms", "fps >= 20"])
def test_what_is_no_finite_number_meets_nothing(text, value):
    requirement = parse_requirement(text)
    assert not requirement.met(value)
    assert requirement.margin(value) == -math.inf
    assert requirement.relaxed(value) is None


def test_a_weight_makes_a_requirement_soft():
    assert parse_requirement("fps >= 20").hard
    soft = parse_requirement("fps >= 20", weight=0.5)
    assert not soft.hard
    assert soft.weight == 0.5
    for weight in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(RequirementError, match="it must be above 0"):
            parse_requirement("fps >= 20", weight=weight)


@pytest.mark.parametrize(
    ("text", "value", "relaxed"),
    [
        ("latency_p95 <= 50 ms", 0.06, "latency_p95 <= 60 ms"),
        ("tokens_per_s >= 20", 12.3456, "tokens_per_s >= 12.34 tokens/s"),
        ("latency_p95 <= 50 ms", 0.063123, "latency_p95 <= 63.13 ms"),
        ("accuracy >= 97 %", 0.95439, "accuracy >= 95.43 %"),
        ("fps >= 20", 12.345678, "fps >= 12.34 fps"),
        ("energy <= 50 mJ", 0.0712345, "energy <= 71.24 mJ"),
        ("dropped_frames <= 1 %", 0.99999, "dropped_frames <= 100 %"),
        ("cut_depth >= 9", 3.0, "cut_depth >= 3 layers"),
        ("cut_depth >= 2", 1.0, "cut_depth >= 1 layer"),
    ],
)
def test_relaxed_requirements_are_rounded_to_the_safe_side(text, value, relaxed):
    assert parse_requirement(text).relaxed(value) == relaxed


def test_no_lower_limit_lets_nothing_in():
    assert parse_requirement("cut_depth >= 1").relaxed(0.0) is None
    assert parse_requirement("accuracy >= 90 %").relaxed(0.0) is None


def test_no_share_above_100_per_cent_is_proposed():
    assert parse_requirement("dropped_frames <= 1 %").relaxed(1.0) == "dropped_frames <= 100 %"
    assert parse_requirement("dropped_frames <= 1 %").relaxed(1.001) is None


@given(st.sampled_from(sorted(METRICS)), st.floats(1e-6, 1.0), st.floats(1e-3, 1e3))
def test_a_relaxed_requirement_is_met_by_the_value(metric, share, scale):
    value = share if METRICS[metric].dimension.name == "a fraction" else share * scale
    if metric == "cut_depth":
        value = math.ceil(1000 * value)
    text = Requirement(metric, 1.0, "").relaxed(value)
    assert text is not None
    relaxed = parse_requirement(text)
    assert relaxed.metric == metric
    assert 0 <= relaxed.margin(value) < 0.01  # less than the smallest unit is written with three digits


def texts(*requirements):
    """Parsed: a pair is a soft requirement and its weight."""
    return [parse_requirement(*r) if isinstance(r, tuple) else parse_requirement(r) for r in requirements]


@pytest.mark.parametrize(
    ("requirements", "message"),
    [
        (
            ["fps >= 20", "latency_p95 <= 80 ms", "latency_p95 <= 50 ms"],
            "'latency_p95 <= 80 ms' and 'latency_p95 <= 50 ms' both limit latency_p95, "
            "and 'latency_p95 <= 80 ms' never counts; keep 'latency_p95 <= 50 ms'",
        ),
        (
            ["fps >= 20", "fps >= 25"],
            "'fps >= 20' and 'fps >= 25' both limit fps, and 'fps >= 20' never counts; keep 'fps >= 25'",
        ),
        (
            ["accuracy >= 0.9", "accuracy >= 90 %"],
            "'accuracy >= 0.9' and 'accuracy >= 90 %' say the same twice; remove one",
        ),
        (
            [("fps >= 20", 1.0), ("fps >= 20", 0.5)],
            "'fps >= 20' and 'fps >= 20' prefer the same twice; keep one, with a weight of 1.5",
        ),
        (
            ["latency_p95 <= 50 ms", ("latency_p95 <= 80 ms", 1.0)],
            "'latency_p95 <= 50 ms' and 'latency_p95 <= 80 ms' both limit latency_p95: what is preferred is no more "
            "than what is required anyway; prefer a stricter limit than 'latency_p95 <= 50 ms', or remove "
            "'latency_p95 <= 80 ms'",
        ),
        ([("fps >= 20", 1.0), "fps >= 20"], "what is preferred is no more than what is required anyway"),
        (["fps >= 20", ("fps >= 20", 1.0)], "what is preferred is no more than what is required anyway"),
        (
            ["accuracy >= 0.9", "fps >= 20", "miou >= 0.5"],
            "'accuracy >= 0.9' and 'miou >= 0.5' contradict each other: a design is judged by one of accuracy and miou",
        ),
        (["on_time_rmse <= 2", ("accuracy >= 0.9", 1.0)], "a design is judged by one of rmse and accuracy"),
    ],
)
def test_two_requirements_that_cannot_stand_together_are_named(requirements, message):
    with pytest.raises(RequirementError) as caught:
        check_consistent(texts(*requirements))
    assert message in str(caught.value)


EVERY_METRIC = [
    f"{name} {'>=' if metric.better == 'higher' else '<='} {metric.dimension.example}"
    for name, metric in METRICS.items()
    if quality_of(name) in (None, "rmse")
]


@pytest.mark.parametrize(
    "requirements",
    [
        EVERY_METRIC,
        ["accuracy >= 0.9", "on_time_accuracy >= 0.95"],
        ["latency_p50 <= 50 ms", "latency_p95 <= 50 ms", "latency_max <= 50 ms"],
        ["latency_p95 <= 50 ms", ("latency_p95 <= 30 ms", 1.0)],
        ["fps >= 20", ("fps >= 30", 1.0), ("fps >= 40", 1.0)],
    ],
)
def test_requirements_that_some_plan_could_meet_together_pass(requirements):
    check_consistent(texts(*requirements))


CLASSIFIER = ("accuracy", "on_time_accuracy", "latency_p95", "fps")


@pytest.mark.parametrize(
    ("requirement", "available", "message"),
    [
        ("energy <= 50 mJ", CLASSIFIER, "'energy <= 50 mJ': this task has no energy; give devices[0].power"),
        ("device_memory <= 1 MB", CLASSIFIER, "this task has no device_memory; known: accuracy, fps"),
        ("latency_p50 <= 1 s", CLASSIFIER, "this task has no latency_p50; did you mean 'latency_p95'?"),
        ("miou >= 0.5", CLASSIFIER, "no miou; its predictions are judged by accuracy; write 'accuracy >= ...'"),
        ("on_time_accuracy >= 0.5", ["rmse", "on_time_rmse"], "judged by rmse; write 'on_time_rmse <= ...'"),
    ],
)
def test_a_metric_that_the_task_does_not_have_is_refused(requirement, available, message):
    with pytest.raises(RequirementError) as caught:
        check_metrics(texts("fps >= 1", requirement), [*available, "fps"], {"energy": "give devices[0].power"})
    assert message in str(caught.value)


def test_metrics_that_the_task_has_pass():
    check_metrics(texts("accuracy >= 0.9", "fps >= 20"), CLASSIFIER)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("latency_p95 <= 1e300 s", "has a limit out of range, it must be at least 1e-15 and at most 1e+15"),
        ("latency_p95 <= 1e-300 s", "has a limit out of range"),
        ("payload_bytes <= 1e16 B", "has a limit out of range"),
        ("latency_p95 <= 50 ms" + " " * 10**6, "latency_p95 <= 50 ms      "),
        ("latency_p95" + " " * 10**6 + "x", "is not a requirement"),
        ("a" * 10**6, "aaa...' is not a requirement"),
        (["x"] * 10**5, "is not a requirement"),
        (True, "True is not a requirement"),
        ("\x1b[2J >= 1", "'\\x1b[2J >= 1' is not a requirement"),
    ],
    ids=lambda part: str(part)[:20],
)
def test_texts_and_limits_are_bounded_and_quoted_short(text, message):
    with pytest.raises(RequirementError) as caught:
        parse_requirement(text)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("weight", [0, -1, math.nan, math.inf, 1e7, 10**400], ids=lambda weight: str(weight)[:10])
def test_weights_are_bounded(weight):
    with pytest.raises(RequirementError, match="it must be above 0 and at most 1e"):
        parse_requirement("fps >= 20", weight)


@given(st.sampled_from(sorted(METRICS)), st.floats())
def test_whatever_the_value_a_relaxed_requirement_can_be_read(metric, value):
    sign = ">=" if METRICS[metric].better == "higher" else "<="
    unit = max(METRICS[metric].dimension.units, key=METRICS[metric].dimension.units.get)
    relaxed = parse_requirement(f"{metric} {sign} 1 {unit}").relaxed(value)
    assert relaxed is None or parse_requirement(relaxed).met(value)
