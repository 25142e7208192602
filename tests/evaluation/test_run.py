from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from beds import CAMERA, SERVER, TIMES, known_bed, plan, run, transport, trial_in
from networks import make
from torch import nn

import splitimpera as sei
from splitimpera.core.errors import CutError
from splitimpera.core.statistics import wilson_interval
from splitimpera.evaluation.plan_space import build_plans
from splitimpera.evaluation.run import evaluate_all
from splitimpera.models.datasets import Dataset, Samples
from splitimpera.net.directions import mean_rate_bps
from splitimpera.net.transports import TRANSPORTS
from splitimpera.records.device import Device
from splitimpera.records.link import Link, Trace
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.traffic import Workload
from splitimpera.studies.loss_curve import quality_against_loss, with_loss
from splitimpera.tasks.quality import Sums


@pytest.fixture(scope="module")
def testbed():
    return known_bed()


def test_local_computing_is_right_and_takes_the_devices_time(testbed):
    result = run(testbed, Plan("LC", (CAMERA,)))
    assert result.quality == 1.0
    np.testing.assert_allclose(result.latency_s, 0.05)  # five layers, ten times slower
    assert result.payload_bytes == 0
    assert result.lost_packet_rate == 0
    assert result.fps == pytest.approx(20)
    assert result.stable


@pytest.mark.parametrize("cut", range(6))
def test_a_lossless_split_changes_no_answer_at_any_cut(testbed, cut):
    for name in ("tcp", "udp"):
        assert run(testbed, plan(cut, transport=name)).quality == 1.0


def test_latency_is_the_sum_of_its_parts_where_nothing_waits(testbed):
    result = run(testbed, plan(2, rate_bps=1e6, delay_s=0.003))
    size = 4 * 3 * 3 * 4
    expected = 0.02 + 0.001 + (size + 30) * 8 / 1e6 + 0.003 + 0.003 + 1e-4
    np.testing.assert_allclose(result.latency_s, expected)
    assert sum(result.parts_s.values()) == pytest.approx(expected)
    assert result.payload_bytes == size


@pytest.mark.parametrize("codec", ["uint8", "png"])
def test_the_input_as_eight_bit_pictures_is_exact(testbed, codec):
    assert run(testbed, plan(0, codec)).quality == 1.0


def test_lost_values_are_lost_accuracy_and_more_loss_loses_more(testbed):
    # small packets, so that a frame loses a part of its values
    accuracies = [run(testbed, plan(1, loss=loss, mtu_bytes=100)).quality for loss in (0.0, 0.1, 0.5, 0.95)]
    assert accuracies[0] == 1.0
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[-1] < 0.7


def test_a_frame_that_is_lost_whole_is_a_wrong_answer(testbed):
    # the result itself crosses in one packet: without it there is no answer, not even a lucky one
    result = run(testbed, plan(5, loss=0.25))
    assert result.quality == pytest.approx(1 - result.lost_packet_rate, abs=0.01)
    assert result.lost_packet_rate == pytest.approx(0.25, abs=0.05)


def test_a_codec_that_cannot_bear_a_gap_loses_the_frame(testbed):
    png = run(testbed, plan(0, "png", loss=0.1, mtu_bytes=100))
    raw = run(testbed, plan(0, "uint8", loss=0.1, mtu_bytes=100))
    assert png.quality < 0.75 < raw.quality


def test_tcp_loses_time_and_no_answers(testbed):
    clean, lossy = (run(testbed, plan(1, transport="tcp", loss=loss)) for loss in (0.0, 0.2))
    assert lossy.quality == 1.0
    assert lossy.latency_s.max() > clean.latency_s.max() + 0.01


