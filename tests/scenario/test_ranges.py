"""Ranges over a scenario's keys."""

import pytest
from pydantic import ValidationError

from splitimpera.core.errors import ScenarioError
from splitimpera.scenario.ranges import RangeSection, axes_of, cells, changed, place_of

DOCUMENT = {"links": [{"rate": "1 Mbit/s"}], "workload": {"fps": 20}}


def spread(**section):
    return RangeSection.model_validate(section).spread()


def test_equal_steps_and_equal_factors():
    assert spread(linear=[0, 1], count=3) == [0.0, 0.5, 1.0]
    assert spread(linear=[1, 9], count=3) == [1, 5, 9]
    assert spread(linear=["0 %", "10 %"], count=3) == [0.0, 0.05, 0.1]
    assert spread(linear=["500 us", "1 ms"], count=2) == ["0.0005 s", "0.001 s"]
    assert spread(log=["1 kB", "1 MB"], count=4) == ["1000.0 B", "10000.0 B", "100000.0 B", "1000000.0 B"]
    assert spread(log=[1, 1000], count=4) == [1, 10, 100, 1000]
    assert spread(log=[16, 1], count=3) == [16, 4, 1]
    assert spread(values=["t4", "cortex-m7"]) == ["t4", "cortex-m7"]
    assert RangeSection.model_validate([1, "x"]).spread() == [1, "x"]


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({}, "one of values, linear and log"),
        ({"values": []}, "at least 1"),
        ({"values": [1], "log": [1, 2], "count": 2}, "one of values, linear and log is expected, given values"),
        ({"linear": [1, 2]}, "count"),
        ({"values": [1], "count": 2}, "count"),
        ({"linear": [1, 2], "count": 1}, "greater than or equal to 2"),
        ({"linear": [1, 2, 3], "count": 2}, "at most 2"),
        ({"log": [0, 1], "count": 2}, "write linear"),
        ({"log": ["1 ms", "1 Mbit/s"], "count": 2}, "not two quantities of one kind"),
        ({"steps": 2}, "steps"),
    ],
)
def test_ranges_that_are_none(section, said):
    with pytest.raises(ValidationError, match=said):
        RangeSection.model_validate(section)


RANGES = {
    "links[0].rate": RangeSection.model_validate({"log": ["1 Mbit/s", "4 Mbit/s"], "count": 2}),
    "workload.fps": RangeSection.model_validate([10, 20]),
    "links[0].loss": RangeSection.model_validate([0, 0.1, 0.2]),
}


def test_crossed_and_zipped():
    assert len(list(cells(axes_of(RANGES)))) == 12
    found = list(cells(axes_of(RANGES, [["links[0].rate", "workload.fps"]])))
    assert len(found) == 6
    assert found[1] == {"links[0].rate": "1000000.0 bit/s", "workload.fps": 10, "links[0].loss": 0.1}
    assert found[3] == {"links[0].rate": "4000000.0 bit/s", "workload.fps": 20, "links[0].loss": 0}


@pytest.mark.parametrize(
    ("zipped", "said"),
    [
        ([["links[0].rate", "links[0].loss"]], "other lengths"),
        ([["links[0].rate", "links[0].delay"]], "no range"),
        ([["links[0].rate", "workload.fps"], ["workload.fps"]], "twice"),
    ],
)
def test_what_cannot_be_zipped(zipped, said):
    with pytest.raises(ScenarioError, match=said):
        axes_of(RANGES, zipped)


def test_a_document_with_other_values():
    made = changed(DOCUMENT, {"links[0].rate": "2 Mbit/s", "workload.fps": 5, "bottlenecks.ratios": [4]})
    assert made == {"links": [{"rate": "2 Mbit/s"}], "workload": {"fps": 5}, "bottlenecks": {"ratios": [4]}}
    assert DOCUMENT == {"links": [{"rate": "1 Mbit/s"}], "workload": {"fps": 20}}


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("links[1].rate", "'links' has 1 entries"),
        ("workload[0]", "'workload' has 0 entries"),
        ("workload.fps.high", "'workload.fps' is no section"),
        ("links.rate", r"write links\[0\].rate"),
        ("links[x].rate", "no key"),
        ("links.[0]", "no key"),
        ("", "no key"),
        ("links[0]rate", "no key"),
    ],
)
def test_keys_that_lead_nowhere(key, said):
    with pytest.raises(ScenarioError, match=said):
        changed(DOCUMENT, {key: 1})


def test_places():
    assert place_of("links[0].rate") == ("links", 0, "rate")
