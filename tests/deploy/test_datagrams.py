"""Sessions over UDP and DTLS: cookies, restarts, hostile datagrams, pace."""

from __future__ import annotations

import asyncio
import socket
from itertools import count
from math import inf
from time import monotonic

import numpy as np
import pytest
from OpenSSL import SSL
from peers import ANY, HOST, NUMBER, PATIENCE_S, PLAIN, End, client_security, conversation, greet, listening, opened

from splitimpera.codec.framing import DTLS_RECORD_BYTES, HEADER, VERSION, Kind, packetise
from splitimpera.core.errors import LinkError
from splitimpera.deploy import base_session, datagram_listener
from splitimpera.deploy.dtls import Dtls, client_dtls
from splitimpera.deploy.messages import Hello, Reason, Refusal
from splitimpera.deploy.sessions import Limits, Pace
from splitimpera.records.traffic import Payload

pytestmark = pytest.mark.alone

CARRIER = pytest.mark.parametrize("carrier", ["udp", "dtls"])
HELLO = packetise(Payload(Hello(bytes(32)).to_bytes()), frame=0, plan=NUMBER, kind=Kind.HELLO)[0]
IMPATIENT = Limits(most_bytes=1 << 20, idle_s=0.2, greeting_s=0.3)


class Wire:
    """A UDP socket in a test's own hands."""

    def __init__(self, address) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((HOST, 0))
        self.socket.setblocking(False)

    def send(self, datagram: bytes) -> None:
        self.socket.sendto(datagram, self.address)

    async def receive(self) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.get_running_loop().sock_recv(self.socket, 65536)

    async def silent(self) -> bool:
        """Whether nothing came within a while."""
        try:
            async with asyncio.timeout(0.05):
                await asyncio.get_running_loop().sock_recv(self.socket, 65536)
        except TimeoutError:
            return True
        return False

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.socket.close()


async def served(carrier, limits=ANY, pace=PLAIN, **security):
    ends = []
    listener = await listening(carrier, lambda session: ends.append(End(session)), limits, pace, **security)
    return listener, ends


async def end_of(listener, ends, *sessions):
    for end in (*sessions, *ends):
        end.session.close()
    await listener.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def client_hello() -> bytes:
    dtls = Dtls(client_dtls(client_security()), "localhost")
    dtls.shake()
    return dtls.pending()[0]


def test_hellos_are_answered_with_a_cookie_that_is_smaller_and_nothing_is_kept():
    async def story():
        listener, ends = await served("dtls")
        sizes = []
        with Wire(listener.address) as wire:
            for _ in range(200):
                hello = client_hello()
                wire.send(hello)
                sizes.append((len(await wire.receive()), len(hello)))
        kept = len(listener._handshakes) + len(listener._sessions) + len(ends)
        await end_of(listener, ends)
        return sizes, kept

    sizes, kept = asyncio.run(story())
    assert all(answer < asked for answer, asked in sizes)
    assert kept == 0


def test_a_cookie_of_another_address_is_worth_nothing():
    async def story():
        listener, ends = await served("dtls")
        dtls = Dtls(client_dtls(client_security()), "localhost")
        with Wire(listener.address) as first, Wire(listener.address) as second:
            dtls.shake()
            first.send(dtls.pending()[0])
            dtls.arrived(await first.receive())
            (with_cookie,) = dtls.pending()
            second.send(with_cookie)
            asked_again = await second.receive()
            first.send(with_cookie)
            taken = await first.receive()
        found = asked_again[13], taken[13], len(listener._handshakes)
        await end_of(listener, ends)
        return found

    assert asyncio.run(story()) == (3, 2, 1)  # HelloVerifyRequest, ServerHello


def test_half_open_handshakes_are_bounded_and_the_oldest_gives_way(monkeypatch):
    monkeypatch.setattr(datagram_listener, "HALF_OPEN_AT_MOST", 4)

    async def story():
        listener, ends = await served("dtls", IMPATIENT)
        wires = [Wire(listener.address) for _ in range(10)]
        for wire in wires:
            dtls = Dtls(client_dtls(client_security()), "localhost")
            dtls.shake()
            wire.send(dtls.pending()[0])
            dtls.arrived(await wire.receive())
            wire.send(dtls.pending()[0])
            await wire.receive()
        held = len(listener._handshakes), {address[1] for address in listener._handshakes}
        newest = {wire.socket.getsockname()[1] for wire in wires[-4:]}
        client = End(await opened("dtls", listener.address))
        await greet(client)
        await asyncio.sleep(2 * IMPATIENT.greeting_s)
        left = len(listener._handshakes)
        for wire in wires:
            wire.socket.close()
        await end_of(listener, ends, client)
        return held, newest, left

    held, newest, left = asyncio.run(story())
    assert held == (4, newest)
    assert left == 0


