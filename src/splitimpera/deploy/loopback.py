"""Two sessions joined in memory: datagrams as they are on a link, without sockets."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from time import monotonic

import numpy as np

from splitimpera.codec.framing import Kind, read_header
from splitimpera.core.errors import LinkError
from splitimpera.deploy.datagram_session import DatagramSession
from splitimpera.deploy.sessions import Limits, Pace


def joined(
    limits: Limits,
    pace: Pace,
    drops: Collection[int] = (),
    loss: float = 0.0,
    rng: np.random.Generator | None = None,
    delay_s: float = 0.0,
) -> tuple[DatagramSession, DatagramSession]:
    """A client's session and a server's.

    Args:
        drops: Which packets of frames from the client are lost, counted from 0 as they are sent; repetitions count.
        loss: Probability that any packet of a frame or response is lost, by `rng`.
        delay_s: What a packet takes one way.
    """
    loop = asyncio.get_running_loop()
    frames_sent = 0
    ends: list[DatagramSession] = []

    def lost(packet: bytes) -> bool:
        nonlocal frames_sent
        header = read_header(packet)
        if header is None or header.id.kind not in (Kind.FRAME, Kind.RESPONSE):
            return False
        ordinal = frames_sent
        frames_sent += header.id.kind is Kind.FRAME
        if header.id.kind is Kind.FRAME and ordinal in drops:
            return True
        return rng is not None and bool(rng.random() < loss)

    def towards(place: int) -> Callable[[bytes], bool]:
        flying: deque[bytes] = deque()

        def put(packet: bytes) -> bool:
            if not lost(packet):
                flying.append(packet)
                loop.call_later(delay_s, land)
            return True

        def land() -> None:
            ends[place].arrived(flying.popleft(), monotonic())

        return put

    def hang_up(place: int) -> Callable[[LinkError | None], None]:
        return lambda _failure: ends[place].ended()

    ends.append(DatagramSession("loopback server", False, limits, lambda _number: pace, towards(1), hang_up(1)))
    ends.append(DatagramSession("loopback client", True, limits, lambda _number: pace, towards(0), hang_up(0)))
    for end in ends:
        end.take()
    return ends[0], ends[1]
