"""The server half: takes clients in, queues their frames, runs them in batches and answers each, or sends it on.

Sessions and the queue live in one event loop, which does nothing that takes long; the program runs in one thread
beside it, where the engine lets go of Python's lock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Self

from splitimpera.bundle.opened import Bundle
from splitimpera.codec.framing import VERSION, Kind
from splitimpera.core.errors import LinkError
from splitimpera.deploy.admission import RateLimit
from splitimpera.deploy.batching import Policy, Waiting, deadline, way_s
from splitimpera.deploy.direct_answers import DirectAnswers
from splitimpera.deploy.dispatch import Dispatch
from splitimpera.deploy.door import FLOOR_TEXT, Door, Peer
from splitimpera.deploy.event_log import tell
from splitimpera.deploy.forwarding import Forwarding, NextMachine
from splitimpera.deploy.halves import ReceivingHalf
from splitimpera.deploy.messages import Answers, Hello, Reason, Refusal, Status, Welcome
from splitimpera.deploy.serving_bundles import SHORT_ID, ServedBundle, ServedBundles, drained, load_bundle
from splitimpera.deploy.sessions import Limits, Listener, Message, Session
from splitimpera.deploy.token_room import CACHE_BYTES, TokenRoom
from splitimpera.records.traffic import Payload

if TYPE_CHECKING:
    from splitimpera.deploy.metrics import Metrics
    from splitimpera.deploy.security import ServerSecurity

log = logging.getLogger(__name__)

FRAMES_EACH = 16
"""How many frames of one client may wait."""
MOST_CLIENTS = 1024
PORTS_TRIED = 10
LEAVE_S = 1.0
STOP_S = 10.0
"""How long a server that stops works on what it has."""
DRAIN_S = 60.0
"""How long clients of a bundle that is replaced may stay."""


class Server:
    """The server half of a bundle, or of several while clients move from one to another.

    Args:
        plans: Names of those that are served; None: all that have a server.
        threads: How many threads the engine has.
        batch: The most frames that are run together, of any clients.
        batch_wait_s: How long the oldest waits for others, at most.
        queue: How many frames may wait; of one client no more than 16 of them.
        queue_policy: Which frame goes where one too many comes.
        limits: What one client may make the server hold.
        clients: How many may be there at once.
        rate_limit_hz: How many frames a second each client may send; None: as many as it likes.
        cache_bytes: What the caches of language models may take, of all clients together.
        machine: Which one this is; None: the last one of these plans.
        next_machine: Where frames of plans go on to that do not end here.

    Raises:
        BundleError: the bundle has no such plan or machine, none that needs a server, or its files are not what was
            exported; or frames go on from here, and it is not said where.
        LinkError: there is no such queue policy or rate.

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
        rate_limit_hz: float | None = None,
        metrics: Metrics | None = None,
        cache_bytes: int = CACHE_BYTES,
        machine: str | None = None,
        next_machine: NextMachine | None = None,
    ) -> None:
        self.plans = None if plans is None else list(plans)
        self.threads, self.machine, self.next_machine = threads, machine, next_machine
        self.limits = limits or Limits()
        self.most_clients = clients
        if rate_limit_hz is not None:
            RateLimit(rate_limit_hz)  # it says which there are
        self.rate_limit_hz, self.metrics = rate_limit_hz, metrics
        each = min(FRAMES_EACH, self.limits.most_frames, queue)
        self._answers = DirectAnswers(self._send)
        self._dispatch = Dispatch(queue, each, queue_policy, batch, batch_wait_s, self._answers.respond, metrics)
        self._dispatch.room = TokenRoom(cache_bytes)
        self.bundles = ServedBundles(self._load(bundle))
        self._door = Door(self.bundles)
        self._forwarding = Forwarding(next_machine, self._dispatch, self.limits)
        self._clients: dict[Session, Peer] = {}
        self._listeners: list[Listener] = []
        self._stopping, self._stopped = asyncio.Event(), False
        self._tasks: set[asyncio.Task[None]] = set()
        self._drains: dict[ServedBundle, asyncio.Task[None]] = {}

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

        token, secure = (security.token or "").encode() if security is not None else b"", security is not None
        pace_of = self.bundles.newest.pace_of(secure)  # until a client says which bundle it has

        def accept(session: Session) -> None:
            self.accept(session, token, secure)

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
        tell(log, logging.INFO, "listening", host=real[0], port=real[1], bundle=self.bundles.newest.id)
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
        for drain in list(self._drains.values()):
            drain.cancel()
        self._dispatch.hurries = True
        self._dispatch.pump()
        try:
            async with asyncio.timeout(patience_s):
                await self._forwarding.idle()
                for session in list(self._clients):
                    await session.sent()
        except TimeoutError:
            tell(log, logging.WARNING, "stopped with frames that are not answered", frames=len(self._dispatch))
        for client in list(self._clients.values()):
            self._refuse(client, client.number, Reason.STOPPING, "the server is stopping")
        await self._forwarding.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._dispatch.stop()
        tell(log, logging.INFO, "stopped")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.stop()

    def _task(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # Bundles ---------------------------------------------------------------------------------------------------------

    @property
    def bundle(self) -> Bundle:
        """The newest that clients are taken in for."""
        return self.bundles.newest.bundle

    @property
    def halves(self) -> Mapping[int, ReceivingHalf]:
        """What is served of it, by the number of the hop."""
        return self.bundles.newest.halves

    def _load(self, bundle: Bundle) -> ServedBundle:
        goes_on = self.next_machine is not None
        return load_bundle(bundle, self.plans, self.threads, self.limits, self.machine, goes_on, self._dispatch.room)

    async def load(self, bundle: Bundle) -> ServedBundle:
        """A bundle, ready to be added; frames of others are run meanwhile. One that is here is returned as it is.

        Raises:
            BundleError: as of the class; nothing has changed then.
        """
        here = self.bundles.get(bundle.manifest.bundle)
        return await asyncio.to_thread(self._load, bundle) if here is None else here

    def add(self, served: ServedBundle) -> None:
        """Take clients of a bundle in from now on; one that was being drained comes back as it is."""
        served = self.bundles.get(served.id) or served
        if served in self.bundles.open:
            return
        drain = self._drains.pop(served, None)
        if drain is not None:
            drain.cancel()
        self.bundles.add(served)
        self._count_bundles()
        tell(log, logging.INFO, "bundle added", bundle=served.id, plans=served.names)

    def drain(self, id: str, patience_s: float = DRAIN_S) -> None:
        """Take no new clients of a bundle in, and let go of it when the last one has left.

        Args:
            id: The bundle's, 64 hexadecimal digits.
            patience_s: Who stays longer is told that the bundle is no longer served, once its frames are answered.

        Raises:
            BundleError: it is not served, or is the only one that takes clients in.
        """
        served = self.bundles.drain(id)
        tell(log, logging.INFO, "bundle draining", bundle=id, clients=served.sessions)
        if served not in self._drains:
            self._drains[served] = self._task(self._drain(served, patience_s))
        self._count_bundles()

    async def _drain(self, served: ServedBundle, patience_s: float) -> None:
        halves = served.programs

        def dismiss() -> None:
            for client in [client for client in self._clients.values() if client.served is served]:
                self._refuse(
                    client, client.number, Reason.STOPPING, f"the bundle {served.id[:SHORT_ID]} is no longer served"
                )

        await drained(served, lambda: self._forwarding.has_frames_of(halves), dismiss, patience_s)
        self._drains.pop(served, None)
        self.bundles.remove(served)
        self._dispatch.forget(halves)
        self._count_bundles()
        tell(log, logging.INFO, "bundle removed", bundle=served.id)

    def _count_bundles(self) -> None:
        if self.metrics is not None:
            self.metrics.bundles.set(len(list(self.bundles)))

    # Clients ---------------------------------------------------------------------------------------------------------

    def accept(self, session: Session, token: bytes = b"", secure: bool = False) -> None:
        """Take a new session of a listener; it gets nothing but an answer to its greeting until that is a good one."""
        client = Peer(session, token, secure)
        if self.rate_limit_hz is not None:
            client.limit = RateLimit(self.rate_limit_hz)
        self._clients[session] = client
        session.on_message = lambda message: self._on_message(client, message)
        session.on_close = lambda failure: self._on_close(client, failure)

    def _on_close(self, client: Peer, failure: LinkError | None) -> None:
        if self._clients.pop(client.session, None) is None:
            return
        self._dispatch.leave(client)
        self._forwarding.leave(client)
        self._answers.leave(client)
        # who refers to each other stays until Python looks for circles, which it does seldom
        client.session.on_message, client.session.on_close = lambda _: None, lambda _: None
        if client.served is not None:
            client.served.sessions -= 1
            if self.metrics is not None:
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
        elif kind is Kind.FRAME and client.served is not None and client.answers is not Answers.TAKEN:
            self._on_frame(client, client.served, message)
        else:
            self._refuse(client, message.frame.id.plan, Reason.PROTOCOL, f"{kind.name} is not expected here")

    def _greet(self, client: Peer, message: Message) -> None:
        number = message.frame.id.plan
        try:
            hello = Hello.from_bytes(message.frame.data)
        except LinkError as failure:
            return self._refuse(client, number, Reason.PROTOCOL, failure.problem)
        served = self._door.asked(hello, number, client.token, client.served)
        if isinstance(served, Refusal):
            return self._refuse(client, number, served.reason, served.text)
        if self._stopping.is_set():
            return self._refuse(client, number, Reason.STOPPING, "the server is stopping")
        if client.served is None and sum(one.served is not None for one in self._clients.values()) >= self.most_clients:
            return self._refuse(client, number, Reason.BUSY, f"{self.most_clients} clients are there already")
        refusal = self._answers.greeted(client, hello)
        if refusal is not None:
            return self._refuse(client, number, refusal.reason, refusal.text)
        client.number = number
        if client.served is None:
            client.served = served
            served.sessions += 1
            session = client.session
            session.settle(served.limits, served.pace_of(client.secure))
            plan = served.halves[number].plan.id
            tell(log, logging.INFO, "session", peer=session.peer, carrier=session.carrier, plan=plan, bundle=served.id)
            if self.metrics is not None:
                self.metrics.clients.inc()
            if client.answers is not Answers.TAKEN:
                self._forwarding.join(client, served)
        # one that comes again was sent again: the answer to it was lost; or the client goes on to another plan
        welcome = Welcome(VERSION, served.largest, self._dispatch.each)
        self._send(client, Kind.WELCOME, number, 0, welcome.to_bytes())
        return None

    def _refuse(self, client: Peer, number: int, reason: Reason, text: str) -> None:
        tell(log, logging.INFO, "refused", peer=client.session.peer, reason=reason.name, text=text)
        if self.metrics is not None:
            self.metrics.refusals.labels(reason.name.lower()).inc()
        self._send(client, Kind.REFUSAL, number, 0, Refusal(reason, text).to_bytes())
        self._task(self._leave(client.session))

    async def _leave(self, session: Session) -> None:
        """Close a session once what was sent is on its way."""
        with suppress(TimeoutError):
            await asyncio.wait_for(session.sent(), LEAVE_S)
        session.close()

    def _send(self, client: Peer, kind: Kind, number: int, frame: int, data: bytes) -> bool:
        if client.session not in self._clients:
            return False  # it is gone
        try:
            client.session.send(kind, number, frame, Payload(data))
        except LinkError as failure:  # it does not take what it asked for
            client.session.close(failure)
            return False
        if self.metrics is not None:
            self.metrics.sent_bytes.inc(len(data))
        return True

    # Frames ----------------------------------------------------------------------------------------------------------

    def _on_frame(self, client: Peer, served: ServedBundle, message: Message) -> None:
        frame, session = message.frame, client.session
        number = frame.id.plan
        client.frames += 1
        if number in served.below:
            return self._refuse(client, number, Reason.FLOOR, FLOOR_TEXT)
        half = served.halves.get(number)
        if self.metrics is not None:
            self.metrics.frame_came(None if half is None else half.plan.id, len(frame.data), message.lost_packets)
        known = half or next(iter(served.halves.values()))
        waiting = Waiting(client, known, message, deadline(message, session.round_trip_s), way_s(session.round_trip_s))
        if half is None or frame.id.total > served.largest:
            return self._dispatch.answer(waiting, Status.DAMAGED)
        if served.closing or self._stopping.is_set():
            return self._dispatch.answer(waiting, Status.STOPPING)
        if client.limit is not None:
            wait_s = client.limit.wait_s(monotonic())
            if wait_s:
                return self._dispatch.answer(waiting, Status.BUSY, retry_s=wait_s)
        return self._forwarding.take(waiting)
