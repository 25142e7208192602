"""Where the server's program runs: in a thread of its own, so that the event loop goes on meanwhile; what is over in
less time than another thread takes to wake, in the loop itself.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from queue import SimpleQueue
from threading import Thread
from time import perf_counter
from typing import Any

from splitimpera.deploy.batching import Waiting
from splitimpera.deploy.halves import Predictions, Received

log = logging.getLogger(__name__)

SHORT_S = 5e-4
"""A batch that takes no longer than this does not hold the loop up."""


@dataclass(eq=False)
class Batch:
    """Frames of one plan that are run together.

    Attributes:
        found: What came of them; None: the program failed.
        took_s: How long that took.
    """

    frames: Sequence[Waiting]
    begun_s: float
    found: Predictions | None = None
    took_s: float = inf

    @property
    def number(self) -> int:
        """Of the hop that the frames came by."""
        return self.frames[0].message.frame.id.plan

    def run(self) -> None:
        """Run the program."""
        begun_s = perf_counter()
        self.found = predictions(self.frames)
        self.took_s = perf_counter() - begun_s


class Worker:
    """Runs one batch after the other.

    Args:
        done: Called in the loop with each batch that went through the thread.
    """

    def __init__(self, loop: AbstractEventLoop, done: Callable[[Batch], None]) -> None:
        self.busy = False
        self._loop = loop
        self._done = done
        self._frame_s: dict[int, float] = {}
        self._given: SimpleQueue[Batch | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="splitimpera-program", daemon=True)
        self._thread.start()

    def run(self, batch: Batch) -> bool:
        """Run a batch; no other may be running. Whether it is through: it was as short as those before."""
        if len(batch.frames) * self._frame_s.get(batch.number, inf) > SHORT_S:
            self.busy = True
            self._given.put(batch)
            return False
        batch.run()
        self._learn(batch)
        return True

    def stop(self) -> None:
        """End the thread, after what it does now."""
        self._given.put(None)

    def _work(self) -> None:
        while (batch := self._given.get()) is not None:
            batch.run()
            if self._loop.is_closed():
                return
            self._loop.call_soon_threadsafe(self._through, batch)

    def _through(self, batch: Batch) -> None:
        self.busy = False
        self._learn(batch)
        self._done(batch)

    def _learn(self, batch: Batch) -> None:
        self._frame_s[batch.number] = batch.took_s / len(batch.frames)


def predictions(frames: Sequence[Waiting]) -> Predictions | None:
    """What the program makes of frames of one plan; None where it fails."""
    half = frames[0].half
    clients: list[Any] = [waiting.client for waiting in frames]
    received = [Received(waiting.message.frame.data, waiting.message.frame.erased) for waiting in frames]
    try:
        found = half(received, [client.previous for client in clients] if half.remembers else ())
    except Exception:  # engines fail in kinds of their own, and the server goes on
        log.exception("the program failed on %d frames of plan %s", len(frames), half.plan.id)
        return None
    if half.remembers:
        for client, decoded in zip(clients, found.decoded, strict=True):
            client.previous = decoded or client.previous
    return found
