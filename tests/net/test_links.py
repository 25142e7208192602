"""The simulated links: the identities of docs/method.md hold exactly, loss has the rate that was asked for."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import splitimpera as sei
from splitimpera.core.errors import SimulationError, UnknownNameError
from splitimpera.net.directions import least_round_trip_s
from splitimpera.net.tcp import TcpLink, TcpParameters
from splitimpera.net.transports import TRANSPORTS
from splitimpera.records.link import Link, Trace
from splitimpera.records.traffic import Frames, Workload

sizes = st.integers(1, 400_000)
rates = st.floats(1e5, 1e10)
delays = st.floats(0, 0.5)


def one_frame(transport, size, rate, delay, **options):
    link = Link(rate_bps=rate, delay_s=delay, **options)
    return sei.simulate(link, Workload(1.0, 1, frame_bytes=size), transport, np.random.default_rng(0))


@given(st.integers(1, 65_535), rates, delays)  # what the first receive window takes
def test_tcp_identity(size, rate, delay):
    expected = (size + 54 * ceil(size / 1448)) * 8 / rate + delay
    frames = Workload(1.0, 1, frame_bytes=size).all_frames()
    open_window = TcpParameters(initial_window=1000, tail_loss_probe=False, min_rto_s=100)
    tcp = TcpLink(Link(rate_bps=rate, delay_s=delay), np.random.default_rng(0), open_window)
    assert tcp.transfer(frames).complete_s[0] == pytest.approx(expected, rel=1e-12, abs=2e-9)  # whole nanoseconds


@pytest.mark.parametrize("transport", ["tcp-cubic", "tcp-reno"])
def test_a_window_that_has_grown_leaves_nothing_but_the_identity(transport):
    link, workload = Link(rate_bps=1e8, delay_s=0.005), Workload(10.0, 30, frame_bytes=50_000)
    sent = sei.simulate(link, workload, transport, np.random.default_rng(0))
    latency = sent.complete_s - workload.due_s()
    assert latency[0] > latency[-1]
    assert latency[-1] == pytest.approx((50_000 + 54 * 35) * 8 / 1e8 + 0.005, abs=1e-8)


@given(sizes, rates, delays)
def test_udp_identity(size, rate, delay):
    expected = (size + 30 * ceil(size / 1472)) * 8 / rate + delay
    assert one_frame("udp", size, rate, delay).complete_s[0] == pytest.approx(
        expected, rel=1e-12, abs=2e-9
    )  # whole nanoseconds


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_frames_wait_for_the_link(transport):
    link = Link(rate_bps=8000.0, delay_s=0.1, mtu_bytes=1500)  # 1000 bytes a second
    done = sei.simulate(link, Workload(10.0, 3, frame_bytes=470), transport, np.random.default_rng(0)).complete_s
    wire = {"tcp": 0.524, "udp": 0.5}[transport]
    np.testing.assert_allclose(done, [0.1 + wire, 0.1 + 2 * wire, 0.1 + 3 * wire])


def test_datagrams_carry_whole_atoms_and_losses_are_their_ranges():
    link = Link(rate_bps=1e6, loss=0.5, mtu_bytes=128)  # 100 bytes of payload, 96 in elements of 8
    frames = Frames(np.zeros(1), np.array([250]), np.array([9.0]), element_bytes=8)
    seen = set()
    for seed in range(50):
        sent = TRANSPORTS["udp"](link, np.random.default_rng(seed)).transfer(frames)
        assert sent.packets[0] == 3
        assert sum(end - start for start, end in sent.erased[0]) <= 250
        seen |= set(sent.erased[0])
        assert sent.arrived[0] == (sent.lost_packets[0] < 3)
    # single packets and joined neighbours, nothing else
    assert seen == {(0, 96), (96, 192), (192, 250), (0, 192), (96, 250), (0, 250)}


def test_a_frame_with_loss_is_used_when_its_first_packet_says_and_a_whole_one_when_it_arrives():
    """The clocks differ: the time left counts from the first packet, less half of a PING's round trip."""
    link = Link(rate_bps=1e9, delay_s=0.001, loss=0.3)
    sent = sei.simulate(link, Workload(10.0, 200, 0.05, frame_bytes=4000), "udp", np.random.default_rng(1))
    lossy = sent.lost_packets > 0
    due = np.arange(200) / 10.0
    there, gone = lossy & sent.arrived, ~sent.arrived
    assert gone.any()
    half_s = 0.001 + (34 + 30) * 8 / 1e9 / 2
    np.testing.assert_allclose(sent.complete_s[there], sent.first_s[there] + 0.05 - half_s, atol=2e-9)
    np.testing.assert_allclose(sent.complete_s[gone], due[gone] + 0.05)
    assert (sent.complete_s[~lossy] - due[~lossy] < 0.002).all()
    assert all(bool(erased) == bool(lost) for erased, lost in zip(sent.erased, lossy, strict=True))


