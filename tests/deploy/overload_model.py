"""A server as a queue in simulated time: frames come, wait as `FrameQueue` lets them, and take the program's time."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import inf
from types import SimpleNamespace

import numpy as np

from splitimpera.deploy.batching import FrameQueue, Waiting
from splitimpera.deploy.messages import Status


class Half:
    """What runs frames, as far as a queue asks."""

    def __init__(self, batches=False, remembers=False):
        self.batches, self.remembers = batches, remembers


HALF = Half()


def frame(client, came_s, deadline_s=inf, half=HALF):
    message = SimpleNamespace(last_s=came_s, frame=SimpleNamespace(complete=True))
    return Waiting(client, half, message, deadline_s)


@dataclass(frozen=True)
class Sender:
    """A client: frames a second, the time that each has (infinite: any), until when it is there."""

    fps: float
    time_s: float = inf
    leaves_s: float = inf


class Found:
    """What became of frames: latencies of those that were run, and how many were told what."""

    def __init__(self):
        self.latency_s = defaultdict(list)
        self.told = defaultdict(lambda: defaultdict(int))

    def p99_s(self, clients):
        return float(np.percentile([each for client in clients for each in self.latency_s[client]], 99))

    def answered(self, client):
        return len(self.latency_s[client]) + sum(self.told[client].values())


def play(senders, takes_s, seconds, room=256, each=16, seed=0):
    """Run the queue; what happens when is what `Dispatch` does."""
    rng = np.random.default_rng(seed)
    events = []
    for client, sender in enumerate(senders):
        steps = np.arange(int(seconds * sender.fps)) + rng.uniform(0, 1) + rng.uniform(-0.3, 0.3)
        steps = steps + rng.uniform(-0.2, 0.2, len(steps))  # programs are never quite in time
        events += [(when_s, client) for when_s in np.maximum(steps, 0) / sender.fps if when_s < sender.leaves_s]
    events.sort()
    queue, found, free_s = FrameQueue(room, each, takes_s=lambda _: takes_s), Found(), 0.0

    def run_until(now_s):
        nonlocal free_s
        while len(queue) and free_s <= now_s:
            frames, gone = queue.in_time(free_s)
            for waiting, status in gone:
                found.told[waiting.client][status] += 1
            for waiting in frames:
                free_s += takes_s
                found.latency_s[waiting.client].append(free_s - waiting.message.last_s)

    left = set()
    for now_s, client in events:
        run_until(now_s)
        for other, sender in enumerate(senders):
            if sender.leaves_s <= now_s and other not in left:
                left.add(other)
                queue.leave(other)
        waiting = frame(client, now_s, now_s + senders[client].time_s)
        if (len(queue) or free_s > now_s) and queue.hopeless(waiting, max(free_s, now_s)):
            found.told[client][Status.BUSY] += 1
            continue
        free_s = max(free_s, now_s)
        dropped = queue.put(waiting)
        if dropped is not None:
            found.told[dropped.client][Status.FULL] += 1
    run_until(inf)
    return found
