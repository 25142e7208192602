"""Deadlines, loads, answers and packets where one more or one less would show; times are known exactly."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from beds import CAMERA, SERVER, TIMES, known_bed, plan, run, transport

import splitimpera as sei
from splitimpera.core.bounds import BOUNDS
from splitimpera.core.errors import DataError
from splitimpera.evaluation.passes import answers
from splitimpera.evaluation.requests import Damaged
from splitimpera.evaluation.stopwatch import measure
from splitimpera.evaluation.testbed import Coding
from splitimpera.models.datasets import Samples
from splitimpera.net.transports import TRANSPORTS
from splitimpera.qos.recommendation import recommend
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.measurements import Measurements
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.traffic import Workload
from splitimpera.studies.capacity import Capacity, find_capacity
from splitimpera.studies.loss_curve import worth_a_curve
from splitimpera.studies.sweeps import shortlist, sweeps_of
from splitimpera.tasks.quality import Sums
from splitimpera.tasks.regression import Error


class Eighths(Measurements):
    """Fixed times, exact in binary: 1/8 s for each run of layers, nothing for coding."""

    def segment_samples_s(self, *_, **__):
        return (0.125,)

    def coding_samples_s(self, *_):
        return (0.0,)


EIGHTHS = Eighths()


@pytest.fixture(scope="module")
def testbed():
    return known_bed()


def with_frames(bed, *args, **more):
    return bed.with_workload(Workload(*args, **more))


LOCAL = Plan("LC", (Device("camera"),))


@pytest.mark.parametrize(("deadline_s", "in_time"), [(0.125, 1.0), (0.1249, 0.0)])
def test_an_answer_at_its_deadline_is_in_time(testbed, deadline_s, in_time):
    assert run(with_frames(testbed, 4.0, 20, deadline_s), LOCAL, times=EIGHTHS).on_time_quality == in_time


@pytest.mark.parametrize(("fps", "stable"), [(8.0, True), (8.125, False)])
def test_a_stage_that_is_just_busy_all_the_time_keeps_up(testbed, fps, stable):
    result = run(with_frames(testbed, fps, 64), LOCAL, times=EIGHTHS)
    assert result.stable is stable
    assert (result.latency_s.max() > 0.125) is not stable


def test_a_stage_is_as_busy_as_the_frames_that_it_takes(testbed):
    """Three frames at once every 0.4 s, of 0.1 s each: one is served, one waits, one is dropped."""
    bursts = tuple(np.repeat(0.4 * np.arange(20), 3))
    bed = with_frames(testbed, 7.5, 60, times_s=bursts)
    result = run(bed, Plan("LC", (Device("camera", 20.0, queue="drop-newest"),)))
    assert result.dropped_frames == pytest.approx(1 / 3)
    assert result.utilisation["camera"] == pytest.approx(0.2 / 0.4)


def test_behind_a_stage_that_drops_frames_only_the_others_count(testbed):
    """Of 10 frames a second the camera does 6.1, in 165 ms each; the server could do 6.7, but not 10."""
    camera = Device("camera", 150.0, queue="drop-oldest")
    result = run(with_frames(testbed, 10.0, 400), plan(1, devices=(camera, Device("server", 36.5)), rate_bps=1e9))
    assert result.dropped_frames == pytest.approx(1 - 1 / 1.65, abs=0.01)
    load = 10 * (1 - result.dropped_frames) * 36.5 * 0.0041
    assert result.utilisation["server"] == pytest.approx(load, rel=0.02)
    assert load < 1 < 10 * 36.5 * 0.0041
    assert result.stable


class Answering:
    """UDP whose answers take 7 ms."""

    def __init__(self, link, rng):
        self.inner = TRANSPORTS["udp"](link, rng)

    def transfer(self, frames):
        sent = self.inner.transfer(frames)
        return replace(sent, response_s=sent.complete_s + 0.007)


def three_tiers(transport):
    links = Link(rate_bps=1e7, name="access"), Link(rate_bps=1e7, name="uplink")
    hops = tuple(Hop(cut, "float32", transport, link) for cut, link in zip((1, 3), links, strict=True))
    return Plan("three tiers", (CAMERA, Device("edge", 2.0), SERVER), hops)


def test_an_answer_goes_back_over_every_hop(testbed):
    bed = testbed.with_workload(replace(testbed.workload, response_bytes=40))
    with transport("answering", Answering):
        without, result = run(testbed, three_tiers("udp")), run(bed, three_tiers("answering"))
    np.testing.assert_allclose(result.latency_s - without.latency_s, 2 * 0.007)
    assert result.parts_s["response"] == pytest.approx(2 * 0.007)


def test_the_first_cut_is_the_privacy_floor_of_several(testbed):
    assert run(testbed, three_tiers("udp")).cut_depth == 1


class HalfAsFast:
    """UDP out of which half as many frames a second come as go in."""

    def __init__(self, link, rng):
        self.inner = TRANSPORTS["udp"](link, rng)

    def transfer(self, frames):
        sent = self.inner.transfer(frames)
        return replace(sent, complete_s=sent.complete_s + frames.ready_s, stable=False)


@pytest.mark.parametrize("senders", [1, 4])
def test_what_a_transport_sustains_is_told_for_each_sender(testbed, senders):
    bed = testbed.with_workload(replace(testbed.workload, senders=senders))
    with transport("half", HalfAsFast):
        result = run(bed, plan(1, transport="half", rate_bps=1e9))
    assert not result.stable
    assert result.fps == pytest.approx(10 / 2, rel=2e-3)


def test_a_time_that_was_not_measured_on_its_device_is_an_estimate(testbed):
    """Measured times that are scaled to another device are estimates, too."""
    here, elsewhere = Device("here"), Device("elsewhere", 3.0)
    assert run(with_frames(testbed, 1.0, 20), Plan("LC", (here,)), times=EIGHTHS).estimates == ()
    result = run(with_frames(testbed, 1.0, 20), plan(1, devices=(here, elsewhere)), times=EIGHTHS)
    assert result.estimates == ("elsewhere: network", "elsewhere: decode")


def test_packets_that_a_codec_fills_leave_room_for_the_header(testbed):
    """Repair packets are as large as a datagram's room, 372 bytes of 500 here, in whole elements: 2 of data and 1."""
    result = run(testbed, plan(1, "float32+fec:20", mtu_bytes=500, app_header_bytes=100))
    assert result.quality == 1.0
    assert result.payload_bytes == 4 * 6 * 6 * 4 + 372
    assert result.crossing == ((result.payload_bytes, 3.0),)


