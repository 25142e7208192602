"""Floods in a server's queue: a client with one frame waits for one frame of each other, however many these sent."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from splitimpera.deploy.batching import FrameQueue, Waiting


class Half:
    """What runs frames, as far as a queue asks."""

    def __init__(self, remembers=False):
        self.batches, self.remembers = True, remembers


HALF = Half()


def frame(client, number, half=HALF):
    return Waiting(client, half, SimpleNamespace(last_s=float(number)), float("inf"))


@pytest.mark.parametrize(("most", "turns"), [(1, 4), (4, 1)])
def test_a_flood_of_three_delays_a_fourth_by_three_frames(most, turns):
    queue = FrameQueue(64, 16)
    for number in range(300):
        queue.put(frame(f"loud {number % 3}", number))
    assert len(queue) == 48
    for _ in range(5):  # some were served before
        queue.take(1)
    queue.put(frame("calm", 999))
    taken = [waiting.client for _ in range(turns) for waiting in queue.take(most)]
    assert "calm" in taken
    assert len(set(taken)) == 4


def test_all_frames_come_out_once_and_those_of_one_client_in_order():
    queue, found = FrameQueue(64, 16), {}
    for number in range(40):
        assert queue.put(frame(number % 7 % 3, number)) is None or number > 30
    count = len(queue)
    while len(queue):
        for waiting in queue.take(5):
            found.setdefault(waiting.client, []).append(waiting.message.last_s)
    assert sum(map(len, found.values())) == count
    assert all(numbers == sorted(numbers) for numbers in found.values())
    assert queue.take(1) == []


def test_where_gaps_are_filled_with_the_frame_before_a_batch_has_one_of_each():
    queue, half = FrameQueue(64, 16), Half(remembers=True)
    for number in range(6):
        queue.put(frame(number % 2, number, half))
    assert [waiting.message.last_s for waiting in queue.take(4)] == [0.0, 1.0]
    assert len(queue.leave(0)) == 2
    assert len(queue) == 2
    assert queue.oldest_s == 3.0
