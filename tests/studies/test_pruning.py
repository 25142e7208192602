"""What bounds leave out of many plans is nothing that could be recommended; what is left out is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from identities import RATIO, identity

import splitimpera as sei
from splitimpera.core.errors import ScenarioError
from splitimpera.evaluation import plan_bounds
from splitimpera.evaluation.plan_bounds import bounds_of
from splitimpera.evaluation.plan_space import Over, space_between
from splitimpera.evaluation.stopwatch import measure
from splitimpera.models.datasets import Dataset, Pixels, Samples
from splitimpera.qos.recommendation import recommend
from splitimpera.records.device import Device, Roofline
from splitimpera.records.link import Link
from splitimpera.records.measurements import Measurements
from splitimpera.records.requirement import parse_requirement
from splitimpera.records.traffic import DirectAnswers, Workload
from splitimpera.studies.pruning import count_of, covering, is_large, possible, possible_parts, worth_evaluating
from splitimpera.studies.trial import Trials

LIMITS = {
    "accuracy": (">=", st.floats(0.3, 0.99), ""),
    "latency_p95": ("<=", st.floats(1, 300), " ms"),
    "latency_mean": ("<=", st.floats(1, 300), " ms"),
    "latency_max": ("<=", st.floats(1, 300), " ms"),
    "fps": (">=", st.floats(1, 200), ""),
    "payload_bytes": ("<=", st.floats(20, 1800), " B"),
    "device_memory": ("<=", st.floats(500, 8000), " B"),
    "cut_depth": (">=", st.integers(1, 3), ""),
}


def machine(name, rate, memory=10**6, p95_ratio=1.3, **more):
    roofline = Roofline(name, rate, 1e8, 1e-5, memory, 2.0, "", p95_ratio=p95_ratio)
    return Device(name, roofline=roofline, **more)


@pytest.fixture(scope="module")
def bed():
    """A small network on images of which some are flat, so that PNG and entropy coders vary in size."""
    torch.manual_seed(0)
    body = [torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 6, 3, stride=2), torch.nn.ReLU()]
    model = torch.nn.Sequential(*body, torch.nn.Flatten(), torch.nn.Linear(24, 5)).eval()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    images[::3, 2:, 2:] = 7
    pixels = Pixels((0.5,) * 3, (0.25,) * 3)
    x = pixels.inputs(images)
    with torch.no_grad():
        labels = model(x).argmax(1)
    labels[::7] = (labels[::7] + 1) % 5
    part = [Samples(x[rows], labels[rows]) for rows in (slice(30), slice(30, 50), slice(50, 60))]
    return sei.Testbed(sei.trace(model, x), Dataset(*part, pixels=pixels), Workload(20.0, 20))


def space_of(bed, devices, rates, transports, codecs=("uint8",), **link):
    ways = [Over(Link(f"link{place}", rate, 0.002, **link), codecs, transports) for place, rate in enumerate(rates)]
    return space_between(devices, ways, bed.graph.cuts, [1, 3])


@st.composite
def some_requirements(draw):
    names = draw(st.lists(st.sampled_from(sorted(LIMITS)), min_size=1, max_size=3, unique=True))
    return [
        parse_requirement(f"{name} {LIMITS[name][0]} {draw(LIMITS[name][1]):.3g}{LIMITS[name][2]}") for name in names
    ]


CASES = {
    "wanted": some_requirements(),
    "rates": st.tuples(st.sampled_from([3e4, 2e5, 1e6]), st.sampled_from([1e5, 1e7])),
    "loss": st.sampled_from([0.0, 0.1]),
    "speeds": st.tuples(st.sampled_from([1e5, 1e6, 1e8]), st.sampled_from([1e6, 1e8])),
    "memory": st.sampled_from([2000, 10**6]),
    "senders": st.sampled_from([1, 2]),
    "queue": st.sampled_from(["wait", "drop-oldest"]),
    "seed": st.integers(0, 3),
}


@pytest.mark.slow
@settings(max_examples=60)
@given(**CASES)
def test_nothing_that_could_be_recommended_is_left_out(bed, wanted, rates, loss, speeds, memory, senders, queue, seed):
    devices = (
        machine("sensor", speeds[0], memory),
        machine("gateway", speeds[1], queue=queue, count=senders),
        machine("cloud", 1e9),
    )
    workload = Workload(20.0, 20, senders=senders, response_bytes=40 * (seed % 2))
    here = bed.with_workload(workload)
    space = space_of(bed, devices, rates, ["tcp", "udp"], loss=loss, mtu_bytes=150)
    plans = [*space.plans()]
    trials = Trials(here, Measurements(), seed, 2)
    whole = trials.evaluated(plans)
    bounds = bounds_of(space, here, Measurements(), workload)
    left = possible(bounds, wanted, workload)
    assert len(plans) == len(left) == count_of(space)
    check_bounds(bounds, whole, plans)
    decided = recommend(whole, wanted)
    out = {plan.id for plan, may in zip(plans, left, strict=True) if not may}
    assert not out & {verdict.id for verdict in decided.verdicts if verdict.feasible}
    if decided.chosen is not None:
        again = recommend([one for one in whole if one.plan.id not in out], wanted)
        assert again.chosen is not None
        assert again.chosen.id == decided.chosen.id


def check_bounds(bounds, whole, plans):
    """Nothing that was simulated is below what is the least."""
    for place, (found, plan) in enumerate(zip(whole, plans, strict=True)):
        assert found.plan is plan
        spent = bounds.spent.at(place)
        assert np.nanmin(found.latency_s) >= spent.least_s - 1e-7, plan.id
        assert found.fps * spent.busy_s <= 1 + 1e-6, plan.id
        assert found.payload_bytes >= spent.payload_bytes, plan.id
        assert bool(found.cannot_run) is not bool(spent.fits), plan.id
        assert found.cut_depth == bounds.cut_depth[place]
        assert found.memory_bytes[0] == bounds.device_memory[place]


def test_a_plan_that_waits_for_nothing_takes_what_the_bound_says(bed):
    """Without losses, queues and chance the bound is the latency itself over UDP, and close to it over TCP."""
    devices = tuple(machine(name, 1e7, p95_ratio=1.0) for name in "abc")
    space = space_of(bed, devices, (1e6, 1e7), ["udp", "tcp"])
    slow = bed.with_workload(Workload(0.5, 20))
    bounds = bounds_of(space, slow, Measurements(), slow.workload)
    found = Trials(slow, Measurements(), 0, 1).timelines([*space.plans()])
    for one, least_s in zip(found, bounds.spent.least_s, strict=True):
        if "png" not in one.plan.id:
            far = 0.2 if "tcp" in one.plan.id else 1e-6
            assert least_s <= one.latency_s.min() + 1e-7
            assert least_s == pytest.approx(one.latency_s.mean(), rel=far), one.plan.id


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_answers_that_come_directly_are_in_the_bound(bed, transport):
    """Plans of two devices have theirs along the link still."""
    devices = tuple(machine(name, 1e7, p95_ratio=1.0) for name in "abc")
    space = space_of(bed, devices, (1e6, 1e7), [transport], downlink_delay_s=0.004)
    direct = Workload(0.5, 20, response_bytes=500, direct=DirectAnswers(1e6, 0.03))
    of = {}
    for name, workload in (("direct", direct), ("silent", replace(direct, response_bytes=0))):
        here = bed.with_workload(workload)
        bounds = of[name] = bounds_of(space, here, Measurements(), workload)
        plans = [*space.plans()]
        found = Trials(here, Measurements(), 0, 1).timelines(plans)
        for one, least_s in zip(found, bounds.spent.least_s, strict=True):
            assert least_s <= one.latency_s.min() + 1e-7, one.plan.id
            if transport == "udp" and "png" not in one.plan.id:
                alone = workload.response_bytes and len(one.plan.hops) == 1
                header_s = 8 * 30 / 1e6 if alone else 0.0  # of the response, which the bound leaves out
                assert least_s + header_s == pytest.approx(one.latency_s.mean()), one.plan.id
    hops = (bounds.hops >= 0).sum(1)
    for spent in ("least_s", "usual_s"):
        more_s = getattr(of["direct"].spent, spent) - getattr(of["silent"].spent, spent)
        np.testing.assert_allclose(more_s[hops == 0], 0)
        np.testing.assert_allclose(more_s[hops == 1], 0.004 + 8 * 500 / 1e6)
        np.testing.assert_allclose(more_s[hops == 2], 0.03 + 8 * 500 / 1e6)


WANTED = [parse_requirement("latency_p95 <= 100 ms"), parse_requirement("accuracy >= 0.5")]


def large_space(bed, **more):
    devices = machine("sensor", 1e6), machine("gateway", 1e7), machine("edge", 1e8), machine("cloud", 1e9)
    return space_of(bed, devices, (3e5, 1e6, 1e7), ["tcp"], ("uint8", "float32", "uint4"), **more)


def chosen_of(bed, space, wanted=WANTED, **more):
    said = []
    plans = worth_evaluating(space, bed, Measurements(), bed.workload, wanted, say=said.append, **more)
    return plans, " ".join(said)


def test_of_more_than_are_evaluated_the_best_are_taken_and_that_is_said(bed):
    space = large_space(bed)
    every = [*space.plans()]
    assert is_large(space)
    assert count_of(space) == len(every)
    plans, said = chosen_of(bed, space, most=30)
    assert len(plans) == 30
    assert plans[0].id == "LC"
    assert [plan.id for plan in every if plan in plans] == [plan.id for plan in plans]
    assert f"{len(every)} plans, of which all but" in said
    assert "30 are evaluated, those that look best" in said
    sets = {frozenset(hop.codec for hop in plan.hops) for plan in plans}
    assert {frozenset({"float32"}), frozenset({"uint8"}), frozenset({"uint4"})} <= sets


@pytest.mark.slow
def test_where_nothing_is_feasible_those_are_left_that_miss_by_least(bed):
    wanted = [parse_requirement("latency_p95 <= 1 us")]
    plans, said = chosen_of(bed, large_space(bed), wanted)
    assert 20 <= len(plans) <= 21
    assert "all but 0 cannot run or violate" in said
    assert "with those that miss by least" in said
    fastest = min(Trials(bed, Measurements(), 0, 1).timelines(plans), key=lambda one: one.latency_s.mean())
    every = Trials(bed, Measurements(), 0, 1).timelines([*large_space(bed).plans()][:200])
    assert fastest.latency_s.mean() <= min(one.latency_s.mean() for one in every)


def test_a_plan_that_frames_may_leave_early_is_left_out_for_its_memory_alone(bed):
    space = large_space(bed)
    wanted = [parse_requirement("latency_p95 <= 1 us")]
    plans, said = chosen_of(bed, space, wanted, most=30, early=True)
    assert len(plans) == 30
    assert f"of which all but {count_of(space)} cannot run" in said


@pytest.fixture(scope="module")
def squeezed(bed):
    """The same network with bottlenecks that change nothing, whose tails have other weights."""
    made = sei.Testbed(bed.graph, bed.data, bed.workload)
    for cut, factor in ((1, 3.0), (3, 0.1)):
        made.add_split(RATIO, identity(bed.graph, cut, factor))
    return made


def squeezed_space(bed, devices, rates, **more):
    ways = [Over(Link(f"link{place}", rate, 0.002), ["uint8+zstd"], ["tcp"]) for place, rate in enumerate(rates)]
    places, codecs = [(1, RATIO), (3, RATIO)], ["uint8+rans", "float32"]
    return space_between(devices, ways, bed.graph.cuts, [1, 3], bottlenecks=places, latent_codecs=codecs, **more)


def test_behind_bottlenecks_nothing_is_below_the_bounds(squeezed):
    devices = machine("sensor", 1e6), machine("gateway", 1e7), machine("cloud", 1e9)
    space = squeezed_space(squeezed, devices, (3e5, 1e6))
    plans = [*space.plans()]
    assert count_of(space) == len(plans)
    assert sum(len({hop.cut for hop in plan.hops if hop.bottleneck}) == 2 for plan in plans) == 4
    bounds = bounds_of(space, squeezed, Measurements(), squeezed.workload)
    check_bounds(bounds, Trials(squeezed, Measurements(), 0, 1).evaluated(plans), plans)


def test_what_covers_a_space_with_bottlenecks_has_all_that_is_timed(squeezed):
    devices = tuple(map(Device, ("sensor", "gateway", "edge", "cloud")))
    space = squeezed_space(squeezed, devices, (1e6, 1e6, 1e6))
    few = covering(space)
    assert is_large(space)
    assert len(few) < count_of(space)
    times = measure(few, squeezed, fps=200, budget_s=0.1, fresh=True)
    assert (1, 3, RATIO, RATIO) in {(each.start, each.end, each.arriving, each.leaving) for each in times.segments}
    assert len(bounds_of(space, squeezed, times, squeezed.workload).hops) == count_of(space)


def test_two_devices_are_never_pruned(bed):
    many = [f"uint8+fec:{share}" for share in range(1, 120)]
    space = space_of(bed, (machine("sensor", 1e6), machine("cloud", 1e9)), (1e6,), ["tcp", "udp"], many)
    assert count_of(space) > 200
    assert not is_large(space)
    assert len(covering(space)) == count_of(space)


def test_a_few_plans_have_all_that_is_timed(bed):
    """On the machine that runs a design, what covers a space is enough to bound all of it."""
    devices = Device("sensor"), Device("gateway", 2.0), Device("edge", 3.0), Device("cloud", 4.0)
    space = space_of(bed, devices, (1e6, 1e6, 1e6), ["tcp"], ("uint8", "float32", "uint4"))
    few = covering(space)
    assert len(few) < count_of(space) / 3
    assert few[0].id == "LC"
    times = measure(few, bed, fps=200, budget_s=0.1, fresh=True)
    assert len(bounds_of(space, bed, times, bed.workload).hops) == count_of(space)


def test_too_many_plans_are_refused_with_the_key(bed, monkeypatch):
    space = large_space(bed)
    monkeypatch.setattr(plan_bounds, "MOST_PLANS", 100)
    with pytest.raises(ScenarioError, match=r"plans: there are \d+ ways to the device '\w+', at most 100"):
        bounds_of(space, bed, Measurements(), bed.workload)
    hopeless = [parse_requirement("latency_p95 <= 1 us")]
    found = bounds_of(space, bed, Measurements(), bed.workload, lambda parts: possible_parts(parts, hopeless))
    assert len(found.hops) < count_of(space)