@CARRIER
def test_what_is_no_datagram_of_the_protocol_is_dropped_and_harms_nobody(carrier):
    rng = np.random.default_rng(0)
    hello = client_hello()

    def nonsense(kind: int) -> bytes:
        return [
            lambda: rng.bytes(rng.integers(0, 200)) if rng.random() < 0.9 else b"",
            lambda: HEADER.pack(VERSION << 28 | rng.integers(0, 16) << 24, NUMBER, 1, 0, 0xFFFFFFFF) + rng.bytes(30),
            lambda: HEADER.pack(VERSION << 28 | Kind.FRAME << 24, NUMBER, 1, 0, 10) + rng.bytes(10),
            lambda: HELLO[: rng.integers(0, len(HELLO))],
            lambda: hello[: rng.integers(0, len(hello))],
            lambda: hello[:13] + rng.bytes(len(hello) - 13),
            lambda: bytes([22, 254, 253]) + rng.bytes(100),
            lambda: bytes([23, 254, 253, 0, 1]) + rng.bytes(100),
            lambda: bytes([21, 254, 253, 0, 0]) + bytes(6) + b"\0\2\2\x28",
        ][kind]()

    async def story():
        listener, ends = await served(carrier)
        client = End(await opened(carrier, listener.address))
        await greet(client)
        port = client.session._put.__self__.port.socket
        with Wire(listener.address) as wire:
            for turn in range(300):
                wire.send(nonsense(turn % 9))
                port.sendto(nonsense(turn % 9), listener.address) if carrier == "dtls" else None
                if turn % 20 == 0:
                    await asyncio.sleep(0)
        client.send(1, Payload(bytes(5000)))
        (message,) = await ends[0].wait(1)
        found = message.frame.complete, len(ends)
        await end_of(listener, ends, client)
        return found

    assert asyncio.run(story()) == (True, 1)


def test_a_session_drops_what_makes_no_sense():
    async def story():
        async with conversation("udp") as (client, server):
            put = client.session._put
            for kind, total, data in (
                (Kind.FRAME, 10, bytes(11)),
                (Kind.FRAME, 0xFFFFFFFF, b"x"),
                (Kind.RESPONSE, 3, b"abc"),
                (Kind.WELCOME, 12, bytes(12)),
                (Kind.PING, 4, b"ab"),
                (Kind.ACK, 12, bytes(12)),
            ):
                put(HEADER.pack(VERSION << 28 | kind << 24, NUMBER, 5, 0, total) + data)
            client.send(6, Payload(b"last"))
            messages = await server.wait(1)
            return [message.frame.data for message in messages], server.session.dropped

    assert asyncio.run(story()) == ([b"last"], 6)


@CARRIER
def test_packets_that_come_twice_or_turned_round_change_nothing(carrier):
    data = np.random.default_rng(0).bytes(4321)

    async def story():
        async with conversation(carrier) as (client, server):
            packets = packetise(Payload(data), frame=3, plan=NUMBER, packet_bytes=1000)
            for packet in (*packets[::-1], *packets, packets[2]):
                client.session._put(packet)
            client.send(4, Payload(b"end"))
            return await server.wait(2)

    messages = asyncio.run(story())
    assert [message.frame.data for message in messages] == [data, b"end"]


def test_frames_in_flight_are_bounded():
    async def story():
        limits = Limits(most_bytes=10_000, most_frames=3)
        async with conversation("udp", limits=limits) as (client, server):
            for frame in range(6):
                packets = packetise(Payload(bytes(2000)), frame=frame, plan=NUMBER, packet_bytes=1000)
                client.session._put(packets[0])
            given_up = await server.wait(3)
            return [(m.frame.id.frame, m.frame.erased, m.lost_packets) for m in given_up], len(server.session._parts)

    found, left = asyncio.run(story())
    assert found == [(frame, ((1000, 2000),), 1) for frame in range(3)]
    assert left == 3


def test_a_frame_without_a_deadline_that_makes_no_headway_is_used(monkeypatch):
    monkeypatch.setattr(base_session, "PING_S", 0.05)

    async def story():
        async with conversation("udp", limits=IMPATIENT, drops=[1]) as (client, server):
            client.send(1, Payload(bytes(3000)))
            (message,) = await server.wait(1)
            return message.frame.erased

    assert asyncio.run(story()) == ((1000, 2000),)


@CARRIER
def test_the_hello_is_said_again_until_it_is_answered(carrier):
    async def story():
        listener, ends = await served(carrier)
        client = End(await opened(carrier, listener.address))
        put, lost = client.session._put, []
        client.session._put = lambda packet: lost.append(packet) or (len(lost) == 1 or put(packet))
        await greet(client)
        assert len(lost) > 1
        assert lost[0] == lost[1] == HELLO
        client.session._put = put
        put(HELLO)  # as one that was late: it is answered, and the program does not see it
        (again,) = await client.wait(1)
        count_before = len(ends[0].messages)
        await end_of(listener, ends, client)
        return again.frame.id.kind, count_before, len(ends)

    assert asyncio.run(story()) == (Kind.WELCOME, 0, 1)


