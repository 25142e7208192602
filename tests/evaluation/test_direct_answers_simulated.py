"""Answers that come back directly: delay and bits by the rate after the last device, and nothing on the hops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from beds import known_bed, run

from splitimpera.evaluation.timeline import timeline
from splitimpera.records.costs import Cost, DeviceCosts
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.traffic import DirectAnswers, Workload

DEVICES = Device("sensor", 10.0), Device("gateway", 2.0), Device("cloud")
RADIO, FIBRE = Link("radio", 1e6, 0.002), Link("fibre", 1e7, 0.001)
ANSWERS = DirectAnswers(rate_bps=1e6, delay_s=0.02)
ALONG = Workload(10.0, 50, frame_bytes=100, response_bytes=250)
DIRECT = replace(ALONG, direct=ANSWERS)
TAKES_S = 0.02 + 8 * 250 / 1e6


@pytest.fixture(scope="module")
def bed():
    return known_bed()


def plan_of(devices=3, transport="udp", links=(RADIO, FIBRE)):
    hops = tuple(Hop(cut, "uint8", transport, link) for cut, link in zip((1, 3), links[: devices - 1], strict=False))
    return Plan("p", DEVICES[:devices], hops)


def simulated(plan, workload):
    costs = [DeviceCosts((Cost(0.001, "measured"),), None, None, 0)] * len(plan.devices)
    sizes, hops = [np.array([100])] * len(plan.hops), len(plan.hops)
    return timeline(plan, workload, costs, sizes, [1] * hops, np.random.default_rng(0), 2)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_an_answer_takes_its_delay_and_its_bits_by_the_rate(transport):
    plan = plan_of(transport=transport)
    silent = simulated(plan, replace(ALONG, response_bytes=0))
    found = simulated(plan, DIRECT)
    np.testing.assert_allclose(found.latency_s, silent.latency_s + TAKES_S, atol=1e-12)
    np.testing.assert_array_equal(found.now_s, silent.now_s)
    assert "response" not in silent.parts_s
    assert found.parts_s["response"] == pytest.approx(TAKES_S)
    assert sum(found.parts_s.values()) == pytest.approx(found.latency_s.mean())
    assert found.alive.all()


def test_no_hop_carries_a_response():
    for runs in simulated(plan_of(), DIRECT).sent:
        assert all(np.isnan(sent.deliveries.response_s).all() for sent in runs)
    for runs in simulated(plan_of(), ALONG).sent:
        assert all(np.isfinite(sent.deliveries.response_s).all() for sent in runs)


def test_a_downlink_that_loses_all_but_everything_costs_no_direct_answer():
    links = tuple(replace(link, downlink_loss=0.99) for link in (RADIO, FIBRE))
    plan = plan_of(links=links)
    assert simulated(plan, DIRECT).alive.all()
    assert not simulated(plan, ALONG).alive.any()


@pytest.mark.parametrize("devices", [1, 2])
def test_plans_without_a_device_in_the_middle_stay_as_they_are(devices):
    along, direct = (simulated(plan_of(devices), workload) for workload in (ALONG, DIRECT))
    np.testing.assert_array_equal(along.latency_s, direct.latency_s)
    assert along.parts_s == direct.parts_s


def test_where_nothing_comes_back_nothing_takes_time():
    silent = replace(ALONG, response_bytes=0)
    along, direct = (simulated(plan_of(), workload) for workload in (silent, replace(silent, direct=ANSWERS)))
    np.testing.assert_array_equal(along.latency_s, direct.latency_s)
    assert "response" not in direct.parts_s


def test_an_answer_that_is_late_counts_as_none_where_it_matters(bed):
    """The frames themselves are there in time."""
    workload = replace(DIRECT, deadline_s=0.05)
    slow = replace(workload, direct=replace(ANSWERS, delay_s=0.2))
    quick, late = (run(bed.with_workload(each), plan_of(transport="tcp")) for each in (workload, slow))
    assert quick.on_time_quality == quick.quality == late.quality
    assert late.on_time_quality == 0


def test_what_a_plan_takes_is_the_same_either_way(bed):
    along, direct = (run(bed.with_workload(each), plan_of()) for each in (ALONG, DIRECT))
    assert along.payload_bytes == direct.payload_bytes
    assert along.utilisation == direct.utilisation
    assert along.quality == direct.quality
