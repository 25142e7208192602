"""The server half: takes clients in, queues their frames, runs them in batches and answers each.

Sessions and the queue live in one event loop, which does nothing that takes long; the program runs in one thread
beside it, where the engine lets go of Python's lock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Self

from splitimpera.bundle.opened import Bundle
from splitimpera.codec.framing import VERSION, Kind
from splitimpera.core.errors import LinkError
from splitimpera.deploy.batching import FrameQueue, Policy, Waiting, deadline
from splitimpera.deploy.door import Door, Peer
from splitimpera.deploy.event_log import tell
from splitimpera.deploy.halves import ServerHalf
from splitimpera.deploy.hops import halves_by_number, largest_payload, pace
from splitimpera.deploy.messages import Hello, Reason, Refusal, Response, Status, Welcome, result_bytes
from splitimpera.deploy.sessions import Limits, Listener, Message, Pace, Session
from splitimpera.deploy.worker import Batch, Worker
from splitimpera.records.traffic import Payload

if TYPE_CHECKING:
    from splitimpera.deploy.metrics import Metrics
    from splitimpera.deploy.security import ServerSecurity

log = logging.getLogger(__name__)

FRAMES_EACH = 16
"""How many frames of one client may wait."""
MOST_CLIENTS = 1024
FRAMES_ON_THE_WAY = 4
"""So many of the largest frames of one client may be incomplete at once, and responses wait to be sent."""
PORTS_TRIED = 10
LEAVE_S = 1.0
STOP_S = 10.0
"""How long a server that stops works on what it has."""


class Server:
    """The server half of a bundle.

    Args:
        plans: Names of those that are served; None: all that have a server.
        threads: How many threads the engine has.
        batch: The most frames that are run together, of any clients.
        batch_wait_s: How long the oldest waits for others, at most.
        queue: How many frames may wait; of one client no more than 16 of them.
        queue_policy: Which frame goes where one too many comes.
        limits: What one client may make the server hold.
        clients: How many may be there at once.

    Raises:
        BundleError: the bundle has no such plan, none that needs a server, or its files are not what was exported.

    Example:
        async with Server(open_bundle("bundle")) as server:
            await server.start("0.0.0.0", 7433, security)
            await server.serve()
    """

    def __init__(
        self,
        bundle: Bundle,
        plans: Iterable[str] | None = None,
        *,
        threads: int = 1,
        batch: int = 1,
        batch_wait_s: float = 0.0,
        queue: int = 256,
        queue_policy: Policy = "drop-oldest",
        limits: Limits | None = None,
        clients: int = MOST_CLIENTS,
        metrics: Metrics | None = None,
    ) -> None:
        self.bundle = bundle
        self.halves = halves_by_number(bundle, plans, threads)
        self._door = Door(bundle, self.halves)
        largest = max(map(largest_payload, (half.hop for half in self.halves.values())))
        limits = limits or Limits()
        # a frame, and several of them on their way, of what this bundle sends, and no more
        result = bundle.manifest.responding.most_bytes
        self.limits = replace(limits, most_bytes=min(limits.most_bytes, FRAMES_ON_THE_WAY * (largest + result)))
        self.largest = min(self.limits.most_bytes, largest)
        self.batch = batch
        self.batch_wait_s = batch_wait_s
        self.most_clients = clients
        self.metrics = metrics
        self._queue = FrameQueue(queue, min(FRAMES_EACH, self.limits.most_frames, queue), queue_policy)
        self._clients: dict[Session, Peer] = {}
        self._listeners: list[Listener] = []
        self._worker: Worker | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        self._stopped = False
        self._leaving: set[asyncio.Task[None]] = set()

    # Life ------------------------------------------------------------------------------------------------------------

    async def start(self, host: str, port: int, security: ServerSecurity | None = None) -> tuple[str, int]:
        """Listen, by TCP and by UDP at one port number; returns host and port, the real one where any was asked for.

        Args:
            security: Certificates and how clients prove who they are; None: nothing is encrypted.

        Raises:
            LinkError: the address cannot be listened at.
        """
        from splitimpera.deploy.datagrams import listen_datagrams
        from splitimpera.deploy.streams import listen_streams

        token = (security.token or "").encode() if security is not None else b""

        def accept(session: Session) -> None:
            self.accept(session, token)

        def pace_of(number: int) -> Pace:
            half = self.halves.get(number) or next(iter(self.halves.values()))
            return pace(half.hop, security is not None)

        for tries in range(PORTS_TRIED, 0, -1):
            streams = await listen_streams(host, port, security, self.limits, accept)
            real = streams.address
            try:
                datagrams = await listen_datagrams(host, real[1], security, self.limits, accept, pace_of)
                break
            except LinkError:  # a port that is free for the one need not be for the other
                await streams.close()
                if port or tries == 1:
                    raise
        self._listeners += [streams, datagrams]
        tell(log, logging.INFO, "listening", host=real[0], port=real[1], bundle=self.bundle.manifest.bundle)
        return real

    async def serve(self) -> None:
        """Until `stop` is asked for, and all is answered."""
        await self._stopping.wait()
        await self.stop()

    def stop_soon(self) -> None:
        """Ask for an orderly end; for signal handlers."""
        self._stopping.set()

    @property
    def ready(self) -> bool:
        """Whether clients are taken in."""
        return bool(self._listeners) and not self._stopping.is_set()

    async def stop(self, patience_s: float = STOP_S) -> None:
        """Take no new frames, answer what it has, close."""
        if self._stopped:
            return
        self._stopped = True
        self._stopping.set()
        for listener in self._listeners:
            await listener.close()
        self._listeners.clear()
        self._pump()
        try:
            async with asyncio.timeout(patience_s):
                while self._worker is not None and (self._worker.busy or len(self._queue)):
                    self._idle.clear()
                    await self._idle.wait()
                for session in list(self._clients):
                    await session.sent()
        except TimeoutError:
            tell(log, logging.WARNING, "stopped with frames that are not answered", frames=len(self._queue))
        for client in list(self._clients.values()):
            number = 0 if client.half is None else client.half.hop.number
            self._refuse(client, number, Reason.STOPPING, "the server is stopping")
        await asyncio.gather(*self._leaving)
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
        tell(log, logging.INFO, "stopped")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.stop()

    # Clients ---------------------------------------------------------------------------------------------------------

    def accept(self, session: Session, token: bytes = b"") -> None:
        """Take a new session of a listener; it gets nothing but an answer to its greeting until that is a good one."""
        client = Peer(session, token)
        self._clients[session] = client
        session.on_message = lambda message: self._on_message(client, message)
        session.on_close = lambda failure: self._on_close(client, failure)

    def _on_close(self, client: Peer, failure: LinkError | None) -> None:
        if self._clients.pop(client.session, None) is None:
            return
        self._queue.leave(client)
        # who refers to each other stays until Python looks for circles, which it does seldom
        client.session.on_message = client.session.on_close = _ignore
        if client.half is not None and self.metrics is not None:
            self.metrics.clients.dec()
        session = client.session
        tell(
            log,
            logging.INFO,
            "session closed",
            peer=session.peer,
            carrier=session.carrier,
            frames=client.frames,
            seconds=round(monotonic() - client.since_s, 3),
            failure=None if failure is None else str(failure),
        )

    def _on_message(self, client: Peer, message: Message) -> None:
        kind = message.frame.id.kind
        if kind is Kind.HELLO:
            self._greet(client, message)
        elif kind is Kind.FRAME and client.half is not None:
            self._on_frame(client, client.half, message)
        else:
            self._refuse(client, message.frame.id.plan, Reason.PROTOCOL, f"{kind.name} is not expected here")

    def _greet(self, client: Peer, message: Message) -> None:
        number = message.frame.id.plan
        try:
            hello = Hello.from_bytes(message.frame.data)
        except LinkError as failure:
            return self._refuse(client, number, Reason.PROTOCOL, failure.problem)
        refusal = self._door.refusal(hello, number, client.token)
        if refusal is not None:
            return self._refuse(client, number, refusal.reason, refusal.text)
        if self._stopping.is_set():
            return self._refuse(client, number, Reason.STOPPING, "the server is stopping")
        half = self.halves[number]
        if client.half is None:
            if sum(other.half is not None for other in self._clients.values()) >= self.most_clients:
                return self._refuse(client, number, Reason.BUSY, f"{self.most_clients} clients are there already")
            client.half = half
            session = client.session
            tell(log, logging.INFO, "session", peer=session.peer, carrier=session.carrier, plan=half.plan.id)
            if self.metrics is not None:
                self.metrics.clients.inc()
        elif client.half is not half:
            return self._refuse(client, number, Reason.PROTOCOL, "a session is for one plan")
        # one that comes again was sent again: the answer to it was lost
        self._send(client, Kind.WELCOME, number, 0, Welcome(VERSION, self.largest, self._queue.each).to_bytes())
        return None

    def _refuse(self, client: Peer, number: int, reason: Reason, text: str) -> None:
        tell(log, logging.INFO, "refused", peer=client.session.peer, reason=reason.name, text=text)
        if self.metrics is not None:
            self.metrics.refusals.labels(reason.name.lower()).inc()
        self._send(client, Kind.REFUSAL, number, 0, Refusal(reason, text).to_bytes())
        leaving = asyncio.get_running_loop().create_task(self._leave(client.session))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _leave(self, session: Session) -> None:
        """Close a session once what was sent is on its way."""
        with suppress(TimeoutError):
            await asyncio.wait_for(session.sent(), LEAVE_S)
        session.close()

    def _send(self, client: Peer, kind: Kind, number: int, frame: int, data: bytes) -> None:
        if client.session not in self._clients:
            return  # it is gone
        try:
            client.session.send(kind, number, frame, Payload(data))
        except LinkError as failure:  # it does not take what it asked for
            client.session.close(failure)
            return
        if self.metrics is not None:
            self.metrics.sent_bytes.inc(len(data))

    # Frames ----------------------------------------------------------------------------------------------------------

    def _on_frame(self, client: Peer, half: ServerHalf, message: Message) -> None:
        frame = message.frame
        client.frames += 1
        if self.metrics is not None:
            self.metrics.received_bytes.inc(len(frame.data))
            self.metrics.lost_packets.inc(message.lost_packets)
        waiting = Waiting(client, half, message, deadline(message, client.session.round_trip_s))
        if frame.id.plan != half.hop.number or frame.id.total > self.largest:
            return self._answer(waiting, Status.DAMAGED)
        if self._stopping.is_set():
            return self._answer(waiting, Status.STOPPING)
        dropped = self._queue.put(waiting)
        if dropped is not None:
            self._answer(dropped, Status.FULL)
        return self._pump()

    def _pump(self) -> None:
        """Start the next batch, if there is one and nothing else is run."""
        worker = self._worker
        if worker is None and len(self._queue):
            worker = self._worker = Worker(asyncio.get_running_loop(), self._done)
        while worker is not None and not worker.busy and len(self._queue):
            wait_s = self._queue.oldest_s + self.batch_wait_s - monotonic()
            if self.batch > 1 and wait_s > 0 and not self._stopping.is_set() and not self._queue.ready(self.batch):
                if self._timer is None:
                    self._timer = asyncio.get_running_loop().call_later(wait_s, self._waited)
                break
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            begun_s = monotonic()
            frames = []
            for waiting in self._queue.take(self.batch):
                if waiting.late(begun_s):
                    self._answer(waiting, Status.LATE, begun_s)
                else:
                    frames.append(waiting)
            batch = Batch(frames, begun_s)
            if frames and worker.run(batch):
                self._respond(batch)
                if len(self._queue):
                    asyncio.get_running_loop().call_soon(self._pump)  # after what came meanwhile is read
                break
        if self.metrics is not None:
            self.metrics.queue.set(len(self._queue))

    def _waited(self) -> None:
        self._timer = None
        self._pump()

    def _done(self, batch: Batch) -> None:
        self._respond(batch)
        self._pump()

    def _respond(self, batch: Batch) -> None:
        if self.metrics is not None:
            self.metrics.batch.observe(len(batch.frames))
        for place, waiting in enumerate(batch.frames):
            if batch.found is None:
                self._answer(waiting, Status.FAILED, batch.begun_s)
                continue
            result, specs = batch.found.results[place], waiting.half.responding.response
            self._answer(
                waiting,
                Status.DAMAGED if result is None else Status.OK,
                batch.begun_s,
                batch=len(batch.frames),
                decode_s=batch.found.decode_s[place],
                run_s=batch.found.run_s,
                tensors=b"" if result is None else result_bytes(result, specs),
            )
        self._idle.set()

    def _answer(
        self,
        waiting: Waiting,
        status: Status,
        begun_s: float | None = None,
        *,
        batch: int = 1,
        decode_s: float = 0.0,
        run_s: float = 0.0,
        tensors: bytes = b"",
    ) -> None:
        client, message = waiting.client, waiting.message
        assert isinstance(client, Peer)
        now_s = monotonic()
        response = Response(
            status,
            batch,
            message.lost_packets,
            sum(end - start for start, end in message.frame.erased),
            assembled_s=message.last_s - message.first_s,
            queued_s=(now_s if begun_s is None else begun_s) - message.last_s,
            decode_s=decode_s,
            run_s=run_s,
            total_s=now_s - message.first_s,
            tensors=tensors,
        )
        if self.metrics is not None:
            self.metrics.frames.labels(status.name.lower()).inc()
            self.metrics.latency.observe(response.total_s)
        self._send(client, Kind.RESPONSE, message.frame.id.plan, message.frame.id.frame, response.to_bytes())


def _ignore(_: object) -> None:
    pass
