"""How much is simulated at once: refused before it begins, by one rule for all who ask."""

from __future__ import annotations

import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from splitimpera.net.budget import MOST_PACKETS, WorkError
from splitimpera.net.replication import grid, replicate
from splitimpera.net.transports import TRANSPORTS, check, simulate
from splitimpera.records.link import Link, Trace
from splitimpera.records.traffic import Workload

FAST = Link(rate_bps=1e10, delay_s=1e-3)
LARGE = {
    "frames": (FAST, Workload(10.0, 1000, frame_bytes=10**9)),
    "responses": (FAST, Workload(10.0, 1000, frame_bytes=1000, response_bytes=10**9)),
    "small packets": (replace(FAST, mtu_bytes=68), Workload(10.0, 1000, frame_bytes=10**7)),
    "a slow link": (Link(rate_bps=1.0), Workload(10.0, 1000, frame_bytes=10**6)),
    "a slow downlink": (
        replace(FAST, downlink_rate_bps=1.0),
        Workload(10.0, 1000, frame_bytes=1000, response_bytes=10**6),
    ),
    "a trace that stands still": (
        replace(FAST, trace=Trace("t", (0.0, 1e-6), 1e7, rate_bps=(1e13, 0.0))),
        Workload(10.0, 1000, frame_bytes=10**6),
    ),
}


@pytest.mark.parametrize("transport", TRANSPORTS.names())
@pytest.mark.parametrize("case", LARGE)
def test_too_much_is_refused_at_once_and_without_memory(case, transport):
    link, workload = LARGE[case]
    if transport == "udp-arq" and (workload.response_bytes or link.trace):
        link, workload = LARGE["frames"]
    over = TRANSPORTS[transport](link, np.random.default_rng(0))
    frames = workload.all_frames()
    tracemalloc.start()
    begun_s = time.process_time()
    for run in (lambda: over.transfer(frames), lambda: check(link, workload, transport)):
        with pytest.raises(WorkError, match=r"take (fewer frames|a smaller response)"):
            run()
    assert time.process_time() - begun_s < 0.5
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
    for several in (lambda: replicate(link, workload, transport), lambda: grid([link], [workload], [transport])):
        with pytest.raises(WorkError):
            several()


def test_what_is_sent_again_counts():
    workload = Workload(10.0, 1000, frame_bytes=100_000)
    check(FAST, workload, "udp-arq")
    with pytest.raises(WorkError, match=r"each sent 1e\+06 times at this loss"):
        check(replace(FAST, loss=0.999, downlink_loss=0.999), workload, "udp-arq")
    check(replace(FAST, loss=0.999, downlink_loss=0.999), workload, "udp")  # which sends nothing again


def test_runs_count():
    workload = Workload(10.0, 1000, frame_bytes=1_448_000)
    check(FAST, workload, "tcp", runs=MOST_PACKETS // 10**6)
    with pytest.raises(WorkError, match="51,000,000 packets in 51 runs are too many"):
        replicate(FAST, workload, "tcp", replications=51)


def test_many_senders_take_no_longer_than_as_many_frames_of_few():
    def taken_s(senders, frames):
        workload, times_s = Workload(5.0, frames, frame_bytes=20_000, senders=senders), []
        for _ in range(3):
            begun_s = time.process_time()
            simulate(FAST, workload, "tcp", np.random.default_rng(0))
            times_s.append(time.process_time() - begun_s)
        return min(times_s)

    assert taken_s(1000, 1) < 8 * taken_s(10, 100)


@pytest.mark.parametrize("opportunities", [False, True])
def test_a_trace_of_short_steps_takes_no_longer_than_its_packets(opportunities):
    """Half a million steps a second over 10^7 seconds: nobody follows each."""
    count = 1000
    times = tuple((np.arange(count) * 2e-6).tolist())
    kind = {"opportunity_bytes": 1} if opportunities else {"rate_bps": (4e6,) * count}
    trace = Trace("fine", times, count * 2e-6, **kind)
    due = tuple(np.linspace(0, 9e6, 50).tolist())
    workload = Workload(1e-5, 50, frame_bytes=60_000, times_s=due)
    for transport in ("udp", "tcp"):
        begun_s = time.process_time()
        simulate(Link(trace=trace, delay_s=0.01), workload, transport, np.random.default_rng(0))  # compiles
        begun_s = time.process_time()
        delivered = simulate(Link(trace=trace, delay_s=0.01), workload, transport, np.random.default_rng(0))
        assert time.process_time() - begun_s < 1
        steady = simulate(Link(rate_bps=4e6, delay_s=0.01), workload, transport, np.random.default_rng(0))
        np.testing.assert_allclose(delivered.complete_s, steady.complete_s, rtol=0, atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_a_packet_over_many_steps_arrives_when_their_sum_carries_it(seed):
    """Against a sum over the steps, one by one, in Python."""
    draw = np.random.default_rng(seed)
    count = 300
    lengths = draw.integers(100, 1000, count)
    times = np.concatenate([[0], np.cumsum(lengths)]) * 1e-6
    rates = draw.choice([0.0, 1e4, 1e5], count)
    rates[0] = 1e4
    trace = Trace("t", tuple(times[:-1].tolist()), float(times[-1]), rate_bps=tuple(rates.tolist()))
    due = np.sort(draw.uniform(0, 20, 30))
    workload = Workload(1.0, 30, 1e3, frame_bytes=9000, times_s=tuple(due.tolist()))
    link = Link(trace=trace, trace_start_s=0.0, delay_s=0.0, mtu_bytes=9100, link_header_bytes=0)
    delivered = simulate(link, workload, "udp", draw)
    step, busy = 0, 0.0
    for i, ready in enumerate(due):
        start, left = max(busy, ready), 9028 * 8.0
        while True:
            end = step // count * times[-1] + times[step % count + 1]
            if start < end:
                room = (end - start) * rates[step % count]
                if left <= room:
                    break
                left -= room
                start = end
            step += 1
        busy = start + left / rates[step % count]
        assert delivered.complete_s[i] == pytest.approx(busy, abs=1e-6)
