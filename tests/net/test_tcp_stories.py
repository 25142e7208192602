"""What TCP does, one mechanism a story, on exact virtual times.

Two links make the times easy: on INSTANT a packet takes no time but the delay, so that a round trip is 20 ms; on PACED
every full packet takes 1 ms, and the way back none but its delay.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil, floor

import numpy as np
import pytest

from splitimpera.net.tcp import TcpLink, TcpParameters
from splitimpera.records import Link, Trace, Workload

MSS = 1448
TICK = 0.004
RTT = 0.02
NO_TIME = 8e15

INSTANT = Link(rate_bps=NO_TIME, delay_s=RTT / 2)
PACED = Link(rate_bps=1502 * 8 / 0.001, back_rate_bps=NO_TIME, delay_s=RTT / 2)

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


def test_an_application_that_does_not_fill_the_window_grows_it_to_twice_what_it_sends_and_no_further():
    frames = 40
    at = [0.05 * i for i in range(frames)]
    _, events = send(INSTANT, (12,) * frames, replace(EXACT, idle_restart=False), at)
    assert max(event.cwnd for event in events) == 24
    assert events[-1].at_s == exactly(at[-1] + RTT / 2)
    assert window_when(events, at[-1]) == 24


def test_a_window_that_is_not_used_for_a_timeout_goes_half_way_to_what_is_used():
    frames = 40
    at = [0.05 * i for i in range(frames)]
    _, events = send(INSTANT, (12,) * frames, EXACT, at)
    windows = [window_when(events, time) for time in at]
    shrunk = windows.index((24 + 12) // 2)
    assert windows[shrunk - 1] == 24
    # full at some frame, unused from the next one on, and a timeout later it shrinks
    assert at[shrunk] - at[windows.index(24) - 1] > RTO


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
    _, events = send(replace(INSTANT, drops=(4,)), (5, 1), EXACT, (0.0, 0.4))
    assert states(events) == ["cwr", "open"]
    assert window_when(events, 0.4) == 10 * 717 // 1024


def test_a_needless_probe_is_told_by_a_duplicate_sack_and_costs_no_window():
    # the acknowledgements of the second frame take 80 ms longer, and come after the probe
    late = Trace("late", (0.0, 0.1, 0.2), 100.0, delay_s=(RTT / 2, RTT / 2 + 0.08, RTT / 2))
    _, events = send(replace(INSTANT, trace=late), (5, 5, 1), EXACT, (0.0, 0.1, 0.3))
    assert packets(events, "retransmitted") == [(9, exactly(timer(0.1, 2 * RTT + 0.002)))]
    assert states(events) == []
    assert window_when(events, 0.3) >= 10


def test_a_timer_of_n_ticks_runs_after_n_to_n_plus_one():
    for phase_s in (0.0, 0.001, 0.002, 0.0039):
        _, events = send(replace(INSTANT, drops=(3, 4)), 5, replace(EXACT, tick_phase_s=phase_s))
        (probe,) = times(events, "probe")
        assert probe == exactly(timer(RTT, 2 * RTT + 0.002, phase_s))
        assert 11 * TICK <= probe - RTT + 1e-9
        assert probe - RTT <= 12 * TICK + 1e-9


def test_the_phase_of_the_ticks_moves_what_timers_do_and_nothing_else():
    lossy = replace(INSTANT, drops=(3, 4))
    (_, first), (_, second) = (send(lossy, 5, replace(EXACT, tick_phase_s=phase_s)) for phase_s in (0.0, 0.003))
    assert [replace(event, at_s=0.0) for event in first] == [replace(event, at_s=0.0) for event in second]
    moved = [b.at_s - a.at_s for a, b in zip(first, second, strict=True)]
    when = [event.what for event in first].index("probe")
    assert moved[:when] == [0.0] * when
    assert moved[when:] == [exactly(-0.003 % TICK)] * (len(moved) - when)

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
    delivered, events = send(replace(INSTANT, drops=tuple(range(100))), (1, 1), replace(NO_PROBE, retries=3), (0.0, 9.0))
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
    assert packets(events, "retransmitted") == [(0, exactly(RTT)), (0, exactly(seen)), (5, exactly(seen))]
    assert delivered.complete_s == exactly(seen + RTT / 2)


def test_without_a_next_frame_it_waits_for_the_timeout():
    _, events = send(replace(INSTANT, drops=(0, 5, 6)), 6)
    assert times(events, "timeout") == [exactly(timer(RTT, RTO))]


def test_a_lost_repair_is_found_by_what_was_sent_after_it():
    # the tenth packet on the link is the repair of the first
    delivered, events = send(replace(INSTANT, drops=(0, 10)), 20, replace(EXACT, tso_deferral=False))
    again = [time for packet, time in packets(events, "retransmitted") if packet == 0]
    assert [event.dropped for event in events if event.packet == 0] == [True, True, False]
    assert again == exactly([RTT, 2 * RTT])
    assert delivered.retransmissions[0] == 2
    assert delivered.complete_s[0] == exactly(2.5 * RTT)


# ----------------------------------------------------------------------------------------------- reordering and undoing


