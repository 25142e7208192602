"""Two ends of a session in one event loop: what goes in at one side comes out at the other."""

from __future__ import annotations

import asyncio
from itertools import count
from math import inf
from time import monotonic

from splitimpera.codec.framing import FrameId, ReceivedFrame
from splitimpera.core.errors import LinkError
from splitimpera.deploy.sessions import Message


class MemorySession:
    """One end.

    Attributes:
        gaps: What is missing of each frame that is sent from here, as byte ranges.
        came: Messages that came before anybody listened, or all of them.
    """

    _peers = count()

    def __init__(self, carrier="tcp"):
        self.peer = f"memory {next(self._peers)}"
        self.carrier = carrier
        self.round_trip_s = inf
        self.came = []
        self.on_message = self.came.append
        self.on_close = self.ended_with
        self.other = None
        self.closed = False
        self.failures = []
        self.gaps = ()
        self.refuses = False

    def ended_with(self, failure):
        self.failures.append(failure)

    def settle(self, limits, pace_of):
        self.limits, self.pace_of = limits, pace_of

    def send(self, kind, number, frame, payload, time_left_s=inf):
        if self.closed or self.refuses:
            raise LinkError("the session is closed")
        data, gaps = bytearray(payload.data), self.gaps if kind == 1 else ()
        for start, end in gaps:
            data[start:end] = bytes(end - start)
        received = ReceivedFrame(FrameId(kind, number, frame, len(data)), bytes(data), tuple(gaps), time_left_s)
        asyncio.get_running_loop().call_soon(self._deliver, received)
        return 1

    def _deliver(self, received):
        now_s = monotonic()
        if not self.other.closed:
            self.other.on_message(Message(received, now_s, now_s, len(received.erased)))

    async def sent(self):
        await asyncio.sleep(0)

    def close(self, failure=None):
        if not self.closed:
            self.closed = True
            loop = asyncio.get_running_loop()
            loop.call_soon(self.on_close, failure)
            loop.call_soon(self.other.close)


def pair(carrier="tcp"):
    ends = MemorySession(carrier), MemorySession(carrier)
    ends[0].other, ends[1].other = ends[1], ends[0]
    return ends