class Shown(Sums):
    """A quality that keeps what the network was given to predict from: logits of a linear last layer."""

    name = "accuracy"

    def __init__(self):
        self.seen = []

    def count(self, prediction, target):
        self.seen.append(prediction[0].copy())
        return np.array([float(prediction[0].sum()), 1.0])

    def count_lost(self, target):
        return np.zeros(2)


@pytest.mark.parametrize("chunk", [128, 3, 1])
def test_a_gap_takes_the_values_of_the_sample_before(testbed, monkeypatch, chunk):
    """Each from its own, in whatever chunks; before the first there is none, its gap is filled as without one."""
    monkeypatch.setattr("splitimpera.evaluation.testbed.CHUNK", chunk)
    codec = testbed.codec(1, "float32+last")
    head = sei.split(testbed.graph, testbed.graph.cuts[1])
    with torch.no_grad():
        (crossing,) = head.head(testbed.data.validation.inputs)
    payloads = [codec.encode((sample.numpy(),)).data for sample in crossing[:5]]
    gaps = [(0, (0, 40)), (1, (0, 40)), (1, (40, 80)), (4, (0, 40))]
    whole = [codec.decode(payload) for payload in payloads]
    expected = []
    for sample, gap in gaps:
        filled = (
            codec.decode(payloads[sample], [gap], whole[sample - 1]) if sample else codec.decode(payloads[0], [gap])
        )
        with torch.no_grad():
            expected.append(float(head.tail((torch.from_numpy(filled[0])[None],)).sum()))
    route = (Coding(1, "float32+last", 0.0, 1400),)
    asked = Damaged(route, tuple((sample, ((gap,),)) for sample, gap in gaps))
    found = answers(testbed.with_task(replace(testbed.task, quality=Shown())), "validation", [asked])[asked]
    np.testing.assert_allclose(found.counts[:, 0], expected, rtol=1e-5)


def test_errors_are_means_over_all_elements_and_a_fallback_need_not_be_whole():
    rmse = Error(fallback=0.5)
    target = np.array([[0, 1, 2], [3, 4, 5]])
    total = rmse.count((target + 2.0,), (target,))
    assert total.tolist() == [6 * 4.0, 6.0]
    assert rmse.value(total) == 2.0
    assert rmse.count_lost(np.array([[0, 1]])).tolist() == [2 * 0.25, 2.0]


def test_another_packet_size_is_another_code(testbed):
    """The first to ask decides for nobody else."""
    sizes = {
        room: set(testbed.provisional(Coding(1, "float32+fec:20", 0.0, room)).sizes.tolist())
        for room in (1400, 120, 1400)
    }
    assert sizes == {1400: {576 + 1400}, 120: {576 + 120}}
    assert [testbed.codec(1, "float32+fec:20", packet_bytes=room).packet_bytes for room in (120, 1400)] == [120, 1400]