def test_values_that_are_missing_are_zero_in_the_tail(testbed):
    """The evaluation's answer for a damaged frame is the tail's for a tensor with zeros, traced by hand."""
    cut = testbed.graph.cuts[1]
    partition = sei.split(testbed.graph, cut)
    x = testbed.data.validation.inputs
    codec = testbed.codec(1, "float32")
    with torch.no_grad():
        (whole,) = partition.head(x)
        zeroed = whole.clone()
        zeroed.flatten(1)[:, 10:30] = 0
        expected = partition.tail((zeroed,)).argmax(1)
    rows = (codec.decode(codec.encode((picture.numpy(),)).data, [(40, 120)]) for picture in whole)
    answers = [int(row[0].argmax()) for row in testbed.run(1, testbed.last, rows)]
    assert answers == expected.tolist()


def test_an_overloaded_plan_says_so(testbed):
    result = run(testbed, plan(1, rate_bps=2e4))
    assert not result.stable
    assert result.fps < 10
    assert result.latency_s[0, -1] > result.latency_s[0, 0] + 10


def test_the_same_seed_gives_the_same_numbers_and_another_one_others(testbed):
    wanted = plan(1, loss=0.2, mtu_bytes=200)
    first, again, other = (run(testbed, wanted, seed) for seed in (1, 1, 2))
    assert first.quality == again.quality
    np.testing.assert_array_equal(first.latency_s, again.latency_s)
    assert first.quality != other.quality


def test_the_interval_counts_samples(testbed):
    """One frame a sample is right or wrong; over many frames and replications each is so in part, and varies less."""
    bed = testbed.with_workload(replace(testbed.workload, frames=20))
    once = run(bed, plan(1, loss=0.4, mtu_bytes=100))
    assert once.quality_ci == once.intervals["accuracy"] == wilson_interval(once.quality, 20)
    often = run(testbed, plan(1, loss=0.4, mtu_bytes=100), replications=4)
    assert often.quality_ci == often.intervals["accuracy"]
    widest = wilson_interval(often.quality, 20)
    assert widest[0] < often.quality_ci[0] < often.quality < often.quality_ci[1] < widest[1]


def test_seeds_are_simulated_apart_and_pooled(testbed):
    wanted = plan(1, loss=0.3, mtu_bytes=120)
    children = np.random.default_rng(5).spawn(3)
    together = run(testbed, wanted, 5, replications=3)
    # the first child is the only one that a single seed spawns
    assert together.latency_s.shape == (3, 1000)
    np.testing.assert_array_equal(together.latency_s[:1], run(testbed, wanted, 5).latency_s)
    alone = [sei.evaluate(wanted, testbed, TIMES, Spawned(child)) for child in children]
    np.testing.assert_array_equal(together.latency_s, np.concatenate([one.latency_s for one in alone]))
    assert together.quality == pytest.approx(np.mean([one.quality for one in alone]))
    assert together.lost_packet_rate == pytest.approx(np.mean([one.lost_packet_rate for one in alone]))
    assert len({one.quality for one in alone}) > 1
    pooled = np.percentile(together.latency_s.ravel(), 95)
    assert together.metrics()["latency_p95"] == pooled


class Spawned:
    """A generator whose only child is a given one."""

    def __init__(self, child):
        self.child = child

    def spawn(self, count):
        assert count == 1
        return [self.child]


@pytest.fixture
def ran(monkeypatch):
    """Which layers were run on how many frames."""
    found = []

    def counted(bed, segment, batch):
        found.append((*segment[:2], len(batch[0])))
        return call(bed, segment, batch)

    call = sei.Testbed.call
    monkeypatch.setattr(sei.Testbed, "call", counted)
    return found


def test_the_head_runs_once_a_cut_and_a_damage_once(testbed, ran):
    run(testbed, plan(1, loss=0.3))  # calibrates
    ran.clear()
    run(testbed, plan(1, loss=0.3), replications=6)
    # a frame of one packet is there or not: nothing is damaged, and what nothing is lost of goes on as it was
    assert ran == [(0, 1, 20), (1, testbed.last, 20)]
    run(testbed, plan(1, loss=0.3, mtu_bytes=508))
    ran.clear()
    run(testbed, plan(1, loss=0.3, mtu_bytes=508), replications=6)
    # two packets; each sample without the first, without the second
    assert ran == [(0, 1, 20), (1, testbed.last, 40), (1, testbed.last, 20)]
    run(testbed, plan(1, "uint8"))
    ran.clear()
    run(testbed, plan(1, "uint8"))
    assert ran == [(0, 1, 20), (1, testbed.last, 20)]  # what was rounded, and nothing else


