"""Frames in any order, answers, acknowledgements and loads where one packet or one byte more would show."""

from __future__ import annotations

import numpy as np
import pytest

import splitimpera as sei
from splitimpera.net import kernels
from splitimpera.net.budget import WorkError, check_work
from splitimpera.net.replication import Replication, replicate
from splitimpera.net.stability import keeps_up
from splitimpera.net.transports import TRANSPORTS
from splitimpera.records.link import Link
from splitimpera.records.traffic import Frames, Workload

ONE = 1472
INSTANT = Link(rate_bps=8e15)


def simulate(link, workload, transport="udp"):
    return sei.simulate(link, workload, transport, np.random.default_rng(0))


@pytest.mark.parametrize("transport", ["udp", "udp-interleaved", "udp-arq"])
@pytest.mark.parametrize(("dropped", "frame"), [(0, 1), (1, 2), (3, 0)])
def test_frames_may_be_given_in_any_order(transport, dropped, frame):
    """Three packets that are ready last, one that is ready first, two between them; the first of a frame is lost."""
    link = Link(rate_bps=1e9, delay_s=0.01, drops=(dropped,))
    ready, packets = np.array([2.0, 0.0, 1.0]), np.array([3, 1, 2])
    given = Frames(ready, packets * ONE, ready + 0.5)
    sent = TRANSPORTS[transport](link, np.random.default_rng(0)).transfer(given)
    lost = np.arange(3) == frame
    again = lost if transport == "udp-arq" else 0
    np.testing.assert_array_equal(sent.retransmissions, again)
    np.testing.assert_array_equal(sent.packets, packets + again)
    np.testing.assert_array_equal(sent.lost_packets, lost)
    np.testing.assert_allclose(sent.sent_s, ready)
    gap = () if transport == "udp-arq" else ((0, ONE),)
    assert sent.erased == tuple(gap if each else () for each in lost)


@pytest.mark.parametrize(("frame_s", "stable"), [(0.6, True), (0.99, True), (1.01, False)])
def test_two_frames_a_second_apart_keep_up_if_the_first_takes_less(frame_s, stable):
    link = Link(rate_bps=(ONE + 30) * 8 / frame_s, delay_s=0.0)
    assert simulate(link, Workload(1.0, 2, frame_bytes=ONE)).stable is stable


def test_a_single_frame_always_keeps_up():
    assert simulate(Link(rate_bps=1e3), Workload(1.0, 1, frame_bytes=ONE)).stable


def test_an_answer_does_not_wait_for_that_of_an_earlier_frame_with_a_gap():
    """The first frame is given up at its deadline, the others are answered before."""
    link = Link(rate_bps=8e15, delay_s=0.01, drops=(0,))
    sent = simulate(link, Workload(10.0, 3, 0.9, 2 * ONE, response_bytes=70))
    assert sent.response_s == pytest.approx([0.91, 0.12, 0.22], abs=1e-6)


def test_an_answer_may_be_cut_where_a_frame_may_not():
    """Packets of a frame carry 1000 of its 1472 bytes, that of the answer carries all it can."""
    sent = simulate(
        Link(delay_s=0.0, downlink_rate_bps=8e3),
        Workload(0.01, 1, frame_bytes=1000, element_bytes=1000, response_bytes=ONE),
    )
    assert sent.response_s - sent.complete_s == pytest.approx((ONE + 30) / 1000)


def test_a_way_back_may_take_no_time_at_all():
    sent = simulate(
        Link(rate_bps=8e15, delay_s=0.05, downlink_delay_s=0.0), Workload(1.0, 2, frame_bytes=ONE, response_bytes=10)
    )
    assert sent.response_s - sent.complete_s == pytest.approx(0.0, abs=1e-8)


def test_an_acknowledgement_is_42_bytes_on_the_wire():
    """IP and UDP headers of 28, 12 of its own and 2 of the link: 1 ms at 42 kB/s."""
    link = Link(rate_bps=8e15, delay_s=0.01, downlink_rate_bps=42_000 * 8, drops=(1,))
    sent = simulate(link, Workload(1.0, 1, 0.5, 3 * ONE), "udp-arq")
    assert sent.complete_s[0] == pytest.approx(0.01 + 0.001 + 0.01 + 0.01, abs=1e-7)


@pytest.mark.parametrize(("deadline_s", "again"), [(0.05, 0), (0.053, 1)])
def test_what_would_come_late_for_its_length_is_not_sent_again(deadline_s, again):
    """5 ms on the link and 10 ms of delay: given up after three halves of 25 ms, there again after 52.5 ms."""
    link = Link(rate_bps=(ONE + 30) * 8 / 0.005, delay_s=0.01, drops=(0,))
    sent = simulate(link, Workload(1.0, 1, deadline_s, ONE), "udp-arq")
    assert sent.retransmissions[0] == again
    assert sent.complete_s[0] == pytest.approx(0.0525 if again else deadline_s)


