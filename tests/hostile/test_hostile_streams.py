"""Connections that stall, starve or vanish: each is closed in time, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress

import pytest
from deploy.small_bundle import make_bundle, samples
from peer_attacks import Captures, closed, tcp

from splitimpera.bundle.opened import open_bundle
from splitimpera.codec.framing import HEADER, HEADER_BYTES, Kind
from splitimpera.deploy.client import Client
from splitimpera.deploy.keys import make_keys
from splitimpera.deploy.security import ClientSecurity, ServerSecurity, client_context
from splitimpera.deploy.server import Server
from splitimpera.deploy.sessions import Limits

HOST = "127.0.0.1"
LIMITS = Limits(greeting_s=0.3, idle_s=0.6)
WAIT_S = 10.0
"""Far more than the limits: the machine may be busy."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streams")
    make_bundle(folder / "bundle")
    make_keys(folder / "keys")
    return folder


@pytest.fixture(scope="module")
def captures(place):
    return Captures(open_bundle(place / "bundle"), b"")


def against(place, story, secure=False, limits=LIMITS):
    """Run `story(server, port, open)` beside a server; `open` makes a connection, encrypted where that is wanted."""
    from splitimpera.deploy.keys import KeyFiles

    files = KeyFiles(place / "keys")
    security = ServerSecurity(files.server, files.server_key, files.authority) if secure else None
    known = ClientSecurity(files.authority, files.client, files.client_key)

    async def run():
        async with Server(open_bundle(place / "bundle"), limits=limits) as server:
            _, port = await server.start(HOST, 0, security)

            def opened():
                sock = tcp(port)
                return client_context(known).wrap_socket(sock, server_hostname=HOST) if secure else sock

            return await story(server, port, opened)

    return asyncio.run(run())


async def all_gone(server):
    async with asyncio.timeout(WAIT_S):
        while server._clients or len(server._listeners[0].sessions):
            await asyncio.sleep(0.01)


STALLS = {
    "silence": lambda _: b"",
    "half a header": lambda c: c.hello_plain[:7],
    "half a greeting": lambda c: c.hello_plain[:30],
    "silence after the greeting": lambda c: c.hello_plain,
    "half a frame": lambda c: c.hello_plain + c.frame[:100],
    "a frame that is said to be long": lambda c: (
        c.hello_plain + HEADER.pack(1 << 28 | Kind.FRAME << 24, c.hop.number, 1, 0, 60_000) + bytes(20_000)
    ),
}


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("stall", STALLS)
def test_who_stops_anywhere_is_closed_in_time(place, captures, stall, secure):
    async def story(server, _port, opened):
        sock = await asyncio.to_thread(opened)
        if STALLS[stall](captures):
            sock.send(STALLS[stall](captures))
        await asyncio.sleep(0.02)
        await all_gone(server)
        closed(sock)

    against(place, story, secure)


def test_who_sends_a_byte_at_a_time_is_closed_in_time(place, captures):
    async def story(server, _port, opened):
        sock, stream = opened(), captures.hello_plain + HEADER.pack(1 << 28 | 1 << 24, 1, 1, 0, 60_000) + bytes(60_000)
        sock.send(stream[:100])
        for place_ in range(100, len(stream)):
            try:
                sock.send(stream[place_ : place_ + 1])
            except OSError:
                break
            await asyncio.sleep(0.005)
            if not server._clients and place_ > 110:
                break
        assert place_ < 5000
        await all_gone(server)
        closed(sock)

    against(place, story)


def test_who_takes_no_answers_is_closed_and_holds_no_more_than_he_may(place, captures):
    async def story(server, _port, opened):
        sock = opened()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.send(captures.hello_plain)
        await asyncio.sleep(0.05)
        (session,) = server._clients
        session._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sock.setblocking(False)
        held = 0
        async with asyncio.timeout(WAIT_S):
            while server._clients:
                with suppress(BlockingIOError):
                    try:
                        sock.send((captures.frame + captures.ping) * 20)
                    except (ConnectionError, BrokenPipeError):
                        break
                await asyncio.sleep(0.001)
                held = max(held, session._waiting_bytes())
        await all_gone(server)
        closed(sock)
        return held, server.limits.most_bytes

    held, most = against(place, story)
    assert 0 < held <= most + HEADER_BYTES  # of the last message


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("hard", [False, True])
def test_who_vanishes_leaves_nothing(place, captures, secure, hard):
    """In the middle of a frame, with a reset or without a word, and without TLS's close_notify."""

    async def story(server, port, opened):
        for sent in (0, 30, len(captures.hello_plain), len(captures.hello_plain) + 100):
            sock = await asyncio.to_thread(opened)
            with suppress(ssl.SSLError):
                sock.send((captures.hello_plain + captures.frame)[:sent] or b"\x13")
            await asyncio.sleep(0.01)
            closed(sock, hard)
        await all_gone(server)
        if not secure:
            async with Client(server.bundle, f"{HOST}:{port}", "sc", insecure=True) as client:
                assert (await client.infer_async(samples()[0])).outcome == "ok"

    against(place, story, secure, Limits())
