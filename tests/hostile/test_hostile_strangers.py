"""Who is not known gets nothing, and nothing of what he sends is decoded: by TLS and by DTLS."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from dataclasses import replace

import pytest
from deploy.small_bundle import make_bundle, samples
from peer_attacks import Captures, DtlsPeer, tcp

from splitimpera.bundle.opened import open_bundle
from splitimpera.codec.framing import StreamReader
from splitimpera.core.errors import LinkError
from splitimpera.deploy.client import Client
from splitimpera.deploy.dtls import client_dtls
from splitimpera.deploy.keys import make_keys
from splitimpera.deploy.messages import Reason, Refusal
from splitimpera.deploy.security import ClientSecurity, ServerSecurity, client_context
from splitimpera.deploy.server import Server

HOST, TOKEN = "127.0.0.1", "a token that is long enough"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("strangers")
    make_bundle(folder / "bundle", codec="uint8+zstd")
    make_keys(folder / "keys")
    make_keys(folder / "others")
    return folder


@pytest.fixture(scope="module")
def bundle(place):
    return open_bundle(place / "bundle")


class Spied:
    """A server that keeps note of all that is decoded and run."""

    def __init__(self, bundle):
        self.server, self.calls = Server(bundle), []
        for half in self.server.halves.values():
            object.__setattr__(half, "codec", Spy(half.codec, self.calls))
            object.__setattr__(half, "layers", replace(half.layers, program=self.noted(half.layers.program)))

    def noted(self, program):
        def run(tensors):
            self.calls.append("run")
            return program(tensors)

        return run


class Spy:
    def __init__(self, codec, calls):
        self._codec, self._calls = codec, calls

    def __getattr__(self, name):
        if name == "decode":
            self._calls.append(name)
        return getattr(self._codec, name)


def frames_in(data):
    return StreamReader().feed(data)


def by_tls(port, context, messages):
    """What a server says to messages over TLS, in the clear; empty: nothing."""
    found = b""
    with suppress(OSError), tcp(port) as raw, context.wrap_socket(raw, server_hostname=HOST) as sock:
        for message in messages:
            sock.sendall(message)
        while part := sock.recv(1 << 16):
            found += part
    return found


def by_dtls(port, context, messages):
    """The same over DTLS."""
    peer, found = DtlsPeer(port, context), b""
    with suppress(LinkError):
        peer.begin()
        peer.flight(0.4)
        if peer.dtls.done:
            peer.put([peer.dtls.sealed(message) for message in messages])
            peer.sock.setblocking(True)
            peer.sock.settimeout(0.4)
            with suppress(OSError):
                while not peer.dtls.ended:
                    found += b"".join(peer.dtls.arrived(peer.sock.recv(1 << 16)))
    peer.sock.close()
    return found


def by_tcp(port, _, messages):
    found = b""
    with suppress(OSError), tcp(port) as sock:
        for message in messages:
            sock.sendall(message)
        while part := sock.recv(1 << 16):
            found += part
    return found


def by_udp(port, _, messages):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((HOST, port))
        for message in messages:
            sock.send(message)
        sock.settimeout(0.2)
        with suppress(OSError):
            return sock.recv(1 << 16)
    return b""


@pytest.mark.parametrize("carrier", ["tcp", "udp"])
def test_nothing_of_a_stranger_is_decoded_and_he_gets_nothing(bundle, place, carrier):
    files, others = make_keys(place / "keys", force=True), make_keys(place / "others", force=True)
    known = ClientSecurity(files.authority, files.client, files.client_key, TOKEN)
    captures, wrong = Captures(bundle, TOKEN.encode()), Captures(bundle, b"wrong")
    greeted, unknown = [captures.hello_secure, captures.frame, captures.frame], [wrong.hello_secure, wrong.frame]
    talk, bare = (by_tls, by_tcp) if carrier == "tcp" else (by_dtls, by_udp)
    contexts = client_context if carrier == "tcp" else client_dtls
    silent = [
        (bare, None, greeted),  # nothing is encrypted
        (bare, None, [captures.frame]),
        (talk, contexts(ClientSecurity(files.authority)), greeted),  # no certificate
        (talk, contexts(ClientSecurity(files.authority, others.client, others.client_key)), greeted),  # another's
        (talk, contexts(known), [captures.frame, captures.frame]),  # no greeting
        (talk, contexts(known), [captures.ping, captures.ack]),
    ]

    async def work():
        spied = Spied(bundle)
        async with spied.server as server:
            security = ServerSecurity(files.server, files.server_key, files.authority, TOKEN)
            _, port = await server.start(HOST, 0, security)
            for how, context, messages in silent:
                came = await asyncio.to_thread(how, port, context, messages)
                assert came == b"" or (how, carrier) == (by_tcp, "tcp")  # an alert, in the clear
                assert len(came) <= 7
                assert spied.calls == []
            (refusal,) = frames_in(await asyncio.to_thread(talk, port, contexts(known), unknown))
            assert Refusal.from_bytes(refusal.data).reason is Reason.TOKEN
            assert spied.calls == []
            client = Client(bundle, f"{HOST}:{port}", "sc", security=known)
            client.hop = client.hop.model_copy(update={"transport": carrier})
            async with client:
                assert (await client.infer_async(samples()[0], deadline_s=1.0)).outcome == "ok"
            assert spied.calls == ["decode", "run"]  # the spies do see

    asyncio.run(work())
