"""Sessions over TCP and TLS 1.3: what is sent comes, whole and in order, or the session ends."""

from __future__ import annotations

import asyncio
import ssl
from time import monotonic

from splitimpera.codec.framing import HEADER_BYTES, Kind, ReceivedFrame, StreamReader, header_of
from splitimpera.core.errors import CodecError, LinkError, UnreachableError
from splitimpera.core.files import reason
from splitimpera.deploy.base_session import GREETING_BYTES, BaseSession, Guests, accepted
from splitimpera.deploy.security import ClientSecurity, ServerSecurity, client_context, server_context
from splitimpera.deploy.sessions import Accept, Limits, Listener, Message, Session
from splitimpera.deploy.tls import Tls, handshake_fault
from splitimpera.records.traffic import Payload

HEADWAY_BYTES = 1 << 14
"""A frame of which less than this comes within `Limits.idle_s` makes no headway."""
PART_BYTES = 1 << 15
"""So much is encrypted and sent at once, whole records of TLS: the peer decrypts one part while the next is made."""
LINGER_S = 2.0
"""So long a closed session may take to send what it still holds."""


class StreamSession(BaseSession, asyncio.BufferedProtocol):
    """A session over one connection.

    Args:
        tls: How it is encrypted; None: not at all.
        server_name: Whose certificate a client expects.
    """

    carrier = "tcp"

    def __init__(
        self, peer: str, serving: bool, limits: Limits, tls: ssl.SSLContext | None, server_name: str | None = None
    ) -> None:
        super().__init__(peer, serving, limits)
        self.ready: asyncio.Future[None] = self._loop.create_future()
        """Done when the peer is verified; fails where it is not."""
        self._tls = None if tls is None else Tls(tls, serving, server_name)
        self._reader = StreamReader(GREETING_BYTES)
        self._taking = not serving
        self._transport: asyncio.Transport | None = None
        self._flushed = asyncio.Event()
        self._flushed.set()
        self._part_s = 0.0
        self._record_s: float | None = None
        """When the first bytes of a record came that is not decrypted yet."""
        self._received_bytes = self._written_bytes = 0
        self._mark = (self._opened_s, 0, 0)

    # Sending

    def _transmit(self, kind: Kind, number: int, frame: int, payload: Payload, time_left_s: float) -> int:
        waiting, size = self._waiting_bytes(), len(payload.data)
        if size > self.limits.most_bytes or (waiting and waiting + size > self.limits.most_bytes):
            raise LinkError(
                f"{waiting} bytes wait to be sent to {self.peer}, {size} more are too many: "
                f"{self.limits.most_bytes} are the most"
            )
        header = header_of(size, frame=frame, plan=number, kind=kind, time_left_s=time_left_s)
        first, data = PART_BYTES - HEADER_BYTES, memoryview(payload.data)
        self._put(header + data[:first])
        for at in range(first, size, PART_BYTES):
            self._put(data[at : at + PART_BYTES])
        return 1

    def _put(self, part: bytes | memoryview) -> None:
        self._write(part if self._tls is None else self._tls.sealed(part))

    def _write(self, data: bytes | memoryview) -> None:
        if data and self._transport is not None:
            self._written_bytes += len(data)
            self._transport.write(data)

    def _waiting_bytes(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    async def sent(self) -> None:
        """See `Session.sent`."""
        await self._flushed.wait()

    def pause_writing(self) -> None:
        self._flushed.clear()

    def resume_writing(self) -> None:
        self._flushed.set()

    # Receiving

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=0)
        if self.closed:
            transport.abort()
        elif self._tls is None:
            self._verified()
        else:
            self._shake_hands()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._reader.room() if self._tls is None else self._tls.room

    def buffer_updated(self, nbytes: int) -> None:
        now_s = monotonic()
        self._received_bytes += nbytes
        if self._tls is None:
            self._took(nbytes, now_s)
            return
        self._tls.arrived(nbytes)
        self._record_s = now_s if self._record_s is None else self._record_s
        if not self.ready.done():
            self._shake_hands()
        if self._taking:
            self._open(now_s)

    def _shake_hands(self) -> None:
        assert self._tls is not None
        try:
            done = self._tls.shaken()
        except ssl.SSLError as failure:
            self._write(self._tls.pending())
            self.close(handshake_fault(failure, self.serving))
            return
        self._write(self._tls.pending())
        if done:
            self._verified()

    def _verified(self) -> None:
        if not self.ready.done():
            self.ready.set_result(None)
            if not self._taking and self._transport is not None:
                self._transport.pause_reading()

    def take(self) -> None:
        """Read messages from now on."""
        self._taking = True
        if self._tls is not None and not self.closed:
            self._open(monotonic())
        if self._transport is not None and not self.closed:
            self._transport.resume_reading()

    def _open(self, now_s: float) -> None:
        """Decrypt all that came."""
        assert self._tls is not None
        try:
            for size in self._tls.opened(self._reader):
                self._took(size, now_s)
                if self.closed:
                    return
            self._write(self._tls.pending())
        except ssl.SSLError as failure:
            self._write(self._tls.pending())
            self.close(handshake_fault(failure, self.serving))
            return
        if self._tls.ended:
            self._over()

    def _took(self, size: int, now_s: float) -> None:
        """Hand on what a stretch of the stream completes."""
        first_s = self._part_s if self._reader.part_bytes else self._record_s or now_s
        self._record_s = None
        try:
            frames = self._reader.took(size)
        except CodecError as failure:
            self.close(LinkError(f"{self._who()} does not keep to the protocol: {failure.problem}"))
            return
        for frame in frames:
            if self.closed:
                return
            self._hand_on(frame, first_s, now_s)
            first_s = now_s
        self._part_s = first_s

    def _hand_on(self, frame: ReceivedFrame, first_s: float, now_s: float) -> None:
        if not self._may_come(frame.id.kind, frame.id.total):
            self.close(
                LinkError(
                    f"{self._who()} does not keep to the protocol: {frame.id.kind.name} of {frame.id.total} bytes is "
                    f"not expected {'here' if self.greeted else 'before the greeting'}"
                )
            )
            return
        self._came(Message(frame, first_s, now_s))

    def _greet(self) -> None:
        super()._greet()
        self._reader.most_bytes = self.limits.most_bytes

    # The end

    def eof_received(self) -> None:
        if self._tls is not None and self._tls.shaken_hands and not self.closed:
            self.close(LinkError(f"the connection with {self._who()} was cut"))
        else:
            self._over()

    def connection_lost(self, exc: Exception | None) -> None:
        self._flushed.set()
        if exc is None:
            self._over()
        else:
            self.close(LinkError(f"the connection with {self._who()} broke: {reason(exc)}"))

    def _over(self) -> None:
        """The peer has ended the stream."""
        failure = None
        if self._reader.part_bytes:
            failure = LinkError(f"{self._who()} ended the connection in the middle of a frame")
        elif not self.greeted and not self.serving:
            failure = LinkError(
                f"{self._who()} ended the connection without an answer",
                hint="is it a server of splitimpera, and does it expect what this side uses: TLS or --insecure?",
            )
        self.close(failure)

    def _end(self, failure: LinkError | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(failure or LinkError("the session was closed"))
            self.ready.exception()  # whoever waits for it sees it; nobody has to
        if self._transport is None:
            return
        if self._tls is not None:
            self._write(self._tls.farewell())
        self._transport.close()
        if self._waiting_bytes():
            self._loop.call_later(LINGER_S, self._transport.abort)

    def _stuck(self, now_s: float) -> str:
        marked_s, received, written = self._mark
        waiting = self._waiting_bytes()
        part, flushed = self._reader.part_bytes, self._written_bytes - waiting
        if (part and self._received_bytes - received < HEADWAY_BYTES) or (waiting and flushed == written):
            if now_s - marked_s < self.limits.idle_s:
                return ""
            what = "stopped in the middle of a frame" if part else "takes nothing of what is sent to it"
            return f"{what} for {self.limits.idle_s:g} s"
        if received != self._received_bytes:
            self._last_s = now_s  # part of a frame is a sign of life, too
        self._mark = (now_s, self._received_bytes, flushed)
        return ""

    def _who(self) -> str:
        return f"the {'client' if self.serving else 'server'} {self.peer}"


async def open_stream(host: str, port: int, security: ClientSecurity | None, limits: Limits) -> Session:
    """Connect to a server.

    Args:
        security: What to trust and show; None: nothing is encrypted.

    Raises:
        DataError: a certificate or key cannot be used.
        LinkError: there is no server, or it is not the one that is meant.
    """
    tls = None if security is None else client_context(security)
    name = None if security is None else security.server_name or host
    address = f"{host}:{port}"

    def session() -> StreamSession:
        return StreamSession(address, False, limits, tls, name)

    made: StreamSession | None = None
    try:
        async with asyncio.timeout(limits.greeting_s):
            _, made = await asyncio.get_running_loop().create_connection(session, host, port)
            await made.ready
    except TimeoutError:
        failure = UnreachableError(f"the server {address} does not answer within {limits.greeting_s:g} s")
        if made is not None:
            made.close(failure)
        raise failure from None
    except asyncio.CancelledError:  # whoever asked waits no longer
        if made is not None:
            made.close()
        raise
    except OSError as failed:
        raise UnreachableError(
            f"the server {address} cannot be reached: {reason(failed)}", hint="is it running, and is this its address?"
        ) from None
    return made


class StreamListener:
    """Where a server takes connections; a `Listener`."""

    def __init__(self, limits: Limits, accept: Accept, tls: ssl.SSLContext | None) -> None:
        self.sessions = Guests()
        self._limits, self._accept, self._tls = limits, accept, tls
        self._server: asyncio.Server | None = None

    async def open(self, host: str, port: int) -> None:
        """Begin; raises LinkError where the address cannot be had."""
        try:
            self._server = await asyncio.get_running_loop().create_server(self._session, host, port)
        except OSError as failure:
            raise LinkError(f"{host}:{port} cannot be listened at: {reason(failure)}") from None

    @property
    def address(self) -> tuple[str, int]:
        """See `Listener.address`."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return str(host), int(port)

    async def close(self) -> None:
        """See `Listener.close`."""
        if self._server is not None:
            self._server.close()

    def _session(self) -> StreamSession:
        return _ServedStream(self, self._limits, self._tls)

    async def introduce(self, session: StreamSession) -> None:
        """Hand a session to the program, once its peer is verified."""
        try:
            await session.ready
        except LinkError as failure:
            failure.__traceback__ = None  # it leads back to the session, which would not be gone at once
            return
        if await accepted(self._accept, session):
            session.take()


class _ServedStream(StreamSession):
    """The server's end of a connection, which its listener knows."""

    def __init__(self, listener: StreamListener, limits: Limits, tls: ssl.SSLContext | None) -> None:
        super().__init__("", True, limits, tls)
        self._listener = listener
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.peer = "{}:{}".format(*transport.get_extra_info("peername", ("?", 0))[:2])
        if not self._listener.sessions.admit(self):
            self.close(LinkError("there are too many clients"))
        super().connection_made(transport)
        if not self.closed:
            self._task = self._loop.create_task(self._listener.introduce(self))

    def _end(self, failure: LinkError | None) -> None:
        self._listener.sessions.leave(self)
        super()._end(failure)


async def listen_streams(
    host: str, port: int, security: ServerSecurity | None, limits: Limits, accept: Accept
) -> Listener:
    """Take connections.

    Args:
        port: 0: any that is free.
        security: What to show and ask for; None: nothing is encrypted, and anyone may come.
        accept: Called with each session.

    Raises:
        DataError: a certificate or key cannot be used.
        LinkError: the address cannot be had.
    """
    listener = StreamListener(limits, accept, None if security is None else server_context(security))
    await listener.open(host, port)
    return listener