def test_plans_share_what_is_the_same(testbed, ran):
    """One pass for all: a head up to each cut, what follows the last, and tails of what codecs change."""
    link = {"rate_bps": 1e6, "mtu_bytes": 200}
    plans = [
        Plan("LC", (CAMERA,)),
        *(
            replace(plan(0, name, kind, **link), id=f"RC-{name}-{kind}")
            for name in ("uint8", "png")
            for kind in ("tcp", "udp")
        ),
        *(
            replace(plan(cut, name, kind, **link), id=f"{cut}-{name}-{kind}")
            for cut in (1, 3)
            for name in ("uint8", "float32")
            for kind in ("tcp", "udp")
        ),
    ]
    rngs = {each.id: np.random.default_rng(1) for each in plans}
    evaluate_all(plans, testbed, TIMES, rngs)
    ran.clear()
    found = evaluate_all(plans, testbed, TIMES, rngs)
    last = testbed.last
    heads = [(0, 0, 20), (0, 1, 20), (1, 3, 20), (3, last, 20)]
    assert sorted(ran) == sorted([*heads, (0, last, 20), (1, last, 20), (3, last, 20)])
    alone = [run(testbed, each, 1) for each in plans]
    assert [one.evaluation.quality for one in found] == [one.quality for one in alone]
    assert [one.evaluation.payload_bytes for one in found] == [one.payload_bytes for one in alone]


def test_a_gap_is_filled_with_the_frame_before(testbed):
    """Pictures that never change lose nothing but the first of them, which has none before it."""
    samples = testbed.data.validation
    still = Samples(samples.inputs[:1].repeat(20, 1, 1, 1), samples.labels[:1].repeat(20))
    bed = sei.Testbed(testbed.graph, Dataset(testbed.data.train, still, still), testbed.workload)
    lossy = {"loss": 0.5, "mtu_bytes": 100}
    assert run(bed, plan(1, "float32+last", **lossy)).quality > 0.95
    assert run(bed, plan(1, "float32", **lossy)).quality < 0.8


class Tired:
    """A transport that is not stable for the first replications, and then delivers half of the frames a second."""

    bad = 3

    def __init__(self, link, rng):
        self.inner = TRANSPORTS["udp"](link, rng)
        self.seed = rng.bit_generator.seed_seq.spawn_key[-1]

    def transfer(self, frames):
        sent = self.inner.transfer(frames)
        if self.seed >= self.bad:
            return sent
        return replace(sent, complete_s=sent.complete_s + frames.ready_s, stable=False)


@pytest.mark.parametrize(("bad", "stable"), [(2, True), (3, False)])
def test_most_seeds_decide_whether_a_plan_is_stable(testbed, monkeypatch, bad, stable):
    monkeypatch.setattr(Tired, "bad", bad)
    with transport("tired", Tired):
        result = run(testbed, plan(1, transport="tired"), replications=5)
    assert result.stable is stable
    # the camera could do one in 11 ms; where the transport cannot keep up, every second frame comes out
    assert result.fps == pytest.approx(((5 - bad) / 0.011 + bad * 5) / 5)
    assert not sei.recommend([result], ["latency_p95 <= 1 h"]).verdicts[0].feasible or stable


def test_senders_have_a_device_each_and_share_the_rest(testbed):
    wanted = plan(1, rate_bps=1e6)
    one = run(testbed, wanted)
    bed = sei.Testbed(testbed.graph, testbed.data, replace(testbed.workload, senders=3))
    three = run(bed, wanted)
    assert three.latency_s.shape == (1, 3000)
    np.testing.assert_allclose(three.latency_s, one.latency_s[0, 0])  # staggered: nobody waits
    assert three.stable
    # the link is the slowest stage: alone it carries about 207 frames a second, a device makes 91
    assert one.fps == pytest.approx(1 / 0.011)
    assert three.fps == pytest.approx(1e6 / 8 / (576 + 30) / 3)
    bed = sei.Testbed(testbed.graph, testbed.data, replace(testbed.workload, senders=25))
    assert not run(bed, wanted).stable


