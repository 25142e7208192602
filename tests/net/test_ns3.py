"""ns-3 as an engine: the identities of docs/method.md hold, its losses are those of the link, its crashes are not ours.

Skipped where ns-3 is not installed (`pip install 'split-et-impera[ns3]'`), but for what is refused before it is needed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import combinations
from math import ceil

import numpy as np
import pytest

from splitimpera.core.errors import SimulationError, UnknownNameError
from splitimpera.net import ns3
from splitimpera.net.ns3 import Ns3Link
from splitimpera.records.link import Link, Trace
from splitimpera.records.traffic import Frames, Workload

needs_ns3 = pytest.mark.skipif(not ns3.available(), reason="ns-3 is not installed: pip install 'split-et-impera[ns3]'")
LAN = Link(rate_bps=1e8, delay_s=1e-3)


def transfer(link, workload, transport, seed=0):
    return Ns3Link(link, np.random.default_rng(seed), transport).transfer(workload.all_frames())


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("complete_s", "packets", "sent_s"))


def test_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(ns3, "_home", lambda: None)
    with pytest.raises(SimulationError) as caught:
        Ns3Link(LAN, np.random.default_rng(0), "udp")
    assert str(caught.value) == "the engine ns-3 is not installed; pip install 'split-et-impera[ns3]'"


def test_is_looked_for_without_being_imported():
    code = (
        "import sys; from splitimpera.net.ns3 import available; available(); print({'ns3', 'cppyy'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_a_folder_of_that_name_is_not_ns3(tmp_path, monkeypatch):
    (tmp_path / "ns3").mkdir()
    (tmp_path / "cppyy.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert not ns3.available()


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("jitter_s", {"jitter_s": 1e-3}),
        ("trace", {"trace": Trace("t", (0.0, 1.0), 2.0, rate_bps=(1e6, 2e6))}),
        ("drops", {"drops": (3,)}),
        ("queue_bytes", {"queue_bytes": 10**6}),
        ("queue_packets", {"queue_packets": 100}),
        ("downlink_delay_s", {"downlink_delay_s": 0.02}),
        ("link_header_bytes", {"link_header_bytes": 14}),
        ("stream_record_bytes", {"stream_record_bytes": 22}),
    ],
)
def test_refuses_what_it_cannot_simulate(field, options):
    with pytest.raises(SimulationError, match=rf"^{field}: ns-3 cannot simulate .*; use the native engine$"):
        Ns3Link(Link(**options), np.random.default_rng(0), "tcp")


@pytest.mark.parametrize(("field", "options"), [("senders", {"senders": 2}), ("response_bytes", {"response_bytes": 4})])
def test_refuses_frames_that_it_cannot_simulate(field, options, monkeypatch):
    monkeypatch.setattr(ns3, "available", lambda: True)
    with pytest.raises(SimulationError, match=rf"^{field}: ns-3 cannot simulate .*; use the native engine$"):
        transfer(LAN, Workload(10.0, 2, frame_bytes=100, **options), "udp")


def test_refuses_unknown_transports():
    with pytest.raises(UnknownNameError, match="did you mean 'tcp-cubic'"):
        Ns3Link(LAN, np.random.default_rng(0), "tcp-cubik")


def test_refuses_a_packet_without_room(monkeypatch):
    monkeypatch.setattr(ns3, "available", lambda: True)
    frames = Frames(np.zeros(1), np.array([100]), np.ones(1), element_bytes=500)
    with pytest.raises(SimulationError, match=r"mtu_bytes: 68 leaves no room"):
        Ns3Link(Link(mtu_bytes=68, app_header_bytes=50), np.random.default_rng(0), "udp").transfer(frames)


@needs_ns3
@pytest.mark.parametrize("transport", ["tcp-cubic", "tcp-reno"])
@pytest.mark.parametrize(
    ("rate", "delay", "mtu"), [(1e9, 1e-4, 1500), (1e8, 5e-3, 1500), (3e7, 1e-2, 576), (2e6, 0.0, 1500)]
)
def test_tcp_identity_with_a_warm_window(transport, rate, delay, mtu):
    size = 20_001
    done = transfer(Link(rate_bps=rate, delay_s=delay, mtu_bytes=mtu), Workload(2.0, 30, frame_bytes=size), transport)
    expected = (size + 54 * ceil(size / (mtu - 52))) * 8 / rate + delay
    np.testing.assert_allclose(done.complete_s[25:] - np.arange(25, 30) / 2, expected, rtol=0, atol=1e-9)
    assert (done.packets == ceil(size / (mtu - 52))).all()
    assert not done.lost_packets.any()
    assert not done.retransmissions.any()
    assert done.wire_bytes[0] == size + 54 * ceil(size / (mtu - 52))
    assert done.stable


@needs_ns3
@pytest.mark.parametrize(
    ("rate", "delay", "mtu", "size"),
    [(1e9, 1e-4, 1500, 150_528), (3e7, 1e-2, 576, 4096), (2e6, 0.0, 9000, 1), (1e10, 1e-5, 1500, 2944)],
)
def test_udp_identity(rate, delay, mtu, size):
    link = Link(rate_bps=rate, delay_s=delay, mtu_bytes=mtu)
    done = transfer(link, Workload(2.0, 3, frame_bytes=size), "udp")
    packets = ceil(size / (mtu - 28))
    expected = (size + 30 * packets) * 8 / rate + delay
    np.testing.assert_allclose(done.complete_s - np.arange(3) / 2, expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(done.sent_s, np.arange(3) / 2, rtol=0, atol=1e-9)
    first = (min(size, mtu - 28) + 30) * 8 / rate + delay
    np.testing.assert_allclose(done.first_s - np.arange(3) / 2, first, rtol=0, atol=1e-9)
    assert (done.packets == packets).all()
    assert done.erased == ((), (), ())


@needs_ns3
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_the_application_header_takes_its_place(transport):
    link = Link(rate_bps=1e6, delay_s=0.0, app_header_bytes=16)
    done = transfer(link, Workload(1.0, 1, frame_bytes=3000), transport)
    assert done.wire_bytes[0] == {"tcp": 3016 + 3 * 54, "udp": 3000 + 3 * (30 + 16)}[transport]


@needs_ns3
def test_frames_wait_for_the_link_and_overload_shows():
    link = Link(rate_bps=8000.0, delay_s=0.1)  # 1000 bytes a second
    done = transfer(link, Workload(10.0, 3, frame_bytes=470), "udp")
    np.testing.assert_allclose(done.complete_s, [0.6, 1.1, 1.6])
    np.testing.assert_allclose(done.sent_s, [0.0, 0.5, 1.0])
    assert not done.stable


@needs_ns3
def test_times_need_not_begin_at_zero():
    frames = Frames(np.array([5000.25, 5000.5]), np.array([1000, 2000]), np.array([5001.0, 5001.0]))
    done = Ns3Link(LAN, np.random.default_rng(0), "udp").transfer(frames)
    np.testing.assert_allclose(done.complete_s - frames.ready_s, [1030 * 8e-8 + 1e-3, 2060 * 8e-8 + 1e-3], atol=1e-9)


@needs_ns3
def test_datagrams_carry_whole_atoms_and_losses_are_their_ranges():
    link = Link(rate_bps=1e6, delay_s=0.0, loss=0.5, mtu_bytes=128)  # 100 bytes of payload, 96 in elements of 8
    count = 200
    frames = Frames(np.arange(count) / 10, np.full(count, 250), np.arange(count) / 10 + 0.09, element_bytes=8)
    done = Ns3Link(link, np.random.default_rng(3), "udp").transfer(frames)
    pieces = [(0, 96), (96, 192), (192, 250)]
    whole = done.lost_packets == 0
    assert (done.packets == 3).all()
    some = ~whole & done.arrived
    # 64 bytes of a PING and its answer, half of their time
    np.testing.assert_allclose(done.complete_s[some], done.first_s[some] + 0.09 - 32 * 8e-6)
    np.testing.assert_allclose(done.complete_s[~done.arrived], frames.deadline_s[~done.arrived])
    np.testing.assert_allclose(done.complete_s[whole] - frames.ready_s[whole], (250 + 90) * 8e-6)
    for i in range(count):
        gone = sum(end - start for start, end in done.erased[i])
        assert all(start in (0, 96, 192) and end in (96, 192, 250) for start, end in done.erased[i])
        assert gone in {
            sum(pieces[p][1] - pieces[p][0] for p in some) for some in combinations(range(3), done.lost_packets[i])
        }
        assert done.arrived[i] == (done.lost_packets[i] < 3)
        assert np.isnan(done.first_s[i]) == (not done.arrived[i])


@needs_ns3
def test_what_is_late_is_missing_only_where_the_deadline_is_waited_for():
    link = Link(rate_bps=8e4, delay_s=0.0, loss=0.2, mtu_bytes=128)  # 130 bytes on the wire take 13 ms
    count = 60
    ready = np.arange(count) * 1.0
    done = Ns3Link(link, np.random.default_rng(5), "udp").transfer(
        Frames(ready, np.full(count, 1000), ready + 0.05)  # half of ten datagrams are in time
    )
    whole = done.lost_packets == 0
    assert 0 < whole.sum() < count
    np.testing.assert_allclose(done.complete_s[whole] - ready[whole], 0.13)
    used_s = done.first_s + 0.05 - 32 * 8 / 8e4
    np.testing.assert_allclose(done.complete_s[~whole], used_s[~whole])
    assert all(done.erased[i] == () for i in np.flatnonzero(whole))
    # the last ones, and what was lost of the first
    in_time = ((used_s - ready + 1e-9) / 0.013).astype(int)
    late = np.flatnonzero(~whole & (in_time < 10))
    assert len(late)
    assert all(done.erased[i][-1][0] <= 100 * in_time[i] and done.erased[i][-1][1] == 1000 for i in late)


@needs_ns3
@pytest.mark.parametrize("transport", ["udp", "tcp-cubic", "tcp-reno"])
def test_the_loss_is_the_one_asked_for(transport):
    link = Link(rate_bps=1e8, delay_s=1e-3, loss=0.03)
    done = transfer(link, Workload(2.0, 300, frame_bytes=100_000), transport)
    packets = int(done.packets.sum())
    assert done.lost_packet_rate == pytest.approx(0.03, abs=4 * np.sqrt(0.03 * 0.97 / packets))
    if transport != "udp":
        assert done.arrived.all()
        assert (np.diff(done.complete_s) >= 0).all()
        assert (done.complete_s > done.first_s).all()
        assert packets == 300 * 70 + done.retransmissions.sum()
        assert abs(done.retransmissions.sum() - done.lost_packets.sum()) < 0.1 * done.lost_packets.sum()


@needs_ns3
def test_bursts_have_their_length_and_rate():
    link = Link(rate_bps=1e9, delay_s=0.0, loss=0.1, loss_burst=4.0, mtu_bytes=128)
    done = transfer(link, Workload(1.0, 1, frame_bytes=100 * 40_000), "udp")
    bursts = np.array([(end - start) / 100 for start, end in done.erased[0]])
    assert bursts.mean() == pytest.approx(4.0, abs=4 * bursts.std() / np.sqrt(len(bursts)))
    assert done.lost_packet_rate == pytest.approx(0.1, abs=4 * np.sqrt(0.1 * 0.9 * 7 / 40_000))


@needs_ns3
def test_lost_acknowledgements_cost_no_frame():
    done = transfer(Link(rate_bps=1e7, delay_s=1e-3, downlink_loss=0.3), Workload(5.0, 50, frame_bytes=10_000), "tcp")
    assert done.arrived.all()
    assert not done.lost_packets.any()
    assert (done.complete_s >= done.sent_s).all()


@needs_ns3
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_same_seed_same_numbers(transport):
    link = Link(rate_bps=1e8, delay_s=5e-3, loss=0.05)
    workload = Workload(10.0, 40, frame_bytes=50_000)
    first = transfer(link, workload, transport, seed=1)
    assert not same(first, transfer(link, workload, transport, seed=2))
    assert same(first, transfer(link, workload, transport, seed=1))


@needs_ns3
def test_one_generator_gives_new_losses_each_time():
    simulated = Ns3Link(Link(loss=0.1), np.random.default_rng(0), "udp")
    frames = Workload(10.0, 40, frame_bytes=50_000).all_frames()
    assert simulated.transfer(frames).erased != simulated.transfer(frames).erased


@needs_ns3
def test_cubic_and_reno_differ_under_loss():
    link = Link(rate_bps=1e8, delay_s=5e-3, loss=0.03)
    workload = Workload(5.0, 40, frame_bytes=100_352)
    assert same(transfer(link, workload, "tcp"), transfer(link, workload, "tcp-cubic"))
    assert not same(transfer(link, workload, "tcp"), transfer(link, workload, "tcp-reno"))


@needs_ns3
def test_where_ns3_ends_its_process_ours_goes_on(monkeypatch):
    workload = Workload(10.0, 2, frame_bytes=1000)
    monkeypatch.setitem(ns3.CONGESTION, "tcp-reno", "ns3::NoSuchTcp")
    with pytest.raises(SimulationError, match=r"ns-3 failed: .*NoSuchTcp"):
        transfer(LAN, workload, "tcp-reno")
    assert transfer(LAN, workload, "tcp-cubic").arrived.all()


@needs_ns3
def test_a_worker_that_was_killed_is_replaced():
    workload = Workload(10.0, 2, frame_bytes=1000)
    assert transfer(LAN, workload, "udp").arrived.all()
    worker = ns3._WORKERS[os.getpid()].process
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    assert transfer(LAN, workload, "udp").arrived.all()


@needs_ns3
def test_ends_with_the_program():
    code = (
        "import os, numpy as np; from splitimpera.net import ns3\n"
        "from splitimpera.records.link import Link\n"
        "from splitimpera.records.traffic import Workload\n"
        "ns3.Ns3Link(Link(), np.random.default_rng(0), 'udp').transfer(Workload(1.0, 1, frame_bytes=9).all_frames())\n"
        "print(ns3._WORKERS[os.getpid()].process.pid)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stderr == ""
    with pytest.raises(ProcessLookupError):
        os.kill(int(ran.stdout), 0)
