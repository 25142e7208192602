from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from networks import make
from torch import nn

import splitimpera as sei
from splitimpera.cost.devices import Cost
from splitimpera.evaluation.accuracy import wilson_interval
from splitimpera.evaluation.latency import served_s
from splitimpera.evaluation.plans import build_plans
from splitimpera.models.datasets import Dataset, Pixels, Samples
from splitimpera.records import Device, Hop, Link, Plan, Workload

CAMERA, SERVER = Device("camera", 10.0), Device("server", 1.0)


@pytest.fixture(scope="module")
def testbed():
    """The chain on random pictures, labelled by the network itself: whatever is lost shows as wrong answers."""
    model = make("Chain").eval()
    pixels = Pixels((0.5,) * 3, (0.25,) * 3)
    pictures = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    x = pixels.inputs(pictures)
    with torch.no_grad():
        samples = Samples(x, model(x).argmax(1))
    data = Dataset(samples.take(slice(40, None)), samples.take(slice(20)), samples.take(slice(20, 40)), pixels=pixels)
    bed = sei.Testbed(sei.trace(model, x), data, Workload(10.0, 1000))
    bed._costs = Times()
    return bed


class Times(dict):
    """Fixed times instead of measured ones: 1 ms a layer, 0.1 ms for each codec call."""

    def __contains__(self, key):
        return True

    def __getitem__(self, key):
        kind, *cuts = key
        return Cost(0.001 * (cuts[1] - cuts[0]) if kind == "segment" else 1e-4)


def plan(cut, codec="float32", transport="udp", **link):
    return Plan("p", (CAMERA, SERVER), (Hop(cut, codec, transport, Link(**link)),))


def run(bed, plan, seed=0, part="validation"):
    return sei.evaluate(plan, bed, np.random.default_rng(seed), part)


def test_local_computing_is_right_and_takes_the_devices_time(testbed):
    result = run(testbed, Plan("LC", (CAMERA,)))
    assert result.accuracy == 1.0
    np.testing.assert_allclose(result.latency_s, 0.05)  # five layers, ten times slower
    assert result.payload_bytes == 0
    assert result.lost_packet_rate == 0
    assert result.fps == pytest.approx(20)
    assert result.stable


@pytest.mark.parametrize("cut", range(6))
def test_a_lossless_split_changes_no_answer_at_any_cut(testbed, cut):
    for transport in ("tcp", "udp"):
        assert run(testbed, plan(cut, transport=transport)).accuracy == 1.0


def test_latency_is_the_sum_of_its_parts_where_nothing_waits(testbed):
    result = run(testbed, plan(2, rate_bps=1e6, delay_s=0.003))
    size = 4 * 3 * 3 * 4
    expected = 0.02 + 0.001 + (size + 30) * 8 / 1e6 + 0.003 + 0.003 + 1e-4
    np.testing.assert_allclose(result.latency_s, expected)
    assert sum(result.parts_s.values()) == pytest.approx(expected)
    assert result.payload_bytes == size


@pytest.mark.parametrize("codec", ["uint8", "png"])
def test_the_input_as_eight_bit_pictures_is_exact(testbed, codec):
    assert run(testbed, plan(0, codec)).accuracy == 1.0


def test_lost_values_are_lost_accuracy_and_more_loss_loses_more(testbed):
    # small packets, so that a frame loses a part of its values
    accuracies = [run(testbed, plan(1, loss=loss, mtu_bytes=100)).accuracy for loss in (0.0, 0.1, 0.5, 0.95)]
    assert accuracies[0] == 1.0
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[-1] < 0.7


def test_a_frame_that_is_lost_whole_is_a_wrong_answer(testbed):
    # the result itself crosses in one packet: without it there is no answer, not even a lucky one
    result = run(testbed, plan(5, loss=0.25))
    assert result.accuracy == pytest.approx(1 - result.lost_packet_rate, abs=0.01)
    assert result.lost_packet_rate == pytest.approx(0.25, abs=0.05)


def test_a_codec_that_cannot_bear_a_gap_loses_the_frame(testbed):
    png = run(testbed, plan(0, "png", loss=0.1, mtu_bytes=100))
    raw = run(testbed, plan(0, "uint8", loss=0.1, mtu_bytes=100))
    assert png.accuracy < 0.75 < raw.accuracy


