"""A server with more to do than it can: who waits how long, and what it says to whom. Simulated time."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from overload_model import HALF, Half, Sender, frame, play

from splitimpera.core.errors import LinkError
from splitimpera.deploy.admission import RateLimit
from splitimpera.deploy.batching import FrameQueue
from splitimpera.deploy.messages import MOST_RETRY_S, Response, Status

TAKES_S = 0.005
CLIENTS, FPS = 8, 15.0
"""Together they take 60 % of the program's time."""


@pytest.mark.parametrize("time_s", [inf, 0.2])
@pytest.mark.parametrize("loud_time_s", [inf, 0.02])
def test_one_who_floods_leaves_the_others_as_they_were(time_s, loud_time_s):
    others = range(1, CLIENTS)
    calm = play([Sender(FPS, time_s)] * CLIENTS, TAKES_S, 60)
    loud = play([Sender(10 * FPS, loud_time_s), *[Sender(FPS, time_s)] * (CLIENTS - 1)], TAKES_S, 60)
    assert loud.p99_s(others) <= 1.5 * calm.p99_s(others)
    for client in others:
        assert not loud.told[client]
        assert len(loud.latency_s[client]) == 60 * FPS
    assert loud.answered(0) == 600 * FPS
    assert sum(loud.told[0].values()) > 100 * FPS  # it was more than there is time for
    # and what the others leave is used
    assert sum(map(len, loud.latency_s.values())) * TAKES_S > 0.97 * 60


def test_one_who_dies_with_frames_in_the_queue_leaves_the_others_as_they_were():
    others = range(1, CLIENTS)
    calm = play([Sender(FPS)] * CLIENTS, TAKES_S, 60)
    dead = play([Sender(10 * FPS, leaves_s=30), *[Sender(FPS)] * (CLIENTS - 1)], TAKES_S, 60)
    assert dead.p99_s(others) <= 1.5 * calm.p99_s(others)


def test_where_all_want_too_much_each_gets_the_same_and_what_is_run_is_in_time():
    found = play([Sender(4 * FPS, 0.15)] * CLIENTS, TAKES_S, 30)
    run = [len(found.latency_s[client]) for client in range(CLIENTS)]
    assert min(run) > 0.8 * max(run)  # whose frames come at which moment of the others' periods stays as it began
    assert max(map(max, found.latency_s.values())) <= 0.15
    assert sum(run) * TAKES_S > 0.97 * 30
    busy, late = (sum(found.told[client][status] for client in range(CLIENTS)) for status in (Status.BUSY, Status.LATE))
    assert busy + late + sum(run) == 30 * 4 * FPS * CLIENTS
    assert late < 0.1 * busy  # those that others overtook, after it seemed that they could be in time


def test_in_a_turn_the_earliest_deadline_goes_first():
    found = play([Sender(20, 0.05), Sender(60, 2.0), Sender(60, 2.0)], 0.0065, 60)
    assert len(found.latency_s[0]) == 1200
    assert max(found.latency_s[0]) <= 0.05


@pytest.mark.parametrize("seed", range(20))
def test_nobody_starves_whatever_the_others_send(seed):
    """A client's first frame is run after no more than two frames of each other one."""
    rng = np.random.default_rng(seed)
    clients = int(rng.integers(2, 9))
    halves = [HALF, Half(batches=True), Half(batches=True, remembers=True)][: int(rng.integers(1, 4))]
    queue = FrameQueue(64, 8, "drop-newest", batch := int(rng.choice([1, 4])))
    before, now_s = {}, 0.0
    for _ in range(3000):
        now_s += float(rng.exponential(1.0))
        if rng.random() < 0.6:
            client = int(rng.choice(clients, p=np.r_[0.5, np.full(clients - 1, 0.5 / (clients - 1))]))
            urgent = now_s + float(rng.choice([0.0, 5.0, inf]))
            waiting = frame(client, now_s, urgent, halves[int(rng.integers(len(halves)))])
            first = client not in queue._own
            if queue.put(waiting) is not waiting and first:
                before[waiting] = dict.fromkeys(range(clients), 0)
        else:
            taken = queue.take(batch)
            for place, each in enumerate(taken):
                before.pop(each, None)
                if place == 0:  # what is run along with it keeps nobody waiting
                    for counts in before.values():
                        counts[each.client] += 1
    assert all(max(counts.values()) <= 2 for counts in before.values())
    while len(queue):
        taken = queue.take(batch)
        before.pop(taken[0], None)
        for counts in before.values():
            counts[taken[0].client] += 1
            assert max(counts.values()) <= 2
        for each in taken:
            before.pop(each, None)


