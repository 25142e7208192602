"""For every plan of one, two and three devices the parts of the latency add up, and every stage has its own load."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluation.beds import TIMES, bed_with_exits
from hypothesis import given, settings
from hypothesis import strategies as st

import splitimpera as sei
from splitimpera.core.errors import PlanError
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.plan import Exit, Hop, Plan
from splitimpera.records.traffic import Workload

BED = bed_with_exits()
QUEUES = ({}, {"batch": 4}, {"queue": "drop-oldest"}, {"queue": "drop-newest", "queue_frames": 3})
NAMES = ("camera", "edge", "server")
THRESHOLDS = st.sampled_from([(0.0,), (0.4,), (0.6,), (1.0,), (0.3, 0.5, 0.7, 1.0, 0.0)])


@st.composite
def plans(draw):
    count = draw(st.integers(1, 3))
    devices = tuple(
        Device(
            name,
            draw(st.sampled_from([1.0, 5.0, 20.0])),
            **draw(
                st.sampled_from(
                    [{}, {"batch": 4}, {"queue": "drop-oldest"}, {"queue": "drop-newest", "queue_frames": 3}]
                )
            ),
        )
        for name in NAMES[:count]
    )
    cuts = sorted(draw(st.lists(st.integers(0, BED.last - 1), min_size=count - 1, max_size=count - 1)))
    hops = tuple(
        Hop(
            cut,
            draw(st.sampled_from(["float32", "uint8"])),
            draw(st.sampled_from(["tcp", "udp", "udp-interleaved"])),
            Link(f"link{place}", 1e6, draw(st.sampled_from([0.0, 0.002])), draw(st.sampled_from([0.0, 0.1]))),
        )
        for place, cut in enumerate(cuts)
    )
    plan = Plan("any", devices, hops)
    behind = draw(st.lists(st.integers(1, BED.last - 1), max_size=3, unique=True))
    every = replace(plan, exits=tuple(Exit(cut, draw(THRESHOLDS)) for cut in sorted(behind)))
    alone = [place for place, device in enumerate(devices) if device.batch == 1]
    return replace(plan, exits=tuple(exit for place in alone for exit in every.exits_on(place)))


@settings(max_examples=40)
@given(plans(), st.sampled_from([5.0, 40.0]), st.integers(1, 3), st.sampled_from([0, 200]))
def test_the_parts_add_up_to_the_mean_latency(plan, fps, senders, answer):
    bed = BED.with_workload(Workload(fps, 60, senders=senders, response_bytes=answer))
    found = sei.evaluate(plan, bed, TIMES, np.random.default_rng(0), replications=2)
    answered = found.latency_s[np.isfinite(found.latency_s)]
    if len(answered):
        assert sum(found.parts_s.values()) == pytest.approx(answered.mean(), rel=1e-9, abs=1e-12)
    stages = [device.name for device in plan.devices] + [hop.link.name for hop in plan.hops]
    assert sorted(found.utilisation) == sorted(stages)
    assert found.busiest_stage in stages


CAMERA, EDGE, SERVER = (Device(name) for name in NAMES)
HOP = Hop(1, "uint8", "udp", Link("wifi"))


@pytest.mark.parametrize(
    ("devices", "hops", "message"),
    [
        ((CAMERA, EDGE, SERVER), (HOP,), "3 devices with 1 hops"),
        ((CAMERA,), (HOP,), "1 devices with 1 hops"),
        ((), (), "0 devices with 0 hops"),
        ((CAMERA, EDGE, SERVER), (Hop(3, "uint8", "udp", Link("lan")), HOP), "the cuts 3, 1 go back"),
        ((CAMERA, SERVER), (Hop(-1, "uint8", "udp", Link()),), "the cuts -1 go back"),
        ((CAMERA, Device("camera")), (HOP,), "2 of its devices and links are called 'camera'"),
        ((CAMERA, EDGE, SERVER), (HOP, HOP), "2 of its devices and links are called 'wifi'"),
        ((CAMERA, Device("wifi")), (HOP,), "are called 'wifi'"),
    ],
)
def test_a_plan_checks_itself(devices, hops, message):
    with pytest.raises(PlanError, match=message):
        Plan("any", devices, hops)
