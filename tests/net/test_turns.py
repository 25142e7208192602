"""Messages that follow from those that came: exact times without loss, TCP's own under loss, queueing theory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from splitimpera.core.errors import SimulationError
from splitimpera.net.budget import WorkError
from splitimpera.net.tcp import LINUX_CUBIC, TcpLink
from splitimpera.net.turns import Turns, TurnTimes, take_turns
from splitimpera.records.link import Link
from splitimpera.records.traffic import Frames

RATE_BPS, DELAY_S, TURNAROUND_S = 1e8, 0.005, LINUX_CUBIC.turnaround_s
LINK = Link(rate_bps=RATE_BPS, delay_s=DELAY_S)
HEADER, SEGMENT = LINK.link_header_bytes + 52, 1448


def turns(user, arrival_s, up_bytes, device_s=0.01, server_s=0.02, down_bytes=4, coding_s=0.0, slower=1.0) -> Turns:
    count = len(user)
    every = [np.broadcast_to(value, count).astype(np.float64) for value in (device_s, server_s, slower, coding_s)]
    sizes = [np.broadcast_to(size, count).astype(np.int64) for size in (up_bytes, down_bytes)]
    arrivals = np.array(arrival_s, dtype=np.float64)
    return Turns(np.array(user), arrivals, every[0], sizes[0], every[1], every[2], every[3], sizes[1])


def run(given: Turns, link: Link = LINK, seed: int = 0, together=(1.0,)) -> TurnTimes:
    return take_turns(link, np.random.default_rng(seed), given, together)


def takes_s(size: int) -> float:
    return (size + HEADER * -(-size // SEGMENT)) * 8 / RATE_BPS + DELAY_S


def test_each_message_takes_what_the_formula_says():
    sizes = [1000, 1448, 1449, 4000, 10_000, 1, 700]
    found = run(turns([0] * 7, [0.0, *[np.nan] * 6], sizes, down_bytes=[4, 300, 2000, 4, 4, 1448, 1449]))
    assert found.came_s - found.sent_s == pytest.approx([takes_s(size) for size in sizes], abs=2e-9)
    back = [takes_s(size) + TURNAROUND_S for size in (4, 300, 2000, 4, 4, 1448, 1449)]
    assert found.back_s - found.ended_s == pytest.approx(back, abs=2e-9)
    assert found.sent_s - found.begun_s == pytest.approx(0.01, abs=1e-9)
    assert (found.started_s == found.came_s).all()
    assert found.ended_s - found.started_s == pytest.approx(0.02, abs=1e-9)
    assert (found.begun_s[1:] == found.back_s[:-1]).all()
    assert found.up_wire_bytes.tolist() == [size + HEADER * -(-size // SEGMENT) for size in sizes]
    assert found.packets.tolist() == [2, 2, 4, 4, 8, 2, 3]


def test_a_request_waits_for_the_one_before():
    """The second comes while the first is under way, the third long after the second."""
    found = run(turns([0, 0, 0, 0], [0.0, np.nan, 0.01, 5.0], 1000))
    assert found.begun_s[2] == found.back_s[1] > 0.07
    assert found.begun_s[3] == 5.0


def test_a_server_that_goes_on_by_itself_needs_no_round_trip():
    found = run(turns([0] * 5, [0.0, *[np.nan] * 3, 1.0], [1000, 0, 0, 0, 1000]))
    assert np.diff(found.back_s[:4]) == pytest.approx(0.02, abs=1e-9)
    assert found.begun_s[1:4].tolist() == found.ended_s[:3].tolist()
    assert np.isnan(found.sent_s[1:4]).all()
    assert np.isnan(found.came_s[1:4]).all()
    assert found.up_wire_bytes[1:4].tolist() == [0, 0, 0]


@pytest.mark.parametrize("loss", [0.0, 0.03])
@pytest.mark.parametrize("size", [600, 60_000])
def test_messages_far_apart_are_frames_with_responses(loss, size):
    """Where nothing follows from anything, the same randomness does the same to both."""
    link = replace(LINK, loss=loss, downlink_loss=loss)
    count = 300
    arrival_s = np.arange(count) * 1.0
    found = run(turns([0] * count, arrival_s, size, device_s=0.0, server_s=0.0), link)
    frames = Frames(arrival_s, np.full(count, size), arrival_s + 1.0, response_bytes=4)
    wanted = TcpLink(link, np.random.default_rng(0)).transfer(frames)
    assert found.came_s.tolist() == wanted.complete_s.tolist()
    assert found.back_s.tolist() == wanted.response_s.tolist()
    assert found.up_wire_bytes.tolist() == wanted.wire_bytes.tolist()


def test_the_server_does_one_turn_after_the_other():
    """Three users' messages come a moment apart; the server takes 100 ms for each, in their order."""
    found = run(turns([0, 1, 2], [0.002, 0.0, 0.001], 1000, server_s=0.1))
    came = found.came_s
    assert found.started_s == pytest.approx([came[1] + 0.2, came[1], came[1] + 0.1], abs=1e-9)
    assert found.together.tolist() == [1, 1, 1]


