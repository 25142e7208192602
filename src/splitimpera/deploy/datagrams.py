"""Sessions over UDP and DTLS."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from time import monotonic

from splitimpera.core.errors import LinkError, UnreachableError
from splitimpera.deploy.datagram_listener import DatagramListener
from splitimpera.deploy.datagram_session import DatagramSession
from splitimpera.deploy.dtls import Cookies, Dtls, client_dtls, server_dtls
from splitimpera.deploy.dtls_handshake import Handshake, opened_for
from splitimpera.deploy.security import ClientSecurity, ServerSecurity
from splitimpera.deploy.sessions import Accept, Limits, Listener, Pace, Session
from splitimpera.deploy.udp_port import Address, Port, udp_socket

PaceOf = Callable[[int], Pace]


class _Client:
    """A client's end: one connected socket and its session."""

    def __init__(self, opened: socket.socket, address: str, limits: Limits, pace_of: PaceOf, dtls: Dtls | None) -> None:
        self.port = Port(opened, self._came, self._broken)
        self.ready: asyncio.Future[DatagramSession] = asyncio.get_running_loop().create_future()
        self._address, self._limits, self._pace_of, self._dtls = address, limits, pace_of, dtls
        self._session: DatagramSession | None = None
        self._handshake: Handshake | None = None
        if dtls is None:
            self._open()
        else:
            self._handshake = Handshake(dtls, lambda datagram: self.port.send(datagram, None), self.fail)
            self._handshake.go_on(dtls.shake)

    def fail(self, failure: LinkError) -> None:
        """End it."""
        if self._session is not None:
            self._session.close(failure)
        elif not self.ready.done():
            self.ready.set_exception(failure)
            self.leave(failure)

    def _open(self) -> None:
        session = DatagramSession(self._address, False, self._limits, self._pace_of, self._put, self.leave)
        session.take()
        self._session = session
        self.ready.set_result(session)

    def _put(self, packet: bytes) -> bool:
        assert self._session is not None
        datagram = packet if self._dtls is None else self._dtls.sealed(packet)
        return self.port.send(datagram, None, self._session.resume)

    def _came(self, datagram: bytes, address: Address) -> None:
        now_s = monotonic()
        if self._dtls is None:
            assert self._session is not None
            self._session.arrived(datagram, now_s)
        elif self._session is None:
            assert self._handshake is not None
            if self._handshake.go_on(lambda: self._dtls is not None and self._dtls.arrived(datagram)):
                self._open()
        else:
            opened_for(self._dtls, datagram, self._session, now_s, lambda reply: self.port.send(reply, None))

    def _broken(self, failure: OSError) -> None:
        if isinstance(failure, ConnectionRefusedError):
            self.fail(
                UnreachableError(
                    f"nobody answers at {self._address}", hint="is the server running, and is this its address?"
                )
            )
        elif failure.errno == errno.EMSGSIZE:
            self.fail(LinkError(f"the system takes no datagram of this size for {self._address}"))
        # what else an attempt to send may meet is a packet that is lost

    def leave(self, failure: LinkError | None) -> None:
        """Let the socket go."""
        if self._handshake is not None:
            self._handshake.stop()
        if self._dtls is not None:
            for datagram in self._dtls.farewell():
                self.port.send(datagram, None)
        self.port.close()


async def open_datagrams(
    host: str, port: int, security: ClientSecurity | None, limits: Limits, pace_of: PaceOf | Pace
) -> Session:
    """Reach a server.

    Args:
        security: What to trust and show; None: nothing is encrypted.
        pace_of: How packets are sent, or that by the hop's number.

    Raises:
        DataError: a certificate or key cannot be used.
        LinkError: there is no server, or it is not the one that is meant.
    """
    dtls = None if security is None else Dtls(client_dtls(security), security.server_name or host)
    address = f"{host}:{port}"
    opened = await udp_socket(host, port, lambda made, where: made.connect(where))
    client = _Client(opened, address, limits, _by_number(pace_of), dtls)
    try:
        async with asyncio.timeout(limits.greeting_s):
            return await client.ready
    except TimeoutError:
        failure = UnreachableError(f"the server {address} does not answer within {limits.greeting_s:g} s")
        client.leave(failure)
        raise failure from None
    except asyncio.CancelledError:
        client.leave(None)
        raise


async def listen_datagrams(
    host: str,
    port: int,
    security: ServerSecurity | None,
    limits: Limits,
    accept: Accept,
    pace_of: PaceOf | Pace,
) -> Listener:
    """Take datagrams.

    Args:
        port: 0: any that is free.
        security: What to show and ask for; None: nothing is encrypted, and anyone may come from anywhere.
        accept: Called with each session.
        pace_of: How packets are sent, or that by the hop's number, which the program has seen in the hello.

    Raises:
        DataError: a certificate or key cannot be used.
        LinkError: the address cannot be had.
    """
    cookies = Cookies()
    context = None if security is None else server_dtls(security, cookies)
    opened = await udp_socket(host, port, lambda made, where: made.bind(where))
    return DatagramListener(opened, limits, accept, _by_number(pace_of), context, cookies)


def _by_number(pace_of: PaceOf | Pace) -> PaceOf:
    return (lambda _number: pace_of) if isinstance(pace_of, Pace) else pace_of
