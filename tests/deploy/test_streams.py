"""Sessions over TCP and TLS: what a peer may not do, and what becomes of it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from time import monotonic

import pytest
from peers import HOST, NUMBER, End, client_security, conversation, greet, listening, opened

from splitimpera.codec.framing import HEADER, VERSION, Kind, packetise
from splitimpera.core.errors import LinkError
from splitimpera.deploy.messages import Hello
from splitimpera.deploy.sessions import Limits
from splitimpera.records.traffic import Payload

STREAMS = pytest.mark.parametrize("carrier", ["tcp", "tls"])
HELLO = packetise(Payload(Hello(bytes(32)).to_bytes()), frame=0, plan=NUMBER, kind=Kind.HELLO)[0]
IMPATIENT = Limits(most_bytes=1 << 22, idle_s=0.2, greeting_s=0.2)


async def served(limits=IMPATIENT, carrier="tcp"):
    """A listener, and its sessions to come."""
    ends = asyncio.Queue()
    return await listening(carrier, lambda session: ends.put_nowait(End(session)), limits), ends


def against(data: bytes, then: bytes = b"", dribble: bytes = b"", limits=IMPATIENT) -> LinkError | None:
    """What a server's session ends with whose client sends some bytes."""

    async def story():
        listener, ends = await served(limits)
        reader, writer = await asyncio.open_connection(*listener.address)
        writer.write(data)
        end = await ends.get()
        if then:
            await reader.readexactly(20 + 12)  # the welcome
            writer.write(then)
        for byte in dribble:
            if end.session.closed:
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.05)
        failure = await end.failure()
        writer.close()
        await listener.close()
        return failure

    return asyncio.run(story())


def header(total, kind=Kind.FRAME, offset=0, version=VERSION):
    return HEADER.pack(version << 28 | kind << 24, NUMBER, 1, offset, total)


@pytest.mark.parametrize(
    ("data", "then", "told"),
    [
        (b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", b"", "header is expected"),
        (header(10) + bytes(10), b"", "FRAME of 10 bytes is not expected before the greeting"),
        (header(1000, Kind.HELLO), b"", "a frame of 1000 bytes is announced"),
        (b"", b"", "has not been heard of within 0.2 s"),
        (HELLO[:30], b"", "has not been heard of"),
        (HELLO, header(0xFFFFFFFF), "4294967295 bytes is announced"),
        (HELLO, header(10, offset=5) + bytes(10), "header is expected"),
        (HELLO, header(10, version=2) + bytes(10), "header is expected"),
        (HELLO, header(3, Kind.RESPONSE) + bytes(3), "RESPONSE of 3 bytes is not expected here"),
        (HELLO, header(100) + bytes(10), "stopped in the middle of a frame for 0.2 s"),
        (HELLO, header(100)[:10], "stopped in the middle of a frame"),
    ],
)
def test_who_does_not_keep_to_the_protocol_is_shut_out(data, then, told):
    failure = against(data, then)
    assert isinstance(failure, LinkError)
    assert told in str(failure)


def test_a_byte_now_and_then_is_no_headway():
    failure = against(HELLO, header(100), dribble=bytes(99))
    assert "stopped in the middle of a frame" in str(failure)


def test_a_client_that_falls_silent_is_given_up():
    assert "has been silent for 0.2 s" in str(against(HELLO, header(1) + b"x"))


def test_an_announcement_takes_no_memory():
    async def story():
        limits = Limits(most_bytes=1 << 31)
        listener, ends = await served(limits)
        _, writer = await asyncio.open_connection(*listener.address)
        writer.write(HELLO + header(1 << 30) + bytes(1000))
        end = await ends.get()
        while end.session._reader.part_bytes < 1020:
            await asyncio.sleep(0.001)
        held = len(end.session._reader._data)
        end.session.close()
        writer.close()
        await listener.close()
        return held

    assert asyncio.run(story()) < 1 << 20


@STREAMS
def test_frames_of_any_size_come_one_after_the_other(carrier):
    async def story():
        async with conversation(carrier) as (client, server):
            sizes = [0, 1, 100_000, 16_364, 16_384, 3_000_000, 5]
            for frame, size in enumerate(sizes):
                client.send(frame, Payload(bytes([frame]) * size))
            messages = await server.wait(len(sizes))
            assert [(message.frame.id.frame, len(message.frame.data)) for message in messages] == list(enumerate(sizes))
            assert all(set(message.frame.data) <= {message.frame.id.frame} for message in messages)
            assert all(message.first_s <= message.last_s for message in messages)
            return [message.last_s - message.first_s for message in messages]

    times = asyncio.run(story())
    assert times[5] > 0


@STREAMS
def test_a_frame_begins_when_its_first_bytes_come(carrier):
    """Of a record nothing can be decrypted until all of it is there."""

    async def story():
        async with conversation(carrier) as (client, server):
            write, loop = client.session._transport.write, asyncio.get_running_loop()

            def halved(data):
                write(bytes(data[:6000]))
                loop.call_later(0.1, write, bytes(data[6000:]))

            client.session._transport.write = halved
            client.send(0, Payload(bytes(10_000)))
            await server.wait(1)
            client.session._transport.write = write
            client.send(1, Payload(bytes(10_000)))
            return [message.last_s - message.first_s for message in await server.wait(2)]

    halved_s, whole_s = asyncio.run(story())
    assert halved_s > 0.09
    assert whole_s < 0.09


@STREAMS
def test_no_more_waits_to_be_sent_than_may(carrier):
    async def story():
        limits = Limits(most_bytes=1 << 20)
        async with conversation(carrier, limits=limits) as (client, server):
            server.session._transport.pause_reading()
            while client.session._waiting_bytes() < 1 << 19:
                client.send(0, Payload(bytes(1 << 19)))
            with pytest.raises(LinkError, match="are too many"):
                client.send(0, Payload(bytes(1 << 20)))
            waiting = client.session._waiting_bytes()
            assert waiting <= 1 << 21
            with pytest.raises(LinkError, match="are too many"):
                client.send(0, Payload(bytes((1 << 20) + 1)))
            server.session._transport.resume_reading()
            await asyncio.wait_for(client.session.sent(), 10)
            assert client.session._waiting_bytes() == 0
            client.send(1000, Payload(b"x"))

    asyncio.run(story())


@STREAMS
def test_an_orderly_end_is_none_of_anyones_faults(carrier):
    async def story():
        async with conversation(carrier) as (client, server):
            client.session.close()
            assert await server.failure() is None
            assert await client.failure() is None
            with pytest.raises(LinkError, match="closed"):
                client.send(0, Payload(b""))

    asyncio.run(story())


def test_a_connection_that_is_cut_is_one():
    async def story():
        async with conversation("tls") as (client, server):
            client.session._transport.abort()
            return await server.failure()

    assert "was cut" in str(asyncio.run(story()))


def test_small_frames_are_not_kept_back():
    async def story():
        async with conversation("tcp") as (client, server):
            return [
                end.session._transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                for end in (client, server)
            ]

    assert all(asyncio.run(story()))


def test_every_frame_begins_a_record_and_adds_22_bytes():
    async def story():
        async with conversation("tls") as (client, _):
            written = []
            write = client.session._transport.write
            client.session._transport.write = lambda data: written.append(data) or write(data)
            for size in (100, 16_364, 16_365):
                client.send(size, Payload(bytes(size)))
            return [len(data) for data in written], {data[0] for data in written}

    lengths, kinds = asyncio.run(story())
    assert lengths == [100 + 20 + 22, 16_384 + 22, 16_385 + 2 * 22]
    assert kinds == {23}


def test_a_server_that_is_not_there():
    with socket.socket() as free:
        free.bind((HOST, 0))
        with pytest.raises(LinkError, match="cannot be reached"):
            asyncio.run(opened("tcp", free.getsockname()))


@pytest.mark.parametrize("carrier", ["tcp", "tls"])
def test_another_service_at_the_port(carrier):
    async def story():
        async def other(reader, writer):
            await reader.read(100)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(100))
            writer.close()

        server = await asyncio.start_server(other, HOST, 0)
        try:
            client = End(await opened(carrier, server.sockets[0].getsockname(), IMPATIENT))
            client.send(0, Payload(Hello(bytes(32)).to_bytes()), Kind.HELLO)
            return await client.failure()
        except LinkError as failure:
            return failure
        finally:
            server.close()

    told = str(asyncio.run(story()))
    assert ("header is expected" if carrier == "tcp" else "does not speak TLS") in told


