"""Where the server's program runs: in a thread beside the event loop, or in the loop itself if it is quick.

To hand a batch to a thread and back was measured to take 0.2 ms at best, and milliseconds on a busy machine: longer
than a small program runs, whose frames could not be answered meanwhile in any case.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any

from splitimpera.deploy.batching import Waiting
from splitimpera.deploy.halves import Passed, Predictions, Received, ReceivingHalf
from splitimpera.deploy.token_halves import Stepped, TokenServerHalf

log = logging.getLogger(__name__)

QUICK_S = 0.001
"""A plan whose batches take less than this runs in the loop."""
KEPT = 9
"""Batches of a plan whose times are kept: half of them may be outliers."""


@dataclass(eq=False)
class Batch:
    """Frames of one plan that are run together.

    Attributes:
        found: What came of them; None: the program failed.
    """

    frames: Sequence[Waiting]
    begun_s: float
    found: Predictions | Passed | Stepped | None = None

    @property
    def half(self) -> ReceivingHalf:
        """What runs them."""
        return self.frames[0].half


class BatchTimes:
    """How long batches of each plan take: the median of the latest ones, which a slow one now and then leaves as it is.

    Example:
        >>> times, tail = BatchTimes(), object()
        >>> for took_s in (0.004, 0.005, 0.9):
        ...     times.add(tail, took_s)
        >>> times.takes_s(tail)
        0.005
    """

    def __init__(self) -> None:
        self._latest: dict[ReceivingHalf, deque[float]] = {}
        self._median_s: dict[ReceivingHalf, float] = {}

    def add(self, half: ReceivingHalf, took_s: float) -> None:
        latest = self._latest.setdefault(half, deque(maxlen=KEPT))
        latest.append(took_s)
        self._median_s[half] = sorted(latest)[len(latest) // 2]

    def takes_s(self, half: ReceivingHalf) -> float:
        """A batch's time; 0.0 before the first one."""
        return self._median_s.get(half, 0.0)

    def forget(self, halves: Iterable[ReceivingHalf]) -> None:
        """They are served no more."""
        for half in halves:
            self._latest.pop(half, None)
            self._median_s.pop(half, None)


class Worker:
    """Runs one batch after the other, and tells how long each took.

    Args:
        done: Called in the loop with each batch that the thread is through with.
    """

    def __init__(self, loop: AbstractEventLoop, done: Callable[[Batch], None], times: BatchTimes) -> None:
        self.batch: Batch | None = None
        """What the thread runs now."""
        self._times = times
        self._loop = loop
        self._done = done
        self._given: SimpleQueue[Batch | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="splitimpera-program", daemon=True)
        self._thread.start()

    def run(self, batch: Batch) -> bool:
        """Run a batch; no other may be running. Whether it is through already: then `done` is not called."""
        if 0 < self._times.takes_s(batch.half) < QUICK_S:
            batch.found = self._timed(batch)
            return True
        self.batch = batch
        self._given.put(batch)
        return False

    @property
    def busy(self) -> bool:
        """Whether the thread runs a batch."""
        return self.batch is not None

    def left_s(self, now_s: float) -> float:
        """Until it is through with what it runs, as far as is known."""
        batch = self.batch
        return 0.0 if batch is None else max(batch.begun_s + self._times.takes_s(batch.half) - now_s, 0.0)

    def stop(self) -> None:
        """End the thread, after what it does now."""
        self._given.put(None)

    def _work(self) -> None:
        while (batch := self._given.get()) is not None:
            batch.found = self._timed(batch)
            if self._loop.is_closed():
                return
            self._loop.call_soon_threadsafe(self._through, batch)

    def _timed(self, batch: Batch) -> Predictions | Passed | Stepped | None:
        begun_s = monotonic()
        found = predictions(batch.frames)
        self._times.add(batch.half, monotonic() - begun_s)
        return found

    def _through(self, batch: Batch) -> None:
        self.batch = None
        self._done(batch)


def predictions(frames: Sequence[Waiting]) -> Predictions | Passed | Stepped | None:
    """What the program makes of frames of one plan; None where it fails."""
    half = frames[0].half
    if isinstance(half, TokenServerHalf):
        return _stepped(half, frames[0])
    number = half.hop.number
    clients: list[Any] = [waiting.client for waiting in frames]
    before: list[dict[int, Any]] = [client.previous for client in clients] if half.remembers else []
    received = [Received(waiting.message.frame.data, waiting.message.frame.erased) for waiting in frames]
    try:
        found = half(received, [each.get(number) for each in before])
    except Exception:  # engines fail in kinds of their own, and the server goes on
        log.exception("the program failed on %d frames of plan %s", len(frames), half.plan.id)
        return None
    for each, decoded in zip(before, found.decoded, strict=False):
        if decoded:
            each[number] = decoded
    return found


def _stepped(half: TokenServerHalf, waiting: Waiting) -> Stepped | None:
    """What becomes of a step of a language model; None where the program fails."""
    try:
        return half.step(waiting.message.frame.data, waiting.client)
    except Exception:  # as above
        log.exception("the program failed on a step of plan %s", half.plan.id)
        return None
