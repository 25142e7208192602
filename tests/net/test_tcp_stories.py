"""What TCP does, one mechanism a story, on exact virtual times.

Three links make the times easy: on INSTANT a packet takes no time but the delay, so that a round trip is 20 ms; on
PACED every full packet takes 1 ms, on BRISK 0.1 ms, and on the downlink none but the delay.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil, floor

import numpy as np
import pytest

from splitimpera.net.tcp import TcpLink, TcpParameters
from splitimpera.records.link import Link, Trace
from splitimpera.records.traffic import Workload

MSS = 1448
TICK = 0.004
RTT = 0.02
NO_TIME = 8e15

INSTANT = Link(rate_bps=NO_TIME, delay_s=RTT / 2)
BRISK = Link(rate_bps=1502 * 8 / 0.0001, downlink_rate_bps=NO_TIME, delay_s=RTT / 2)
PACED = Link(rate_bps=1502 * 8 / 0.001, downlink_rate_bps=NO_TIME, delay_s=RTT / 2)

EXACT = TcpParameters(tick_phase_s=0.0, turnaround_s=0.0)
RENO = replace(EXACT, congestion_control="reno")
NO_PROBE = replace(EXACT, tail_loss_probe=False)
RTO = RTT + 0.2  # SRTT, and the floor of the variance's term


def send(link, packets, parameters=EXACT, at=(0.0,), **options):
    """Frames of so many full packets each; what became of them and the transcript."""
    frames = packets if isinstance(packets, tuple) else (packets,)
    workload = Workload(1.0, len(frames), frame_sizes=tuple(n * MSS for n in frames), times_s=tuple(at), **options)
    return TcpLink(link, np.random.default_rng(0), parameters).transcript(workload.all_frames())


def times(events, what, end=0):
    return [event.at_s for event in events if event.what == what and event.end == end]


def packets(events, what, end=0):
    return [(event.packet, event.at_s) for event in events if event.what == what and event.end == end]


def sent_at(events, at_s, end=0):
    """The packets that are sent for the first time at that moment."""
    return [packet for packet, time in packets(events, "sent", end) if time == pytest.approx(at_s, abs=1e-8)]


def states(events, end=0):
    return [event.state for event in events if event.what == "state" and event.end == end]


def window_when(events, at_s, end=0):
    """The congestion window as of the last event of that end up to then."""
    return [event.cwnd for event in events if event.end == end and event.at_s <= at_s + 1e-8][-1]


def late(from_s, extra_s):
    """The delay is longer for 0.1 s in each second."""
    times_s = (0.0, from_s - 0.05, from_s + 0.05)
    return Trace("late", times_s, 1.0, delay_s=(RTT / 2, RTT / 2 + extra_s, RTT / 2))


def exactly(expected):
    return pytest.approx(expected, abs=1e-8)


def timer(set_s, wait_s, phase_s=0.0):
    """When a timer runs that is set for that long: in whole ticks, after n to n + 1, long ones on every 8th tick."""
    ticks = ceil(round(wait_s / TICK, 6))
    last = floor(round((set_s + phase_s) / TICK, 6)) + ticks
    grain = 8 if ticks > 63 else 1
    return (last // grain + 1) * grain * TICK - phase_s


# ------------------------------------------------------------------------------------------------------- sent at once


def test_the_first_window_leaves_at_once_and_each_acknowledgement_lets_two_more_go():
    _, events = send(INSTANT, 70)
    assert sent_at(events, 0.0) == list(range(10))
    assert sent_at(events, RTT) == list(range(10, 30))
    assert sent_at(events, 2 * RTT) == list(range(30, 70))


def test_slow_start_doubles_the_window_each_round_trip():
    _, events = send(INSTANT, 300)
    assert [len(sent_at(events, k * RTT)) for k in range(5)] == [10, 20, 40, 80, 150]


def test_every_segment_is_acknowledged_at_once_while_the_receive_window_grows():
    delivered, events = send(PACED, 60)
    arrivals = [event.at_s for event in events if event.what == "acked" and event.end == 1]
    assert len(arrivals) == 60
    assert delivered.complete_s[0] == exactly(arrivals[-1])


@pytest.mark.parametrize("idle_restart", [True, False])
def test_an_application_that_does_not_fill_the_window_grows_it_to_twice_what_it_sends_and_no_further(idle_restart):
    at = [0.05 * i for i in range(40)]
    _, events = send(INSTANT, (12,) * 40, replace(EXACT, idle_restart=idle_restart), at)
    assert [window_when(events, time) for time in at[2:]] == [2 * 12] * 38


@pytest.mark.parametrize(("idle_rtos", "halvings"), [(0.9, 0), (1.2, 1), (2.2, 2), (3.2, 3), (9.2, 3)])
def test_the_window_halves_for_every_timeout_of_idleness_down_to_the_initial_one(idle_rtos, halvings):
    again = 2 * RTT + idle_rtos * RTO  # the last packet of the first frame leaves after two round trips
    _, kept = send(INSTANT, (70, 1), replace(EXACT, idle_restart=False), (0.0, again))
    full = window_when(kept, again)
    _, events = send(INSTANT, (70, 1), EXACT, (0.0, again))
    assert full > 4 * 10
    assert window_when(events, again) == max(full >> halvings, 10)
    assert (again in [pytest.approx(time, abs=1e-8) for time in times(events, "idle restart")]) == (halvings > 0)


def test_a_small_receive_window_limits_what_is_under_way():
    delivered, events = send(INSTANT, 20, replace(EXACT, receive_window_bytes=5 * MSS))
    assert [sent_at(events, k * RTT) for k in range(4)] == [list(range(5 * k, 5 * k + 5)) for k in range(4)]
    assert delivered.complete_s[0] == exactly(3.5 * RTT)


# -------------------------------------------------------------------------------------------------- losses and repairs


def test_three_packets_beyond_a_gap_prove_a_loss_and_the_packet_is_sent_again_at_once():
    delivered, events = send(replace(INSTANT, drops=(0,)), 5)
    assert packets(events, "retransmitted") == [(0, exactly(RTT))]
    assert states(events)[:2] == ["disorder", "recovery"]
    assert delivered.complete_s[0] == exactly(1.5 * RTT)


def test_the_third_acknowledgement_is_the_one_that_counts():
    # of six packets the second is lost; the fifth is the third beyond the gap, and leaves the link after 5 ms
    delivered, events = send(replace(PACED, drops=(1,)), 6)
    assert packets(events, "retransmitted") == [(1, exactly(0.005 + RTT))]
    assert delivered.complete_s[0] == exactly(0.005 + RTT + 0.001 + RTT / 2)


def test_a_higher_threshold_waits_for_more():
    _, events = send(replace(PACED, drops=(1,)), 8, replace(EXACT, duplicate_threshold=5))
    assert packets(events, "retransmitted") == [(1, exactly(0.007 + RTT))]


def test_two_packets_beyond_a_gap_do_not_prove_it_a_timer_decides():
    # the reordering window, a quarter of the least round trip, and 2 ms
    delivered, events = send(replace(INSTANT, drops=(0,)), 3)
    runs = timer(RTT, RTT / 4 + 0.002)
    assert times(events, "reorder timeout") == [exactly(runs)]
    assert packets(events, "retransmitted") == [(0, exactly(runs))]
    assert delivered.complete_s[0] == exactly(runs + RTT / 2)


def test_a_lost_tail_is_found_by_a_probe():
    # of five packets the last two; the probe is the very last again, and what it brings back proves the other one lost
    delivered, events = send(replace(INSTANT, drops=(3, 4)), 5)
    probe = timer(RTT, 2 * RTT + 0.002)
    assert times(events, "probe") == [exactly(probe)]
    assert packets(events, "retransmitted") == [(4, exactly(probe)), (3, exactly(probe + RTT))]
    assert delivered.complete_s[0] == exactly(probe + 1.5 * RTT)


def test_a_probe_sends_new_data_where_there_is_some():
    # the whole window is lost: the probe is the eleventh packet, window or not
    _, events = send(replace(INSTANT, drops=tuple(range(10))), 12)
    probe = timer(0.0, 2 * RTT + 0.002)
    assert times(events, "probe") == [exactly(probe)]
    assert sent_at(events, probe) == [10]
    assert packets(events, "retransmitted")[0] == (0, exactly(probe + RTT))


def test_a_probe_that_repairs_a_loss_shrinks_the_window():
    # one packet more is acknowledged than the probe's own
    _, events = send(replace(INSTANT, drops=(4,)), (5, 1, 1), EXACT, (0.0, 0.3, 0.4))
    assert states(events) == ["cwr", "open"]
    assert [window_when(events, time) for time in (0.3, 0.4)] == [10, 10 * 717 // 1024]


def test_a_needless_probe_is_told_by_a_duplicate_sack_and_costs_no_window():
    # the second frame takes 80 ms longer, and is acknowledged after the probe
    _, events = send(
        replace(INSTANT, trace=late(0.1, 0.08), trace_start_s=0.0), (5, 5, 1, 1), EXACT, (0.0, 0.1, 0.3, 0.4)
    )
    assert packets(events, "retransmitted") == [(9, exactly(timer(0.1, 2 * RTT + 0.002)))]
    assert states(events) == []
    assert window_when(events, 0.4) == 10


def test_a_timer_of_n_ticks_runs_after_n_to_n_plus_one():
    for phase_s in (0.0, 0.001, 0.002, 0.0039):
        _, events = send(replace(INSTANT, drops=(3, 4)), 5, replace(EXACT, tick_phase_s=phase_s))
        (probe,) = times(events, "probe")
        assert probe == exactly(timer(RTT, 2 * RTT + 0.002, phase_s))
        assert 11 * TICK - 1e-9 <= probe - RTT <= 12 * TICK + 1e-9


def test_the_phase_of_the_ticks_moves_what_timers_do_and_nothing_else():
    lossy = replace(INSTANT, drops=(3, 4))
    (_, first), (_, second) = (send(lossy, 5, replace(EXACT, tick_phase_s=phase_s)) for phase_s in (0.0, 0.003))
    assert [replace(event, at_s=0.0) for event in first] == [replace(event, at_s=0.0) for event in second]
    moved = [b.at_s - a.at_s for a, b in zip(first, second, strict=True)]
    when = [event.what for event in first].index("probe")
    shift = timer(RTT, 2 * RTT + 0.002, 0.003) - timer(RTT, 2 * RTT + 0.002)
    assert moved[:when] == [0.0] * when
    assert moved[when:] == [exactly(shift)] * (len(moved) - when)

    clean = [send(PACED, 8, replace(EXACT, tick_phase_s=phase_s))[1] for phase_s in (0.0, 0.003)]
    assert clean[0] == clean[1]


def test_a_packet_alone_is_probed_200_ms_later_since_its_acknowledgement_may_be_delayed():
    # a long way, where the timeout (SRTT + 4 RTTVAR = 1.2 s) is farther than the probe
    far = Link(rate_bps=NO_TIME, delay_s=0.2)
    _, two = send(replace(far, drops=(0, 1)), 2)
    _, one = send(replace(far, drops=(0,)), 1)
    assert times(two, "probe") == [exactly(timer(0.0, 2 * 0.4 + 0.002))]
    assert times(one, "probe") == [exactly(timer(0.0, 2 * 0.4 + 0.2))]


def test_a_probe_never_comes_later_than_the_timeout_would():
    _, events = send(replace(INSTANT, drops=(0,)), 1)
    assert times(events, "probe") == [exactly(timer(0.0, RTO))]


def test_a_timeout_is_a_round_trip_and_the_variance_term_of_200_ms_at_least():
    delivered, events = send(replace(INSTANT, drops=(0,)), 1, NO_PROBE)
    runs = timer(0.0, RTT + 0.2)
    assert times(events, "timeout") == [exactly(runs)]
    assert packets(events, "retransmitted") == [(0, exactly(runs))]
    assert delivered.complete_s[0] == exactly(runs + RTT / 2)


def test_on_a_long_way_the_variance_counts():
    # one sample: RTTVAR is half of it
    _, events = send(Link(rate_bps=NO_TIME, delay_s=0.2, drops=(0,)), 1, NO_PROBE)
    assert times(events, "timeout") == [exactly(timer(0.0, 0.4 + 4 * 0.2))]


def test_each_timeout_in_a_row_doubles_the_next():
    _, events = send(replace(INSTANT, drops=(0, 1, 2, 3)), 1, NO_PROBE)
    expected = [0.0]
    for doublings in range(4):
        expected.append(timer(expected[-1], 2**doublings * RTO))
    assert times(events, "timeout") == exactly(expected[1:])
    assert [time for _, time in packets(events, "retransmitted")] == exactly(expected[1:])


def test_a_timeout_shrinks_the_window_to_one_packet():
    _, events = send(replace(INSTANT, drops=tuple(range(5))), 5, NO_PROBE)
    runs = timer(0.0, RTO)
    assert window_when(events, runs) == 1
    assert states(events)[0] == "loss"
    # then it doubles again
    assert packets(events, "retransmitted") == [
        (0, exactly(runs)),
        (1, exactly(runs + RTT)),
        (2, exactly(runs + RTT)),
        (3, exactly(runs + 2 * RTT)),
        (4, exactly(runs + 2 * RTT)),
    ]


def test_a_connection_is_given_up_after_its_retries():
    delivered, events = send(
        replace(INSTANT, drops=tuple(range(100))), (1, 1), replace(NO_PROBE, retries=3), (0.0, 9.0)
    )
    assert len(times(events, "timeout")) == 3 + 1
    assert len(packets(events, "retransmitted")) == 3
    assert not delivered.arrived.any()
    assert np.isinf(delivered.complete_s).all()
    assert np.isnan(delivered.first_s).all()
    assert not delivered.stable


def test_frames_that_came_before_it_was_given_up_count():
    delivered, _ = send(replace(INSTANT, drops=tuple(range(1, 100))), (1, 1), replace(EXACT, retries=2), (0.0, 1.0))
    assert delivered.arrived.tolist() == [True, False]
    assert delivered.complete_s[0] == exactly(RTT / 2)


@pytest.mark.parametrize("next_frame_s", [0.05, 0.1, 0.15])
def test_a_lost_tail_in_recovery_is_rescued_by_the_next_frame(next_frame_s):
    # the first packet, the last one and the first one's repair are lost; in recovery nothing probes
    link = replace(INSTANT, drops=(0, 5, 6))
    delivered, events = send(link, (6, 2), EXACT, (0.0, next_frame_s))
    assert times(events, "probe") == []
    seen = next_frame_s + RTT
    # the window has shrunk to what is needed: one repair a round trip
    assert packets(events, "retransmitted") == [(0, exactly(RTT)), (0, exactly(seen)), (5, exactly(seen + RTT))]
    assert delivered.complete_s == exactly(np.full(2, seen + 1.5 * RTT))


def test_without_a_next_frame_it_waits_for_the_timeout():
    _, events = send(replace(INSTANT, drops=(0, 5, 6)), 6)
    assert times(events, "timeout") == [exactly(timer(RTT, RTO))]


def test_a_lost_repair_is_found_by_what_was_sent_after_it():
    # of ten packets the first is lost; the eighth after it lets the repair go, the eleventh packet on the link
    _, events = send(replace(BRISK, drops=(0, 11)), 20)
    assert [event.dropped for event in events if event.packet == 0] == [True, True, False]
    first, second = [time for packet, time in packets(events, "retransmitted") if packet == 0]
    after = min(time for packet, time in packets(events, "sent") if time > first)
    assert first == exactly(0.0004 + RTT)  # the fourth packet is the third beyond the gap
    assert second == exactly(after + 0.0001 + RTT)


# ---------------------------------------------------------------------------------------------- the window after a loss


@pytest.mark.parametrize(("parameters", "kept"), [(EXACT, 717 / 1024), (RENO, 1 / 2)])
def test_a_loss_leaves_cubic_717_parts_in_1024_of_its_window_and_reno_half(parameters, kept):
    _, events = send(replace(BRISK, drops=(0,)), 80, replace(parameters, initial_window=40))
    recovered = next(event for event in events if event.what == "state" and event.state == "open")
    assert recovered.at_s == exactly(0.0004 + RTT + 0.0001 + RTT)
    assert recovered.cwnd == floor(40 * kept)


@pytest.mark.parametrize(("parameters", "kept"), [(EXACT, 28), (RENO, 20)])
def test_in_recovery_as_many_packets_leave_for_forty_that_arrive(parameters, kept):
    # proportional rate reduction: spread over the round trip, the repair counted, what arrived before it not
    _, events = send(replace(BRISK, drops=(0,)), 80, replace(parameters, initial_window=40))
    begins = 0.0004 + RTT
    for arrived in range(1, 31):  # then less is under way than may be, and the window is filled up
        now = begins + (arrived - 1) * 0.0001
        left = [e for e in events if e.what in ("sent", "retransmitted") and begins - 1e-8 <= e.at_s <= now + 1e-8]
        due = ceil(kept * arrived / 40)
        assert due - 1 <= len(left) <= due


def test_hystart_leaves_slow_start_where_reno_goes_on():
    # the third round's acknowledgements come from 42 ms on, one a ms; after more than half a round trip
    # (21 ms, and 1 ms for a burst) of them, at 54 ms, CUBIC takes the line for full, with a window of 32
    _, cubic = send(PACED, 400)
    _, reno = send(PACED, 400, RENO)
    _, without = send(PACED, 400, replace(EXACT, hystart=False))
    for events in (cubic, reno, without):
        assert window_when(events, 0.0535) == 32
    assert window_when(cubic, 0.0625) == 32
    assert window_when(reno, 0.0625) == window_when(without, 0.0625) == 40
    assert window_when(cubic, 0.2) < 40
    assert window_when(reno, 0.2) == window_when(without, 0.2) > 150


# ----------------------------------------------------------------------------------------------- reordering and undoing


def overtaken_by(ahead):
    """The first packet of a second is held up until so many have passed it."""
    held = Trace("held", (0.0, 0.0015), 1.0, delay_s=(RTT / 2 + 0.0005 + 0.001 * ahead, RTT / 2))
    return replace(PACED, reorder=True, trace=held, trace_start_s=0.0)


def test_a_packet_overtaken_by_two_is_not_sent_again():
    delivered, events = send(overtaken_by(2), (8, 1), EXACT, (0.0, 0.5))
    assert packets(events, "retransmitted") == []
    assert states(events) == ["disorder", "open"]
    assert delivered.complete_s[0] == exactly(0.008 + RTT / 2)


def test_a_packet_overtaken_by_four_is_sent_again_and_its_own_time_stamp_undoes_that():
    _, events = send(overtaken_by(4), (8, 1), EXACT, (0.0, 0.5))
    assert packets(events, "retransmitted") == [(0, exactly(0.004 + RTT))]
    (undo,) = [event for event in events if event.what == "undo"]
    assert undo.at_s == exactly(0.0015 + 0.004 + RTT)
    assert undo.cwnd == 10
    assert states(events) == ["disorder", "recovery", "open"]


def test_who_has_seen_reordering_waits_a_quarter_of_a_round_trip():
    delivered, events = send(overtaken_by(4), (8, 8), EXACT, (0.0, 1.0))
    assert delivered.retransmissions.tolist() == [1, 0]
    assert times(events, "reorder timeout") == []


def test_a_needless_repair_makes_it_wait_two_quarters():
    # the second frame's first packet is lost: the last one to come sets the timer
    _, events = send(replace(overtaken_by(4), drops=(9,)), (8, 8), EXACT, (0.0, 1.0))
    least_rtt_s = RTT + 62 * 8 / PACED.rate_bps  # the handshake's
    runs = timer(1.0 + 0.008 + RTT, 2 * least_rtt_s / 4 + 0.002)
    assert times(events, "reorder timeout") == [exactly(runs)]
    assert packets(events, "retransmitted") == [(0, exactly(0.004 + RTT)), (8, exactly(runs))]


def test_a_needless_timeout_is_told_by_time_stamps_and_undone():
    # the second frame takes 0.29 s longer; with the timeout its first packet is sent again, and then its own
    # acknowledgement comes, which tells when what it acknowledges was sent
    delivered, events = send(
        replace(INSTANT, trace=late(0.6, 0.29), trace_start_s=0.0), (5, 5, 1), NO_PROBE, (0.0, 0.6, 1.2)
    )
    runs = timer(0.6, RTO)
    assert packets(events, "retransmitted") == [(5, exactly(runs))]
    (undo,) = [event for event in events if event.what == "undo"]
    assert undo.at_s == exactly(0.6 + 0.29 + RTT)
    assert states(events) == ["loss", "open"]
    assert window_when(events, runs) == 1
    assert undo.cwnd == 10
    assert delivered.complete_s[1] == exactly(0.6 + 0.29 + RTT / 2)


def test_a_timeout_is_undone_too_where_a_packet_beyond_the_lost_one_proves_the_others_only_late():
    # F-RTO: the first packet of the second frame is lost indeed
    _, events = send(
        replace(INSTANT, trace=late(0.6, 0.29), trace_start_s=0.0, drops=(5,)), (5, 5, 1), NO_PROBE, (0.0, 0.6, 1.2)
    )
    assert packets(events, "retransmitted") == [(5, exactly(timer(0.6, RTO)))]
    assert times(events, "undo") == [exactly(0.6 + 0.29 + RTT)]


def test_a_timeout_that_was_due_is_not_undone():
    _, events = send(replace(INSTANT, drops=tuple(range(5))), (5, 1), NO_PROBE, (0.0, 2.0))
    assert times(events, "undo") == []


# ----------------------------------------------------------------------------------------------------- acknowledgements


def arrivals_acknowledged(events):
    return [(event.ack, event.at_s) for event in events if event.what == "acked" and event.end == 1]


def test_a_receiver_whose_window_does_not_grow_acknowledges_sixteen_segments_singly_and_then_every_second():
    _, events = send(PACED, 40, replace(EXACT, receive_window_bytes=65535))
    acknowledged = [ack for ack, _ in arrivals_acknowledged(events)]
    assert acknowledged == [*range(1, 17), *range(18, 42, 2)]


def test_a_lone_segment_is_acknowledged_after_40_ms_and_a_tick_at_most_unless_it_ends_a_write():
    # the window holds two segments and does not grow; the 18th packet is lost, so that the 17th comes alone
    _, events = send(replace(INSTANT, drops=(17,)), 20, replace(NO_PROBE, receive_window_bytes=2 * MSS))
    acknowledged = dict(reversed(arrivals_acknowledged(events)))  # when first
    arrives = dict(packets(events, "sent"))[16] + RTT / 2
    assert acknowledged[17] == exactly(timer(arrives, 0.04))
    assert 0.04 - 1e-9 <= acknowledged[17] - arrives <= 0.044 + 1e-9
    # one that is a frame by itself ends a write
    _, events = send(INSTANT, (20, 1), replace(NO_PROBE, receive_window_bytes=2 * MSS), at=(0.0, 1.0))
    assert dict(arrivals_acknowledged(events))[21] == exactly(1.0 + RTT / 2)


def test_beyond_a_gap_three_acknowledgements_go_at_once_and_then_they_go_together():
    # the 21st packet is lost. The window does not grow; every packet takes 1 ms, and 5 % of the round trip
    # is 1 ms, so that the next ones go by twos, 1 ms after the first of both and 0.1 ms of slack
    _, events = send(replace(PACED, drops=(20,)), 60, replace(EXACT, receive_window_bytes=65535))
    duplicates = [time for ack, time in arrivals_acknowledged(events) if ack == 20][1:7]
    assert duplicates == exactly([0.043, 0.044, 0.045, 0.0471, 0.0491, 0.0511])


def test_without_compression_each_goes_at_once():
    parameters = replace(EXACT, receive_window_bytes=65535, ack_compression=False)
    _, events = send(replace(PACED, drops=(20,)), 60, parameters)
    duplicates = [time for ack, time in arrivals_acknowledged(events) if ack == 20][1:10]
    assert duplicates == exactly([0.043 + 0.001 * i for i in range(9)])


# ---------------------------------------------------------------------------------------------- several, and responses


def test_two_senders_have_a_connection_each_and_share_the_link():
    workload = Workload(1000.0, 1, frame_bytes=300 * MSS, senders=2)
    delivered, events = TcpLink(PACED, np.random.default_rng(0), EXACT).transcript(workload.all_frames())
    assert {event.end for event in events} == {0, 1, 2, 3}
    for end in (0, 2):
        assert [packet for packet, _ in packets(events, "sent", end)] == list(range(300))
    assert packets(events, "sent", 2)[0][1] == exactly(0.0005)  # evenly staggered
    np.testing.assert_allclose(delivered.complete_s, 2 * 0.3 + RTT / 2, rtol=0.03)


def test_one_sender_s_loss_is_none_of_the_other_s():
    workload = Workload(1000.0, 1, frame_bytes=5 * MSS, senders=2)
    link = replace(INSTANT, drops=(0,))
    delivered, events = TcpLink(link, np.random.default_rng(0), EXACT).transcript(workload.all_frames())
    assert packets(events, "retransmitted", 0) == [(0, exactly(RTT))]
    assert packets(events, "retransmitted", 2) == []
    assert delivered.complete_s == exactly(np.array([1.5 * RTT, 0.0005 + RTT / 2]))


def test_an_answer_comes_back_behind_the_last_acknowledgement():
    link = replace(PACED, downlink_rate_bps=1e6, downlink_delay_s=0.03)
    delivered, _ = send(link, 3, response_bytes=2000)
    assert delivered.complete_s[0] == exactly(0.003 + RTT / 2)
    acknowledgement, response = 54, 2000 + 2 * 54
    assert delivered.response_s[0] == exactly(delivered.complete_s[0] + (acknowledgement + response) * 8 / 1e6 + 0.03)