def test_a_server_that_says_nothing_is_given_up():
    async def story():
        server = await asyncio.start_server(lambda *_: asyncio.sleep(1), HOST, 0)
        begun_s = monotonic()
        try:
            await opened("tls", server.sockets[0].getsockname(), IMPATIENT)
        finally:
            server.close()
            assert monotonic() - begun_s >= IMPATIENT.greeting_s

    with pytest.raises(LinkError, match=r"does not answer within 0\.2 s"):
        asyncio.run(story())


def test_a_client_without_tls_learns_that_the_server_wants_it():
    async def story():
        listener, _ = await served(Limits(), "tls")
        client = End(await opened("tcp", listener.address))
        client.send(0, Payload(Hello(bytes(32)).to_bytes()), Kind.HELLO)
        failure = await client.failure()
        await listener.close()
        return failure

    assert "TLS or --insecure" in str(asyncio.run(story()))


def test_older_tls_is_refused():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(client_security().authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    async def story():
        listener, _ = await served(Limits(), "tls")
        try:
            await asyncio.open_connection(*listener.address, ssl=context, server_hostname="localhost")
        finally:
            await listener.close()

    with pytest.raises((ssl.SSLError, ConnectionError)):
        asyncio.run(story())


def test_clients_that_never_greet_give_way():
    async def story():
        listener, ends = await served(Limits())
        listener.sessions.most = 3
        writers = [(await asyncio.open_connection(*listener.address))[1] for _ in range(3)]
        silent = [await ends.get() for _ in range(3)]
        client = End(await opened("tcp", listener.address))
        await greet(client)
        assert "too many clients" in str(await silent[0].failure())
        assert not silent[1].session.closed
        client.session.close()
        for writer in writers:
            writer.close()
        for end in silent:
            end.session.close()
        await listener.close()

    asyncio.run(story())


def test_a_program_that_takes_its_time_misses_nothing():
    async def story():
        ends = []

        async def accept(session):
            await asyncio.sleep(0.05)
            ends.append(End(session))

        for carrier in ("tcp", "tls", "udp", "dtls"):
            listener = await listening(carrier, accept)
            client = End(await opened(carrier, listener.address))
            await greet(client)
            client.session.close()
            ends.pop().session.close()
            await listener.close()

    asyncio.run(story())
