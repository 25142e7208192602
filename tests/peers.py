"""A client and a server that talk over any carrier, on this machine, and a relay that loses what it is told to."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

from splitimpera.codec.framing import Kind
from splitimpera.deploy.datagrams import listen_datagrams, open_datagrams
from splitimpera.deploy.keys import KeyFiles, make_keys
from splitimpera.deploy.loopback import joined
from splitimpera.deploy.messages import Hello, Welcome
from splitimpera.deploy.security import ClientSecurity, ServerSecurity
from splitimpera.deploy.sessions import Limits, Pace
from splitimpera.deploy.streams import listen_streams, open_stream
from splitimpera.records.traffic import Payload

HOST = "127.0.0.1"
NUMBER = 7
SECURE = ("tls", "dtls")
DATAGRAMS = ("loopback", "udp", "dtls")
CARRIERS = (*DATAGRAMS, "tcp", "tls")
LEAST_DATA_BYTES = 100
"""Datagrams of frames are no smaller in these tests, all others are."""
PATIENCE_S = 10.0
ANY, PLAIN = Limits(), Pace(1000)


@cache
def keys() -> KeyFiles:
    folder = tempfile.TemporaryDirectory()
    files = make_keys(Path(folder.name))
    KEPT.append(folder)
    return files


KEPT: list[tempfile.TemporaryDirectory[str]] = []


def client_security(**others) -> ClientSecurity:
    return ClientSecurity(
        **{"authority": keys().authority, "certificate": keys().client, "key": keys().client_key} | others
    )


def server_security(**others) -> ServerSecurity:
    own = {"certificate": keys().server, "key": keys().server_key, "authority": keys().authority}
    return ServerSecurity(**own | others)


class End:
    """One end of a conversation, with all that came to it."""

    def __init__(self, session) -> None:
        self.session = session
        self.messages = []
        self.closed = asyncio.get_running_loop().create_future()
        self._came = asyncio.Event()
        session.on_message = self._message
        session.on_close = self.closed.set_result

    def _message(self, message) -> None:
        if message.frame.id.kind is Kind.HELLO:
            self.session.send(Kind.WELCOME, message.frame.id.plan, 0, Payload(Welcome(1, 1 << 27, 64).to_bytes()))
            return
        self.messages.append(message)
        self._came.set()

    async def wait(self, count: int):
        """The first messages, so many of them."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.messages) < count:
                self._came.clear()
                await self._came.wait()
        return self.messages[:count]

    async def failure(self):
        """What the session ended with."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.closed

    def send(self, frame: int, payload, kind=Kind.FRAME, **options) -> int:
        return self.session.send(kind, NUMBER, frame, payload, **options)


class Relay(asyncio.DatagramProtocol):
    """Passes datagrams between a client and a server; loses those of frames that it is told to.

    Attributes:
        drops: Which datagrams from the client are lost, counted from 0; only such of frames count.
    """

    def __init__(self, server, drops=(), delay_s: float = 0.0) -> None:
        self.server, self.drops, self.delay_s = server, set(drops), delay_s
        self.client = None
        self.passed = 0

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address) -> None:
        if address == self.server:
            self._pass(data, self.client)
            return
        self.client = address
        if len(data) >= LEAST_DATA_BYTES and data[0] not in (22, 20, 21):  # no handshake
            self.passed += 1
            if self.passed - 1 in self.drops:
                return
        self._pass(data, self.server)

    def _pass(self, data: bytes, address) -> None:
        if self.delay_s:
            asyncio.get_running_loop().call_later(self.delay_s, self.transport.sendto, data, address)
        else:
            self.transport.sendto(data, address)


async def listening(carrier: str, accept, limits: Limits = ANY, pace: Pace = PLAIN, **security):
    """A listener of this carrier."""
    shown = server_security(**security) if carrier in SECURE else None
    if carrier in ("tcp", "tls"):
        return await listen_streams(HOST, 0, shown, limits, accept)
    return await listen_datagrams(HOST, 0, shown, limits, accept, pace)


async def opened(carrier: str, address, limits: Limits = ANY, pace: Pace = PLAIN, **security):
    """A client's session."""
    shown = client_security(**security) if carrier in SECURE else None
    if carrier in ("tcp", "tls"):
        return await open_stream(*address, shown, limits)
    return await open_datagrams(*address, shown, limits, pace)


@asynccontextmanager
async def conversation(carrier: str, pace: Pace = PLAIN, limits: Limits = ANY, drops=(), delay_s: float = 0.0):
    """A client and a server that have greeted each other; some packets of the client's frames are lost."""
    if carrier == "loopback":
        client, server = (End(session) for session in joined(limits, pace, drops, delay_s=delay_s))
        await greet(client)
        yield client, server
        client.session.close()
        return
    ends = []
    listener = await listening(carrier, lambda session: ends.append(End(session)), limits, pace)
    address, transport = listener.address, None
    if carrier in DATAGRAMS:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: Relay(address, drops, delay_s), (HOST, 0)
        )
        address = transport.get_extra_info("sockname")
    client = End(await opened(carrier, address, limits, pace))
    await greet(client)
    try:
        yield client, ends[0]
    finally:
        client.session.close()
        for end in ends:
            end.session.close()
        await listener.close()
        if transport:
            transport.close()
        await asyncio.sleep(0)


async def greet(client: End) -> None:
    """Say hello, wait for the welcome and three round trips."""
    client.send(0, Payload(Hello(bytes(32)).to_bytes()), Kind.HELLO)
    (welcome,) = await client.wait(1)
    assert welcome.frame.id.kind is Kind.WELCOME
    client.messages.clear()
    async with asyncio.timeout(PATIENCE_S):
        while client.session._pings:
            await asyncio.sleep(0.001)