def test_turns_are_taken_together_as_many_as_wait():
    """While the first is done four more come: three are taken together, by the draw of their first, then the last."""
    given = turns(
        [0, 0, 1, 1, 2, 2, 3, 3, 4, 4],
        [0.0, np.nan, 0.001, np.nan, 0.002, np.nan, 0.003, np.nan, 0.004, np.nan],
        1000,
        server_s=[0.001, 0.1, 0.001, 0.2, 0.001, 0.3, 0.001, 0.4, 0.001, 0.5],
        coding_s=[0.0, 0.0] * 2 + [0.0, 0.01] * 3,
        slower=[1, 1, 1, 1.5, 1, 7, 1, 7, 1, 2],
    )
    found = run(given, together=(1.0, 1.25, 1.5))
    assert found.together.tolist() == [1, 1, 1, 3, 1, 3, 1, 3, 1, 1]
    assert found.ended_s[1] - found.started_s[1] == pytest.approx(0.1, abs=1e-9)
    assert found.started_s[3] == found.started_s[5] == found.started_s[7] == found.ended_s[1]
    assert found.ended_s[3] - found.started_s[3] == pytest.approx(0.3 * 1.5 * 1.5 + 0.02, abs=1e-8)
    assert found.started_s[9] == found.ended_s[3]
    assert found.ended_s[9] - found.started_s[9] == pytest.approx(0.5 * 2 + 0.01, abs=1e-8)


@pytest.mark.parametrize(("together", "first"), [((1.0, 1.0), 5), ((1.0,), 3)])
def test_requests_go_first_where_turns_are_taken_together(together, first):
    """While user 0's request is served, the second turn of user 1 comes, then user 2's request."""
    server_s = [0.5, 0.001, 0.001, 0.001, 0.001]
    given = turns(
        [0, 1, 1, 2], [0.02, 0.0, np.nan, 0.1], 1000, server_s=server_s[:4], device_s=[0.005, 0.01, 0.01, 0.01]
    )
    found = run(given, together=together)
    assert found.came_s[2] < found.came_s[3] < found.ended_s[0]
    assert (found.started_s[3] < found.started_s[2]) == (first == 5)


def test_a_busy_server_queues_as_theory_says():
    """M/D/1: 500 users' single turns come at random; the mean wait is rho s / (2 (1 - rho))."""
    rng = np.random.default_rng(3)
    users, each, service_s, rho = 500, 80, 1e-3, 0.7
    arrival_s = np.cumsum(rng.exponential(service_s / rho, users * each))
    user = np.repeat(np.arange(users), each)
    given = turns(user, arrival_s.reshape(each, users).T.ravel(), 1, device_s=0.0, server_s=service_s)
    found = run(given, Link(rate_bps=1e12, delay_s=0.0))
    waited_s = (found.started_s - found.came_s).mean()
    assert waited_s == pytest.approx(rho * service_s / (2 * (1 - rho)), rel=0.06)
    busy_s = (found.ended_s - found.started_s).sum()
    assert busy_s / found.back_s.max() == pytest.approx(rho, rel=0.03)


def test_the_same_randomness_gives_the_same_times():
    link = replace(LINK, loss=0.05, downlink_loss=0.02, jitter_s=0.001)
    given = turns(np.repeat(np.arange(5), 20), np.tile([0.0, *[np.nan] * 19], 5), 3000)
    one, again, other = run(given, link, 4), run(given, link, 4), run(given, link, 5)
    assert one.back_s.tobytes() == again.back_s.tobytes() != other.back_s.tobytes()
    assert one.lost_packets.sum() > 0
    assert np.isfinite(one.back_s).all()


def test_a_link_that_loses_nearly_all_gives_up():
    """A connection that is given up leaves its own turns undone; what else there is ends."""
    found = run(turns([0, 0, 1], [0.0, np.nan, 0.0], 1000), replace(LINK, loss=0.995), seed=2)
    assert np.isinf(found.back_s).any()
    assert found.started_s[1] == np.inf


def test_what_is_no_turn_is_refused():
    with pytest.raises(SimulationError, match="user by user"):
        turns([0, 2], [0.0, 0.0], 1000)
    with pytest.raises(SimulationError, match="NaN in a user's first turn"):
        turns([0, 1], [0.0, np.nan], 1000)
    with pytest.raises(SimulationError, match="first turn of a request"):
        turns([0, 0], [0.0, 0.0], [1000, 0])
    with pytest.raises(SimulationError, match="together"):
        run(turns([0], [0.0], 1000), together=(2.0,))
    with pytest.raises(WorkError, match="too many"):
        run(turns([0] * 100, [0.0, *[np.nan] * 99], 10**9))