@pytest.mark.parametrize("room", [{"queue_packets": 1}, {"queue_bytes": ONE + 30}])
def test_a_queue_has_room_for_what_just_fits_and_again_as_the_next_begins(room):
    """Each packet takes 1 s: the second waits until 1 s, just when the third comes; the fourth finds that waiting."""
    link = Link(rate_bps=(ONE + 30) * 8, delay_s=0.0, **room)
    sent = simulate(link, Workload(1.0, 4, 9.0, ONE, times_s=(0.0, 0.5, 1.0, 1.5)))
    assert sent.lost_packets.tolist() == [0, 0, 0, 1]


def test_a_run_that_needs_more_room_begins_anew_with_the_same_chances(monkeypatch):
    link, workload = Link(rate_bps=1e8, delay_s=0.002, loss=0.3), Workload(1.0, 20, 0.9, 10 * ONE)
    expected, run = simulate(link, workload, "udp-arq"), kernels.run_arq
    rooms = []

    def short_of_room_at_first(ways, steps, drops, waiting, frames, came, sent, *more):
        rooms.append(len(sent))
        room = sent if len(rooms) > 1 else sent[: len(came)]
        return run(ways, steps, drops, waiting, frames, came, room, *more)

    monkeypatch.setattr(kernels, "run_arq", short_of_room_at_first)
    found = simulate(link, workload, "udp-arq")
    assert rooms[1:] == [2 * rooms[0]]
    np.testing.assert_array_equal(found.complete_s, expected.complete_s)
    np.testing.assert_array_equal(found.packets, expected.packets)


# what is said of several runs


def test_the_way_of_an_answer_counts_from_when_its_frame_is_due():
    result = replicate(
        Link(rate_bps=1e7, delay_s=0.01), Workload(10.0, 5, frame_bytes=9000, response_bytes=970), "udp", 2
    )
    np.testing.assert_allclose(result.response_s, result.latency_s + 1000 * 8 / 1e7 + 0.01)


def test_missing_bytes_are_shares_of_their_own_frame():
    """One packet of ten in the second of two frames; two separate ones in the only frame."""
    sizes = (ONE, 10 * ONE)
    result = replicate(Link(drops=(1,)), Workload(1.0, 2, frame_sizes=sizes), "udp", 1)
    assert (result.lossy_frames, result.missing_bytes) == (0.5, pytest.approx(0.05))
    result = replicate(Link(drops=(0, 2)), Workload(1.0, 1, frame_bytes=4 * ONE), "udp", 1)
    assert (result.lossy_frames, result.missing_bytes) == (1.0, 0.5)


def test_a_quantile_between_frames_that_never_arrive_is_infinite():
    latency_s = np.array([[0.1, 0.1, 0.1, np.inf], [0.1, np.inf, np.inf, np.inf]])
    result = Replication(Link(), Workload(1.0, 4), "tcp", 1, (), latency_s, latency_s, (True, True))
    np.testing.assert_array_equal(result.quantiles_s[:, 0], [0.1, np.inf])
    assert np.isinf(result.quantiles_s[:, 1:]).all()


# whether a link keeps up

SECONDS = np.arange(10.0)
HICCUP = np.array([0.0, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0, 8.0, 9.0])
"""The second of frames a second apart takes three, those behind it half a second each until they have caught up."""


def test_a_backlog_that_is_worked_off_counts_once():
    assert keeps_up(SECONDS, HICCUP)
    assert keeps_up(SECONDS, HICCUP + 10.0)  # what all spend side by side
    assert keeps_up(SECONDS[::-1], HICCUP[::-1])


def test_a_demand_of_all_the_time_there_is_is_too_much():
    due = np.arange(3.0)
    assert not keeps_up(due, np.array([0.5, 2.5, 3.5]))
    assert keeps_up(due, np.array([0.5, 2.5, 3.25]))


def test_a_frame_that_never_comes_is_not_kept_up_with():
    assert not keeps_up(SECONDS, np.where(SECONDS == 4, np.inf, HICCUP))
    assert keeps_up(np.array([1.0]), np.array([1e6]))
    assert not keeps_up(np.array([1.0]), np.array([np.inf]))


# what is simulated at once


def work(link, size, *, room=1000, header=0, **more):
    frames = Frames(np.zeros(1), np.array([size]), np.ones(1))
    check_work(link, frames, frames.size_bytes, room, header, **more)


def test_a_byte_is_eight_bits_and_every_packet_has_a_header():
    """At 1 bit/s the clock ends behind 500 MB."""
    slow = Link(rate_bps=1.0)
    work(slow, 490_000_000, room=65_000)
    with pytest.raises(WorkError, match=r"may take 4\.08e\+09 s"):
        work(slow, 510_000_000, room=65_000)
    work(slow, 4_000_000, room=10, header=1000)
    with pytest.raises(WorkError, match=r"may take 4\.04e\+09 s"):
        work(slow, 5_000_000, room=10, header=1000)


def test_packets_are_counted_over_all_runs():
    work(INSTANT, 10**9, room=100, runs=5)
    with pytest.raises(WorkError, match="60,000,000 packets in 6 runs are too many"):
        work(INSTANT, 10**9, room=100, runs=6)
