"""A hundred thousand datagrams and connections of strangers, and a client that is served all the while."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import numpy as np
import pytest
from peers import NUMBER, End, client_security, greet, listening, opened

from splitimpera.codec.framing import HEADER, VERSION, Kind, packetise
from splitimpera.deploy.dtls import Dtls, client_dtls
from splitimpera.deploy.messages import Hello
from splitimpera.deploy.sessions import Limits, Pace
from splitimpera.records.traffic import Payload

pytestmark = pytest.mark.alone

DATAGRAMS, CONNECTIONS, TURN, STRANGERS = 50_000, 500, 50, 8
LIMITS = Limits(most_bytes=1 << 20, most_frames=16)
HELLO = packetise(Payload(Hello(bytes(32)).to_bytes()), frame=0, plan=NUMBER, kind=Kind.HELLO)[0]


def hostile_datagrams(rng):
    """Nonsense, and what is nearly sense: cut, changed, repeated, with claims of any size."""
    dtls = Dtls(client_dtls(client_security()), "localhost")
    dtls.shake()
    hello = dtls.pending()[0]
    while True:
        kind, number = int(rng.integers(0, 9)), int(rng.integers(0, 1 << 32))
        total = int(rng.choice([0, 1, 100, 1 << 20, (1 << 32) - 1]))
        header = HEADER.pack(
            VERSION << 28 | kind << 24 | number & 0xFFFFFF, NUMBER, number, number % (total + 1), total
        )
        for sound in (header + rng.bytes(int(rng.integers(0, 60))), hello, HELLO, b"\x17\xfe\xfd\0\1" + rng.bytes(80)):
            yield sound
            yield sound[: int(rng.integers(0, len(sound)))]
            changed = bytearray(sound)
            changed[int(rng.integers(0, len(sound)))] ^= 1 << int(rng.integers(0, 8))
            yield bytes(changed)


@pytest.mark.slow
@pytest.mark.parametrize("carrier", ["udp", "dtls"])
def test_a_client_is_served_whatever_strangers_send(carrier):
    rng = np.random.default_rng(0)

    async def story():
        ends = []
        listener = await listening(carrier, lambda session: ends.append(End(session)), LIMITS, Pace(1000, again=True))
        client = End(await opened(carrier, listener.address, LIMITS, Pace(1000, again=True)))
        await greet(client)
        strangers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(STRANGERS)]
        datagrams = hostile_datagrams(rng)
        for turn in range(DATAGRAMS // TURN):
            for place in range(TURN):
                strangers[place % STRANGERS].sendto(next(datagrams), listener.address)
            client.send(turn, Payload(bytes(3000)), time_left_s=10.0)
            (message,) = (await ends[0].wait(turn + 1))[-1:]
            assert (message.frame.id.frame, message.frame.complete) == (turn, True)
        held = [len(end.session._parts) for end in ends]
        sessions, handshakes = len(listener._sessions), len(listener._handshakes)
        for stranger in strangers:
            stranger.close()
        for end in (client, *ends):
            end.session.close()
        await listener.close()
        return held, sessions, handshakes

    held, sessions, handshakes = asyncio.run(story())
    assert max(held) <= LIMITS.most_frames
    assert sessions <= 1 + STRANGERS
    assert handshakes == 0


@pytest.mark.slow
def test_connections_that_say_anything_are_closed():
    rng = np.random.default_rng(0)

    async def story():
        ends = []
        listener = await listening("tcp", lambda session: ends.append(End(session)), LIMITS)
        client = End(await opened("tcp", listener.address, LIMITS))
        await greet(client)
        datagrams = hostile_datagrams(rng)
        for turn in range(CONNECTIONS):
            _, writer = await asyncio.open_connection(*listener.address)
            with suppress(ConnectionError):
                writer.write(HELLO + b"".join(next(datagrams) for _ in range(20)))
                await writer.drain()
            writer.close()
            client.send(turn, Payload(bytes(3000)))
            await ends[0].wait(turn + 1)
        await asyncio.sleep(0.1)
        left = len(listener.sessions)
        client.session.close()
        await listener.close()
        return left

    assert asyncio.run(story()) <= 2
