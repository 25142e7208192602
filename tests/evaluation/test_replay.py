"""Timelines replayed with what is known of the predictions, against evaluations that predict everything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from beds import CAMERA, SERVER, TIMES, known_bed, plan, run

from splitimpera.evaluation.damage import DamageCurve
from splitimpera.evaluation.remembered import MOST_FRAMES, Remembered
from splitimpera.evaluation.replay import replay, resimulated, timeline_alone
from splitimpera.evaluation.run import evaluate_all
from splitimpera.evaluation.visit import Visit
from splitimpera.net.transports import TRANSPORTS
from splitimpera.net.udp import UdpLink
from splitimpera.records.link import Link
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.traffic import Workload


@pytest.fixture(scope="module")
def testbed():
    return known_bed()


def known(bed, which, replications=2, **more):
    rngs = {which.id: np.random.default_rng(0)}
    (found,) = evaluate_all([which], bed, TIMES, rngs, replications=replications, **more)
    return found


def on(which, **link):
    """A plan on another link."""
    return replace(which, hops=(replace(which.hops[0], link=Link(**link)),))


BOTH = CAMERA, SERVER
TWO_HOPS = (Hop(1, "uint8", "tcp", Link()), Hop(3, "uint8", "udp", Link(name="up")))
PLANS = [
    Plan("p", (CAMERA,)),
    plan(0, "png", "tcp", loss=0.05, rate_bps=1e6),
    plan(1, "uint8+rans", "tcp", rate_bps=1e6),
    plan(2, "uint4", "udp", rate_bps=1e6, jitter_s=0.002),
    plan(5, loss=0.2),
    plan(0, "png", loss=0.1, mtu_bytes=100),
    Plan(
        "p",
        (CAMERA, replace(SERVER, name="edge"), SERVER),
        (Hop(1, "uint8", "tcp", Link()), Hop(3, "uint8", "udp", Link(name="up"))),
    ),
]


@pytest.mark.parametrize("which", PLANS)
def test_a_replay_of_the_same_is_the_same_where_nothing_is_damaged(testbed, which, monkeypatch):
    found = known(testbed, which)
    monkeypatch.setattr(Visit, "run", None)  # no network is run any more
    again = replay(which, testbed, TIMES, found.known, np.random.default_rng(0), 2, intervals=True)
    before = found.evaluation
    assert again.quality == before.quality
    assert again.intervals == before.intervals
    np.testing.assert_array_equal(again.latency_s, before.latency_s)
    np.testing.assert_array_equal(again.contributions, before.contributions)


def test_other_links_machines_and_frames_are_replayed_as_they_would_be_found(testbed):
    here = plan(2, "uint4", "tcp", rate_bps=1e6)
    found = known(testbed, here).known
    slow = replace(
        here, devices=(replace(CAMERA, slowdown=25.0), SERVER), hops=(replace(here.hops[0], link=Link(rate_bps=2e4)),)
    )
    bed = testbed.with_workload(replace(testbed.workload, fps=30.0, deadline_s=0.2))
    again, wanted = replay(slow, bed, TIMES, found, np.random.default_rng(3), 2), run(bed, slow, 3, replications=2)
    np.testing.assert_array_equal(again.latency_s, wanted.latency_s)
    assert again.on_time_quality == wanted.on_time_quality < again.quality == wanted.quality


def test_damaged_frames_count_as_their_curve_says(testbed):
    lossy = plan(1, loss=0.3, mtu_bytes=120)
    found = known(testbed, lossy, 4)
    again = replay(lossy, testbed, TIMES, found.known, np.random.default_rng(0), 4)
    assert again.quality == pytest.approx(found.evaluation.quality, abs=0.01)
    assert replay(lossy, testbed, TIMES, found.known, np.random.default_rng(9), 4).quality == pytest.approx(
        again.quality, abs=0.05
    )
    more = replace(lossy, hops=(replace(lossy.hops[0], link=Link(loss=0.6, mtu_bytes=120)),))
    worse, wanted = (
        replay(more, testbed, TIMES, found.known, np.random.default_rng(0), 4),
        run(testbed, more, replications=4),
    )
    assert worse.quality < again.quality
    assert worse.quality == pytest.approx(wanted.quality, abs=0.1)


def test_simulated_more_often_an_evaluation_keeps_its_quality(testbed):
    lossy = plan(1, loss=0.3, mtu_bytes=120, jitter_s=0.01, jitter="normal")
    found = known(testbed, lossy, most_patterns=1000)
    more = resimulated(found.evaluation, testbed, TIMES, found.known, np.random.default_rng(0), 8)
    assert more.latency_s.shape == (8, 1000)
    assert (more.quality, more.quality_ci) == (found.evaluation.quality, found.evaluation.quality_ci)
    assert more.loss_patterns == found.evaluation.loss_patterns
    np.testing.assert_array_equal(more.latency_s[:2], found.evaluation.latency_s)
    low, high = more.intervals["latency_mean"]
    assert low < more.metrics()["latency_mean"] < high


def test_a_timeline_alone_has_everything_but_predictions(testbed, monkeypatch):
    which = plan(1, "uint8", loss=0.1, mtu_bytes=200, rate_bps=1e6)
    whole = run(testbed, which, replications=2)
    monkeypatch.setattr(Visit, "run", None)
    alone = timeline_alone(which, testbed, TIMES, np.random.default_rng(0), 2)
    assert not alone.valued
    assert whole.valued
    assert {name: value for name, value in whole.metrics().items() if "accuracy" not in name} == alone.metrics()
    assert {name: value for name, value in whole.intervals.items() if "accuracy" not in name} == alone.intervals


def test_the_curve_of_damage_goes_through_what_was_seen():
    rng = np.random.default_rng(0)
    shares = rng.random(4000)
    changes = -(rng.random(4000) < shares**2).astype(float)
    curve = DamageCurve(shares, changes[:, None])
    at = np.array([0.0, 0.25, 0.5, 0.9])
    np.testing.assert_allclose(curve.at(at)[:, 0], -(at**2), atol=0.1)
    none = DamageCurve(np.zeros(0), np.zeros((0, 2)))
    assert none.at(at).tolist() == [[0.0, 0.0]] * 4
    half = DamageCurve(np.full(70, 0.5), np.full((70, 1), -0.4))
    assert half.at(np.array([0.25, 0.5, 1.0])).ravel() == pytest.approx([-0.2, -0.4, -0.4])
    assert half.with_more(curve).shares.shape == (4070,)


@pytest.fixture
def transfers(monkeypatch):
    """How many transfers over UDP were simulated."""
    counted = []

    class Counted(UdpLink):
        def transfer(self, frames):
            counted.append(frames)
            return super().transfer(frames)

    monkeypatch.setitem(TRANSPORTS._entries, "udp", Counted)
    return counted


def test_links_are_not_simulated_again_for_what_changes_behind_them(testbed, transfers):
    here = plan(2, loss=0.1, rate_bps=1e6)
    found, links = known(testbed, here).known, Remembered()

    def again(which, seed=0, remembered=links):
        return replay(which, testbed, TIMES, found, np.random.default_rng(seed), 2, remembered=remembered)

    def faster(place, by):
        devices = [replace(each, slowdown=each.slowdown / (by if at == place else 1)) for at, each in enumerate(BOTH)]
        return replace(here, devices=tuple(devices))

    again(here)
    transfers.clear()
    for which in (here, faster(1, 2.0), faster(1, 0.5)):
        kept, anew = again(which), again(which, remembered=None)
        np.testing.assert_array_equal(kept.latency_s, anew.latency_s)
        assert kept.quality == anew.quality
    assert len(transfers) == 3 * 2  # those that remembered nothing
    transfers.clear()
    for which, seed in ((faster(0, 2.0), 0), (on(here, loss=0.2, rate_bps=1e6), 0), (here, 1)):
        np.testing.assert_array_equal(again(which, seed).latency_s, again(which, seed, None).latency_s)
    assert len(transfers) == 2 * 3 * 2


def test_only_so_many_transfers_and_no_long_ones_are_remembered(transfers):
    hop, links = plan(2, rate_bps=1e8).hops[0], Remembered(keys=1)

    def twice(key, frames):
        for _ in range(2):
            links.transfer(key, hop, Workload(10.0, frames, frame_bytes=100).all_frames(), np.random.default_rng(0))
        transfers_now, transfers[:] = len(transfers), []
        return transfers_now

    assert twice("long", MOST_FRAMES + 1) == 2
    assert twice("short", MOST_FRAMES) == 1
    assert twice("one more", 10) == 2


def test_what_nobody_asks_for_is_not_computed(testbed):
    here = plan(2, loss=0.1)
    found = known(testbed, here).known
    asked = []

    def needless(alone):
        asked.append(alone)
        return alone.metrics()["latency_p95"] > 1e-3

    again = replay(here, testbed, TIMES, found, np.random.default_rng(0), 2, needless=needless)
    assert asked[0] is again
    assert np.isnan(again.quality)
    assert again.contributions is None
    full = replay(here, testbed, TIMES, found, np.random.default_rng(0), 2, needless=lambda _: False)
    assert full.quality == replay(here, testbed, TIMES, found, np.random.default_rng(0), 2).quality
