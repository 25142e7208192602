"""The limits that a slider offers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from made import random_evaluations

from splitimpera.records.requirement import METRICS, parse_requirement
from splitimpera.report.building import requirement_entry
from splitimpera.report.limits import stops


def offered(text, values, stable=True):
    requirement = parse_requirement(text)
    plans = [SimpleNamespace(stable=stable, metrics={requirement.metric: value}) for value in values]
    return stops(requirement_entry(requirement), plans)


@pytest.mark.parametrize(
    ("text", "values", "first", "last"),
    [
        ("latency_p95 <= 80 ms", [0.0667, 0.11, 3.0], "60 ms", "3.4 s"),
        ("accuracy >= 90 %", [0.1, 0.95], "10 %", "100 %"),
        ("accuracy >= 99.5 %", [0.985, 0.999], "98.5 %", "100 %"),
        ("fps >= 20", [2.0, 830.0], "1.8 fps", "950 fps"),
        ("payload_bytes <= 1 kB", [0.0, 32.0, 4096.0], "28 B", "4.7 kB"),
        ("cut_depth >= 1 layer", [0.0, 12.0], "1 layer", "13 layers"),
        ("energy <= 30 mJ", [0.002, 0.05], "1.75 mJ", "56 mJ"),
        ("lost_packet_rate <= 90 %", [0.01, 0.9], "0.88 %", "100 %"),
        ("rmse <= 0.5", [0.2], "0.175", "0.56"),
    ],
)
def test_they_reach_a_little_beyond_the_plans_on_either_side(text, values, first, last):
    found = offered(text, values)
    write = METRICS[parse_requirement(text).metric].format
    assert (write(found[0].limit), write(found[-1].limit)) == (first, last)
    assert len(found) <= 300


def test_each_is_what_its_text_says_and_one_is_the_users():
    rng = np.random.default_rng(0)
    for text in ("latency_p95 <= 83.7 ms", "accuracy >= 0.9137", "payload_bytes <= 1037", "fps >= 17"):
        evaluations = random_evaluations(rng, 10)
        found = offered(text, [evaluation.metrics()[text.split()[0]] for evaluation in evaluations])
        limits = [stop.limit for stop in found]
        assert limits == sorted(set(limits))
        assert [parse_requirement(stop.text).limit for stop in found] == limits
        assert [stop.text for stop in found if stop.own] == [text]


def test_what_is_endless_unknown_or_absurd_does_not_stretch_them():
    endless = offered("latency_p95 <= 80 ms", [1e6], stable=False)
    assert endless[-1].limit < 0.1
    assert offered("latency_p95 <= 80 ms", [None, 1e9])[-1].limit <= 80e-3 * 1.15e4