class Answering:
    """UDP whose answers take 7 ms, those of every fourth frame lost."""

    def __init__(self, link, rng):
        self.inner = TRANSPORTS["udp"](link, rng)

    def transfer(self, frames):
        assert frames.response_bytes == 40
        sent = self.inner.transfer(frames)
        answered = sent.complete_s + 0.007
        answered[::4] = np.nan
        return replace(sent, response_s=answered)


def test_a_frame_is_done_when_its_sender_has_the_answer(testbed):
    bed = sei.Testbed(testbed.graph, testbed.data, replace(testbed.workload, response_bytes=40))
    with transport("answering", Answering):
        without, result = run(testbed, plan(1)), run(bed, plan(1, transport="answering"))
    assert result.quality == pytest.approx(0.75)
    np.testing.assert_allclose(np.delete(result.latency_s - without.latency_s, np.s_[::4], axis=1), 0.007)
    assert result.parts_s["response"] == pytest.approx(0.007 * 0.75)


def test_a_link_that_changes_is_as_busy_as_its_mean_rate():
    assert mean_rate_bps(Link(rate_bps=5.0)) == 5
    steps = Trace("steps", (0.0, 3.0), 4.0, rate_bps=(8e6, 0.0))
    assert mean_rate_bps(Link(trace=steps)) == 6e6
    chances = Trace("chances", (0.0, 0.5), 1.0, opportunity_bytes=1500)
    assert mean_rate_bps(Link(trace=chances)) == 24000
    assert mean_rate_bps(Link(rate_bps=5.0, trace=Trace("late", (0.0,), 1.0, delay_s=(0.1,)))) == 5


def test_two_hops_run_by_the_same_path(testbed):
    link = Link(rate_bps=1e6, delay_s=0.002)
    edge = Device("edge", 2.0)
    hops = (Hop(1, "float32", "udp", link), Hop(3, "uint8", "tcp", replace(link, name="uplink")))
    result = run(testbed, Plan("three tiers", (CAMERA, edge, SERVER), hops))
    assert result.quality >= 0.9
    assert result.payload_bytes == 4 * 6 * 6 * 4 + 6 * 1 * 1
    assert result.crossing == ((4 * 6 * 6 * 4, 1.0), (6 * 1 * 1, 1.0))
    device = 0.010 + 0.001
    assert result.latency_s[0, 0] > device + 2 * 0.0021 + 0.002 + 0.002


def test_more_pictures_than_frames_are_all_shown(testbed):
    bed = sei.Testbed(testbed.graph, testbed.data, replace(testbed.workload, frames=5))
    assert run(bed, plan(1)).latency_s.shape == (1, 20)


def test_measured_times_are_kept_and_scale_with_the_device(testbed):
    bed = sei.Testbed(testbed.graph, testbed.data, Workload(0.01, 1000))  # so slow that nothing ever waits
    slow, slower = (run(bed, Plan("LC", (Device("d", factor),))) for factor in (1.0, 7.0))
    np.testing.assert_allclose(slower.latency_s, 7 * slow.latency_s, atol=1e-9)  # due times are as large as 1e5 s
    assert (slow.latency_s > 0).all()


def test_a_network_that_mixes_pictures_inside_a_cut_runs_frame_by_frame():
    model = make("Tokens").eval()
    x = torch.randn(12, 3, 8, 8)
    with torch.no_grad():
        samples = Samples(x, model(x).argmax(1))
    bed = sei.Testbed(sei.trace(model, x), Dataset(samples, samples, samples), Workload(10.0, 20))
    mixed = next(cut for cut in bed.graph.cuts if any(spec.batch_dim is None for spec in cut.tensors))
    assert run(bed, plan(mixed.index)).quality == 1.0


