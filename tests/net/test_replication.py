"""Several replications of one setting, and many settings: quantiles, intervals, the same on any number of threads."""

from __future__ import annotations

from dataclasses import replace
from math import isinf

import numpy as np
import pytest

from splitimpera.core.errors import SimulationError
from splitimpera.core.statistics import quantile_interval
from splitimpera.net.replication import grid, mostly, replicate
from splitimpera.net.transports import simulate
from splitimpera.records.link import Link
from splitimpera.records.traffic import Workload

LINK = Link(rate_bps=1e7, delay_s=0.005, loss=0.02)
WORK = Workload(10.0, 200, frame_bytes=9000)


def test_each_seed_is_a_run_of_its_own_and_the_same_seed_gives_the_same_numbers():
    first, again = (replicate(LINK, WORK, "udp", replications=3, seed=7) for _ in range(2))
    assert first.latency_s.shape == (3, 200)
    np.testing.assert_array_equal(first.latency_s, again.latency_s)
    assert len({run.erased for run in first.deliveries}) == 3
    alone = simulate(LINK, WORK, "udp", np.random.default_rng([7, 2]))
    np.testing.assert_array_equal(first.latency_s[2], alone.complete_s - WORK.due_s())
    other = replicate(LINK, WORK, "udp", replications=3, seed=8)
    assert first.deliveries[0].erased != other.deliveries[0].erased


def test_quantiles_are_those_of_each_run():
    result = replicate(LINK, WORK, "udp", replications=4)
    np.testing.assert_allclose(result.quantiles_s[:, 1], np.percentile(result.latency_s, 95, axis=1))
    assert [estimate.value for estimate in result.estimates] == pytest.approx(result.quantiles_s.mean(axis=0).tolist())
    for estimate in result.estimates:
        assert estimate.low <= estimate.value <= estimate.high
    single = replicate(LINK, WORK, "udp", replications=1)
    assert (single.estimates[0].low, single.estimates[0].high) == quantile_interval(single.latency_s[0], 0.5)
    assert isinf(single.estimates[2].high)  # 200 frames cannot bound p99 from above


def test_frames_of_several_senders_count_from_their_own_due_time():
    result = replicate(Link(rate_bps=1e8, delay_s=0.002), replace(WORK, senders=4), "udp", replications=1)
    assert result.latency_s.shape == (1, 800)
    np.testing.assert_allclose(result.latency_s, (9000 + 7 * 30) * 8 / 1e8 + 0.002)


def test_gaps_are_counted_in_frames_and_in_bytes():
    result = replicate(replace(LINK, loss=0.1), WORK, "udp", replications=5)
    assert result.lossy_frames == pytest.approx(1 - 0.9**7, abs=0.05)
    assert result.missing_bytes == pytest.approx(0.1, abs=0.02)
    clean = replicate(replace(LINK, loss=0.0), WORK, "udp", replications=2)
    assert clean.lossy_frames == clean.missing_bytes == 0


def test_the_engine_says_what_is_stable_and_most_seeds_decide():
    def engine(link, workload, transport, rng):
        sent = simulate(link, workload, transport, rng)
        return replace(sent, stable=bool(rng.random() < 0.5))

    result = replicate(LINK, WORK, "udp", replications=9, run=engine)
    assert set(result.stable) == {True, False}
    assert result.sustained == (sum(result.stable) > 4)
    assert mostly([True, False])
    assert not mostly([True, False, False])


@pytest.mark.parametrize("zipped", [False, True])
def test_serial_equals_parallel_in_order(zipped):
    links = [replace(LINK, loss=loss) for loss in (0.0, 0.05)]
    works = [replace(WORK, frames=frames) for frames in (50, 60)]
    transports = ["udp", "tcp"]
    serial, parallel = (grid(links, works, transports, 3, 5, zipped=zipped, workers=n) for n in (1, 4))
    settings = [(run.link, run.workload, run.transport) for run in serial]
    if zipped:
        assert settings == list(zip(links, works, transports, strict=True))
    else:
        assert settings == [(link, work, name) for link in links for work in works for name in transports]
    for one, other in zip(serial, parallel, strict=True):
        np.testing.assert_array_equal(one.latency_s, other.latency_s)
        assert [run.erased for run in one.deliveries] == [run.erased for run in other.deliveries]
    alone = replicate(*settings[-1], replications=3, seed=5)
    np.testing.assert_array_equal(alone.latency_s, serial[-1].latency_s)


def test_what_cannot_be_replicated_is_refused():
    with pytest.raises(SimulationError, match="replications: 0 is out of range"):
        replicate(LINK, WORK, "udp", replications=0)
    with pytest.raises(SimulationError, match="workers: 0 is out of range"):
        replicate(LINK, WORK, "udp", workers=0)
    with pytest.raises(SimulationError, match="1 links, 2 workloads and 1 transports cannot be zipped"):
        grid([LINK], [WORK, WORK], ["udp"], zipped=True)
    with pytest.raises(SimulationError, match="frame_bytes"):
        replicate(LINK, Workload(10.0, 5), "udp")
