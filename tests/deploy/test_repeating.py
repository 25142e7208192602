"""What is sent again, on exact times."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from splitimpera.codec.framing import FrameId, Kind, packetise, read_header
from splitimpera.core.errors import LinkError
from splitimpera.deploy.messages import ACK
from splitimpera.deploy.pacer import interleaved
from splitimpera.deploy.repeating import LEAST_WAIT_S, Arrivals, Repeats
from splitimpera.records.traffic import Payload


def at_once(size):
    return 0.0


def sent(repeats, frame=1, packets=5, now_s=0.0, left_s=inf):
    """A frame of packets of 10 bytes that are all on their way."""
    id = FrameId(Kind.FRAME, 7, frame, packets * 10)
    made = packetise(Payload(bytes(packets * 10)), frame=frame, plan=7, packet_bytes=10)
    repeats.expect(id, 10, packets, now_s, left_s)
    for packet in made:
        repeats.went(packet, now_s)
    return FrameId(Kind.ACK, 7, frame, 12), made


def ack(first, *others):
    return ACK.pack(first, sum(1 << other - first - 1 for other in others))


def test_a_packet_is_lost_when_a_later_one_is_acknowledged():
    repeats = Repeats(8, 30.0, at_once)
    id, packets = sent(repeats)
    assert repeats.acknowledged(id, ack(1), 0.1, 0.0) == []
    assert repeats.acknowledged(id, ack(1, 2), 0.1, 0.0) == [packets[1]]
    assert repeats.acknowledged(id, ack(1, 2, 4), 0.1, 0.0) == [packets[3]]


def test_an_acknowledgement_tells_of_all_before_it():
    repeats = Repeats(8, 30.0, at_once)
    id, _ = sent(repeats)
    assert repeats.acknowledged(id, ack(4), 0.1, 0.0) == []
    assert repeats.acknowledged(id, ack(5), 0.1, 0.0) == []
    assert repeats.next_s == inf


def test_packets_of_an_earlier_frame_are_lost_as_well():
    repeats = Repeats(8, 30.0, at_once)
    _, first = sent(repeats, 1, 2)
    id, _ = sent(repeats, 2, 2)
    assert repeats.acknowledged(id, ack(1), 0.1, 0.0) == first


def test_a_packet_is_lost_three_halves_of_the_smoothed_round_trip_after_it_was_sent():
    repeats = Repeats(8, 30.0, at_once)
    id, packets = sent(repeats)
    repeats.acknowledged(id, ack(4), 0.1, 0.0)
    assert repeats.smoothed_s == pytest.approx(0.1)
    assert repeats.next_s == pytest.approx(0.15)
    assert repeats.overdue(0.149, 0.0) == []
    assert repeats.overdue(0.151, 0.0) == [packets[4]]
    repeats.went(packets[4], 0.151)
    assert repeats.overdue(0.302, 0.0) == [packets[4]]


def test_on_the_fastest_links_a_timer_is_waited_for():
    repeats = Repeats(8, 30.0, at_once)
    id, _ = sent(repeats)
    repeats.acknowledged(id, ack(4), 1e-4, 0.0)
    assert repeats.next_s == pytest.approx(LEAST_WAIT_S)


def test_what_would_come_after_the_deadline_is_given_up():
    repeats = Repeats(8, 30.0, at_once)
    id, packets = sent(repeats, left_s=0.2)
    assert repeats.acknowledged(id, ack(0, 1), 0.1, wait_s=0.1) == [packets[0]]
    assert repeats.acknowledged(id, ack(0, 1, 3), 0.1, wait_s=0.11) == []
    assert repeats.overdue(100.0, 0.0) == []


def test_each_packet_that_is_sent_again_waits_for_those_before_it():
    """A packet of 30 bytes takes 30 ms; two of three come within 70 ms."""
    repeats = Repeats(8, 30.0, lambda size: size * 1e-3)
    id, packets = sent(repeats, left_s=0.17)
    assert repeats.acknowledged(id, ack(0, 3), 0.1, wait_s=0.0) == packets[:2]


def test_a_frame_without_a_deadline_is_given_up_as_well():
    repeats = Repeats(8, 30.0, at_once)
    sent(repeats)
    assert len(repeats.overdue(29.0, 0.0)) == 5
    sent(repeats, 2)
    assert repeats.overdue(31.0, 0.0) == []


def test_an_acknowledgement_of_the_first_transmission_says_nothing_of_the_second():
    """Packet 0 was late, not lost: those that were sent before its repetition are still on their way."""
    repeats = Repeats(8, 30.0, at_once)
    id, packets = sent(repeats, packets=3)
    repeats.acknowledged(id, ack(0, 1), 0.1, 0.0)
    later, _ = sent(repeats, 2, 3, now_s=0.1)
    repeats.went(packets[0], 0.101)
    assert repeats.acknowledged(id, ack(2), 0.11, 0.0) == []
    assert repeats.acknowledged(later, ack(3), 0.2, 0.0) == [packets[2]]


def test_the_frames_that_are_waited_for_are_bounded():
    repeats = Repeats(2, 30.0, at_once)
    first, _ = sent(repeats, 1)
    sent(repeats, 2)
    _, newest = sent(repeats, 3)
    assert repeats.acknowledged(first, ack(5), 0.1, 0.0) == []
    assert newest[0] in repeats.overdue(1.0, 0.0)
    assert len(repeats._frames) == 2


def test_acknowledgements_may_claim_anything():
    repeats = Repeats(8, 30.0, at_once)
    id, _ = sent(repeats)
    with pytest.raises(LinkError, match="none of this protocol"):
        repeats.acknowledged(id, b"short", 0.1, 0.0)
    assert repeats.acknowledged(id._replace(frame=99), ack(1), 0.1, 0.0) == []
    assert repeats.acknowledged(id, ACK.pack(0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF), 0.1, 0.0) == []
    assert repeats.next_s == inf


def test_what_came_is_acknowledged_by_number():
    arrivals = Arrivals(1000, 100)
    for place in (0, 1, 3, 5, 9):
        arrivals.add(place * 100, place * 100 + 100)
    assert arrivals.acknowledgement() == ack(2, 3, 5, 9)
    arrivals.add(200, 300)
    assert arrivals.acknowledgement() == ack(4, 5, 9)
    assert (arrivals.packets, arrivals.lost) == (10, 4)


@pytest.mark.parametrize("carried", [996, 999, 1000])
def test_the_last_packet_alone_tells_how_many_there_are(carried):
    packets = packetise(Payload(bytes(6789), carried), frame=0, plan=0, packet_bytes=1000)
    arrivals = Arrivals(6789, 1000)
    arrivals.add(read_header(packets[-1]).offset, 6789)
    assert arrivals.lost == len(packets) - 1


def test_a_claim_of_many_packets_costs_nothing():
    arrivals = Arrivals(0xFFFFFFFF, 1400)
    arrivals.add(0xFFFFFFFB, 0xFFFFFFFF)  # a prime number
    assert arrivals.packets > 1e6
    arrivals.add(10, 11)
    assert arrivals.acknowledgement() == ACK.pack(0, 1 << 9)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9, 10, 16, 17, 100])
def test_interleaving_is_that_of_the_simulator(count):
    stride = 1
    while stride * stride < count:
        stride += 1
    order = [place for offset in range(stride) for place in range(offset, count, stride)]
    packets = [bytes([place]) for place in range(count)]
    assert interleaved(packets) == [packets[place] for place in order]
    assert sorted(np.concatenate([order])) == list(range(count))
