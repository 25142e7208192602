"""The one thread in which the server's program runs, so that its event loop goes on meanwhile."""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Any

from splitimpera.deploy.batching import Waiting
from splitimpera.deploy.halves import Predictions, Received

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Batch:
    """Frames of one plan that are run together.

    Attributes:
        found: What came of them; None: the program failed.
    """

    frames: Sequence[Waiting]
    begun_s: float
    found: Predictions | None = None


class Worker:
    """Runs one batch after the other.

    Args:
        done: Called in the loop with each batch that is through.
    """

    def __init__(self, loop: AbstractEventLoop, done: Callable[[Batch], None]) -> None:
        self.busy = False
        self._loop = loop
        self._done = done
        self._given: SimpleQueue[Batch | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="splitimpera-program", daemon=True)
        self._thread.start()

    def run(self, batch: Batch) -> None:
        """Run a batch; no other may be running."""
        self.busy = True
        self._given.put(batch)

    def stop(self) -> None:
        """End the thread, after what it does now."""
        self._given.put(None)

    def _work(self) -> None:
        while (batch := self._given.get()) is not None:
            batch.found = predictions(batch.frames)
            if self._loop.is_closed():
                return
            self._loop.call_soon_threadsafe(self._through, batch)

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
