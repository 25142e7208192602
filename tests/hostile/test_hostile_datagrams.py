"""Datagrams from anywhere: nothing larger goes back than came, nothing is held for long, and no session suffers."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from contextlib import asynccontextmanager
from random import Random

import pytest
from deploy.small_bundle import make_bundle, samples
from peer_attacks import Captures, DtlsPeer, closed, mutated, tcp, udp

from splitimpera.bundle.opened import open_bundle
from splitimpera.codec.framing import HEADER, Kind, Reassembler
from splitimpera.core.errors import LinkError
from splitimpera.deploy import datagram_listener
from splitimpera.deploy.client import Client
from splitimpera.deploy.dtls import Dtls, client_dtls
from splitimpera.deploy.dtls_handshake import Handshake
from splitimpera.deploy.keys import make_keys
from splitimpera.deploy.security import ClientSecurity, ServerSecurity
from splitimpera.deploy.server import Server
from splitimpera.deploy.tls import Tls

HOST = "127.0.0.1"
TOKEN = "the right token"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datagrams")
    make_bundle(folder / "bundle", codec="uint8+zstd", transport="udp")
    return folder


@pytest.fixture(scope="module")
def bundle(place):
    return open_bundle(place / "bundle")


@pytest.fixture(scope="module")
def files(place):
    return make_keys(place / "keys")


def trusted(files):
    return ServerSecurity(files.server, files.server_key, files.authority, TOKEN)


@asynccontextmanager
async def listening(bundle, security=None):
    """A server in this process; yields it and its port."""
    async with Server(bundle) as server:
        yield server, (await server.start(HOST, 0, security))[1]


async def answers(sock, wait_s=0.0):
    """The bytes of all that came to a socket."""
    await asyncio.sleep(wait_s)
    found = 0
    for _ in range(1000):
        try:
            found += len(sock.recv(1 << 16))
        except OSError:
            break
    return found


def plain_datagrams(captures, random):
    """What one may try who wants much for little, without DTLS."""
    hello, magic = captures.hello_plain, b"SEI\0"
    other = captures.message(Kind.HELLO, captures.hello(b"", random.randbytes(32)))
    nowhere = captures.message(Kind.HELLO, captures.hello(b""), number=1)
    short = captures.message(Kind.HELLO, magic)
    token = captures.message(Kind.HELLO, captures.hello(b"?"))
    empty = captures.message(Kind.HELLO, b"")
    known = [[hello] + [empty] * 20, [hello, hello, short], [other], [nowhere], [short], [token], [empty], [hello[:40]]]
    known += [[captures.message(kind, magic)] for kind in Kind]
    return known + [[mutated(random, random.choice(captures.all[:1]), captures.all)] for _ in range(150)]


@pytest.mark.parametrize("secure", [False, True])
def test_no_one_gets_more_than_he_sent_before_he_is_known_to_be_there(bundle, files, secure):
    random, captures = Random(2), Captures(bundle, b"")
    begun = Dtls(client_dtls(ClientSecurity(files.authority)), HOST)
    begun.shake()
    (client_hello,) = begun.pending()
    sequences = plain_datagrams(captures, random)
    if secure:
        least = bytearray(client_hello[:27]) + bytes(32) + b"\0\0\0\x02\xc0\x2b\x01\0"  # no extension, no session
        least[11:13] = (len(least) - 13).to_bytes(2, "big")
        least[14:17] = least[22:25] = (len(least) - 25).to_bytes(3, "big")
        sequences += [[client_hello], [client_hello] * 5, [bytes(least)], [client_hello[:60]]]
        sequences += [[mutated(random, client_hello, [client_hello])] for _ in range(300)]
        sequences += [[bytes([kind, 0xFE, 0xFD, *bytes(8), 0, 2, 2, 40])] for kind in range(18, 30)]

    async def work():
        sockets, asked = [], 0
        async with listening(bundle, trusted(files) if secure else None) as (_, port):
            for sequence in sequences:
                sock = udp(port)
                for datagram in sequence:
                    sock.send(datagram)
                    await asyncio.sleep(0.001)
                sockets.append(sock)
            for sock, sequence in zip(sockets, sequences, strict=True):
                came, went = await answers(sock, 0.001), sum(map(len, sequence))
                asked += came > 0
                assert came <= went, (came, went, sequence)
                sock.close()
        assert asked >= 3  # it does answer

    asyncio.run(work())


def test_half_open_handshakes_are_held_for_a_few_clients_only(bundle, files, monkeypatch):
    monkeypatch.setattr(datagram_listener, "HALF_OPEN_AT_MOST", 16)
    context = client_dtls(ClientSecurity(files.authority))

    async def work():
        async with listening(bundle, trusted(files)) as (_, port):
            peers = []
            for _ in range(60):
                peer = DtlsPeer(port, context)
                peer.begin()
                await asyncio.sleep(0.002)
                peer.flight()  # with its cookie, and then it is silent
                peers.append(peer)
            await asyncio.sleep(0.05)
            shown = sum(len(peer.sock.recv(1 << 16)) > 0 for peer in peers[-5:])
            found = gc.get_objects()
            held = [sum(type(one) is kind for one in found) for kind in (Handshake, Dtls)]
            for peer in peers:
                peer.sock.close()
            return shown, held[0], held[1] - len(peers)

    gc.collect()
    gc.disable()  # what is let go of is gone, and need not be looked for
    try:
        shown, handshakes, associations = asyncio.run(work())
    finally:
        gc.enable()
    assert shown == 5  # handshakes did go on
    assert handshakes <= 16
    assert associations <= 16 + 1  # and the one that asks for cookies


def test_connections_that_break_off_their_handshake_leave_nothing_behind(bundle, files):
    async def work():
        async with listening(bundle, trusted(files)) as (_, port):
            for number in range(40):
                sock = tcp(port)
                sock.send(b"\x16\x03\x01\0\x10" if number % 2 else b"GET / HTTP/1.1\r\n\r\n")
                await asyncio.sleep(0.002)
                closed(sock, hard=number % 4 > 1)
            await asyncio.sleep(0.05)
            return sum(type(one) is Tls for one in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(work()) == 0
    finally:
        gc.enable()


def test_a_packet_of_one_byte_each_takes_no_memory(bundle):
    """Frames whose packets are smaller than any that a client sends."""
    captures = Captures(bundle, b"")

    async def work():
        async with listening(bundle) as (server, port):
            sock = udp(port)
            sock.send(captures.hello_plain)
            await asyncio.sleep(0.02)
            total, start = 60_000, 1 << 28 | Kind.FRAME << 24 | (1 << 24) - 1
            for at in range(0, 4000):
                sock.send(HEADER.pack(start, captures.hop.number, 1, at, total) + b"x")
                if at % 50 == 0:
                    await asyncio.sleep(0.001)
            await asyncio.sleep(0.05)
            (session,) = server._clients
            sock.close()
            return sum(len(part.arrivals.offsets) for part in session._parts.values())

    assert asyncio.run(work()) <= 100


def test_a_frame_of_which_hardly_anything_came_takes_little_more_than_its_size():
    total, frames = 1 << 24, Reassembler(most_bytes=1 << 24)
    packet = HEADER.pack(1 << 28 | Kind.FRAME << 24, 1, 2, 5, total) + b"xx"
    tracemalloc.start()
    try:
        assert frames.add(packet) == []
        (frame,) = frames.take(frames.in_flight[0])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert frame.erased == ((0, 5), (7, total))
    assert most < 3.1 * total  # its bytes, which of them came, and what is handed on


@pytest.mark.parametrize("secure", [False, True])
def test_noise_from_a_clients_own_address_harms_no_frame(bundle, files, secure):
    """Whoever writes a client's address onto his datagrams."""
    random, captures = Random(4), Captures(bundle, b"")
    security = ClientSecurity(files.authority, files.client, files.client_key, TOKEN) if secure else None
    begun = Dtls(client_dtls(ClientSecurity(files.authority)), HOST)
    begun.shake()
    (client_hello,) = begun.pending()

    def noise():
        kind = random.choice([20, 21, 22, 23])
        epoch = random.choice([0, 1, 2])
        record = bytes([kind, 0xFE, 0xFD, 0, epoch]) + random.randbytes(6)
        body = random.choice([b"\2\x28", b"\1\0", random.randbytes(random.randint(0, 1300))])
        yield record + len(body).to_bytes(2, "big") + body
        yield mutated(random, client_hello, [client_hello])
        yield client_hello
        if secure:  # without DTLS whoever says hello may be the client, begun anew
            yield random.randbytes(random.choice([0, 1, 13, 20, 60, 1400]))
            yield captures.hello_plain
        else:
            yield mutated(random, captures.ping, [captures.ping])

    async def work():
        async with listening(bundle, trusted(files) if secure else None) as (_, port):
            client = Client(bundle, f"{HOST}:{port}", "sc", security=security, insecure=not secure)
            async with client:
                session = client._connection.session
                sender = session._put.__self__.port.socket.dup()
                outcomes = []
                for number in range(40):
                    for datagram in noise():
                        sender.send(datagram)
                    found = await client.infer_async(samples()[number % 20], deadline_s=1.0)
                    outcomes.append((found.outcome, found.lost_packets))
                sender.close()
                return outcomes

    assert asyncio.run(work()) == [("ok", 0)] * 40


def test_a_client_that_begins_anew_from_its_port_is_taken_in_and_its_old_session_goes(bundle, files):
    context = client_dtls(ClientSecurity(files.authority, files.client, files.client_key))
    captures = Captures(bundle, TOKEN.encode())

    async def work():
        async with listening(bundle, trusted(files)) as (server, port):
            sock, welcomed = udp(port), 0
            for _ in range(20):
                peer = DtlsPeer(port, context, sock)
                peer.begin()
                for _ in range(400):
                    await asyncio.sleep(0.001)
                    peer.flight()
                    if peer.dtls.done:
                        break
                assert peer.dtls.done
                peer.put([peer.dtls.sealed(captures.hello_secure)])
                for _ in range(400):
                    await asyncio.sleep(0.001)
                    try:
                        packets = peer.dtls.arrived(sock.recv(1 << 16))
                    except (OSError, LinkError):
                        continue
                    if packets:
                        welcomed += packets[0][0] & 15 == Kind.WELCOME
                        break
                assert len(server._clients) == 1
            sock.close()
            return welcomed

    assert asyncio.run(work()) == 20