@pytest.mark.parametrize("waits", [True, False])
def test_a_frame_that_waited_for_the_link_is_waited_for_as_long(waits):
    """Its header says what was left when it was ready: the server knows nothing of the 1 s that it waited."""
    link = Link(rate_bps=1502 * 8, delay_s=0.25, drops=(2,))
    frames = Frames(np.zeros(2), np.array([1472, 3 * 1472]), np.array([9.0, 9.0]))
    if not waits:
        frames = replace(frames, ready_s=np.array([0.0, 1.0]), deadline_s=np.array([9.0, 10.0]))
    sent = TRANSPORTS["udp"](link, np.random.default_rng(0)).transfer(frames)
    assert sent.first_s[1] == pytest.approx(2.25)
    assert sent.complete_s[1] == pytest.approx(2.25 + 9.0 - 0.25 - (34 + 30) / 1502 / 2)


@pytest.mark.parametrize(("way_back_s", "left_s", "used_s"), [(0.01, 0.1, 0.1), (0.05, 0.1, 0.08), (0.01, 0.0, 0.01)])
def test_half_of_the_round_trip_stands_for_the_way_there(way_back_s, left_s, used_s):
    """So frames are used early where the way back takes longer, but never before something came."""
    link = Link(rate_bps=8e15, delay_s=0.01, downlink_delay_s=way_back_s, drops=(1,))
    frames = Frames(np.zeros(1), np.array([2 * 1472]), np.array([left_s]))
    sent = TRANSPORTS["udp"](link, np.random.default_rng(0)).transfer(frames)
    assert sent.complete_s[0] == pytest.approx(used_s, abs=1e-8)


def test_the_smallest_round_trip_of_a_trace_is_that_of_its_best_step():
    """1 B/s and 3 s, or 10 B/s and 4 s: 34 bytes there take 37 s or 7.4 s; 30 back at 10 B/s and 1 s take 4 s."""
    trace = Trace("steps", (0.0, 1000.0), 2000.0, rate_bps=(8.0, 80.0), delay_s=(3.0, 4.0))
    link = Link(rate_bps=44.0, delay_s=3.5, trace=trace, downlink_rate_bps=80.0, downlink_delay_s=1.0)
    assert least_round_trip_s(link, 34, 30) == pytest.approx(7.4 + 4.0)
    slots = replace(link, trace=Trace("slots", (0.0, 1.0), 2.0, opportunity_bytes=1500))
    assert least_round_trip_s(slots, 34, 30) == pytest.approx(3.5 + 4.0)


def test_what_comes_after_that_is_missing_too():
    link = Link(rate_bps=8000.0, delay_s=0.0, loss=0.2)  # each full packet takes 1.5 s
    frames = Frames(np.zeros(1), np.array([14720]), np.array([4.6]))
    for seed in range(20):
        sent = TRANSPORTS["udp"](link, np.random.default_rng(seed)).transfer(frames)
        if sent.lost_packets[0]:
            assert sent.erased[0][-1][1] == 14720
            in_time = int((sent.first_s[0] + 4.6 - (34 + 30) / 1000 / 2) / 1.502)
            assert in_time < 10
            assert sent.erased[0][-1][0] <= in_time * 1472


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_loss_has_the_rate_that_was_asked_for(transport):
    link = Link(loss=0.03)
    sent = sei.simulate(link, Workload(1.0, 2000, frame_bytes=20000), transport, np.random.default_rng(5))
    packets = int(sent.packets.sum())
    assert abs(sent.lost_packet_rate - 0.03) < 3.3 * np.sqrt(0.03 * 0.97 / packets)


