"""From frames that came to answers that go: a server's queue, its program, and what is said of each frame."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from splitimpera.deploy.batching import FrameQueue, Policy, Waiting
from splitimpera.deploy.halves import Passed, ReceivingHalf, ServerHalf
from splitimpera.deploy.messages import Onward, Response, Status, result_bytes
from splitimpera.deploy.sessions import Message
from splitimpera.deploy.token_halves import Stepped
from splitimpera.deploy.token_room import TokenRoom
from splitimpera.deploy.worker import Batch, BatchTimes, Worker
from splitimpera.records.traffic import Payload

if TYPE_CHECKING:
    from splitimpera.deploy.metrics import Metrics

Respond = Callable[[Any, int, int, Response], None]
"""Sends a response to a client: whose, number of the hop, number of the frame, the response."""

TIDIED = 4
"""How often caches are looked at that nobody uses, within the time after which they go."""
_NAMES = {status: status.name.lower() for status in Status}


@dataclass(frozen=True)
class Ran:
    """What the program took for a frame.

    Attributes:
        begun_s: When its turn came.
        batch: How many frames were run together; `run_s`: what that took for all of them.
    """

    begun_s: float
    batch: int = 1
    decode_s: float = 0.0
    run_s: float = 0.0
    encode_s: float = 0.0


PassOn = Callable[[Waiting, Payload, Ran], None]
"""Takes a frame that goes on to the next machine."""


class Dispatch:
    """Takes frames in and answers every one of them once. All of it happens in the event loop, but for the program.

    A frame is run, or told why it is not: `FULL` where the queue has no room, `BUSY` as soon as it is known that its
    deadline cannot be met behind what is in front of it, `LATE` where that turned out when its turn came. Whatever
    comes while nothing else is there is run: how long a program takes is learnt from that alone.

    Args:
        room, each, policy: As `FrameQueue` has them.
        batch: The most frames that are run together, of any clients.
        batch_wait_s: How long the oldest waits for others, at most.
        respond: Takes the answers.

    Attributes:
        pass_on: Takes frames of plans that do not end here.
        room: Where language models keep their caches; those of clients that leave go, and those that nobody uses.
    """

    def __init__(
        self,
        room: int,
        each: int,
        policy: Policy,
        batch: int,
        batch_wait_s: float,
        respond: Respond,
        metrics: Metrics | None = None,
    ) -> None:
        self.batch, self.batch_wait_s, self.each = batch, batch_wait_s, each
        self.hurries = False
        """Whether no frame waits for others any more."""
        self.pass_on: PassOn = _nowhere
        self.room = TokenRoom()
        self._respond_with, self._metrics = respond, metrics
        self._times = BatchTimes()
        self._queue = FrameQueue(room, each, policy, batch, self._times.takes_s)
        self._worker: Worker | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tidying: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        if metrics is not None:
            metrics.queue.set_function(self._queue.__len__)  # asked for where it is read, which is seldom
            metrics.cache_bytes.set_function(lambda: self.room.bytes)

    def __len__(self) -> int:
        """How many frames wait."""
        return len(self._queue)

    def take(self, waiting: Waiting) -> None:
        """A frame came."""
        now_s = monotonic()
        worker, queue = self._worker, self._queue
        left_s = 0.0 if worker is None else worker.left_s(now_s)
        if (len(queue) or (worker is not None and worker.busy)) and queue.hopeless(waiting, now_s + left_s):
            self.answer(waiting, Status.BUSY, retry_s=self.backlog_s(now_s))
            return
        dropped = queue.put(waiting)
        if dropped is not None:
            self.answer(dropped, Status.FULL, retry_s=self.backlog_s(now_s))
        self.pump()

    def backlog_s(self, now_s: float) -> float:
        """Until all that is here is through, as far as is known; it grows with every frame that waits."""
        left_s = 0.0 if self._worker is None else self._worker.left_s(now_s)
        return left_s + self._queue.backlog_s

    def pump(self) -> None:
        """Start the next batch, if there is one and nothing else is run."""
        worker, queue = self._worker, self._queue
        if worker is None and len(queue):
            worker = self._worker = Worker(asyncio.get_running_loop(), self._done, self._times)
            self._tidy()
        while worker is not None and not worker.busy and len(queue):
            if self.batch > 1 and not self.hurries:
                wait_s = queue.oldest_s + self.batch_wait_s - monotonic()
                if wait_s > 0 and not queue.ready(self.batch):
                    if self._timer is None:
                        self._timer = asyncio.get_running_loop().call_later(wait_s, self._waited)
                    break
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            begun_s = monotonic()
            frames, gone = queue.in_time(begun_s)
            for waiting, status in gone:
                retry_s = self.backlog_s(begun_s) if status is Status.BUSY else 0.0
                self.answer(waiting, status, Ran(begun_s), retry_s=retry_s)
            if not frames:
                continue
            batch = Batch(frames, begun_s)
            if worker.run(batch):
                self._respond(batch)
                if len(queue):
                    asyncio.get_running_loop().call_soon(self.pump)  # after what came meanwhile is read
                break
        if not len(queue):
            self._idle.set()

    def _tidy(self) -> None:
        self.room.tidy()
        self._tidying = asyncio.get_running_loop().call_later(self.room.idle_s / TIDIED, self._tidy)

    def _waited(self) -> None:
        self._timer = None
        self.pump()

    def _done(self, batch: Batch) -> None:
        self._respond(batch)
        self.pump()

    def _respond(self, batch: Batch) -> None:
        if self._metrics is not None:
            self._metrics.batch.observe(len(batch.frames))
        for place, waiting in enumerate(batch.frames):
            found = batch.found
            if found is None:
                self.answer(waiting, Status.FAILED, Ran(batch.begun_s))
                continue
            if isinstance(found, Stepped):
                self.answer(
                    waiting, found.status, Ran(batch.begun_s, 1, found.decode_s, found.run_s), tensors=found.said
                )
                if found.further is not None:
                    self._write_on(waiting, found.further)
                continue
            ran = Ran(batch.begun_s, len(batch.frames), found.decode_s[place], found.run_s)
            if isinstance(found, Passed):
                payload = found.payloads[place]
                if payload is None:
                    self.answer(waiting, Status.DAMAGED, ran)
                else:
                    self.pass_on(waiting, payload, replace(ran, encode_s=found.encode_s[place]))
                continue
            assert isinstance(waiting.half, ServerHalf)
            result, specs = found.results[place], waiting.half.responding.response
            tensors = b"" if result is None else result_bytes(result, specs)
            self.answer(waiting, Status.DAMAGED if result is None else Status.OK, ran, tensors=tensors)

    def _write_on(self, waiting: Waiting, further: bytes) -> None:
        """Have the step that follows wait for its turn, as if the client had sent it now."""
        now_s = monotonic()
        message = Message(replace(waiting.message.frame, data=further), now_s, now_s)
        again = replace(waiting, message=message)
        if self.hurries:
            self.answer(again, Status.STOPPING)
            return
        dropped = self._queue.put(again)  # what is run next is begun by whoever is through with this
        if dropped is not None:
            self.answer(dropped, Status.FULL, retry_s=self.backlog_s(now_s))

    def answer(
        self,
        waiting: Waiting,
        status: Status,
        ran: Ran | None = None,
        *,
        tensors: bytes = b"",
        retry_s: float = 0.0,
        onward: Onward | None = None,
    ) -> None:
        """Say what became of a frame.

        Args:
            ran: What the program took; None: its turn never came.
            onward: What the next machine says of it.
        """
        message = waiting.message
        now_s = monotonic()
        ran = ran or Ran(now_s)
        response = Response(
            status,
            ran.batch,
            message.lost_packets,
            sum(end - start for start, end in message.frame.erased) if message.frame.erased else 0,
            assembled_s=message.last_s - message.first_s,
            queued_s=ran.begun_s - message.last_s,
            decode_s=ran.decode_s,
            run_s=ran.run_s,
            total_s=now_s - message.first_s,
            tensors=tensors,
            retry_s=retry_s,
            onward=onward,
        )
        if self._metrics is not None:
            self._metrics.frame_answered(_NAMES[status], response.total_s)
        self._respond_with(waiting.client, message.frame.id.plan, message.frame.id.frame, response)

    def takes_s(self, half: ReceivingHalf) -> float:
        """How long the program takes for a batch; 0.0 before the first one."""
        return self._times.takes_s(half)

    # The end

    def leave(self, client: object) -> list[Waiting]:
        """Take out what a client has here, for it is gone."""
        self.room.leave(client)
        return self._queue.leave(client)

    def has_frames_of(self, halves: Collection[ReceivingHalf]) -> bool:
        """Whether any of these is run, or has frames that wait for it."""
        batch = None if self._worker is None else self._worker.batch
        return (batch is not None and batch.half in halves) or any(map(self._queue.waits_for, halves))

    def forget(self, halves: Collection[ReceivingHalf]) -> None:
        """They are served no more."""
        self._times.forget(halves)

    async def idle(self) -> None:
        """Wait until all frames are answered."""
        while self._worker is not None and (self._worker.busy or len(self._queue)):
            self._idle.clear()
            await self._idle.wait()

    def stop(self) -> None:
        """End the program's thread."""
        if self._timer is not None:
            self._timer.cancel()
        if self._tidying is not None:
            self._tidying.cancel()
        if self._worker is not None:
            self._worker.stop()
            self._worker = None


def _nowhere(waiting: Waiting, payload: Payload, ran: Ran) -> None:
    raise AssertionError("no plan goes on from here")
