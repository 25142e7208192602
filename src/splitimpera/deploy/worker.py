"""Where the server's program runs: in a thread beside the event loop, or in the loop itself if it is quick.

To hand a batch to a thread and back was measured to take 0.2 ms at best, and milliseconds on a busy machine: longer
than a small program runs, whose frames could not be answered meanwhile in any case.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any

from splitimpera.deploy.batching import Waiting
from splitimpera.deploy.halves import Predictions, Received

log = logging.getLogger(__name__)

QUICK_S = 0.001
"""A plan whose batches take less than this runs in the loop."""
SMOOTHING = 0.1


@dataclass(eq=False)
class Batch:
    """Frames of one plan that are run together.

    Attributes:
        found: What came of them; None: the program failed.
    """

    frames: Sequence[Waiting]
    begun_s: float
    found: Predictions | None = None

    @property
    def number(self) -> int:
        """Of the plan's hop."""
        return self.frames[0].half.hop.number


class Worker:
    """Runs one batch after the other, and learns how long each plan's take.

    Args:
        done: Called in the loop with each batch that the thread is through with.
    """

    def __init__(self, loop: AbstractEventLoop, done: Callable[[Batch], None]) -> None:
        self.busy = False
        self._took_s: dict[int, float] = {}
        self._loop = loop
        self._done = done
        self._given: SimpleQueue[Batch | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="splitimpera-program", daemon=True)
        self._thread.start()

    def run(self, batch: Batch) -> bool:
        """Run a batch; no other may be running. Whether it is through already: then `done` is not called."""
        if self._took_s.get(batch.number, inf) < QUICK_S:
            batch.found = self._timed(batch)
            return True
        self.busy = True
        self._given.put(batch)
        return False

    def stop(self) -> None:
        """End the thread, after what it does now."""
        self._given.put(None)

    def _work(self) -> None:
        while (batch := self._given.get()) is not None:
            batch.found = self._timed(batch)
            if self._loop.is_closed():
                return
            self._loop.call_soon_threadsafe(self._through, batch)

    def _timed(self, batch: Batch) -> Predictions | None:
        begun_s = monotonic()
        found = predictions(batch.frames)
        took_s, before_s = monotonic() - begun_s, self._took_s.get(batch.number)
        self._took_s[batch.number] = took_s if before_s is None else before_s + SMOOTHING * (took_s - before_s)
        return found

    def _through(self, batch: Batch) -> None:
        self.busy = False
        self._done(batch)


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
