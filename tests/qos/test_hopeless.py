"""What a timeline alone rules out is nothing that could be chosen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import splitimpera as sei
from splitimpera.evaluation.plan_space import build_plans
from splitimpera.models.datasets import Dataset, Pixels, Samples
from splitimpera.qos.hopeless import hopeless, infeasible, misses_for_certain, ruled_out
from splitimpera.qos.recommendation import recommend
from splitimpera.records.device import Device, Roofline
from splitimpera.records.link import Link
from splitimpera.records.measurements import Measurements
from splitimpera.records.requirement import parse_requirement
from splitimpera.records.traffic import Workload
from splitimpera.studies.trial import Trials


def machine(name, rate):
    return Device(name, roofline=Roofline(name, rate, 1e8, 1e-5, 10**6, 2.0, ""))


@pytest.fixture(scope="module")
def bed():
    """A small network on images of which some are flat, so that PNG and entropy coders vary in size."""
    torch.manual_seed(0)
    body = [torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 6, 3, stride=2), torch.nn.ReLU()]
    model = torch.nn.Sequential(*body, torch.nn.Flatten(), torch.nn.Linear(24, 5)).eval()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (90, 8, 8, 3), dtype=np.uint8)
    images[::3, 2:, 2:] = 7
    pixels = Pixels((0.5,) * 3, (0.25,) * 3)
    x = pixels.inputs(images)
    with torch.no_grad():
        labels = model(x).argmax(1)
    labels[::7] = (labels[::7] + 1) % 5
    part = [Samples(x[rows], labels[rows]) for rows in (slice(40), slice(40, 70), slice(70, 90))]
    return sei.Testbed(sei.trace(model, x), Dataset(*part, pixels=pixels), Workload(20.0, 30))


LIMITS = {
    "accuracy": (">=", st.floats(0.3, 0.99), ""),
    "latency_p95": ("<=", st.floats(1, 200), " ms"),
    "latency_mean": ("<=", st.floats(1, 200), " ms"),
    "fps": (">=", st.floats(1, 200), ""),
    "payload_bytes": ("<=", st.floats(20, 900), " B"),
    "device_memory": ("<=", st.floats(500, 8000), " B"),
    "lost_packet_rate": ("<=", st.floats(0.001, 0.2), ""),
    "dropped_frames": ("<=", st.floats(0.001, 0.2), ""),
}


@st.composite
def some_requirements(draw):
    names = draw(st.lists(st.sampled_from(sorted(LIMITS)), min_size=1, max_size=4, unique=True))
    return [
        parse_requirement(f"{name} {LIMITS[name][0]} {draw(LIMITS[name][1]):.3g}{LIMITS[name][2]}") for name in names
    ]


CASES = {
    "wanted": some_requirements(),
    "rate": st.sampled_from([3e4, 1e5, 1e6]),
    "loss": st.sampled_from([0.0, 0.02, 0.2]),
    "speed": st.sampled_from([1e5, 1e6, 1e8]),
    "seed": st.integers(0, 3),
}


@pytest.mark.slow
@settings(max_examples=4)
@given(**CASES)
def test_no_plan_that_could_be_chosen_is_ruled_out(bed, wanted, rate, loss, speed, seed):
    check_against_the_full_evaluation(bed, wanted, rate, loss, speed, seed)


def test_a_lossy_link_that_is_quicker_than_one_without_loss_rules_nothing_out(bed):
    limits = "latency_mean <= 61 ms", "accuracy >= 0.5", "dropped_frames <= 0.125", "latency_p95 <= 66 ms"
    check_against_the_full_evaluation(bed, list(map(parse_requirement, limits)), 3e4, 0.2, 1e5, 0)


def test_a_plan_simulated_once_is_not_ruled_out_by_the_packets_lost_that_once(bed):
    check_against_the_full_evaluation(bed, [parse_requirement("lost_packet_rate <= 0.0312")], 3e4, 0.02, 1e5, 0)


@pytest.mark.slow
@settings(max_examples=40)
@given(**CASES)
def test_no_plan_is_ruled_out_in_many_more_cases(bed, wanted, rate, loss, speed, seed):
    check_against_the_full_evaluation(bed, wanted, rate, loss, speed, seed)


def check_against_the_full_evaluation(bed, wanted, rate, loss, speed, seed):
    link = Link(rate_bps=rate, loss=loss, delay_s=0.005, jitter_s=0.001, mtu_bytes=150)
    codecs = ["uint8", "uint8+rans"]
    devices = machine("camera", speed), machine("server", 1e9)
    plans = build_plans(devices, link, bed.graph.cuts, [1, 3], codecs=codecs, transports=["tcp", "udp"])
    trials = Trials(bed, Measurements(), seed, 3)
    whole = trials.evaluated(plans)
    alone = trials.timelines(plans)
    out = {one.plan.id for one in alone if hopeless(one, trials.at_best(one), wanted)}
    decided = recommend(whole, wanted)
    assert not out & {verdict.id for verdict in decided.verdicts if verdict.feasible or verdict.open}
    left = [one for one in whole if one.plan.id not in out] + [
        one for one in trials.timelines(plans) if one.plan.id in out
    ]
    feasible = {verdict.id for verdict in decided.verdicts if verdict.feasible}
    assert not feasible & {one.plan.id for one in whole if infeasible(one, wanted)}
    again = recommend(left, wanted)
    assert (again.chosen and again.chosen.id) == (decided.chosen and decided.chosen.id)


def test_what_misses_for_certain_is_what_no_end_of_the_interval_meets():
    wanted = [parse_requirement("accuracy >= 0.9"), parse_requirement("latency_p95 <= 1 s")]
    assert misses_for_certain("accuracy", (0.8, 0.89), wanted)
    assert not misses_for_certain("accuracy", (0.8, 0.9), wanted)
    assert not misses_for_certain("miou", (0.1, 0.2), wanted)
    assert misses_for_certain("rmse", (0.3, 0.4), [parse_requirement("rmse <= 0.2")])
    soft = replace(wanted[0], weight=1.0)
    assert not misses_for_certain("accuracy", (0.1, 0.2), [soft])


def test_a_plan_that_cannot_run_is_ruled_out_whatever_is_asked(bed):
    tiny = replace(machine("camera", 1e6), memory_bytes=1)
    trials = Trials(bed, Measurements(), 0, 1)
    (local,) = build_plans((tiny, tiny), Link(), bed.graph.cuts, [], codecs=[], transports=[])[:1]
    assert ruled_out(trials.at_best(trials.timelines([local])[0]), [parse_requirement("accuracy >= 1 %")])
    (able,) = build_plans((machine("a", 1e6),) * 2, Link(), bed.graph.cuts, [], codecs=[], transports=[])[:1]
    assert not ruled_out(trials.at_best(trials.timelines([able])[0]), [parse_requirement("accuracy >= 1 %")])
    assert ruled_out(trials.at_best(trials.timelines([able])[0]), [parse_requirement("latency_p95 <= 1 ns")])


def test_what_a_link_cannot_carry_is_simulated_once(bed):
    slow = Link(rate_bps=3e4, mtu_bytes=150)
    devices = machine("camera", 1e8), machine("server", 1e9)
    plans = build_plans(devices, slow, bed.graph.cuts, [3], codecs=["float32", "uint8"], transports=["tcp", "udp"])
    found = Trials(bed, Measurements(), 0, 5).timelines(plans)
    once = {one.plan.id for one in found if len(one.latency_s) == 1}
    fixed = [one for one in found if one.plan.hops and one.plan.hops[0].codec != "png"]
    assert once == {one.plan.id for one in fixed if one.payload_bytes * 8 * 20 > 3e4}
    assert 0 < len(once) < len(fixed)
    assert not any(one.stable for one in found if one.plan.id in once)
    every = Trials(bed, Measurements(), 0, 5).evaluated(plans)
    assert not any(one.stable for one in every if one.plan.id in once)
    # a camera that drops frames sends fewer of them
    dropping = replace(devices[0], queue="drop-oldest"), devices[1]
    (plan,) = [replace(one, devices=dropping) for one in plans if one.id in once][:1]
    assert len(Trials(bed, Measurements(), 0, 5).timelines([plan])[0].latency_s) == 5
