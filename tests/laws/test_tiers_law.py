"""Three and four tiers at every combination of cuts: the network's answers, parts that add up, loads."""

from __future__ import annotations

from functools import cache
from itertools import combinations_with_replacement, pairwise

import numpy as np
import pytest
import torch
from evaluation.beds import TIMES
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import inputs, make

import splitimpera as sei
from splitimpera.evaluation.sharing import most_senders
from splitimpera.models.datasets import Dataset, Samples
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.spans import Span
from splitimpera.records.traffic import Workload

NAMES = ("Chain", "Skip", "SkipFromInput", "Dense", "Inception")
TIERS = ("sensor", "gateway", "edge", "cloud")
COUNTS = ((1, 1, 1), (2, 1, 1), (3, 2, 1), (3, 3, 2))


@cache
def bed(name):
    model, (x,) = make(name).eval(), inputs(name, 12)
    with torch.no_grad():
        samples = Samples(x, model(x).argmax(1))
    return sei.Testbed(sei.trace(model, x), Dataset(samples, samples, samples), Workload(2.0, 24))


@st.composite
def plans(draw):
    """A network and a plan for it, cut anywhere in order."""
    name, tiers = draw(st.sampled_from(NAMES)), draw(st.sampled_from([3, 4]))
    places = [*combinations_with_replacement(range(bed(name).last), tiers - 1)]
    counts = draw(st.sampled_from(COUNTS))
    devices = tuple(map(Device, TIERS[:1])) + tuple(
        Device(tier, count=count) for tier, count in zip(TIERS[1:tiers], counts, strict=False)
    )
    hops = tuple(
        Hop(
            cut,
            draw(st.sampled_from(["float32", "float32+zstd"])),
            draw(st.sampled_from(["tcp", "udp"])),
            Link(f"link{place}", 1e7, 0.001),
        )
        for place, cut in enumerate(draw(st.sampled_from(places)))
    )
    return name, Plan("any", devices, hops)


@settings(max_examples=20)
@given(plans(), st.sampled_from([1, 3]), st.sampled_from([0, 40]))
def test_answers_are_the_networks_and_parts_add_up(case, senders, response_bytes):
    name, plan = case
    workload = Workload(2.0, 24, senders=senders, response_bytes=response_bytes)
    found = sei.evaluate(plan, bed(name).with_workload(workload), TIMES, np.random.default_rng(0))
    assert found.quality == found.on_time_quality == 1.0
    assert sum(found.parts_s.values()) == pytest.approx(found.latency_s.mean(), rel=1e-9)
    stages = [device.name for device in plan.devices] + [hop.link.name for hop in plan.hops]
    assert sorted(found.utilisation) == sorted(stages)
    cuts = [0, *(hop.cut for hop in plan.hops), bed(name).last]
    for device, share, (start, end) in zip(
        plan.devices, most_senders(plan.devices, senders), pairwise(cuts), strict=True
    ):
        parts = (found.parts_s.get(f"{device.name}: {part}", 0.0) for part in ("network", "decode", "encode"))
        assert found.utilisation[device.name] == pytest.approx(sum(parts) * 2.0 * share)
        assert found.parts_s[f"{device.name}: network"] == pytest.approx(0.001 * (end - start))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tiers", [3, 4])
def test_the_layers_of_all_tiers_are_the_network(name, tiers):
    testbed = bed(name)
    samples = testbed.data.validation
    x = testbed.inputs(samples.read(torch.arange(len(samples))))
    whole = testbed.call(Span(0, testbed.last), x)
    for cuts in combinations_with_replacement(range(testbed.last + 1), tiers - 1):
        crossing = x
        for start, end in pairwise((0, *cuts, testbed.last)):
            crossing = testbed.call(Span(start, end), crossing)
        for ours, theirs in zip(crossing, whole, strict=True):
            torch.testing.assert_close(ours, theirs)