def test_a_client_that_begins_anew_from_the_same_port_is_a_new_one_once_it_is_verified():
    async def story():
        listener, ends = await served("dtls")
        client = End(await opened("dtls", listener.address))
        await greet(client)
        first = client.session._put.__self__
        address = first.port.socket.getsockname()
        first.port.close()  # without a word, as a killed program
        with Wire(listener.address) as wire:
            wire.socket.close()
            wire.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            wire.socket.bind(address)
            wire.socket.setblocking(False)
            dtls = Dtls(client_dtls(client_security()), "localhost")
            dtls.shake()
            wire.send(dtls.pending()[0])
            reply = await wire.receive()
            while not dtls.done:
                dtls.arrived(reply)
                flight = dtls.pending()
                assert not flight or not ends[0].session.closed
                for datagram in flight:
                    wire.send(datagram)
                if not dtls.done:
                    reply = await wire.receive()
            wire.send(dtls.sealed(HELLO))
            packets = []
            while not packets:  # the old session's farewell comes first, which nobody can read any more
                packets = dtls.arrived(await wire.receive())
            (welcome,) = packets
        assert "began anew" in str(await ends[0].failure())
        found = welcome[0] & 15, len(ends), [end.session.closed for end in ends]
        await end_of(listener, ends)
        return found

    assert asyncio.run(story()) == (Kind.WELCOME, 2, [True, False])


def test_nothing_larger_goes_to_an_address_that_is_not_verified():
    async def story():
        def accept(session):
            text = Refusal(Reason.BUNDLE, "another bundle is served here " * 10).to_bytes()

            def refuse(_):
                session.send(Kind.REFUSAL, NUMBER, 0, Payload(text))
                session.close()

            session.on_message = refuse

        listener = await listening("udp", accept)
        with Wire(listener.address) as wire:
            wire.send(HELLO)
            answer = await wire.receive()
            assert await wire.silent()
        await listener.close()
        return answer

    answer = asyncio.run(story())
    assert len(answer) <= len(HELLO)
    assert Refusal.from_bytes(answer[20:]).reason is Reason.BUNDLE


def test_strangers_get_nothing():
    """A client without a certificate of the authority, where one is wanted."""

    async def story():
        listener, ends = await served("dtls")
        told = ""
        try:
            await opened("dtls", listener.address, certificate=None, key=None)
        except LinkError as failure:
            told = str(failure)
        await end_of(listener, ends)
        return told, ends

    told, ends = asyncio.run(story())
    assert "wants something else: a certificate" in told
    assert ends == []


def test_a_token_takes_the_place_of_a_certificate():
    async def story():
        listener, ends = await served("dtls", authority=None, token="secret")
        client = End(await opened("dtls", listener.address, certificate=None, key=None))
        await greet(client)
        await end_of(listener, ends, client)
        return len(ends)

    assert asyncio.run(story()) == 1


def test_a_server_of_another_name():
    async def story():
        listener, ends = await served("dtls")
        try:
            await opened("dtls", listener.address, server_name="elsewhere.org")
        finally:
            await end_of(listener, ends)

    with pytest.raises(LinkError, match="another name"):
        asyncio.run(story())


@CARRIER
def test_a_server_that_is_not_there(carrier):
    async def story():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind((HOST, 0))
            address = free.getsockname()
        client = End(await opened(carrier, address, IMPATIENT))
        client.send(0, Payload(Hello(bytes(32)).to_bytes()), Kind.HELLO)
        failure = await client.failure()
        assert failure is not None
        raise failure

    with pytest.raises(LinkError, match=r"nobody answers at|not been heard of"):
        asyncio.run(story())


def test_a_server_that_says_nothing_is_given_up():
    async def story():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
            mute.bind((HOST, 0))
            await opened("dtls", mute.getsockname(), IMPATIENT)

    with pytest.raises(LinkError, match=r"does not answer within 0\.3 s"):
        asyncio.run(story())


@CARRIER
def test_who_falls_silent_is_given_up(carrier):
    async def story():
        listener, ends = await served(carrier, IMPATIENT)
        client = End(await opened(carrier, listener.address))
        await greet(client)
        client.session._ping_timer.cancel()
        failure = await ends[0].failure()
        await end_of(listener, ends, client)
        return failure

    assert "has been silent for 0.2 s" in str(asyncio.run(story()))


def test_the_dtls_client_says_goodbye():
    async def story():
        async with conversation("dtls") as (client, server):
            client.session.close()
            return await server.failure()

    assert asyncio.run(story()) is None


