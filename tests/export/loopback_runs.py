"""Runs of a bundle's two halves on this machine, over sockets."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager

from splitimpera.deploy.client import Client
from splitimpera.deploy.device_run import DeviceRun, run_line
from splitimpera.deploy.frame_clock import FrameClock
from splitimpera.deploy.frame_log import line_of
from splitimpera.deploy.judging import judge_of
from splitimpera.deploy.server import Server
from splitimpera.deploy.sources import open_source

FPS = 40.0


@contextmanager
def served(bundle, change=None):
    """The address of a server in a thread of its own, which may be changed before."""
    ready, stop, address = threading.Event(), [], []

    async def serve():
        async with Server(bundle) as server:
            if change is not None:
                change(server)
            address.append(await server.start("127.0.0.1", 0))
            stop.append((asyncio.get_running_loop(), server.stop_soon))
            ready.set()
            await server.serve()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(30)
    yield address[0]
    loop, end = stop[0]
    loop.call_soon_threadsafe(end)
    thread.join(30)
    assert not thread.is_alive()


def inferred(bundle, log, frames=48, plan=None):
    """A log of a run over loopback, and what it came to."""
    source = open_source("samples", bundle)
    with served(bundle) as address, Client(bundle, address, plan, insecure=True) as client:
        judge = judge_of(bundle.manifest, source.near)
        with log.open("w") as file:
            file.write(line_of(run_line(client, source, FPS, None, judge)))
            told = lambda line: file.write(line_of(line))  # noqa: E731
            run = DeviceRun(client, source, FrameClock(FPS, frames), None, told, judge=judge)
            return run.run()