@pytest.mark.parametrize("seed", range(10))
def test_the_wait_that_is_foretold_is_the_wait_that_comes(seed):
    """Of a frame that is the last to come, one at a time."""
    rng = np.random.default_rng(seed)
    halves = {Half(): 0.004, Half(): 0.03}
    queue = FrameQueue(1000, 16, takes_s=halves.__getitem__)
    for number in range(int(rng.integers(1, 60))):
        queue.put(
            frame(int(rng.integers(6)), float(number), number + float(rng.choice([5, 500, inf])), _one(halves, rng))
        )
        if rng.random() < 0.3:
            queue.take(1)
    last = frame(int(rng.integers(6)), 100.0, 100 + float(rng.choice([5, 500, inf])), _one(halves, rng))
    foretold_s, waits_s = queue.through_s(last), halves[last.half]
    assert foretold_s <= queue.backlog_s + halves[last.half] + 1e-9
    assert queue.put(last) is None
    while (taken := queue.take(1)[0]) is not last:
        waits_s += halves[taken.half]
    assert waits_s == pytest.approx(foretold_s)


def _one(halves, rng):
    return list(halves)[int(rng.integers(len(halves)))]


def test_hopeless_frames_are_told_at_once_and_others_are_not():
    queue = FrameQueue(64, 16, takes_s=lambda _: 0.1)
    for place in range(3):
        queue.put(frame(place, 0.0, 10.0))
    assert queue.hopeless(frame("new", 0.0, 10.1), 9.8)  # 0.3 s behind the others, 0.1 s of its own
    assert not queue.hopeless(frame("new", 0.0, 10.21), 9.8)
    assert not queue.hopeless(frame("new", 0.0, 9.99), 9.8)  # it is the first of its turn
    assert queue.hopeless(frame("new", 0.0, 9.89), 9.8)
    assert not queue.hopeless(frame("new", 0.0), 1e9)
    cut_short = frame("new", 0.0, 0.0)
    cut_short.message.frame.complete = False
    assert not queue.hopeless(cut_short, 1e9)  # its deadline has struck, and it is used as it is


def test_what_is_run_together_waits_once():
    queue = FrameQueue(64, 16, batch=4, takes_s=lambda _: 0.1)
    half = Half(batches=True)
    for place in range(6):
        queue.put(frame(place, 0.0, inf, half))
    assert queue.backlog_s == pytest.approx(0.2)
    assert queue.through_s(frame("new", 1.0, inf, half)) == pytest.approx(0.2)
    assert queue.through_s(frame("new", 1.0, 1.0, half)) == pytest.approx(0.1)
    assert queue.through_s(frame("new", 1.0, inf)) == pytest.approx(0.3)


def test_what_is_alone_is_run_however_long_programs_took():
    queue = FrameQueue(64, 16, takes_s=lambda _: 100.0)
    for client in range(2):
        queue.put(frame(client, 0.0, 1.0))
    (run, gone), (late, told) = queue.in_time(0.5), queue.in_time(0.6)
    assert [status for _, status in gone] == [Status.BUSY]
    assert not run
    assert len(late) == 1
    assert not told


def test_the_longer_the_queue_the_later_one_comes_back():
    queue, told = FrameQueue(1000, 1000, takes_s=lambda _: 0.03), []
    for number in range(1000):
        queue.put(frame(number % 7, float(number)))
        response = Response.from_bytes(Response(Status.BUSY, retry_s=queue.backlog_s).to_bytes())
        assert response.retry_s >= min(queue.backlog_s, MOST_RETRY_S) - 1e-9
        told.append(response.retry_s)
    assert told == sorted(told)
    assert told[0] == 0.1
    assert told[-1] == MOST_RETRY_S == 25.5
    assert len(set(told)) == 255


def test_nothing_is_told_where_nothing_is_to_be_told():
    assert Response(Status.OK).to_bytes()[1] == 0
    assert Response.from_bytes(Response(Status.BUSY, retry_s=0.4).to_bytes()).retry_s == 0.4
    assert Response.from_bytes(Response(Status.BUSY, retry_s=0.41).to_bytes()).retry_s == 0.5


def test_a_rate_limit_lets_pass_what_keeps_to_it_and_the_rate_of_what_does_not():
    rng = np.random.default_rng(3)
    keeps = RateLimit(20.0)
    for due_s in np.arange(2000) / 20:
        assert keeps.wait_s(due_s + float(rng.uniform(0, 0.04))) == 0.0
    floods, passed = RateLimit(20.0), 0
    for now_s in np.arange(0, 60, 1 / 200):
        wait_s = floods.wait_s(now_s)
        passed += wait_s == 0.0
        assert wait_s <= 1 / 20
    assert 60 * 20 <= passed <= 61 * 20


def test_who_comes_back_when_told_may_pass():
    limit, now_s = RateLimit(0.5), 7.0
    assert limit.wait_s(now_s) == 0.0
    wait_s = limit.wait_s(now_s)
    assert wait_s == 2.0
    assert limit.wait_s(now_s + wait_s) == 0.0


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, inf, float("nan")])
def test_a_rate_that_is_none_is_refused(rate_hz):
    with pytest.raises(LinkError, match="frames/s is expected"):
        RateLimit(rate_hz)
