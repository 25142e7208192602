"""What a link can be beside a rate, a delay and a loss: its downlink, replayed losses, senders, responses, gaps."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import splitimpera as sei
from splitimpera.deploy.messages import least_patience_s
from splitimpera.net.directions import least_round_trip_s, mean_rate_bps
from splitimpera.net.tcp import TcpLink, TcpParameters
from splitimpera.records.link import Link, Trace
from splitimpera.records.traffic import Workload

MSS = 1448
PAYLOAD = 1472
EXACT = TcpParameters(tick_phase_s=0.0, turnaround_s=0.0)


def rng(seed=0):
    return np.random.default_rng(seed)


def simulate(link, workload, transport="udp", seed=0):
    return sei.simulate(link, workload, transport, rng(seed))


def exactly(expected):
    return pytest.approx(expected, rel=1e-12, abs=1e-8)


def packets_of(ranges, payload=PAYLOAD):
    return [place for start, end in ranges for place in range(start // payload, ceil(end / payload))]


# --------------------------------------------------------------------------------------------------------- the downlink


def test_the_way_back_has_its_own_delay():
    # the second window leaves when the first acknowledgement is back
    link = Link(rate_bps=8e15, delay_s=0.01, downlink_delay_s=0.05)
    frames = Workload(1.0, 1, frame_bytes=20 * MSS).all_frames()
    delivered, events = TcpLink(link, rng(), EXACT).transcript(frames)
    assert [event.at_s for event in events if event.what == "sent"] == exactly([0.0] * 10 + [0.06] * 10)
    assert delivered.complete_s[0] == exactly(0.07)


def test_the_way_back_has_its_own_rate():
    # an acknowledgement of 54 bytes takes 1 ms, and lets two packets go
    link = Link(rate_bps=8e15, delay_s=0.01, downlink_rate_bps=54 * 8 / 0.001)
    frames = Workload(1.0, 1, frame_bytes=20 * MSS).all_frames()
    _, events = TcpLink(link, rng(), EXACT).transcript(frames)
    second = [event.at_s for event in events if event.what == "sent"][10:]
    assert second == exactly([0.02 + 0.001 * ceil(i / 2) for i in range(1, 11)])


@pytest.mark.parametrize(
    ("option", "longer_s"),
    [({"downlink_rate_bps": 1e4}, 30 * 8 / 1e4), ({"downlink_delay_s": 0.1}, 0.1), ({"downlink_loss": 0.9}, 0.0)],
)
def test_the_way_back_decides_only_when_frames_with_gaps_are_used(option, longer_s):
    """Half of a longer round trip is half as much that the server takes for the time on the way there."""
    link, workload = Link(loss=0.1, delay_s=0.0), Workload(10.0, 50, frame_bytes=9000)
    one, other = simulate(link, workload), simulate(replace(link, **option), workload)
    gaps = one.lost_packets > 0
    assert 0 < gaps.sum() < 50
    np.testing.assert_array_equal(one.complete_s[~gaps], other.complete_s[~gaps])
    np.testing.assert_allclose(one.complete_s[gaps] - other.complete_s[gaps], longer_s / 2, atol=2e-7)
    assert one.erased == other.erased


@pytest.mark.parametrize("transport", ["tcp-cubic", "tcp-reno"])
@pytest.mark.parametrize("downlink_loss", [0.1, 0.5])
def test_tcp_survives_lost_acknowledgements(transport, downlink_loss):
    link = Link(rate_bps=1e7, delay_s=0.01, downlink_loss=downlink_loss)
    delivered = simulate(link, Workload(20.0, 300, frame_bytes=15_000), transport, seed=2)
    assert delivered.arrived.all()
    assert np.isfinite(delivered.complete_s).all()
    assert (np.diff(delivered.complete_s) >= 0).all()
    assert delivered.lost_packets.sum() == 0
    assert not any(delivered.erased)


def test_what_is_sent_again_for_want_of_an_acknowledgement_is_received_once():
    link, workload = Link(rate_bps=1e7, delay_s=0.01, downlink_loss=0.5), Workload(0.01, 100, frame_bytes=1000)
    delivered = simulate(link, workload, "tcp", seed=1)
    assert delivered.retransmissions.sum() > 50
    # the first transmission delivers each frame, and by the next one the sender knows
    assert delivered.complete_s - workload.due_s() == exactly(np.full(100, 1054 * 8 / 1e7 + 0.01))


# ------------------------------------------------------------------------------------------------------ replayed losses


@given(st.sets(st.integers(0, 60)))
@settings(derandomize=True)
def test_the_packets_that_are_to_be_dropped_are_dropped(drops):
    link = Link(rate_bps=1e7, delay_s=0.01, loss=0.5, drops=tuple(sorted(drops)))
    frames = Workload(50.0, 6, frame_bytes=9000, senders=2).all_frames()
    delivered, events = TcpLink(link, rng()).transcript(frames)
    data = [event for event in events if event.what in ("sent", "retransmitted")]
    assert [i for i, event in enumerate(data) if event.dropped] == sorted(drop for drop in drops if drop < len(data))
    assert delivered.lost_packets.sum() == sum(event.dropped for event in data)
    assert delivered.arrived.all()


def test_in_any_order_and_any_number_of_times():
    workload = Workload(1.0, 1, 9.0, frame_bytes=8 * PAYLOAD)
    assert packets_of(simulate(Link(drops=(5, 1, 5, 900)), workload).erased[0]) == [1, 5]


def test_datagrams_of_all_senders_count():
    link = Link(drops=(0, 3, 4))
    delivered = simulate(link, Workload(10.0, 2, frame_bytes=PAYLOAD, senders=3))
    assert delivered.lost_packets.tolist() == [1, 0, 0, 1, 1, 0]
    assert delivered.arrived.tolist() == [False, True, True, False, False, True]


def test_acknowledgements_of_answers_are_no_packets_that_count():
    link = Link(rate_bps=1e7, delay_s=0.01, drops=(1,))
    delivered = simulate(link, Workload(2.0, 3, frame_bytes=1000, response_bytes=5000), "tcp")
    assert delivered.lost_packets.tolist() == [0, 1, 0]


# ----------------------------------------------------------------------------------------------- interleaving, and gaps


@pytest.mark.parametrize(
    ("packets", "order"),
    [(1, [0]), (2, [0, 1]), (3, [0, 2, 1]), (9, [0, 3, 6, 1, 4, 7, 2, 5, 8]), (10, [0, 4, 8, 1, 5, 9, 2, 6, 3, 7])],
)
def test_interleaved_packets_go_in_strides_of_about_their_root(packets, order):
    workload = Workload(1.0, 1, 9.0, frame_bytes=packets * PAYLOAD)
    if packets <= 2:
        order = list(range(packets))
    for ordinal, packet in enumerate(order):
        erased = simulate(Link(drops=(ordinal,)), workload, "udp-interleaved").erased[0]
        assert packets_of(erased) == [packet]


@given(st.integers(5, 300), st.integers(0, 300))
def test_a_burst_as_long_as_a_column_hits_no_neighbours(packets, first):
    stride = ceil(packets**0.5)
    burst = tuple(range(first, first + packets // stride))
    workload = Workload(1.0, 1, 9.0, frame_bytes=packets * PAYLOAD)
    in_order, interleaved = (
        simulate(Link(drops=burst), workload, transport) for transport in ("udp", "udp-interleaved")
    )
    assert interleaved.lost_packets[0] == in_order.lost_packets[0] == len([drop for drop in burst if drop < packets])
    # within one column they lie a stride apart, and where two columns meet the next one begins at the other end
    gaps = np.diff(packets_of(interleaved.erased[0]))
    assert (gaps >= 2).all()
    assert (np.diff(packets_of(in_order.erased[0])) == 1).all()


def test_interleaving_costs_no_time():
    workload = Workload(30.0, 20, frame_bytes=50_000)
    one, other = (simulate(Link(rate_bps=1e8), workload, transport) for transport in ("udp", "udp-interleaved"))
    np.testing.assert_array_equal(one.wire_bytes, other.wire_bytes)
    np.testing.assert_allclose(one.complete_s, other.complete_s, atol=1e-8)


@given(
    st.lists(st.integers(1, 20_000), min_size=1, max_size=5),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(0, 20),
    st.sets(st.integers(0, 60)),
    st.sampled_from(["udp", "udp-interleaved"]),
)
def test_what_is_missing_is_what_the_dropped_packets_carried(elements, element_bytes, app_header, drops, transport):
    sizes = [element_bytes * count for count in elements[:2]]
    link = Link(mtu_bytes=1500, app_header_bytes=app_header, drops=tuple(drops))
    workload = Workload(1.0, len(sizes), 9.0, frame_sizes=tuple(sizes), element_bytes=element_bytes)
    delivered = simulate(link, workload, transport)
    payload = (1500 - 28 - app_header) // element_bytes * element_bytes
    sent = 0
    for i, size in enumerate(sizes):
        count = ceil(size / payload)
        stride = ceil(count**0.5 - 1e-9) if transport == "udp-interleaved" else 1
        order = [place for offset in range(stride) for place in range(offset, count, stride)]
        received = np.ones(size, dtype=bool)
        for ordinal, place in enumerate(order):
            if sent + ordinal in drops:
                received[place * payload : (place + 1) * payload] = False
        sent += count
        told = np.ones(size, dtype=bool)
        for start, end in delivered.erased[i]:
            assert 0 <= start < end <= size
            told[start:end] = False
        np.testing.assert_array_equal(told, received)
        assert sum(end - start for start, end in delivered.erased[i]) + received.sum() == size
        assert all(a[1] < b[0] for a, b in zip(delivered.erased[i], delivered.erased[i][1:], strict=False))
        assert delivered.arrived[i] == received.any()
        assert delivered.packets[i] == count


# ------------------------------------------------------------------------------------------------ senders and responses


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_senders_are_staggered_evenly_and_their_frames_go_in_turn(transport):
    link = Link(rate_bps=1e9, delay_s=0.01)
    workload = Workload(10.0, 5, frame_bytes=1000, senders=4)
    delivered = simulate(link, workload, transport)
    header = {"tcp": 54, "udp": 30}[transport]
    due = (np.arange(5)[:, None] / 10.0 + np.arange(4) / 40.0).ravel()
    assert delivered.complete_s == exactly(due + (1000 + header) * 8 / 1e9 + 0.01)
    assert delivered.sent_s == exactly(due)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_senders_share_one_link(transport):
    alone = simulate(Link(rate_bps=4e6), Workload(10.0, 60, frame_bytes=30_000), transport)
    crowd = simulate(Link(rate_bps=4e6), Workload(10.0, 60, frame_bytes=30_000, senders=3), transport)
    assert alone.stable
    assert not crowd.stable
    assert len(crowd.complete_s) == 180


def test_an_answer_over_udp_takes_its_own_identity():
    link = Link(rate_bps=1e6, delay_s=0.02, downlink_rate_bps=2e5, downlink_delay_s=0.05)
    delivered = simulate(link, Workload(1.0, 3, frame_bytes=3000, response_bytes=2000))
    assert delivered.complete_s == exactly(np.arange(3) + (3000 + 3 * 30) * 8 / 1e6 + 0.02)
    assert delivered.response_s == exactly(delivered.complete_s + (2000 + 2 * 30) * 8 / 2e5 + 0.05)


def test_answers_queue_for_the_way_back():
    link = Link(rate_bps=1e9, delay_s=0.0, downlink_rate_bps=1030 * 8 / 0.1)  # 0.1 s an response
    delivered = simulate(link, Workload(1000.0, 4, frame_bytes=100, response_bytes=1000))
    assert delivered.response_s == exactly(delivered.complete_s[0] + 0.1 * np.arange(1, 5))


def test_a_frame_with_gaps_is_answered_after_its_deadline_and_one_that_never_came_not_at_all():
    link = Link(rate_bps=1e9, delay_s=0.0, downlink_rate_bps=1e9, drops=(0, 2, 3))
    delivered = simulate(link, Workload(1.0, 3, 0.5, frame_bytes=2 * PAYLOAD, response_bytes=70))
    back_s = (70 + 30) * 8 / 1e9
    # its second packet tells the time left, which counts from there, less half of a PING's 34 and 30 bytes
    assert delivered.response_s[0] == exactly(delivered.first_s[0] + 0.5 - 32 * 8 / 1e9 + back_s)
    assert np.isnan(delivered.response_s[1])
    assert delivered.response_s[2] == exactly(delivered.complete_s[2] + back_s)


def test_answers_get_lost_on_the_way_back():
    workload = Workload(100.0, 4000, frame_bytes=100, response_bytes=3000)
    responded = np.isfinite(simulate(Link(downlink_loss=0.1), workload).response_s)
    expected = 0.9**3  # three packets each
    assert abs(responded.mean() - expected) < 3.29 * (expected * (1 - expected) / 4000) ** 0.5
    over_tcp = simulate(Link(downlink_loss=0.1), replace(workload, frames=300), "tcp")
    assert np.isfinite(over_tcp.response_s).all()


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_without_answers_there_is_no_time_of_them(transport):
    assert np.isnan(simulate(Link(), Workload(1.0, 3, frame_bytes=100), transport).response_s).all()


# ---------------------------------------------------------------------------------------------------------- laws of all

OPTIONS = {
    "plain": {},
    "loss": {"loss": 0.1},
    "bursts": {"loss": 0.1, "loss_burst": 2.0},
    "back": {"downlink_loss": 0.2, "downlink_rate_bps": 1e6, "downlink_delay_s": 0.03},
    "uniform": {"jitter_s": 0.005},
    "exponential": {"jitter_s": 0.005, "jitter": "exponential", "reorder": True},
    "normal": {"jitter_s": 0.005, "jitter": "normal", "reorder": True},
    "queue": {"queue_packets": 5, "loss": 0.01},
    "bytes": {"queue_bytes": 9000},
    "drops": {"drops": (1, 2, 30)},
    "steps": {"trace": Trace("t", (0.0, 0.1), 0.3, rate_bps=(1e7, 0.0), delay_s=(0.01, 0.03), loss=(0.0, 0.2))},
    "cell": {"trace": Trace("t", (0.001, 0.002), 0.002, opportunity_bytes=1502)},
}


@pytest.mark.parametrize("transport", ["tcp-cubic", "tcp-reno", "udp", "udp-interleaved"])
@pytest.mark.parametrize("option", OPTIONS)
def test_the_same_seed_gives_the_same_numbers(option, transport):
    link = replace(Link(rate_bps=1e7, delay_s=0.01), **OPTIONS[option])
    workload = Workload(20.0, 40, frame_bytes=15_000, senders=2, response_bytes=500)
    first, second = (simulate(link, workload, transport, seed=5) for _ in range(2))
    for name, value in vars(first).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, vars(second)[name])
        else:
            assert value == vars(second)[name]
    if option in ("loss", "uniform", "exponential", "normal"):
        other = simulate(link, workload, transport, seed=6)
        assert (first.complete_s != other.complete_s).any()


links = st.builds(
    Link,
    rate_bps=st.floats(2e5, 1e9),
    delay_s=st.floats(0, 0.1),
    loss=st.sampled_from([0.0, 0.01, 0.1, 0.3]),
    mtu_bytes=st.sampled_from([576, 1500, 9000]),
    app_header_bytes=st.sampled_from([0, 16]),
    loss_burst=st.sampled_from([None, 1.5]),
    downlink_loss=st.sampled_from([0.0, 0.1, 0.3]),
    downlink_rate_bps=st.one_of(st.none(), st.floats(2e5, 1e9)),
    downlink_delay_s=st.one_of(st.none(), st.floats(0, 0.1)),
    jitter_s=st.sampled_from([0.0, 0.001, 0.05]),
    jitter=st.sampled_from(["uniform", "exponential", "normal"]),
    reorder=st.booleans(),
    queue_bytes=st.sampled_from([None, 10_000, 30_000]),
    queue_packets=st.sampled_from([None, 1, 5, 50]),
)
workloads = st.builds(
    Workload,
    fps=st.floats(0.5, 100),
    frames=st.integers(1, 8),
    frame_bytes=st.integers(1, 60_000),
    senders=st.integers(1, 3),
    response_bytes=st.sampled_from([0, 1, 5000]),
)
parameters = st.builds(
    TcpParameters,
    congestion_control=st.sampled_from(["cubic", "reno"]),
    initial_window=st.sampled_from([1, 2, 10, 40]),
    tick_s=st.sampled_from([0.001, 0.004, 0.01]),
    tail_loss_probe=st.booleans(),
    hystart=st.booleans(),
    idle_restart=st.booleans(),
    tso_deferral=st.booleans(),
    ack_compression=st.booleans(),
    receive_window_bytes=st.sampled_from([None, 9000, 65535, 200_000]),
    retries=st.just(100),  # never given up
)


@given(links, workloads, parameters, st.integers(0, 1000))
@settings(max_examples=150, derandomize=True)
def test_tcp_delivers_all_whatever_the_link(link, workload, parameters, seed):
    frames = workload.all_frames()
    delivered, events = TcpLink(link, rng(seed), parameters).transcript(frames, 1_000_000)
    sizes = frames.size_bytes + link.app_header_bytes
    assert delivered.arrived.all()
    assert not any(delivered.erased)
    assert (delivered.sent_s >= frames.ready_s - 1e-8).all()
    assert (delivered.first_s <= delivered.complete_s).all()
    assert (delivered.first_s >= delivered.sent_s + link.delay_s - 1e-8).all()
    least_s = (sizes + 52 + link.link_header_bytes) * 8 / link.rate_bps + link.delay_s
    assert (delivered.complete_s >= frames.ready_s + least_s - 1e-8).all()
    for sender in range(workload.senders):
        assert (np.diff(delivered.complete_s[frames.sender == sender]) >= 0).all()
    if workload.response_bytes:
        back_s = link.delay_s if link.downlink_delay_s is None else link.downlink_delay_s
        back_s += (workload.response_bytes + 54) * 8 / (link.downlink_rate_bps or link.rate_bps)
        assert (delivered.response_s >= delivered.complete_s + back_s - 1e-8).all()
    from_senders = [event for event in events if event.end % 2 == 0]
    first = [event for event in from_senders if event.what == "sent"]
    again = [event for event in from_senders if event.what == "retransmitted"]
    assert delivered.packets.sum() == len(first) + len(again)
    assert delivered.retransmissions.sum() == len(again)
    assert delivered.lost_packets.sum() == sum(event.dropped for event in first + again)
    # each packet came through at least once
    lost: dict[tuple[int, int | None], int] = {}
    for event in first + again:
        key = (event.end, event.packet)
        lost[key] = lost.get(key, -1) + 1 - event.dropped
    assert min(lost.values()) >= 0
    if link.queue_bytes is None and link.queue_packets is None:  # what a queue turns away takes no place on the wire
        assert delivered.wire_bytes.sum() >= sizes.sum() + (52 + link.link_header_bytes) * delivered.packets.sum()


@given(links, workloads, st.sampled_from(["udp", "udp-interleaved"]), st.integers(0, 1000))
@settings(max_examples=150, derandomize=True)
def test_datagrams_are_lost_or_arrive_whatever_the_link(link, workload, transport, seed):
    frames = workload.all_frames()
    delivered = simulate(link, workload, transport, seed)
    payload = link.mtu_bytes - 28 - link.app_header_bytes
    headers = link.mtu_bytes + link.link_header_bytes - payload
    np.testing.assert_array_equal(delivered.packets, -(-frames.size_bytes // payload))
    assert delivered.retransmissions.sum() == 0
    if link.queue_bytes is None and link.queue_packets is None:
        np.testing.assert_array_equal(delivered.wire_bytes, frames.size_bytes + headers * delivered.packets)
    whole = delivered.lost_packets == 0
    least_s = (frames.size_bytes + headers * delivered.packets) * 8 / link.rate_bps + link.delay_s
    assert (delivered.complete_s[whole] >= (frames.ready_s + least_s)[whole] - 1e-8).all()
    some, none = ~whole & delivered.arrived, ~whole & ~delivered.arrived
    np.testing.assert_allclose(delivered.complete_s[none], frames.deadline_s[none], atol=1e-8)
    small = link.link_header_bytes + 28 + link.app_header_bytes
    left_s = frames.deadline_s - frames.ready_s - least_round_trip_s(link, small + 4, small) / 2
    wire_bytes = frames.size_bytes + headers * delivered.packets
    least_s = 0 if frames.asked else least_patience_s(wire_bytes, mean_rate_bps(link))
    used_s = delivered.first_s + np.maximum(left_s, least_s)
    np.testing.assert_allclose(delivered.complete_s[some], used_s[some], atol=1e-8)
    for i, ranges in enumerate(delivered.erased):
        missing = sum(end - start for start, end in ranges)
        assert bool(ranges) == (not whole[i])
        assert len(packets_of(ranges, payload)) >= delivered.lost_packets[i]
        assert delivered.arrived[i] == (missing < frames.size_bytes[i])
