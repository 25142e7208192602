"""Bottlenecks at any hops: with identities the network's answers; else those of networks with the tails' weights."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from itertools import combinations_with_replacement, product

import numpy as np
import pytest
import torch
from evaluation.beds import TIMES
from hypothesis import given, settings
from hypothesis import strategies as st
from identities import RATIO, identity
from networks import inputs, make

import splitimpera as sei
from splitimpera.codec.codecs import Calibration, calibrate
from splitimpera.core.errors import CutError
from splitimpera.evaluation.testbed import route_of
from splitimpera.export.part_modules import part_of
from splitimpera.models.datasets import Dataset, Samples
from splitimpera.partition.cutter import segment
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.spans import NETWORK, Span, spans_between
from splitimpera.records.traffic import Workload

NAMES = ("Chain", "Skip", "Dense", "Inception")
TIERS = tuple(map(Device, ("sensor", "gateway", "edge", "cloud")))


def bed_of(name, factor):
    """A testbed with an identity at each inner cut, whose tail's parameters are `factor(cut)` times the network's."""
    model, (x,) = make(name).eval(), inputs(name, 12)
    with torch.no_grad():
        samples = Samples(x, model(x).argmax(1))
    graph = sei.trace(model, x)
    bed = sei.Testbed(graph, Dataset(samples, samples, samples), Workload(2.0, 24))
    for cut in graph.cuts[1:-1]:
        bed.add_split(RATIO, identity(graph, cut.index, factor(cut.index)))
    return bed


@cache
def same(name):
    return bed_of(name, lambda _: 1.0)


@cache
def other(name):
    return bed_of(name, factor)


def factor(cut):
    return 1 + cut / 8


@cache
def network_of(name, weights):
    """The network traced anew, its parameters as they are in the tail of a bottleneck."""
    model, (x,) = deepcopy(make(name)).eval(), inputs(name, 12)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= factor(weights[0]) if weights[1] else 1.0
    return sei.trace(model, x)


def places_of(bed, hops):
    """Every way to hop, with and without a bottleneck on each; latents go to a device that computes."""
    for cuts in combinations_with_replacement(range(bed.last), hops):
        for ratios in product((0.0, RATIO), repeat=hops):
            places = [*zip(cuts, ratios, strict=True)]
            if all(cut for cut, ratio in places if ratio) and places == sorted(places):
                yield places


def x_of(bed):
    return bed.inputs(bed.data.test.inputs)


@pytest.mark.parametrize("name", NAMES)
def test_with_identities_the_layers_of_all_tiers_are_the_network(name):
    bed = same(name)
    (whole,) = bed.call(Span(0, bed.last), x_of(bed))
    for places in places_of(bed, 2):
        crossing = x_of(bed)
        for span in spans_between(places, bed.last):
            crossing = bed.call(span, crossing)
        torch.testing.assert_close(crossing[0], whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_each_device_runs_the_weights_of_the_tail_before(name):
    """By other means: the networks whose parameters are those of each tail, traced, and cut at the same places."""
    bed = other(name)
    for places in places_of(bed, 2):
        weights, crossing, wanted = NETWORK, x_of(bed), x_of(bed)
        for span, place in zip(spans_between(places, bed.last), [*places, NETWORK], strict=True):
            crossing = bed.call(span, crossing)
            graph = network_of(name, weights)
            with torch.no_grad():
                wanted = segment(graph, graph.cuts[span.start], graph.cuts[span.end])(*wanted)
            for ours, theirs in zip(crossing, wanted, strict=True):
                torch.testing.assert_close(ours, theirs * (2 if place[1] else 1))  # latents are twice the tensors
            weights = place if place[1] else weights


@pytest.mark.parametrize("name", NAMES)
def test_what_is_exported_is_what_is_evaluated(name):
    bed = other(name)
    for places in places_of(bed, 2):
        crossing = x_of(bed)
        for span in spans_between(places, bed.last):
            wanted = bed.call(span, crossing)
            if not span.empty:
                with torch.no_grad():
                    found = part_of(bed, span).module(*crossing)
                assert all(ours.equal(theirs) for ours, theirs in zip(found, wanted, strict=True))
            crossing = wanted


@st.composite
def plans(draw):
    """A network and a plan for it, with bottlenecks on some of its hops."""
    name, hops = draw(st.sampled_from(NAMES[:2])), draw(st.sampled_from([2, 3]))
    places = draw(st.sampled_from([*places_of(same(name), hops)]))
    codecs = st.sampled_from(["float32", "float32+zstd"])
    transports = st.sampled_from(["tcp", "udp"])
    made = tuple(
        Hop(cut, draw(codecs), draw(transports), Link(f"link{place}", 1e7, 0.001), ratio)
        for place, (cut, ratio) in enumerate(places)
    )
    return name, Plan("any", TIERS[: hops + 1], made)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(plans())
def test_with_identities_answers_are_the_networks_and_parts_add_up(case):
    name, plan = case
    found = sei.evaluate(plan, same(name), TIMES, np.random.default_rng(0))
    assert found.quality == found.on_time_quality == 1.0
    assert sum(found.parts_s.values()) == pytest.approx(found.latency_s.mean(), rel=1e-9)
    for device, span in zip(
        plan.devices, spans_between([(hop.cut, hop.bottleneck) for hop in plan.hops], same(name).last), strict=True
    ):
        assert found.parts_s[f"{device.name}: network"] == pytest.approx(0.001 * (span.end - span.start))


def hops_of(*places, codec="uint8"):
    return tuple(Hop(cut, codec, "tcp", Link(f"link{at}"), ratio) for at, (cut, ratio) in enumerate(places))


def test_codecs_are_calibrated_on_what_the_tail_makes():
    bed = bed_of("Chain", lambda _: 3.0)
    route = route_of(hops_of((1, RATIO), (3, 0.0), (4, RATIO)))
    assert [coding.behind for coding in route] == [NETWORK, (1, RATIO), (1, RATIO)]
    crossing = bed.call(Span(0, 1, 0.0, RATIO), bed.inputs(bed.data.train.inputs))
    for coding, end in zip(route[1:], [(3, 0.0), (4, RATIO)], strict=True):
        made = bed.call(Span(1, end[0], RATIO, end[1]), crossing)
        by_hand = Calibration(bed.specs(*end), tuple(tensor.numpy() for tensor in made), None, coding.packet_bytes)
        found = bed.constants(*coding)
        assert found.plan_id == calibrate("uint8", by_hand).plan_id
        assert found.plan_id != bed.constants(*coding[:4]).plan_id
    at_once = bed_of("Chain", lambda _: 3.0)
    at_once.prepare(route)
    for coding in route:
        row = bed.example(coding.cut, coding.bottleneck)
        assert at_once.codec(*coding).encode(row).data == bed.codec(*coding).encode(row).data


def test_a_head_of_its_own_takes_the_first_device_that_computes():
    bed = same("Chain")
    bed.add_split(3.0, identity(bed.graph, 3, own_head=True))
    x = x_of(bed)
    (whole,) = bed.call(Span(0, bed.last), x)
    for places in ([(3, 3.0)], [(0, 0.0), (3, 3.0)]):
        crossing = x
        for span in spans_between(places, bed.last):
            crossing = bed.call(span, crossing)
        torch.testing.assert_close(crossing[0], whole)
    for places in ([(1, 0.0), (3, 3.0)], [(1, RATIO), (3, 3.0)]):
        first, second, _ = spans_between(places, bed.last)
        with pytest.raises(CutError, match="needs the whole head on one device"):
            bed.call(second, bed.call(first, x))
        with pytest.raises(CutError, match="needs the whole head on one device"):
            part_of(bed, second)