def test_plans_cover_every_configuration_codec_and_transport(testbed):
    plans = build_plans(
        (CAMERA, SERVER),
        Link(),
        testbed.graph.cuts,
        [2],
        codecs=["float32"],
        input_codecs=["jpeg:50"],
        transports=["tcp", "udp"],
    )
    assert [p.id for p in plans] == [
        "LC",
        *(f"RC-{codec}-{transport}" for codec in ("float32", "uint8", "png", "jpeg50") for transport in ("tcp", "udp")),
        "SC2-float32-tcp",
        "SC2-float32-udp",
    ]
    assert [p.configuration for p in plans] == ["LC"] + ["RC"] * 8 + ["SC"] * 2


@pytest.mark.parametrize("places", [{"split_at": [99]}, {"split_at": [-1]}, {"split_at": [], "bottlenecks": [(99, 4)]}])
def test_a_cut_that_is_not_there_makes_no_plans(places):
    graph = sei.trace(make("Chain"), torch.zeros(1, 3, 8, 8))
    with pytest.raises(CutError, match=r"there is no cut (99|-1): the network has"):
        build_plans((CAMERA, SERVER), Link(), graph.cuts, codecs=["float32"], transports=["udp"], **places)


def test_no_png_for_what_is_no_picture():
    class Vectors(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.b(self.a(x))

    graph = sei.trace(Vectors(), torch.zeros(1, 6))
    plans = build_plans((CAMERA, SERVER), Link(), graph.cuts, [1], codecs=["float32"], transports=["udp"])
    assert [p.id for p in plans] == ["LC", "RC-float32-udp", "RC-uint8-udp", "SC1-float32-udp"]


def test_an_answer_after_the_deadline_is_wrong_for_the_on_time_accuracy(testbed):
    wanted = plan(2, rate_bps=1e6, delay_s=0.003)
    assert run(testbed, wanted).on_time_quality == 1.0
    for deadline, right in ((0.02, 0.0), (0.04, 1.0)):
        bed = sei.Testbed(testbed.graph, testbed.data, Workload(10.0, 1000, deadline))
        late = run(bed, wanted)
        assert (late.quality, late.on_time_quality) == (1.0, right)


def test_another_quality_is_followed_through_losses(testbed):
    class Confidence(Sums):
        """Mean largest logit; 0 for a frame without answer."""

        name = "confidence"

        def count(self, answer, target):
            seen.append(answer[0])
            return np.array([answer[0].max(), 1.0])

        def count_lost(self, target):
            return np.array([0.0, 1.0])

        def value(self, total):
            return total[..., 0] / total[..., 1]

    seen, rng = [], np.random.default_rng(0)
    bed = testbed.with_task(replace(testbed.task, quality=Confidence()))
    whole = sei.evaluate(plan(1), bed, TIMES, rng)
    with torch.no_grad():  # the network's own output arrives there
        np.testing.assert_allclose(seen, testbed.graph.program(testbed.data.validation.inputs)[0], rtol=1e-5)
    lossy = sei.evaluate(plan(1, loss=0.5), bed, TIMES, rng)
    assert lossy.quality < 0.7 * whole.quality
    assert whole.quality_ci[0] <= whole.quality <= whole.quality_ci[1]


def test_accuracy_falls_with_loss_from_what_it_is_without(testbed):
    curve = quality_against_loss(plan(1, mtu_bytes=200), testbed.workload, trial_in(testbed), (0.0, 0.3, 0.9))
    assert curve.quality[0] == 1.0
    assert (np.diff(curve.quality) < 0).all()
    assert ((curve.low <= curve.quality) & (curve.quality <= curve.high)).all()


def test_a_link_with_another_loss_stays_a_link():
    bursts = with_loss(Link(loss=0.01, loss_burst=2.0), 0.7)
    assert bursts.loss_burst == pytest.approx(0.7 / 0.3)
    assert with_loss(Link(drops=(1, 2)), 0.1).drops is None
    trace = Trace("t", (0.0,), 1.0, rate_bps=(1e6,), loss=(0.5,))
    assert with_loss(Link(trace=trace), 0.1).trace.loss == ()
