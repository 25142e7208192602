"""Where a server takes datagrams: one socket for all its sessions."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from time import monotonic

from OpenSSL import SSL

from splitimpera.codec.framing import HEADER_BYTES, VERSION, Kind, read_header
from splitimpera.core.errors import LinkError
from splitimpera.deploy.base_session import Guests, accepted
from splitimpera.deploy.datagram_session import DatagramSession
from splitimpera.deploy.dtls import Cookies, Dtls, hello_random
from splitimpera.deploy.dtls_handshake import Handshake, opened_for
from splitimpera.deploy.messages import MAGIC
from splitimpera.deploy.sessions import Accept, Limits, Pace
from splitimpera.deploy.udp_port import Address, Port

HALF_OPEN_AT_MOST = 64
"""Handshakes of a listener; the oldest gives way."""
FIRST_OF_HELLO = bytes([VERSION << 4 | Kind.HELLO])
ANEW_S = 1.0
"""A hello that comes so long after the last one is one of a client that began anew."""


class DatagramListener:
    """Where a server takes datagrams; a `Listener`. Sessions are told apart by where their datagrams are from."""

    def __init__(
        self,
        opened: socket.socket,
        limits: Limits,
        accept: Accept,
        pace_of: Callable[[int], Pace],
        context: SSL.Context | None,
        cookies: Cookies,
    ) -> None:
        self.guests = Guests()
        self.dropped = 0
        """Datagrams of nobody."""
        self._port = Port(opened, self._came, lambda _failure: None)
        self._limits, self._accept, self._pace_of = limits, accept, pace_of
        self._context, self._cookies = context, cookies
        self._listening: Dtls | None = None
        self._handshakes: dict[Address, Handshake] = {}
        self._sessions: dict[Address, _Served] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = True

    @property
    def address(self) -> tuple[str, int]:
        """See `Listener.address`."""
        host, port = self._port.socket.getsockname()[:2]
        return str(host), int(port)

    async def close(self) -> None:
        """See `Listener.close`. The socket is closed with the last session."""
        self._open = False
        for address in tuple(self._handshakes):
            self._drop(address)
        self._close_if_empty()

    def _came(self, datagram: bytes, address: Address) -> None:
        now_s = monotonic()
        served = self._sessions.get(address)
        if self._context is None:
            number = _greeted_number(datagram)
            if number is not None and (served is None or served.began_anew(number, now_s)):
                self._introduce(address, None, b"")
                served = self._sessions.get(address)
            if served is None:
                self.dropped += 1
            else:
                served.session.arrived(datagram, now_s)
            return
        random, pending = hello_random(datagram), self._handshakes.get(address)
        if random and not (pending and pending.random == random) and not (served and served.random == random):
            self._ask(datagram, address, random, now_s)
            return
        if pending is not None and pending.go_on(lambda: pending.dtls.arrived(datagram)):
            self._drop(address)
            self._introduce(address, pending.dtls, pending.random)
        elif served is not None and served.dtls is not None:
            opened_for(served.dtls, datagram, served.session, now_s, lambda reply: self._port.send(reply, address))
        elif pending is None:
            self.dropped += 1

    def _ask(self, hello: bytes, address: Address, random: bytes, now_s: float) -> None:
        """Ask a client for its cookie; nothing is kept of it before it shows one."""
        assert self._context is not None
        if not self._open:
            return
        self._cookies.asking, self._cookies.now_s = repr(address).encode(), now_s
        dtls = self._listening or Dtls(self._context, None)
        self._listening = None
        try:
            shown = dtls.listen(hello)
        except LinkError:
            self.dropped += 1
            return
        if not shown:
            for datagram in dtls.pending():
                self._port.send(datagram, address)
            self._listening = dtls
            return
        self._drop(address)
        while len(self._handshakes) >= HALF_OPEN_AT_MOST:
            self._drop(next(iter(self._handshakes)))
        handshake = self._handshakes[address] = Handshake(
            dtls,
            lambda datagram: self._port.send(datagram, address),
            lambda _failure: self._drop(address),
            random,
            self._limits.greeting_s,
        )
        handshake.go_on(dtls.shake)

    def _drop(self, address: Address) -> None:
        handshake = self._handshakes.pop(address, None)
        if handshake is not None:
            handshake.end()

    def _introduce(self, address: Address, dtls: Dtls | None, random: bytes) -> None:
        """Make a session of a client that is verified, as far as anyone is without DTLS; an older one of it goes."""
        if not self._open:
            return
        before = self._sessions.get(address)
        if before is not None:
            before.session.close(LinkError(f"the client {before.session.peer} began anew"))
        served = _Served(self, self._port, address, self._limits, self._pace_of, dtls, random)
        if not self.guests.admit(served.session):
            served.session.close(LinkError("there are too many clients"))
            return
        self._sessions[address] = served
        task = asyncio.get_running_loop().create_task(self._hand_over(served.session))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _hand_over(self, session: DatagramSession) -> None:
        if await accepted(self._accept, session):
            session.take()

    def leave(self, address: Address, session: DatagramSession) -> None:
        """A session has ended."""
        self.guests.leave(session)
        served = self._sessions.get(address)
        if served is not None and served.session is session:
            del self._sessions[address]
        asyncio.get_running_loop().call_soon(self._close_if_empty)

    def _close_if_empty(self) -> None:
        if not self._open and not self._sessions:
            self._port.close()


class _Served:
    """A session of a listener."""

    def __init__(
        self,
        listener: DatagramListener,
        port: Port,
        address: Address,
        limits: Limits,
        pace_of: Callable[[int], Pace],
        dtls: Dtls | None,
        random: bytes,
    ) -> None:
        self.dtls, self.random = dtls, random
        self._listener, self._port, self._address = listener, port, address
        self._hello_s = monotonic()
        self.session = DatagramSession(
            f"{address[0]}:{address[1]}", True, limits, pace_of, self._put, self._let_go, verified=dtls is not None
        )

    def began_anew(self, number: int, now_s: float) -> bool:
        """Whether a hello without DTLS is one of a client that was started again, and not one said twice.

        One for a hop that it has not greeted yet belongs to the session that is there.
        """
        before_s, self._hello_s = self._hello_s, now_s
        return self.session.welcomed(number) and now_s - before_s > ANEW_S

    def _put(self, packet: bytes) -> bool:
        datagram = packet if self.dtls is None else self.dtls.sealed(packet)
        return self._port.send(datagram, self._address, self.session.resume)

    def _let_go(self, failure: LinkError | None) -> None:
        if self.dtls is not None:
            for datagram in self.dtls.farewell():
                self._port.send(datagram, self._address)
        self._listener.leave(self._address, self.session)


def _greeted_number(datagram: bytes) -> int | None:
    """Which hop a hello greets; None: it is none."""
    header = read_header(datagram) if datagram[:1] == FIRST_OF_HELLO else None
    is_hello = (
        header is not None
        and header.id.kind is Kind.HELLO
        and header.offset == 0
        and len(datagram) == HEADER_BYTES + header.id.total
        and datagram[HEADER_BYTES : HEADER_BYTES + len(MAGIC)] == MAGIC
    )
    return header.id.plan if header is not None and is_hello else None
