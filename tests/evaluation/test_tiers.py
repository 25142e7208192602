"""Many sensors, few gateways, one cloud; gateways that only forward; times are known exactly."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from beds import TIMES, known_bed, run, transport

from splitimpera.core.errors import CodecError, CutError
from splitimpera.evaluation.costing import plan_costs
from splitimpera.evaluation.plan_space import Over, space_between
from splitimpera.evaluation.stopwatch import measure
from splitimpera.evaluation.timeline import timeline
from splitimpera.net.transports import TRANSPORTS
from splitimpera.records.costs import Cost, DeviceCosts
from splitimpera.records.device import Device
from splitimpera.records.graph import Cut, TensorSpec
from splitimpera.records.link import Link
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.spans import Span
from splitimpera.records.traffic import Workload

SENSOR, CLOUD = Device("sensor", 10.0), Device("cloud")
RADIO, FIBRE = Link("radio", 1e6, 0.002), Link("fibre", 1e7, 0.001)


@pytest.fixture(scope="module")
def bed():
    return known_bed()


def tiers(count=1, first=(1, "float32", "udp"), second=(3, "float32", "udp")):
    devices = SENSOR, Device("gateway", 2.0, count=count), CLOUD
    return Plan("tiers", devices, (Hop(*first, RADIO), Hop(*second, FIBRE)))


def costs_of(*seconds):
    return [DeviceCosts((Cost(each, "measured"),), None, None, 0) for each in seconds]


def simulated(plan, workload, seconds, size, replications=1):
    sizes = [np.array([size])] * len(plan.hops)
    rng = np.random.default_rng(0)
    return timeline(plan, workload, costs_of(*seconds), sizes, [1] * len(plan.hops), rng, replications)


# What is shared -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "longest_s"), [(1, 20 * 0.5 - 19 * 0.25), (2, 0.5), (4, 0.5)])
def test_senders_wait_for_each_other_only_at_the_same_gateway(count, longest_s):
    """Five frames of each of four sensors, one every quarter of a second; a gateway takes half a second."""
    plan = Plan("p", (SENSOR, Device("gateway", count=count)), (Hop(1, "uint8", "udp", Link("radio", 1e12, 0.0)),))
    times = tuple(np.arange(5.0))
    workload = Workload(1.0, 5, frame_bytes=100, senders=4, times_s=times)  # staggered
    found = simulated(plan, workload, (0.0, 0.5), 100)
    assert found.latency_s.max() == pytest.approx(longest_s, abs=1e-3)
    assert found.utilisation["gateway"] == pytest.approx(4 / count * 0.5)
    assert found.stable is (count > 1)


def test_each_machine_of_the_next_tier_has_a_link_of_its_own():
    """Frames of 5 ms on the link from four sensors, 100 a second: one link carries 2, two links carry them all."""
    size = 625 - 28 - 2

    def found(count):
        plan = Plan("p", (SENSOR, Device("gateway", count=count)), (Hop(1, "uint8", "udp", RADIO),))
        return simulated(plan, Workload(100.0, 50, frame_bytes=size, senders=4), (0.0, 0.0), size)

    assert [found(count).utilisation["radio"] for count in (1, 2, 4)] == pytest.approx([2.0, 1.0, 0.5])
    assert [found(count).sustained_fps.mean() for count in (1, 2, 4)] == pytest.approx([50, 100, 200], rel=0.03)
    assert [found(count).stable for count in (1, 4)] == [False, True]
    four = found(4)
    np.testing.assert_allclose(four.latency_s, 0.007, atol=1e-8)
    assert len(four.sent[0][0].order) == 200
    assert four.sent[0][0].deliveries.complete_s.shape == (200,)


def test_behind_the_gateways_all_share_the_cloud():
    plan = tiers(count=2)
    found = simulated(plan, Workload(10.0, 50, frame_bytes=100, senders=4), (0.001, 0.002, 0.003), 100)
    loads = found.utilisation
    assert loads["sensor"] == pytest.approx(10 * 0.001)
    assert loads["gateway"] == pytest.approx(10 * 2 * 0.002)
    assert loads["cloud"] == pytest.approx(10 * 4 * 0.003)
    assert loads["radio"] == pytest.approx(10 * 2 * 8 * 130 / 1e6)
    assert loads["fibre"] == pytest.approx(10 * 4 * 8 * 130 / 1e7)


class Counting:
    """UDP that notes who sends."""

    def __init__(self, seen, link, rng):
        self.inner, self.link, self.seen = TRANSPORTS["udp"](link, rng), link, seen

    def transfer(self, frames):
        self.seen.append((self.link.name, sorted(set(frames.sender.tolist())), len(frames.sender)))
        return self.inner.transfer(frames)


def test_every_machine_that_sends_is_one_sender():
    seen = []
    with transport("counting", partial(Counting, seen)):
        plan = tiers(2, (1, "uint8", "counting"), (3, "uint8", "counting"))
        simulated(plan, Workload(10.0, 5, frame_bytes=100, senders=5), (0.0, 0.0, 0.0), 100)
    assert seen == [("radio", [0, 1, 2], 15), ("radio", [0, 1], 10), ("fibre", [0, 1], 25)]


class GivingUp:
    """UDP that never delivers the first frame, as TCP does that has given up its connection."""

    def __init__(self, link, rng):
        self.inner = TRANSPORTS["udp"](link, rng)

    def transfer(self, frames):
        found = self.inner.transfer(frames)
        return replace(found, complete_s=np.where(np.arange(len(found.complete_s)) == 0, np.inf, found.complete_s))


@pytest.mark.filterwarnings("error")
def test_what_was_given_up_before_a_gateway_never_arrives_and_no_queue_dropped_it():
    with transport("giving-up", GivingUp):
        plan = tiers(1, (1, "uint8", "giving-up"))
        found = simulated(plan, Workload(10.0, 5, frame_bytes=100), (0.001, 0.002, 0.003), 100)
    assert np.isinf(found.latency_s[0, 0])
    assert np.isfinite(found.latency_s[0, 1:]).all()
    assert found.dropped_frames == 0
    assert not found.alive[0, 0]
    assert sum(found.parts_s.values()) == pytest.approx(found.latency_s[0, 1:].mean())


# Gateways that forward ------------------------------------------------------------------------------------------------


def parts(bed, plan):
    return dict(zip((device.name for device in plan.devices), plan_costs(plan, bed, TIMES), strict=True))


def test_what_is_coded_alike_is_forwarded_as_it_came(bed):
    forwards = parts(bed, tiers(1, (1, "uint8", "udp"), (1, "uint8", "tcp")))["gateway"]
    assert (forwards.network[0].seconds, forwards.memory_bytes) == (0.0, 0)
    assert forwards.decode is forwards.encode is None
    recodes = parts(bed, tiers(1, (1, "uint8", "udp"), (1, "float32", "tcp")))["gateway"]
    assert recodes.network[0].seconds == 0
    assert recodes.decode.seconds == recodes.encode.seconds == pytest.approx(2e-4)
    computes = parts(bed, tiers(1, (1, "uint8", "udp"), (2, "uint8", "tcp")))["gateway"]
    assert computes.network[0].seconds == pytest.approx(2 * 0.001)


def test_a_gateway_that_forwards_takes_no_time(bed):
    slow = bed.with_workload(Workload(1.0, 30))
    two = Plan("two", (SENSOR, CLOUD), (Hop(1, "uint8", "udp", RADIO),))
    three = run(slow, tiers(1, (1, "uint8", "udp"), (1, "uint8", "udp")))
    one = run(slow, two)
    payload = one.payload_bytes
    assert three.payload_bytes == 2 * payload
    assert three.latency_s.mean() - one.latency_s.mean() == pytest.approx(0.001 + 8 * (payload + 30) / 1e7, abs=1e-8)
    assert three.parts_s["gateway: network"] == 0
    assert three.utilisation["gateway"] == 0
    assert three.quality == one.quality


def test_a_picture_is_not_compressed_twice_where_it_is_forwarded(bed):
    def answers(*codecs):
        hops = tuple(Hop(0, codec, "tcp", link) for codec, link in zip(codecs, (RADIO, FIBRE), strict=False))
        return run(bed, Plan("p", (SENSOR, Device("gateway"), CLOUD)[: len(hops) + 1], hops)).contributions

    once = answers("jpeg:20")
    np.testing.assert_array_equal(answers("jpeg:20", "jpeg:20"), once)
    # nothing is lost by 'png' of what a JPEG holds
    np.testing.assert_array_equal(answers("jpeg:20", "png"), once)


def test_what_came_with_gaps_is_filled_and_coded_again(bed):
    """The second hop loses nothing; what the first one lost stays lost."""
    lossy = replace(RADIO, loss=0.3, mtu_bytes=100)
    hops = Hop(1, "float32", "udp", lossy), Hop(1, "float32", "udp", replace(FIBRE, mtu_bytes=100))
    three = run(bed, Plan("p", (SENSOR, Device("gateway"), CLOUD), hops), replications=2)
    two = run(bed, Plan("p", (SENSOR, CLOUD), hops[:1]), replications=2)
    assert three.quality == pytest.approx(two.quality, abs=0.1)
    assert three.quality < 0.9 < run(bed, Plan("p", (SENSOR, CLOUD), (replace(hops[0], link=RADIO),))).quality
    sizes = three.payload_bytes / 2
    assert sizes == two.payload_bytes


def test_nothing_is_timed_for_what_is_forwarded(bed):
    found = measure([tiers(1, (1, "uint8", "udp"), (1, "uint8", "tcp"))], bed, fps=200, budget_s=0.2, fresh=True)
    assert {(each.start, each.end) for each in found.segments} == {(0, 1), (1, bed.last)}


# Which plans there are ------------------------------------------------------------------------------------------------


def space(bed, *, devices=3, codecs=("uint8",), cuts=(1, 3), **more):
    every = SENSOR, Device("gateway"), Device("edge"), CLOUD
    ways = [Over(Link(f"link{place}"), codecs, ["tcp"]) for place in range(devices - 1)]
    return space_between((*every[: devices - 1], CLOUD), ways, bed.graph.cuts, cuts, **more)


def test_plans_for_every_way_through_the_tiers(bed):
    ids = [plan.id for plan in space(bed).plans()]
    first = ["LC", "RC-uint8-tcp", "RC-png-tcp", "SC1-uint8-tcp", "SC3-uint8-tcp"]
    assert ids[:5] == first
    assert len(ids) == len(set(ids)) == 5 + 2 * 4 + 2 + 1
    assert {"RC-png-tcp-RC-png-tcp", "RC-png-tcp-SC3-uint8-tcp", "SC1-uint8-tcp-SC1-uint8-tcp"} <= set(ids)
    assert "SC3-uint8-tcp-SC1-uint8-tcp" not in ids


@pytest.mark.parametrize("devices", [2, 3, 4])
def test_cuts_never_go_back_and_devices_are_taken_in_order(bed, devices):
    for plan in space(bed, devices=devices, codecs=("uint8", "float32")).plans():
        cuts = [hop.cut for hop in plan.hops]
        assert cuts == sorted(cuts)
        assert [hop.link.name for hop in plan.hops] == [f"link{place}" for place in range(len(cuts))]


def test_each_link_has_its_codecs(bed):
    ways = Over(RADIO, ["uint8"], ["udp"]), Over(FIBRE, ["float32"], ["tcp"])
    made = space_between((SENSOR, Device("gateway"), CLOUD), ways, bed.graph.cuts, [1])
    for plan in made.plans():
        for hop in plan.hops:
            assert hop.transport == ("udp" if hop.link is RADIO else "tcp")
            assert hop.codec in (("uint8",) if hop.link is RADIO else ("float32",)) or (
                hop.cut == 0 and hop.codec in ("uint8", "png")
            )


def test_a_bottleneck_is_on_every_hop_behind_which_a_device_computes(bed):
    more = {"bottlenecks": [(1, 8.0), (2, 8.0), (2, 4.0)], "latent_codecs": ["uint8", "float32"]}
    every = [[(hop.cut, hop.bottleneck) for hop in plan.hops] for plan in space(bed, devices=4, **more).plans()]
    for places in every:
        for one, other in pairwise(places):
            assert one[0] < other[0] or one == other or (one[0] == other[0] and not one[1])
    ids = {plan.id for plan in space(bed, **more).plans()}
    assert {"SC1-uint8-tcp-SC2-b4-uint8-tcp", "SC2-b4-uint8-tcp-SC2-b4-float32-tcp"} <= ids
    assert {"SC1-b8-uint8-tcp-SC2-b4-uint8-tcp", "SC2-b4-uint8-tcp-SC3-uint8-tcp"} <= ids
    assert not {"SC2-b4-uint8-tcp-SC2-b8-uint8-tcp", "SC1-b8-uint8-tcp-SC1-uint8-tcp"} & ids
    assert [(1, 8.0), (2, 4.0), (3, 0.0)] in every


def test_a_bottleneck_with_a_head_of_its_own_is_alone_and_behind_the_first_device_that_computes(bed):
    more = {"bottlenecks": [(1, 8.0), (2, 4.0)], "latent_codecs": ["uint8"]}
    plans = [*space(bed, devices=4, **more, whole_heads=True).plans()]
    ids = {plan.id for plan in plans}
    assert "RC-uint8-tcp-SC2-b4-uint8-tcp-SC2-b4-uint8-tcp" in ids
    assert "SC1-b8-uint8-tcp-SC3-uint8-tcp" in ids
    assert not {"SC1-uint8-tcp-SC2-b4-uint8-tcp", "SC1-b8-uint8-tcp-SC2-b4-uint8-tcp"} & ids
    assert all(len({hop.cut for hop in plan.hops if hop.bottleneck}) <= 1 for plan in plans)


def test_two_devices_have_the_plans_that_they_had(bed):
    more = {"bottlenecks": [(1, 8.0)], "latent_codecs": ["uint8"]}
    ids = [plan.id for plan in space(bed, devices=2, **more).plans()]
    assert ids == [*(plan.id for plan in space(bed, devices=2).plans()), "SC1-b8-uint8-tcp"]


def test_what_was_not_trained_is_refused(bed):
    with pytest.raises(CutError, match="no bottleneck of ratio 4 was trained at cut 1"):
        bed.call(Span(1, 3, 4.0), (bed.data.test.inputs[:1],))
    with pytest.raises(CutError, match="no bottleneck of ratio 4 was trained at cut 1"):
        bed.call(Span(2, 3, behind=(1, 4.0)), (bed.data.test.inputs[:1],))


def test_concealment_by_the_token_before_is_for_cuts_with_tokens():
    """The image at the input has none, and is sent as it is anyway; a cut that was asked for is refused."""
    image, maps, tokens = TensorSpec("input", (3, 8, 8)), TensorSpec("stem", (8, 4, 4)), TensorSpec("blocks.0", (16, 8))
    specs = image, maps, replace(tokens, channel_dim=1), TensorSpec("head", (10,))
    cuts = [Cut(place, spec.name, (spec,), (spec.name,), 0, 0, 0, 0) for place, spec in enumerate(specs)]
    tiers = Device("camera"), Device("server")
    ways = [Over(Link("wifi"), ["uint8:token+before"], ["udp"])]
    plans = space_between(tiers, ways, cuts, [2]).plans()
    assert [plan.id for plan in plans] == ["LC", "RC-uint8-udp", "RC-png-udp", "SC2-uint8token+before-udp"]
    with pytest.raises(CodecError, match=r"stem: .*this has no tokens: its shape is \(8, 4, 4\)"):
        space_between(tiers, ways, cuts, [1, 2])