def test_codecs_are_calibrated_on_training_pictures():
    """Those are of half the contrast here: half the range, which values of the others leave."""
    bed = known_bed()
    data = bed.data
    faint = Samples(data.train.inputs / 2, data.train.labels)
    other = type(bed)(bed.graph, replace(data, train=faint), bed.workload)
    with torch.no_grad():
        wanted = sei.split(bed.graph, bed.graph.cuts[1]).head(faint.inputs)[0].numpy()
    scale = other.codec(1, "uint8").numbers[0].scale
    assert (float(scale.low), float(scale.low + 255 * scale.step)) == pytest.approx((wanted.min(), wanted.max()))


def test_a_device_that_runs_batches_is_timed_with_one_frame_too(testbed):
    local = Plan("LC", (Device("here", batch=4),))
    times = measure([local], testbed, budget_s=0.1, fresh=True)
    assert all(times.segment_s(0, testbed.last, batch=batch) > 0 for batch in (1, 4))
    with pytest.raises(DataError, match="from cut 0 to cut 2 were not timed"):
        times.segment_s(0, 2)


def lossy_plan(name, codec, **link):
    return replace(plan(1, codec, loss=0.1, **link), id=name)


def test_curves_of_loss_are_drawn_for_plans_that_keep_up(testbed):
    slow, quick = lossy_plan("slow", "float32", rate_bps=2e4), lossy_plan("quick", "uint8", rate_bps=1e7)
    found = [run(testbed, each) for each in (slow, quick, Plan("LC", (CAMERA,)))]
    assert [each.stable for each in found] == [False, True, True]
    verdicts = recommend(found, ["accuracy >= 1 %"]).verdicts
    assert [each.id for each in worth_a_curve(verdicts)] == ["quick"]


def swept(name, plans, workload):
    return next(sweep.parameter for sweep in sweeps_of(plans, workload) if sweep.parameter.name == name)


def test_sweeps_end_where_the_simulation_does():
    fastest = BOUNDS["rate_bps"].high
    workload = Workload(10.0, 1000)
    assert swept("rate", [plan(1, rate_bps=fastest / 2)], workload).best == fastest
    assert swept("rate", [plan(1, rate_bps=1e6)], workload).best == 1e8
    assert swept("frames a second", [plan(1)], workload).best == 0.5
    long = Workload(0.2, 10**6)  # 58 days; at a twentieth of the rate it would be three years
    slowest = swept("frames a second", [plan(1)], long).best
    assert slowest == 0.1
    assert replace(long, fps=slowest).frames == 10**6


def test_plans_that_cannot_run_are_not_tried_again(testbed):
    plans = [Plan("LC", (Device("tiny", memory_bytes=1),)), plan(1)]
    verdicts = recommend([run(testbed, each) for each in plans], ["accuracy >= 50 %"]).verdicts
    assert not verdicts[-1].can_run
    assert [each.id for each in shortlist(verdicts)] == ["p"]


def carrying(most, gives_way, asked):
    """In place of a timeline: stable with so many senders; with more, the name of what gives way."""

    def run(_, workload, *rest):
        asked.append((workload.senders, workload.frames))
        return SimpleNamespace(stable=workload.senders <= most, busiest_stage=gives_way(workload.senders))

    return run


def test_what_gives_way_is_told_of_one_sender_more_than_fit(testbed, monkeypatch):
    """Of eight it would be the server, which is tried first, of six it is the link."""
    gives_way = carrying(5, lambda senders: "server" if senders > 6 else "link", [])
    monkeypatch.setattr("splitimpera.studies.capacity.timeline", gives_way)
    assert find_capacity(LOCAL, testbed, TIMES, lambda: None) == Capacity(5, "link")


def test_each_sender_shows_every_sample_when_it_is_counted_how_many_can_be_simulated(testbed, monkeypatch):
    asked = []
    monkeypatch.setattr("splitimpera.studies.capacity.timeline", carrying(10**6, lambda _: "none", asked))
    monkeypatch.setattr("splitimpera.studies.capacity.MOST_FRAMES", 200)
    assert len(testbed.samples("validation")) == 20
    for frames, senders in ((5, 10), (20, 10), (50, 4)):
        bed = with_frames(testbed, 10.0, frames)
        assert find_capacity(LOCAL, bed, TIMES, lambda: None) == Capacity(senders, None)
        assert asked[-1] == (senders, max(frames, 20))
