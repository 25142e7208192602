"""The device's end of a session: greeting, frames out, responses in, and what never comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from splitimpera.bundle.manifest import HopEntry
from splitimpera.codec.framing import WORD, Kind
from splitimpera.core.errors import LinkError, UnreachableError
from splitimpera.deploy.hops import pace
from splitimpera.deploy.messages import Hello, Reason, Refusal, Response, Welcome
from splitimpera.deploy.sessions import Limits, Message, Session
from splitimpera.records.traffic import Payload

if TYPE_CHECKING:
    from splitimpera.deploy.security import ClientSecurity

REPEAT_S = 0.25
"""After this a hello is sent again where one may be lost, then after twice as long each time."""
REFUSALS = {
    Reason.VERSION: "install the same version of Split-Et-Impera on both machines",
    Reason.BUNDLE: "give both machines the same bundle",
    Reason.PLAN: "start the server with this plan, or choose one that it serves",
    Reason.TOKEN: "give this machine the server's token",
    Reason.BUSY: "start another server, or close other clients",
    Reason.FLOOR: "choose a plan that is cut behind the floor; it is there to protect what frames show",
}


@dataclass(frozen=True)
class Exchange:
    """What was sent of a frame, and what came back; times by `time.monotonic`.

    Attributes:
        sent_s: When its last byte was with the system; None: it was not sent.
        response: None where nothing came in time.
        response_s: When it was complete.
    """

    payload_bytes: int
    packets: int
    sent_s: float | None
    response: Response | None
    response_s: float | None


Further = Callable[[Exchange], bool]
"""Told of each response to a frame that may have several; whether another one follows it."""


@dataclass(eq=False)
class _Pending:
    payload_bytes: int
    told: Callable[[Exchange], None]
    further: Further | None = None
    patience_s: float = 0.0
    timer: asyncio.TimerHandle | None = None
    packets: int = 0
    sent_s: float | None = None
    response: Response | None = None
    response_s: float | None = None


class Watch(Protocol):
    """Whoever is told what a session tells of its link; see `LinkEstimate`."""

    def sent(self, frame: int, size: int, packets: int, now_s: float, deadline_s: float) -> None: ...
    def answered(self, frame: int, response: Response, now_s: float, handed_s: float | None) -> None: ...
    def lost(self, frame: int, now_s: float) -> None: ...
    def probed(self, number: int, now_s: float) -> None: ...
    def probe_answered(self, number: int, now_s: float) -> None: ...


class Connection:
    """An open session with a server that has welcomed us. All of it happens in one event loop.

    Args:
        hop: Of the plan that the server is greeted with.
        watch: Is told of frames, responses and pings as they go and come.
    """

    def __init__(self, session: Session, hop: HopEntry, watch: Watch | None = None) -> None:
        self.session = session
        self.hop = hop
        self.watch = watch
        self.failure: LinkError | None = None
        self.welcome: Welcome | None = None
        self._pending: dict[int, _Pending] = {}
        self.on_end: Callable[[], None] = lambda: None
        """Called once, when the session has ended."""
        self._frames = 0
        self._loop = asyncio.get_running_loop()
        self._greeted: asyncio.Future[Welcome] = self._loop.create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        session.on_message = self._on_message
        session.on_close = self._on_close
        if watch is not None:
            session.on_ping, session.on_pong = watch.probed, watch.probe_answered

    async def greet(self, hello: Hello, limits: Limits) -> Welcome:
        """Say who we are, and wait for the welcome.

        Raises:
            LinkError: the server refuses, or does not answer.
        """
        wait_s = REPEAT_S if self.session.carrier == "udp" else limits.greeting_s
        try:
            async with asyncio.timeout(limits.greeting_s):
                while True:
                    if not self._closed:
                        self.session.send(Kind.HELLO, self.hop.number, 0, Payload(hello.to_bytes()))
                    with suppress(TimeoutError):
                        self.welcome = await asyncio.wait_for(asyncio.shield(self._greeted), wait_s)
                        return self.welcome
                    wait_s *= 2
        except TimeoutError:
            self.session.close()
            raise UnreachableError(
                f"{self.session.peer} does not answer as a server of Split-Et-Impera",
                hint="check its address, and that 'splitimpera serve' runs there",
            ) from None
        except (LinkError, asyncio.CancelledError):
            self.session.close()
            raise

    def send(
        self,
        frame: int,
        payload: Payload,
        time_left_s: float,
        give_up_s: float,
        told: Callable[[Exchange], None],
        number: int | None = None,
        further: Further | None = None,
    ) -> None:
        """Send a frame.

        Args:
            frame: Its number; what is above 32 bits is not sent.
            number: Of its plan's hop; None: of the one that the server was greeted with.
            give_up_s: When its response counts as lost, by the loop's clock.
            told: Called once with what became of it, where it was sent.
            further: Whether another response follows one that came, for which as much time is left as for the first;
                None: there is one. `told` is called for the last one alone.

        Raises:
            LinkError: the session is closed, or the frame is larger than the server takes.
        """
        if self._closed:
            raise self.failure or LinkError("the session is closed")
        if self.welcome is not None and len(payload.data) > self.welcome.most_bytes:
            raise LinkError(
                f"the frame has {len(payload.data)} bytes, the server takes {self.welcome.most_bytes} at most"
            )
        pending = _Pending(len(payload.data), told, further, give_up_s - self._loop.time())
        name = frame % WORD
        self._frames = max(self._frames, frame + 1)
        self._pending[name] = pending
        begun_s = monotonic()
        try:
            number = self.hop.number if number is None else number
            pending.packets = self.session.send(Kind.FRAME, number, name, payload, time_left_s)
        except LinkError:
            del self._pending[name]
            raise
        if self.watch is not None:
            self.watch.sent(name, pending.payload_bytes, pending.packets, begun_s, time_left_s)
        pending.timer = self._loop.call_at(give_up_s, self._finish, name)
        waiting = self.session.sent()
        try:
            waiting.send(None)
        except StopIteration:  # it is with the system already, as it mostly is: a task would take longer than the rest
            pending.sent_s = monotonic()
        else:
            waiting.close()
            task = self._loop.create_task(self._sent(pending))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _sent(self, pending: _Pending) -> None:
        await self.session.sent()
        pending.sent_s = monotonic()

    def _on_message(self, message: Message) -> None:
        id = message.frame.id
        if id.kind is Kind.RESPONSE and self.welcome is not None:
            pending = self._pending.get(id.frame)
            if pending is None:
                if id.frame >= self._frames:
                    who = f"the server {self.session.peer}"
                    self.session.close(LinkError(f"{who} answers frame {id.frame}, which was never sent"))
                self._late(message)
                return
            if message.frame.complete:  # what is left of a result is none
                try:
                    pending.response = Response.from_bytes(message.frame.data)
                except LinkError as failure:
                    self.session.close(failure)
                    return
                pending.response_s = message.last_s
                if self.watch is not None:
                    self.watch.answered(id.frame, pending.response, message.last_s, pending.sent_s)
                if pending.further is not None and pending.further(_exchange(pending)):
                    self._wait_on(id.frame, pending)
                    return
            self._finish(id.frame)
        elif id.kind is Kind.WELCOME and not self._greeted.done():
            try:
                self._greeted.set_result(Welcome.from_bytes(message.frame.data))
            except LinkError as failure:
                self._greeted.set_exception(failure)
        elif id.kind is Kind.REFUSAL:
            self.failure = _refusal(self.session.peer, message.frame.data)
            self.session.close(self.failure)

    def _late(self, message: Message) -> None:
        """A response that came after it was given up says as much of the link as any."""
        if self.watch is not None and message.frame.complete:
            with suppress(LinkError):
                response = Response.from_bytes(message.frame.data)
                self.watch.answered(message.frame.id.frame, response, message.last_s, None)

    def so_far(self, frame: int) -> Exchange:
        """What was sent of a frame that waits for its response."""
        pending = self._pending[frame % WORD]
        return Exchange(pending.payload_bytes, pending.packets, pending.sent_s, None, None)

    def waits(self) -> bool:
        """Whether frames are on their way."""
        return bool(self._pending)

    def _finish(self, number: int) -> None:
        pending = self._pending.pop(number, None)
        if pending is None:
            return
        if pending.timer is not None:
            pending.timer.cancel()
        if self.watch is not None and pending.response is None:
            self.watch.lost(number, monotonic())
        pending.told(_exchange(pending))

    def _wait_on(self, number: int, pending: _Pending) -> None:
        """Another response of a frame follows."""
        pending.response = pending.response_s = None
        if pending.timer is not None:
            pending.timer.cancel()
        pending.timer = self._loop.call_later(pending.patience_s, self._finish, number)

    def _on_close(self, failure: LinkError | None) -> None:
        self._closed = True
        self.failure = self.failure or failure or LinkError(f"{self.session.peer} has closed the session")
        if not self._greeted.done():
            self._greeted.set_exception(self.failure)
            self._greeted.exception()  # it was looked at
        for number in list(self._pending):
            self._finish(number)
        self.on_end()

    async def close(self) -> None:
        """End the session; what waits for a response gets none."""
        if not self._closed:
            await self.session.sent()
            self.session.close()


async def connect(
    host: str,
    port: int,
    hop: HopEntry,
    hello: Hello,
    security: ClientSecurity | None,
    limits: Limits,
    watch: Watch | None = None,
) -> Connection:
    """A connection to a server that takes this bundle's frames, by the carrier of the hop's transport.

    Args:
        watch: See `Connection`.

    Raises:
        LinkError: nobody is there, it is somebody else, or it refuses.
    """
    if hop.transport == "tcp":
        from splitimpera.deploy.streams import open_stream

        session = await open_stream(host, port, security, limits)
    else:
        from splitimpera.deploy.datagrams import open_datagrams

        session = await open_datagrams(host, port, security, limits, pace(hop, security is not None))
    connection = Connection(session, hop, watch)
    await connection.greet(hello, limits)
    return connection


def _exchange(pending: _Pending) -> Exchange:
    sent_s = pending.sent_s
    if sent_s is None and pending.response_s is not None:
        sent_s = pending.response_s  # a response was quicker than the word that all was sent
    return Exchange(pending.payload_bytes, pending.packets, sent_s, pending.response, pending.response_s)


def _refusal(peer: str, data: bytes) -> LinkError:
    """What a server turned us away with, in words."""
    try:
        refusal = Refusal.from_bytes(data)
    except LinkError as broken:
        return broken
    told = refusal.text or refusal.reason.name.lower()
    return LinkError(f"the server {peer} refuses: {told}", hint=REFUSALS.get(refusal.reason, ""))
