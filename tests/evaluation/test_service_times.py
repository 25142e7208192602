"""Service times that differ from frame to frame: queues, batches and means with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from splitimpera.cost.spread import lognormal, spread_of
from splitimpera.evaluation.pipeline import serve
from splitimpera.evaluation.service import service_of
from splitimpera.evaluation.timeline import Timeline, timeline
from splitimpera.records.costs import Cost, DeviceCosts
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.traffic import Workload

SAMPLES = spread_of(np.random.default_rng(7).gamma(4.0, size=40))
CAMERA, SERVER = Device("camera"), Device("server")
ONE_HOP = Plan("split", (CAMERA, SERVER), (Hop(1, "float32", "udp", Link(rate_bps=1e8, loss=0.1)),))


def costs(spread, network_s=0.002, coding_s=0.001, batch=1):
    """Of a camera and a server."""
    networks = tuple(Cost(network_s * (1 + 0.5 * more), "measured", spread) for more in range(batch))
    coding = Cost(coding_s, "measured", spread)
    return DeviceCosts(networks, None, coding, 0), DeviceCosts(networks, coding, None, 0)


def alone(spread, network_s=0.002):
    return (DeviceCosts((Cost(network_s, "measured", spread),), None, None, 0),)


def run(plan, of_devices, workload=None, seed=0, replications=3):
    workload = workload or Workload(10.0, 1000, frame_bytes=1)
    sizes = [np.full(1, 2000, dtype=np.int64) for _ in plan.hops]
    return timeline(plan, workload, of_devices, sizes, [4] * len(sizes), np.random.default_rng(seed), replications)


@pytest.mark.parametrize("policy", ["wait", "drop-newest", "drop-oldest"])
@pytest.mark.parametrize("batch", [1, 4])
def test_one_time_for_each_frame_does_as_one_for_all(policy, batch):
    arrival_s = np.random.default_rng(1).uniform(0, 1, 300)
    arrival_s[::17] = np.nan
    service_s = [0.004 * (1 + more / 2) for more in range(batch)]
    drawn_s = [np.full(300, time_s) for time_s in service_s]
    np.testing.assert_allclose(serve(arrival_s, drawn_s, policy, 2), serve(arrival_s, service_s, policy, 2))


def test_each_frame_has_its_own_time_in_a_queue():
    own = [np.array([3.0, 1.0, 2.0, 9.0])]
    np.testing.assert_allclose(serve(np.array([0.0, 1.0, 9.0, np.nan]), own), [3.0, 4.0, 11.0, np.nan])
    # the second comes first
    np.testing.assert_allclose(serve(np.array([5.0, 4.5, 9.0, 20.0]), own), [8.5, 5.5, 11.0, 29.0])
    dropped = serve(np.array([0.0, 1.0, 2.0, 9.0]), own, "drop-oldest")
    np.testing.assert_allclose(dropped, [3.0, np.nan, 5.0, 18.0])


def test_a_batch_takes_what_its_first_frame_drew():
    own = [np.array([3.0, 1.0, 1.0, 1.0]), np.array([9.0, 5.0, 7.0, 8.0])]
    np.testing.assert_allclose(serve(np.array([0.0, 1.0, 2.0, 2.5]), own), [3.0, 8.0, 8.0, 9.0])


def test_random_service_waits_as_long_as_pollaczek_and_khinchine_say():
    """M/G/1: mean wait = rate E[S^2] / (2 (1 - load))."""
    rng, waits, load = np.random.default_rng(1), [], 0.7
    for _ in range(20):
        arrival_s, service_s = np.cumsum(rng.exponential(1 / load, 50_000)), rng.gamma(2.0, 0.5, 50_000)
        waits.append(np.mean(serve(arrival_s, [service_s]) - arrival_s - service_s))
    expected = load * 1.5 / (2 * (1 - load))  # E[S] = 1, E[S^2] = 1.5
    assert abs(np.mean(waits) - expected) < 4 * np.std(waits) / np.sqrt(len(waits))


def test_an_idle_device_has_the_percentiles_of_its_samples():
    found = run(Plan("LC", (CAMERA,)), alone(SAMPLES), replications=20)
    p50, p95 = np.percentile(0.002 * np.array(SAMPLES), [50, 95])
    assert found.device_quantiles_s["camera"] == pytest.approx((p50, p95), rel=0.02)
    assert np.percentile(found.latency_s, 95) == pytest.approx(p95, rel=0.02)
    assert run(Plan("LC", (CAMERA,)), alone(())).device_quantiles_s["camera"] == (0.002, 0.002)


@pytest.mark.parametrize("batch", [1, 3])
def test_means_are_those_of_what_was_drawn(batch):
    camera = replace(CAMERA, power_w=2.0, batch=batch)
    found = run(replace(ONE_HOP, devices=(camera, SERVER)), costs(SAMPLES, batch=batch))
    parts = found.parts_s
    mean = float(np.mean(SAMPLES))
    assert parts["camera: network"] == pytest.approx(0.002 * mean, rel=0.05)
    assert parts["server: decode"] == pytest.approx(0.001 * mean, rel=0.05)
    assert parts["camera: queue"] == pytest.approx(0.0, abs=1e-12)
    assert sum(parts.values()) == pytest.approx(np.nanmean(found.latency_s))
    quickest = min((0.002 * (1 + 0.5 * more) + 0.001 * (more + 1)) / (more + 1) for more in range(batch))
    assert found.utilisation["camera"] == pytest.approx(10 * quickest * mean, rel=0.05)
    assert found.sustained_fps == pytest.approx(1 / (quickest * mean), rel=0.05)


def test_energy_counts_the_mean_of_what_was_drawn():
    found = run(Plan("LC", (replace(CAMERA, power_w=2.0),)), alone(SAMPLES))
    assert found.energy_j == pytest.approx(2.0 * found.latency_s.mean())


def test_replications_draw_anew_and_the_same_seed_the_same():
    first, again, other = (run(ONE_HOP, costs(SAMPLES), seed=seed).latency_s for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first[0] != first[1]).any()


def test_neighbours_of_a_sweep_have_the_same_draws():
    plan = replace(ONE_HOP, hops=(replace(ONE_HOP.hops[0], link=Link(rate_bps=1e8)),))
    slow = replace(plan, hops=(replace(plan.hops[0], link=Link(rate_bps=1e6)),))
    fast, slower = (run(each, costs(SAMPLES)).latency_s for each in (plan, slow))
    np.testing.assert_allclose(np.ptp(slower - fast, axis=1), 0.0, atol=2e-9)
    half = costs(SAMPLES, 0.001, 0.0005)
    np.testing.assert_allclose(
        run(Plan("LC", (CAMERA,)), alone(SAMPLES, 0.001)).latency_s * 2,
        run(Plan("LC", (CAMERA,)), alone(SAMPLES)).latency_s,
    )
    longer = run(plan, half, Workload(10.0, 1500, frame_bytes=1)).latency_s[:, :1000]
    np.testing.assert_allclose(longer, run(plan, half).latency_s, atol=1e-9)


def test_every_sender_draws_for_itself_and_the_first_as_if_alone():
    plan = Plan("LC", (CAMERA,))
    several = run(plan, alone(SAMPLES), Workload(10.0, 200, frame_bytes=1, senders=3)).latency_s.reshape(3, 200, 3)
    one = run(plan, alone(SAMPLES), Workload(10.0, 200, frame_bytes=1)).latency_s
    np.testing.assert_allclose(several[..., 0], one)
    assert (several[..., 0] != several[..., 1]).any()


def test_links_draw_the_same_whatever_devices_draw():
    found = [run(ONE_HOP, costs(spread)) for spread in ((), SAMPLES)]
    lost = [[sent.deliveries.lost_packets.tolist() for sent in each.sent[0]] for each in found]
    assert lost[0] == lost[1]


def test_slow_runs_come_together_where_they_did():
    """Half of the samples slow, the other half quick: so are stretches of frames."""
    halves = (0.5,) * 30 + (1.5,) * 30
    found = run(Plan("LC", (CAMERA,)), alone(halves)).latency_s
    alike = np.isclose(np.diff(found, axis=1), 0.0, atol=1e-9).mean()
    assert alike > 0.9


def test_a_lognormal_spread_is_drawn_too():
    found = run(Plan("LC", (CAMERA,)), alone(lognormal(1.5)), replications=20)
    p50, p95 = found.device_quantiles_s["camera"]
    assert p95 / p50 == pytest.approx(1.5, rel=0.05)


def test_nothing_arrives_where_everything_is_lost():
    lossy = replace(ONE_HOP, hops=(replace(ONE_HOP.hops[0], link=Link(rate_bps=1e8, loss=0.999999)),))
    found = Timeline(lossy, Workload(10.0, 10, frame_bytes=1), costs(SAMPLES), np.random.default_rng(0).spawn(1))
    found.compute()
    found.now_s = np.full_like(found.now_s, np.nan)
    assert found.parts_s["camera: network"] > 0


def test_a_frame_that_leaves_early_takes_less_of_the_same_draw():
    camera, _ = costs(SAMPLES)
    camera = replace(camera, leaving=(replace(camera.network[0], seconds=0.001),))
    leaving = np.resize([0, -1, -1], (2, 300))
    comes = np.ones((2, 300), dtype=bool)
    comes[:, 100:] = False

    def served(*early):
        return service_of(camera, [np.random.default_rng(seed) for seed in (0, 1)], 300, 1, *early)

    all_on, early, some = served(), served(leaving), served(leaving, comes)
    halved = np.where(leaving == 0, 0.5, 1.0)
    np.testing.assert_allclose(early.parts_s["network"], all_on.parts_s["network"] * halved)
    np.testing.assert_array_equal(early.parts_s["encode"], np.where(leaving == 0, 0.0, all_on.parts_s["encode"]))
    np.testing.assert_allclose(some.quickest_s, early.together_s[0][:, :100].mean(1))
    assert some.quantiles_s == pytest.approx(tuple(np.percentile(early.together_s[0][:, :100], (50, 95))))
    assert not some.parts_s["network"][:, 100:].any()