def test_tcp_loses_time_and_no_answers(testbed):
    clean, lossy = (run(testbed, plan(1, transport="tcp", loss=loss)) for loss in (0.0, 0.2))
    assert lossy.accuracy == 1.0
    assert lossy.latency_s.max() > clean.latency_s.max() + 0.01


def test_values_that_are_missing_are_zero_in_the_tail(testbed):
    """The evaluation's answer for a damaged frame is the tail's for a tensor with zeros, traced by hand."""
    cut = testbed.graph.cuts[1]
    halves = sei.split(testbed.graph, cut)
    x = testbed.data.validation.inputs
    codec = testbed.codec(1, "float32")
    with torch.no_grad():
        (whole,) = halves.head(x)
        zeroed = whole.clone()
        zeroed.flatten(1)[:, 10:30] = 0
        expected = halves.tail((zeroed,)).argmax(1)
    rows = (codec.decode(codec.encode((picture.numpy(),)).data, [(40, 120)]) for picture in whole)
    answers = testbed.run(1, testbed.last, rows, lambda row: int(row[0].argmax()))
    assert answers == expected.tolist()


def test_an_overloaded_plan_says_so(testbed):
    result = run(testbed, plan(1, rate_bps=2e4))
    assert not result.stable
    assert result.fps < 10
    assert result.latency_s[-1] > result.latency_s[0] + 10


def test_the_same_seed_gives_the_same_numbers_and_another_one_others(testbed):
    wanted = plan(1, loss=0.2, mtu_bytes=200)
    first, again, other = (run(testbed, wanted, seed) for seed in (1, 1, 2))
    assert first.accuracy == again.accuracy
    np.testing.assert_array_equal(first.latency_s, again.latency_s)
    assert first.accuracy != other.accuracy


def test_the_interval_counts_pictures(testbed):
    result = run(testbed, plan(1, loss=0.4, mtu_bytes=100))
    assert result.accuracy_ci == wilson_interval(result.accuracy, 20)


def test_two_hops_run_by_the_same_path(testbed):
    link = Link(rate_bps=1e6, delay_s=0.002)
    edge = Device("edge", 2.0)
    hops = (Hop(1, "float32", "udp", link), Hop(3, "uint8", "tcp", link))
    result = run(testbed, Plan("three tiers", (CAMERA, edge, SERVER), hops))
    assert result.accuracy >= 0.9
    assert result.payload_bytes == 4 * 6 * 6 * 4 + 6 * 1 * 1
    device = 0.010 + 0.001
    assert result.latency_s[0] > device + 2 * 0.0021 + 0.002 + 0.002


def test_more_pictures_than_frames_are_all_shown(testbed):
    bed = sei.Testbed(testbed.graph, testbed.data, replace(testbed.workload, frames=5))
    bed._costs = Times()
    assert len(run(bed, plan(1)).latency_s) == 20


def test_measured_times_are_kept_and_scale_with_the_device(testbed):
    bed = sei.Testbed(testbed.graph, testbed.data, testbed.workload)
    slow, slower = (run(bed, Plan("LC", (Device("d", factor),))) for factor in (1.0, 7.0))
    np.testing.assert_allclose(slower.latency_s, 7 * slow.latency_s)
    assert slow.latency_s[0] > 0


def test_a_network_that_mixes_pictures_inside_a_cut_runs_frame_by_frame():
    model = make("Tokens").eval()
    x = torch.randn(12, 3, 8, 8)
    with torch.no_grad():
        samples = Samples(x, model(x).argmax(1))
    bed = sei.Testbed(sei.trace(model, x), Dataset(samples, samples, samples), Workload(10.0, 20))
    mixed = next(cut for cut in bed.graph.cuts if any(spec.batch_dim is None for spec in cut.tensors))
    bed._costs = Times()
    assert run(bed, plan(mixed.index)).accuracy == 1.0


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


def test_first_come_first_served():
    np.testing.assert_allclose(served_s(np.array([0.0, 1.0, 1.5, 9.0]), 2.0), [2.0, 4.0, 6.0, 11.0])
    np.testing.assert_allclose(served_s(np.array([5.0, 0.0]), 1.0), [6.0, 1.0])


def test_wilsons_interval():
    low, high = wilson_interval(0.9, 100)
    assert (low, high) == (pytest.approx(0.8256, abs=1e-4), pytest.approx(0.9448, abs=1e-4))
    assert wilson_interval(1.0, 50)[1] == 1.0
    assert wilson_interval(0.0, 50)[0] == pytest.approx(0.0, abs=1e-12)
