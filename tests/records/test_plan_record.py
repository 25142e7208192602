"""A plan checks itself."""

from __future__ import annotations

import re

import pytest

from splitimpera.core.errors import PlanError
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.plan import Exit, Hop, Plan

SENSOR, GATEWAY, CLOUD = (Device(name) for name in ("sensor", "gateway", "cloud"))


def hops(*cuts):
    return tuple(Hop(cut, "uint8", "udp", Link(f"link {place}")) for place, cut in enumerate(cuts))


def test_each_exit_is_on_the_device_that_runs_the_layer_in_front_of_it():
    exits = tuple(Exit(cut, (0.9,)) for cut in (1, 3, 4, 8))
    plan = Plan("EE", (SENSOR, GATEWAY, CLOUD), hops(3, 5), exits)
    assert [[exit.cut for exit in plan.exits_on(place)] for place in range(3)] == [[1, 3], [4], [8]]
    alone = Plan("EE", (SENSOR,), (), exits)
    assert alone.exits_on(0) == exits
    remote = Plan("EE", (SENSOR, GATEWAY, CLOUD), hops(0, 0), exits)
    assert [len(remote.exits_on(place)) for place in range(3)] == [0, 0, 4]


@pytest.mark.parametrize(
    ("cuts", "exits", "configuration"),
    [
        ((), (), "LC"),
        ((0,), (), "RC"),
        ((0, 0), (), "RC"),
        ((0, 3), (), "SC"),
        ((2, 2), (), "SC"),
        ((), (1,), "EE"),
        ((0,), (1,), "EE"),
    ],
)
def test_its_configuration(cuts, exits, configuration):
    devices = (SENSOR, GATEWAY, CLOUD)[: len(cuts) + 1]
    assert Plan("plan", devices, hops(*cuts), tuple(Exit(cut, (0.5,)) for cut in exits)).configuration == configuration


@pytest.mark.parametrize(
    ("exits", "problem"),
    [
        ([Exit(3, (0.9,)), Exit(1, (0.9,))], "its exits lie behind the cuts 3, 1"),
        ([Exit(3, (0.9,)), Exit(3, (0.8,))], "its exits lie behind the cuts 3, 3"),
        ([Exit(0, (0.9,))], "its exits lie behind the cuts 0"),
        ([Exit(1, ())], "the exit at cut 1 has the thresholds"),
        ([Exit(1, (0.9, 1.5))], "the exit at cut 1 has the thresholds 0.9, 1.5"),
        ([Exit(1, (float("nan"),))], "the exit at cut 1 has the thresholds nan"),
    ],
)
def test_exits_that_make_no_plan(exits, problem):
    with pytest.raises(PlanError, match=re.escape(problem)):
        Plan("plan", (SENSOR, GATEWAY), hops(5), tuple(exits))


def test_behind_a_bottleneck_there_are_no_exits():
    squeezed = (hops(2, 5)[0], Hop(5, "uint8", "udp", Link("link 1"), 4.0))
    at = Plan("EE", (SENSOR, GATEWAY, CLOUD), squeezed, (Exit(2, (0.5,)), Exit(5, (0.5,))))
    assert [len(at.exits_on(place)) for place in range(3)] == [1, 1, 0]
    with pytest.raises(PlanError, match="the exit at cut 6 lies behind the bottleneck at cut 5"):
        Plan("EE", (SENSOR, GATEWAY, CLOUD), squeezed, (Exit(2, (0.5,)), Exit(6, (0.5,))))