@pytest.mark.parametrize(
    "lost",
    [
        {6},
        pytest.param({2, 3}, marks=pytest.mark.slow),
        pytest.param({5, 9, 11}, marks=pytest.mark.slow),
        pytest.param({14, 15}, marks=pytest.mark.slow),
    ],
)
def test_a_handshake_survives_lost_flights(lost):
    """The first of a flight, or any other; OpenSSL says it again after a second."""

    async def story():
        listener, ends = await served("dtls")
        ordinals = count(1)

        class Losing(asyncio.DatagramProtocol):
            client = None

            def connection_made(self, transport):
                self.transport = transport

            def datagram_received(self, data, address):
                if address != listener.address:
                    self.client = address
                if next(ordinals) not in lost:
                    self.transport.sendto(data, self.client if address == listener.address else listener.address)

        relay, _ = await asyncio.get_running_loop().create_datagram_endpoint(Losing, (HOST, 0))
        client = End(await opened("dtls", relay.get_extra_info("sockname"), Limits(greeting_s=PATIENCE_S)))
        await greet(client)
        await end_of(listener, ends, client)
        relay.close()
        return next(ordinals)

    assert asyncio.run(story()) > 16


def test_a_datagram_is_a_record_and_37_bytes_longer():
    async def story():
        async with conversation("dtls") as (client, _):
            dtls = client.session._put.__self__._dtls
            return [len(dtls.sealed(bytes(size))) - size for size in (20, 1000, 1435)]

    assert set(asyncio.run(story())) == {DTLS_RECORD_BYTES}


def test_no_flight_of_a_handshake_is_larger_than_a_packet():
    async def story():
        listener, ends = await served("dtls")
        sizes = []
        send = listener._port.send
        listener._port.send = lambda datagram, *others: sizes.append(len(datagram)) or send(datagram, *others)
        client = End(await opened("dtls", listener.address))
        await end_of(listener, ends, client)
        return sizes

    sizes = asyncio.run(story())
    assert len(sizes) > 5
    assert max(sizes) <= 1200


def test_buffers_are_as_large_as_the_system_lets():
    async def story():
        listener, ends = await served("udp")
        size = listener._port.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
            default = plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            most = plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        await end_of(listener, ends)
        return size, most, default

    size, most, default = asyncio.run(story())
    assert size == most >= default


def test_senders_keep_to_their_pace():
    """100 packets of 1000 bytes at 10 Mbit/s take no less than 80 ms, but for the burst of 2 ms."""

    async def story():
        async with conversation("udp", Pace(980, rate_bps=1e7)) as (client, server):
            begun_s = monotonic()
            client.send(1, Payload(bytes(98_000)))
            waiting = client.session._pacer.waiting_bytes
            await client.session.sent()
            return monotonic() - begun_s, waiting, (await server.wait(1))[0].frame.complete

    took_s, waiting, complete = asyncio.run(story())
    assert took_s >= 0.075
    assert waiting > 90_000
    assert complete


def test_no_more_waits_to_be_sent_than_may():
    async def story():
        async with conversation("udp", Pace(1000, rate_bps=1e4), Limits(most_bytes=10_000)) as (client, _):
            client.send(1, Payload(bytes(9000)))
            with pytest.raises(LinkError, match="are too many"):
                client.send(2, Payload(bytes(9000)))

    asyncio.run(story())


@pytest.mark.parametrize("carrier", ["loopback", "udp", "dtls", "tcp", "tls"])
def test_both_ends_know_the_smallest_round_trip(carrier):
    async def story():
        async with conversation(carrier) as (client, server):
            return client.session.round_trip_s, server.session.round_trip_s

    client_s, server_s = asyncio.run(story())
    assert 0 < client_s < inf
    assert client_s - 1e-6 <= server_s < inf


def test_sessions_outlive_their_listener():
    async def story():
        listener, ends = await served("udp")
        client = End(await opened("udp", listener.address))
        await greet(client)
        await listener.close()
        with Wire(listener.address) as wire:
            wire.send(HELLO)
            assert await wire.silent()
        client.send(1, Payload(b"still"))
        (message,) = await ends[0].wait(1)
        await end_of(listener, ends, client)
        return message.frame.data

    assert asyncio.run(story()) == b"still"


def test_no_error_of_one_association_is_left_to_the_next():
    """OpenSSL keeps errors in one queue a thread."""
    good, bad = (Dtls(client_dtls(client_security()), "localhost") for _ in range(2))
    bad.shake()
    with pytest.raises(LinkError):
        bad.arrived(bytes([21, 254, 253, 0, 0]) + bytes(6) + b"\0\2\2\x28")
    good.shake()
    assert good.pending()
    assert isinstance(good._connection, SSL.Connection)
