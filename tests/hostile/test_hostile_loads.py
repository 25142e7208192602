"""One client floods, one does not read, one dribbles, some die: the others wait hardly longer. Real sockets."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from contextlib import contextmanager, suppress
from functools import partial

import numpy as np
import pytest
from deploy.small_bundle import make_bundle, samples

from splitimpera.codec.framing import HEADER, VERSION, Kind
from splitimpera.deploy.connection import connect
from splitimpera.deploy.halves import device_half
from splitimpera.deploy.messages import Hello, Status
from splitimpera.deploy.sessions import Limits

pytestmark = pytest.mark.alone

log = logging.getLogger(__name__)

CLIENTS, FPS, TAKES_S = 8, 15.0, 0.005
"""Together the clients take 60 % of the program's time."""
SLICE_S, SLICES, SETTLED_S = 1.5, 10, 0.3
"""The nuisance is there in every other slice; what happens at a slice's begin counts for none."""
WORSE, TRIES = 1.5, 3
"""A machine that does something else as well may be late at any time."""
ONE_MORE_S = TAKES_S + 0.001
"""What is being run is not interrupted: on a quiet machine, where frames hardly wait, one more of them is over half."""
SERVE = """
import asyncio, sys, time
from dataclasses import replace
from splitimpera.bundle.opened import open_bundle
from splitimpera.deploy.server import Server

async def main():
    server = Server(open_bundle(sys.argv[1]), ["sc"])
    for half in server.halves.values():
        program = half.layers.program
        def slow(tensors, program=program):
            time.sleep(float(sys.argv[2]))
            return program(tensors)
        object.__setattr__(half, "layers", replace(half.layers, program=slow))
    async with server:
        print(*(await server.start("127.0.0.1", 0)), flush=True)
        await server.serve()

asyncio.run(main())
"""


@contextmanager
def serving(bundle):
    """A server whose program takes `TAKES_S`; yields its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(bundle.path), str(TAKES_S)], stdout=subprocess.PIPE, text=True
    )
    try:
        host, port = process.stdout.readline().split()
        yield host, int(port)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class Device:
    """Sends frames at a steady rate.

    Attributes:
        latencies_s: From when each was due, of those that were answered well.
        statuses: What was said of each.
    """

    def __init__(self, bundle, address):
        self.bundle, self.address = bundle, address
        self.half = device_half(bundle, "sc")
        self.payload = self.half(samples()[0]).payload
        self.latencies_s, self.statuses = [], []

    async def connected(self):
        hello = Hello(bytes.fromhex(self.bundle.manifest.bundle))
        return await connect(*self.address, self.half.hop, hello, None, Limits())

    async def run(self, fps, begin_s, end_s):
        connection, loop = await self.connected(), asyncio.get_running_loop()
        for frame in range(int(fps * (end_s - begin_s))):
            due_s = begin_s + frame / fps
            await asyncio.sleep(due_s - loop.time())
            connection.send(frame, self.payload, 10.0, loop.time() + 10, partial(self.told, due_s))
        while connection.waits():
            await asyncio.sleep(0.01)
        await connection.close()

    def told(self, due_s, exchange):
        self.statuses.append(exchange.response and exchange.response.status)
        if exchange.response is not None and exchange.response.status is Status.OK:
            self.latencies_s.append((due_s, exchange.response_s - due_s))


async def floods(bundle, address, end_s):
    """Ten times its share."""
    device = Device(bundle, address)
    await device.run(10 * FPS, asyncio.get_running_loop().time(), end_s)
    assert None not in device.statuses


async def dies(bundle, address, end_s):
    """One after the other that sends all that may wait, and is gone."""
    loop = asyncio.get_running_loop()
    device = Device(bundle, address)
    while loop.time() < end_s:
        connection = await device.connected()
        for frame in range(16):
            connection.send(frame, device.payload, 10.0, loop.time() + 10, lambda _: None)
        await asyncio.sleep(0.01)
        connection.session.close()  # without a word, over UDP
        await asyncio.sleep(SLICE_S / 2)


async def raw(bundle, address):
    """A connection that has been welcomed, and the bytes of a frame."""
    half = device_half(bundle, "sc")
    reader, writer = await asyncio.open_connection(*address, limit=256)
    hello = Hello(bytes.fromhex(bundle.manifest.bundle)).to_bytes()
    data = half(samples()[0]).payload.data

    def header(kind, size):
        return HEADER.pack(VERSION << 28 | kind << 24 | 0xFFFFFF, half.hop.number, 0, 0, size)

    writer.write(header(Kind.HELLO, len(hello)) + hello)
    await reader.readexactly(32)
    return writer, header(Kind.FRAME, len(data)) + data


async def never_reads(bundle, address, end_s):
    """Sends as much as is taken, and takes no response."""
    writer, frame = await raw(bundle, address)
    writer.transport.pause_reading()
    with suppress(ConnectionError):  # it may be closed for what it does
        while asyncio.get_running_loop().time() < end_s:
            writer.write(frame)
            await writer.drain()
            await asyncio.sleep(1 / (10 * FPS))
    writer.transport.abort()


async def dribbles(bundle, address, end_s):
    """Sends its frames byte by byte."""
    writer, frame = await raw(bundle, address)
    place = 0
    while asyncio.get_running_loop().time() < end_s:
        writer.write(frame[place % len(frame) : place % len(frame) + 1])
        place += 1
        await asyncio.sleep(0.005)
    writer.transport.abort()


async def measured(bundle, address, nuisance):
    """The 99th percentile of the well-behaved clients' latencies, without the nuisance and beside it."""
    devices, loop = [Device(bundle, address) for _ in range(CLIENTS)], asyncio.get_running_loop()
    begin_s = loop.time() + 0.5
    end_s = begin_s + SLICES * SLICE_S
    running = [
        asyncio.create_task(device.run(FPS, begin_s + place / CLIENTS / FPS, end_s))
        for place, device in enumerate(devices)
    ]
    for place in range(1, SLICES, 2):
        slice_s = begin_s + place * SLICE_S
        await asyncio.sleep(slice_s - loop.time())
        await nuisance(bundle, address, slice_s + SLICE_S)
    await asyncio.gather(*running)
    assert {status for device in devices for status in device.statuses} == {Status.OK}
    found = [[], []]
    for device in devices:
        for due_s, latency_s in device.latencies_s:
            place, into_s = divmod(due_s - begin_s, SLICE_S)
            if into_s > SETTLED_S:
                found[int(place) % 2].append(latency_s)
    return tuple(float(np.percentile(each, 99)) for each in found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("transport", "nuisance"),
    [("tcp", floods), ("udp", floods), ("tcp", dies), ("udp", dies), ("tcp", never_reads), ("tcp", dribbles)],
)
def test_others_wait_hardly_longer(tmp_path, transport, nuisance):
    bundle = make_bundle(tmp_path, transport=transport, deadline_s=10.0)
    tried = []
    with serving(bundle) as address:
        while not any(well for *_, well in tried) and len(tried) < TRIES:
            without_s, beside_s = asyncio.run(measured(bundle, address, nuisance))
            tried.append((without_s, beside_s, beside_s <= max(WORSE * without_s, without_s + ONE_MORE_S)))
            log.info("%s, %s: p99 %.1f -> %.1f ms", transport, nuisance.__name__, 1e3 * without_s, 1e3 * beside_s)
    assert any(well for *_, well in tried), tried