def test_tcp_delivers_everything_in_order_and_loss_costs_time():
    link = Link(rate_bps=1e7, delay_s=0.01, loss=0.05)
    lossy = sei.simulate(link, Workload(20.0, 500, frame_bytes=10000), "tcp", np.random.default_rng(2))
    clean = sei.simulate(
        Link(rate_bps=1e7, delay_s=0.01), Workload(20.0, 500, frame_bytes=10000), "tcp", np.random.default_rng(2)
    )
    assert lossy.arrived.all()
    assert not any(lossy.erased)
    assert (np.diff(lossy.complete_s) >= 0).all()
    assert (lossy.complete_s >= clean.complete_s - 1e-12).all()
    assert lossy.complete_s.mean() > clean.complete_s.mean() + 0.005
    np.testing.assert_array_equal(lossy.retransmissions, lossy.lost_packets)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_the_same_seed_gives_the_same_deliveries(transport):
    link, workload = Link(loss=0.1), Workload(10.0, 100, frame_bytes=9000)
    first, second = (sei.simulate(link, workload, transport, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(first.complete_s, second.complete_s)
    assert first.erased == second.erased


def test_the_application_header_is_paid_for():
    plain = one_frame("udp", 1460, 1e6, 0.0)
    with_header = one_frame("udp", 1460, 1e6, 0.0, app_header_bytes=12)
    assert with_header.complete_s[0] - plain.complete_s[0] == pytest.approx(12 * 8 / 1e6)
    assert one_frame("tcp", 1000, 1e6, 0.0, app_header_bytes=12).wire_bytes[0] == 1000 + 12 + 54


@pytest.mark.parametrize(("size", "records"), [(1, 1), (16384 - 20, 1), (16384 - 19, 2), (100_000, 7)])
def test_tls_is_paid_for_by_the_record(size, records):
    sent = one_frame("tcp", size, 1e9, 0.0, app_header_bytes=20, stream_record_bytes=22)
    stream = size + 20 + 22 * records
    assert sent.wire_bytes[0] == stream + 54 * -(-stream // 1448)
    over_udp = [one_frame("udp", size, 1e9, 0.0, stream_record_bytes=record) for record in (0, 22)]
    assert over_udp[0].wire_bytes[0] == over_udp[1].wire_bytes[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Link(rate_bps=0), "rate_bps: 0 is out of range, it must be 1 to 1e+16"),
        (lambda: Link(delay_s=-1), "delay_s: -1 is out of range"),
        (lambda: Link(loss=1.0), "loss: 1.0 is out of range"),
        (lambda: Link(mtu_bytes=20), "mtu_bytes: 20 is out of range"),
        (lambda: Workload(0), "fps: 0 is out of range"),
        (lambda: Workload(1, 0), "frames: 0 is out of range"),
        (lambda: Workload(1, 1, -0.1), "deadline_s: -0.1 is out of range"),
        (lambda: one_frame("tcp", 0, 1e6, 0.0), "frame_bytes: 0 is out of range"),
        (lambda: one_frame("udp", 100, 1e6, 0.0, mtu_bytes=68, app_header_bytes=60), "mtu_bytes: 68 leaves no room"),
    ],
)
def test_what_cannot_be_simulated_is_refused(make, message):
    with pytest.raises(SimulationError) as caught:
        make()
    assert message in str(caught.value)


def test_an_unknown_transport_is_named():
    with pytest.raises(UnknownNameError, match="no transport is called 'ucp'"):
        one_frame("ucp", 10, 1e6, 0.0)
