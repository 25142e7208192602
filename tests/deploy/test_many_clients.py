"""64 clients on one server, by each carrier: no frame is lost, nobody waits for ever, memory stays."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path

import pytest
from small_bundle import make_bundle, samples

from splitimpera.deploy.client import parsed_address
from splitimpera.deploy.connection import connect
from splitimpera.deploy.halves import device_half
from splitimpera.deploy.keys import make_keys
from splitimpera.deploy.messages import Hello, Status
from splitimpera.deploy.security import ClientSecurity
from splitimpera.deploy.sessions import Limits

pytestmark = pytest.mark.alone

CLIENTS, FRAMES, FPS = 64, 40, 20.0


def resident_bytes(process):
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * 4096


async def asked(bundle, address, security):
    """What became of each frame of each client."""
    half = device_half(bundle)
    payload = half(samples()[0]).payload
    hello, loop = Hello(bytes.fromhex(bundle.manifest.bundle)), asyncio.get_running_loop()

    async def one(place):
        connection = await connect(*address, half.hop, hello, security, Limits())
        begun_s = loop.time() + place / CLIENTS / FPS
        futures = []
        for frame in range(FRAMES):
            await asyncio.sleep(begun_s + frame / FPS - loop.time())
            future = Future()
            connection.send(frame, payload, 10.0, loop.time() + 10.0, future.set_result)
            futures.append(asyncio.wrap_future(future))
        found = await asyncio.gather(*futures)
        await connection.close()
        return [exchange.response and exchange.response.status for exchange in found]

    return await asyncio.gather(*(one(place) for place in range(CLIENTS)))


async def watched(process, work):
    """What work comes to, and how large the process was every 50 ms meanwhile."""
    task, sizes = asyncio.create_task(work), []
    while not task.done():
        sizes.append(resident_bytes(process))
        await asyncio.sleep(0.05)
    return await task, sizes


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_sixty_four_clients(tmp_path, transport):
    bundle = make_bundle(tmp_path / "bundle", transport=transport, deadline_s=10.0)
    keys = make_keys(tmp_path / "keys")
    command = [sys.executable, "-m", "splitimpera", "serve", "bundle", "--listen", "127.0.0.1:0", "--keys", "keys"]
    options = ["--queue", "1024", "--batch", "8"]
    server = subprocess.Popen([*command, *options], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        address = parsed_address(server.stdout.readline().split(" at ")[1].split()[0])
        security = ClientSecurity(keys.authority, keys.client, keys.client_key)
        found, sizes = asyncio.run(watched(server, asked(bundle, address, security)))
        assert {status for each in found for status in each} == {Status.OK}
        later = sizes[len(sizes) // 2 :]
        assert max(later) - later[0] < 5_000_000
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
