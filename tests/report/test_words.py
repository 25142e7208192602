"""What is said of plans and verdicts."""

from __future__ import annotations

import doctest
from dataclasses import replace
from math import nan

import pytest
from made import CAMERA, RADIO, SERVER, evaluation, four_plans, made_results

from splitimpera.qos.recommendation import recommend
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.plan import Hop, Plan
from splitimpera.report import layer_names, words
from splitimpera.report.building import plan_entry
from splitimpera.report.schema import CapacityEntry
from splitimpera.report.words import (
    capacity_words,
    choice_words,
    margin_words,
    not_drawn_words,
    plan_words,
    shape_words,
    verdict_lines,
    verdict_words,
    worst_words,
)

NAMES = {0: "input", 14: "features.13", 20: "features.19"}


def entry(*hops, devices=(CAMERA, SERVER), **more):
    found = replace(evaluation(**more), plan=Plan("one", devices[: len(hops) + 1], hops))
    return plan_entry(recommend([found], ["accuracy >= 90 %", "latency_p95 <= 60 ms"]).verdicts[0])


@pytest.mark.parametrize(
    ("hop", "words"),
    [
        (None, "Run everything on camera"),
        (Hop(0, "png", "tcp", RADIO), "Send the input as PNG over TCP to server"),
        (Hop(0, "jpeg:90", "tcp-reno", RADIO), "Send the input as JPEG of quality 90 over TCP Reno to server"),
        (Hop(0, "uint8", "udp", RADIO), "Send the input as 8-bit values over UDP to server"),
        (Hop(0, "uint8+rans", "udp", RADIO), "Send the input as 8-bit values, entropy-coded over UDP to server"),
        (Hop(14, "uint8", "udp", RADIO, 16.0), "Split after features.13, 16x bottleneck, 8-bit, over UDP"),
        (Hop(14, "float32", "udp-arq", RADIO), "Split after features.13, 32-bit floats, over UDP with ARQ"),
        (
            Hop(14, "uint6+interleaved+mean+fec:20", "udp-interleaved", RADIO),
            "Split after features.13, 6-bit, interleaved, lost values the mean, 20 % FEC, over interleaved UDP",
        ),
        (Hop(0, "uint4:channel", "udp", RADIO), "Send the input as 4-bit values per channel over UDP to server"),
        (Hop(7, "mine", "quic", RADIO), "Split after cut 7, mine, over quic"),
    ],
)
def test_a_plan_is_called_as_people_call_it(hop, words):
    assert plan_words(entry(*([hop] if hop else [])), NAMES) == words


def test_a_plan_of_three_devices_names_each_hop():
    hops = Hop(14, "uint8", "udp", RADIO), Hop(20, "uint4", "tcp", Link("fibre"))
    devices = (CAMERA, Device("gateway"), SERVER)
    words = (
        "Split after features.13, 8-bit, over UDP to gateway; then split after features.19, 4-bit, over TCP to server"
    )
    assert plan_words(entry(*hops, devices=devices), NAMES) == words
    relayed = Hop(0, "png", "udp", RADIO), Hop(20, "uint4", "tcp", Link("fibre"))
    assert plan_words(entry(*relayed, devices=devices), NAMES).startswith("Send the input as PNG over UDP to gateway; ")


@pytest.mark.parametrize(
    ("plan", "short", "longer", "lines"),
    [
        ({}, "feasible, certain", "feasible, certain", ["feasible, certain"]),
        (
            {"accuracy": 0.5},
            "violates 1 requirement",
            "violates accuracy -44%",
            ["violates accuracy >= 90 %"],
        ),
        (
            {"accuracy": 0.5, "p95_s": 0.3},
            "violates 2 requirements",
            "violates p95 far off +1",
            ["violates accuracy >= 90 %", "violates latency_p95 <= 60 ms"],
        ),
        (
            {"accuracy": nan, "p95_s": 0.09},
            "violates 1 requirement",
            "violates p95 -50%",
            ["accuracy >= 90 %: not computed", "violates latency_p95 <= 60 ms"],
        ),
        ({"accuracy": nan}, "not computed", "not computed", ["accuracy >= 90 %: not computed"]),
        ({"stable": False}, "unstable", "unstable", ["violates latency_p95 <= 60 ms"]),
        ({"stable": False, "accuracy": 0.5}, "unstable", "unstable +1", None),
        (
            {"cannot_run": ("too big", "too new")},
            "cannot run",
            "cannot run",
            ["cannot run: too big", "cannot run: too new"],
        ),
    ],
)
def test_a_verdict_in_words(plan, short, longer, lines):
    found = entry(**plan)
    assert verdict_words(found) == short
    assert worst_words(found) == longer
    assert lines is None or verdict_lines(found) == lines


def test_a_plan_may_be_feasible_and_unstable():
    found = recommend([evaluation(stable=False)], ["accuracy >= 90 %"]).verdicts[0]
    assert verdict_words(plan_entry(found)) == "feasible, certain, but unstable"


@pytest.mark.parametrize(
    ("margin", "words"),
    [
        (0.1234, "+12.3 %"),
        (-1.0, "-100.0 %"),
        (-2.5, "3.5 times the limit"),
        (-1e4, "more than 1000 times the limit"),
        (None, "not known"),
    ],
)
def test_a_margin_in_words(margin, words):
    assert margin_words(margin) == words
    assert margin_words(margin, unbounded=True) == "unbounded"


@pytest.mark.parametrize("module", [layer_names, words])
def test_the_examples_are_right(module):
    assert doctest.testmod(module) == (0, 2)


def test_a_figure_says_which_plans_are_not_in_it():
    plans = [*four_plans(), evaluation("SC2-uint8-udp", accuracy=nan, p95_s=0.2, cut=2)]
    assert not_drawn_words(made_results(plans, ["fps >= 1"])) == (
        "not drawn: 1 unstable, 1 whose accuracy was not computed"
    )
    assert not_drawn_words(made_results(plans[:1], ["fps >= 1"])) == ""


def test_nothing_feasible_is_said_so():
    assert choice_words(made_results(four_plans(), ["accuracy >= 100 %"])) == "No plan is feasible"


@pytest.mark.parametrize(
    ("senders", "busiest", "words"),
    [
        (0, "radio", "Capacity: not even 1 sensor, radio cannot keep up."),
        (1, "radio", "Capacity: 1 sensor; with one more, radio cannot keep up."),
        (9, None, "Capacity: 9 sensors or more."),
    ],
)
def test_a_capacity_in_words(senders, busiest, words):
    assert capacity_words(CapacityEntry(senders=senders, busiest_stage=busiest)) == words


def test_all_tensors_that_cross_are_named():
    assert shape_words((8, 7, 7)) == "8 x 7 x 7"
    assert shape_words((8, 7, 7), (4, 14, 14)) == "8 x 7 x 7 + 4 x 14 x 14"
    assert shape_words((8, 7, 7), (4, 14, 14), (4, 7, 7)) == "8 x 7 x 7 + 2 more"
