"""Many clients on one server, for minutes: what is lost, how long responses take, how the server's memory grows."""

from __future__ import annotations

import asyncio
import os
from array import array
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
from runtime_rig import Answer, Carrier, answered, client_security, make_bundle, serve, started

from splitimpera.bundle.opened import open_bundle
from splitimpera.core.array_types import FloatArray
from splitimpera.core.errors import LinkError
from splitimpera.deploy.connection import Connection, Exchange, connect
from splitimpera.deploy.halves import device_half
from splitimpera.deploy.messages import Hello, Status
from splitimpera.deploy.sessions import Limits

PROCESSES = 2
ROOM_EACH = 4
"""Frames of a client that find room in the server's queue: no less than come while the system looks elsewhere."""
GIVE_UP_S = 5.0
READY_S = 60.0
MB = 1e6


@dataclass(frozen=True)
class Soaked:
    """What became of all frames.

    Attributes:
        latency_s: From when a frame was due until its response was complete, of those that have one.
        lost: Frames without a complete, good response, by what became of them.
        resident_bytes: Of the server, once a second.
        busy: What share of a core the server took.
    """

    frames: int
    lost: Counter[str]
    latency_s: FloatArray
    resident_bytes: FloatArray
    busy: float

    @property
    def growth_bytes(self) -> float:
        """Of the server's memory from the second minute to the last; nan where there are not three minutes."""
        minutes = len(self.resident_bytes) // 60
        if minutes < 3:
            return float("nan")
        second, last = (np.median(self.resident_bytes[60 * at : 60 * at + 60]) for at in (1, minutes - 1))
        return float(last - second)


def soak(
    folder: Path, carrier: Carrier, keys: Path, clients: int, fps: float, payload_bytes: int, seconds: float
) -> Soaked:
    """Send frames of so many clients, each at a rate of its own beginning."""
    make_bundle(folder, payload_bytes, carrier.transport, 1e10)
    own = keys if carrier.secure else None
    with ExitStack() as stack:
        server, answer = stack.enter_context(started(serve, folder, own, ROOM_EACH * clients))
        address = answered(answer)
        each = [len(range(place, clients, PROCESSES)) for place in range(PROCESSES)]
        drivers = [
            stack.enter_context(started(drive, folder, own, address, count, fps, seconds, seed))[1]
            for seed, count in enumerate(each)
        ]
        for driver in drivers:
            answered(driver, READY_S)
        for driver in drivers:
            driver.send("go")
        begun_s, busy_s, resident = monotonic(), _busy_s(server), []
        while monotonic() - begun_s < seconds:
            resident.append(_resident_bytes(server))
            sleep(max(0.0, begun_s + len(resident) - monotonic()))
        busy = (_busy_s(server) - busy_s) / (monotonic() - begun_s)
        found = [answered(driver, GIVE_UP_S + READY_S) for driver in drivers]
    return Soaked(
        sum(frames for frames, _, _ in found),
        sum((lost for _, lost, _ in found), Counter()),
        np.concatenate([np.frombuffer(latencies) for _, _, latencies in found]),
        np.array(resident),
        busy,
    )


def drive(answer: Answer, *what: Any) -> None:
    """A process of clients; answers when they are welcome, waits for a word, and answers with what became of frames."""
    asyncio.run(_drive(answer, *what))


async def _drive(
    answer: Answer,
    folder: Path,
    keys: Path | None,
    address: tuple[str, int],
    count: int,
    fps: float,
    seconds: float,
    seed: int,
) -> None:
    bundle = open_bundle(folder)
    half, rng = device_half(bundle), np.random.default_rng(seed)
    assert half.hop is not None
    payload = half(rng.random(half.input.tensors[0].spec.shape, np.float32)).payload
    assert payload is not None
    hello = Hello(bytes.fromhex(bundle.manifest.bundle))
    security = None if keys is None else client_security(keys)
    connections = [await connect(*address, half.hop, hello, security, Limits()) for _ in range(count)]
    answer.send("ready")
    await asyncio.to_thread(answer.recv)
    latencies, lost = array("d"), Counter[str]()

    def told(due_s: float, exchange: Exchange) -> None:
        response = exchange.response
        if response is None:
            lost["no response"] += 1
        elif response.status is not Status.OK:
            lost[response.status.name.lower()] += 1
        elif response.missing_bytes:
            lost["torn"] += 1
        else:
            assert exchange.response_s is not None
            latencies.append(exchange.response_s - due_s)

    async def client(connection: Connection, begin_s: float) -> None:
        loop = asyncio.get_running_loop()
        for frame in range(round(seconds * fps)):
            due_s = begin_s + frame / fps
            await asyncio.sleep(due_s - monotonic())
            try:
                connection.send(frame, payload, inf, loop.time() + GIVE_UP_S, partial(told, due_s))
            except LinkError:
                lost["not sent"] += 1

    begin_s = monotonic() + 0.1
    phases = rng.random(count) / fps
    await asyncio.gather(*(client(each, begin_s + phase) for each, phase in zip(connections, phases, strict=True)))
    frames = count * round(seconds * fps)
    give_up_s = monotonic() + GIVE_UP_S + 1
    while len(latencies) + lost.total() < frames and monotonic() < give_up_s:
        await asyncio.sleep(0.05)
    for connection in connections:
        await connection.close()
    answer.send((frames, lost, latencies.tobytes()))


def _resident_bytes(process: int) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def _busy_s(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
