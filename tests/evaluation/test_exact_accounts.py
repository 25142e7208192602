"""Deadlines, loads, answers and packets where one more or one less would show; times are known exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from beds import CAMERA, SERVER, known_bed, plan, run

from splitimpera.evaluation.damage import DamagedRows
from splitimpera.machines import Device
from splitimpera.net.registry import TRANSPORTS
from splitimpera.records import Hop, Link, Plan, Workload


class Eighths(dict):
    """Fixed times, exact in binary: 1/8 s for each run of layers, nothing for coding."""

    def __contains__(self, key):
        return True

    def __getitem__(self, key):
        return 0.125 if key[0] == "network" else 0.0


@pytest.fixture(scope="module")
def testbed():
    return known_bed()


@pytest.fixture
def exact():
    bed = known_bed()
    bed._times_s = Eighths()
    return bed


def with_frames(bed, *args, **more):
    return bed.with_workload(Workload(*args, **more))


LOCAL = Plan("LC", (Device("camera"),))


@pytest.mark.parametrize(("deadline_s", "in_time"), [(0.125, 1.0), (0.1249, 0.0)])
def test_an_answer_at_its_deadline_is_in_time(exact, deadline_s, in_time):
    assert run(with_frames(exact, 4.0, 20, deadline_s), LOCAL).on_time_accuracy == in_time


@pytest.mark.parametrize(("fps", "stable"), [(8.0, True), (8.125, False)])
def test_a_stage_that_is_just_busy_all_the_time_keeps_up(exact, fps, stable):
    result = run(with_frames(exact, fps, 64), LOCAL)
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
        return replace(sent, answered_s=sent.complete_s + 0.007)


def three_tiers(transport):
    links = Link(rate_bps=1e7, name="access"), Link(rate_bps=1e7, name="uplink")
    hops = tuple(Hop(cut, "float32", transport, link) for cut, link in zip((1, 3), links, strict=True))
    return Plan("three tiers", (CAMERA, Device("edge", 2.0), SERVER), hops)


def test_an_answer_goes_back_over_every_hop(testbed, monkeypatch):
    monkeypatch.setitem(TRANSPORTS._entries, "answering", Answering)
    bed = testbed.with_workload(replace(testbed.workload, answer_bytes=40))
    without, result = run(testbed, three_tiers("udp")), run(bed, three_tiers("answering"))
    np.testing.assert_allclose(result.latency_s - without.latency_s, 2 * 0.007)
    assert result.parts_s["answer"] == pytest.approx(2 * 0.007)


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
def test_what_a_transport_sustains_is_told_for_each_sender(testbed, monkeypatch, senders):
    monkeypatch.setitem(TRANSPORTS._entries, "half", HalfAsFast)
    bed = testbed.with_workload(replace(testbed.workload, senders=senders))
    result = run(bed, plan(1, transport="half", rate_bps=1e9))
    assert not result.stable
    assert result.fps == pytest.approx(10 / 2, rel=2e-3)


def test_a_time_that_was_not_measured_on_its_device_is_an_estimate(exact):
    """Measured times that are scaled to another device are estimates, too."""
    here, elsewhere = Device("here"), Device("elsewhere", 3.0)
    assert run(with_frames(exact, 1.0, 20), Plan("LC", (here,))).estimates == ()
    result = run(with_frames(exact, 1.0, 20), plan(1, devices=(here, elsewhere)))
    assert result.estimates == ("elsewhere: network", "elsewhere: decode")


def test_packets_that_a_codec_fills_leave_room_for_the_header(testbed):
    """Repair packets are as large as a datagram's room, 372 bytes of 500 here, in whole elements: 2 of data and 1."""
    result = run(testbed, plan(1, "float32+fec:20", mtu_bytes=500, app_header_bytes=100))
    assert result.accuracy == 1.0
    assert result.payload_bytes == 4 * 6 * 6 * 4 + 372


def test_a_gap_takes_the_values_of_the_picture_before(testbed):
    """Each from its own; before the first there is none, and its gap is filled as the codec fills without one."""
    codec = testbed.codec(1, "float32+last")
    payloads = testbed.payloads("validation", 1, "float32+last", 0.0, 1400)
    whole = [codec.decode(payload.data)[0].reshape(-1) for payload in payloads[:4]]
    filled = codec.decode(payloads[0].data, [(0, 40)])[0].reshape(-1)[:10]
    assert not np.allclose(filled, codec.decode(payloads[-1].data)[0].reshape(-1)[:10])
    gaps = [(0, ((0, 40),)), (1, ((0, 40),)), (1, ((40, 80),)), (3, ((0, 40),))]
    expected = [whole[source].copy() for source, _ in gaps]
    expected[0][:10], expected[1][:10], expected[2][10:20], expected[3][:10] = (
        filled,
        whole[0][:10],
        whole[0][10:20],
        whole[2][:10],
    )
    rows = DamagedRows(codec, payloads, gaps)
    np.testing.assert_array_equal([row[0].reshape(-1) for row in rows], expected)
    stacked = np.concatenate([batch[0] for batch in rows.batches(3)])
    np.testing.assert_array_equal(stacked.reshape(4, -1), expected)
