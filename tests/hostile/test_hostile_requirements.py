"""Requirements as users and files write them: refused, or with a limit that all else can bear."""

from __future__ import annotations

from types import SimpleNamespace

from harness import attack, refused_or_taken
from hypothesis import strategies as st

from splitimpera.records.requirement import (
    LARGEST_LIMIT,
    METRICS,
    SMALLEST_LIMIT,
    check_consistent,
    check_metrics,
    parse_requirement,
)
from splitimpera.report.building import requirement_entry
from splitimpera.report.limits import stops

metrics = st.sampled_from([*METRICS, "latency", "speed", "__class__", "é", ""])
signs = st.sampled_from([">=", "<=", "<", ">", "=", "==", "=<", "≥", " ", ">= <="])
numbers = st.one_of(
    st.floats().map(repr),
    st.floats(1e-16, 1e16).map(repr),
    st.integers().map(str),
    st.sampled_from(["0.5", "1", "1e-15", "1e15", "1e308", "1e-999", "1_0", "٣", "1:30", "", "5 5", "9" * 400]),
)
units = st.sampled_from(
    ["", "s", "ms", " ns", "h", "%", " %", "fps", "B", "GiB", "J", "Wh", "layers", "x", "\0", "\x1b[2J"]
)
comparisons = st.tuples(metrics, st.sampled_from(["", " ", "\t", "\n"]), signs, numbers, units).map("".join)
likely = st.tuples(st.sampled_from(sorted(METRICS)), numbers, st.integers(0, 9)).map(
    lambda parts: (
        f"{parts[0]} {'>=' if METRICS[parts[0]].better == 'higher' else '<='} {parts[1]} "
        + [*METRICS[parts[0]].dimension.units][parts[2] % len(METRICS[parts[0]].dimension.units)]
    )
)
texts = st.one_of(
    likely,
    likely,
    comparisons,
    st.text(max_size=30),
    st.tuples(comparisons, st.sampled_from([" ", "9", "a", "=", "\n", "("]), st.integers(1, 200_000)).map(
        lambda parts: parts[0] + parts[1] * parts[2]
    ),
)
others = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.binary(), st.lists(st.text(), max_size=3))
weights = st.one_of(st.none(), st.floats(), st.integers(), st.sampled_from([1.0, 1e6, 1e-300, 10**400]))


def check(text: object, weight: float | None, value: float) -> None:
    requirement = refused_or_taken(lambda: parse_requirement(text, weight))
    if requirement is None:
        return
    assert SMALLEST_LIMIT <= requirement.limit <= LARGEST_LIMIT
    assert requirement.text.isprintable()
    assert parse_requirement(requirement.text, weight) == requirement
    assert not requirement.margin(value) > 0 or requirement.met(value)
    relaxed = requirement.relaxed(value)
    assert relaxed is None or parse_requirement(relaxed).met(value)
    plans = [SimpleNamespace(stable=True, metrics={requirement.metric: value if abs(value) <= 1e40 else None})]
    found = stops(requirement_entry(requirement), plans)
    assert sum(stop.own for stop in found) == 1
    refused_or_taken(lambda: check_consistent([requirement, parse_requirement("fps >= 20")]))
    refused_or_taken(lambda: check_metrics([requirement], ["accuracy", "fps"]))


test_requirements, test_requirements_long = attack(check, st.one_of(texts, texts, others), weights, st.floats())
