"""A relay whose link changes as a trace says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_bundle import make_bundle, samples
from test_client import running

from splitimpera.core.errors import LinkError
from splitimpera.deploy.client import Client
from splitimpera.deploy.emulated_link import ChangingLink, EmulatedLink
from splitimpera.records.link import Trace

STEPS = Trace("steps", (0.0, 1.0), 2.0, rate_bps=(8e3, 8e4), delay_s=(0.1, 0.0), loss=(0.0, 0.0))


def changing(trace=STEPS, seed=0, **options):
    return ChangingLink(trace, np.random.default_rng(seed), **options)


def test_packets_queue_and_a_falling_delay_lets_none_overtake():
    link = changing()
    assert link.arrives(500, 0.0) == pytest.approx(0.6)
    assert link.arrives(500, 0.3) == pytest.approx(1.1)
    assert link.waits_s(0.3) == pytest.approx(0.7)
    assert link.arrives(100, 1.05) == pytest.approx(1.1)
    assert link.back(0.5) == pytest.approx(0.6)
    assert link.back(2.5) == pytest.approx(2.6)  # the trace starts again


def test_what_finds_the_queue_full_is_lost_and_over_tcp_waits():
    link = changing()
    assert link.arrives(500, 0.0) is not None
    assert link.arrives(500, 0.0) is None
    assert link.arrives(500, 0.0, loses=False) == pytest.approx(1.1)


def test_a_queue_of_so_many_bytes():
    link = changing(queue_bytes=1000)
    assert [link.arrives(400, 0.0) is None for _ in range(4)] == [False, False, True, True]
    assert link.arrives(600, 0.45) is not None  # the first has left
    assert link.arrives(1, 0.45) is None


def test_a_link_that_stands_still_goes_on_when_the_trace_does():
    link = changing(Trace("gap", (0.0, 1.0), 3.0, rate_bps=(8e3, 0.0)), queue_s=9.0)
    assert link.arrives(1500, 0.0) == pytest.approx(3.5)


@given(st.lists(st.integers(0, 99), min_size=1, max_size=20), st.lists(st.integers(1, 4000), min_size=1, max_size=20))
def test_opportunities_are_used_once_each(times, sizes):
    trace = Trace("cell", tuple(sorted(one / 100 for one in times)), 1.0, opportunity_bytes=1504)
    link = changing(trace, queue_s=1e9)
    arrived = [link.arrives(size, 0.0) for size in sizes]
    assert arrived == sorted(arrived)
    needed = -(-sum(sizes) // 1504)
    rounds, place = divmod(needed - 1, len(trace.time_s))
    assert arrived[-1] == pytest.approx(rounds + trace.time_s[place])


def test_so_many_packets_are_lost():
    link = changing(replace(STEPS, rate_bps=(), delay_s=(), loss=(0.3, 0.3)), rate_bps=1e9)
    lost = sum(link.arrives(100, number / 1e3) is None for number in range(4000))
    assert 0.27 < lost / 4000 < 0.33


@pytest.mark.parametrize("carrier", ["tcp", "udp"])
def test_frames_pass_the_relay_and_take_as_long_as_the_link(carrier, tmp_path):
    bundle = make_bundle(tmp_path / "bundle", transport=carrier, deadline_s=2.0)
    trace = Trace("slow", (0.0,), 10.0, rate_bps=(200e3,), delay_s=(0.02,))
    with (
        running(bundle) as (_, address),
        EmulatedLink(address, changing(trace)) as relay,
        Client(bundle, relay.address, insecure=True) as client,
    ):
        took_s = [client.infer(x).latency_s for x in samples(5)]
    assert None not in took_s
    # 512 bytes of payload at 25 kB/s, and there and back
    assert min(took_s) > 0.06
    assert np.median(took_s) < 0.15


def test_a_server_that_is_not_there_is_told_as_ever(tmp_path):
    bundle = make_bundle(tmp_path / "bundle")
    with EmulatedLink(("127.0.0.1", 1), changing()) as relay, pytest.raises(LinkError, match=r"closed|ended|cut"):
        Client(bundle, relay.address, insecure=True).open()
