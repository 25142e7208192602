"""Datagrams let out no faster than a link takes them, so that none waits where it might be dropped."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from math import sqrt
from time import monotonic

BURST_S = 0.002
"""So far ahead of its rate a sender may be: more than a timer of the system is late."""
AT_ONCE = 32
"""After so many datagrams others have their turn."""


class Pacer:
    """A queue of packets in front of a link.

    Args:
        put: Hands a packet to the system; False where that has no room for it, `resume` is called when it has.
        rate_bps: Rate of the link.
        header_bytes: What comes with each packet on the link.
        went: Called with each packet that the system took, and when.
    """

    def __init__(
        self,
        put: Callable[[bytes], bool],
        rate_bps: float,
        header_bytes: int,
        went: Callable[[bytes, float], None] | None = None,
    ) -> None:
        self.waiting_bytes = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self._put, self._went = put, went
        self._byte_s, self._header_bytes = 8 / rate_bps, header_bytes
        self._queue: deque[bytes] = deque()
        self._next_s = 0.0
        self._handle: asyncio.Handle | None = None
        self._blocked = False
        self._loop = asyncio.get_running_loop()

    def takes_s(self, size: int) -> float:
        """How long the link takes for a packet of so many bytes."""
        return (size + self._header_bytes) * self._byte_s

    @property
    def waiting_s(self) -> float:
        """How long the link takes for what it was given and for what waits."""
        busy_s = max(self._next_s + BURST_S - monotonic(), 0.0)
        return busy_s + (self.waiting_bytes + len(self._queue) * self._header_bytes) * self._byte_s

    def add(self, packets: Iterable[bytes]) -> None:
        """Queue packets; what may go at once is gone afterwards."""
        before = len(self._queue)
        self._queue.extend(packets)
        self.waiting_bytes += sum(len(self._queue[place]) for place in range(before, len(self._queue)))
        self.idle.clear()
        if self._handle is None and not self._blocked:
            self._run()

    def resume(self) -> None:
        """The system has room again."""
        self._blocked = False
        if self._handle is None:
            self._run()

    def stop(self) -> None:
        """Drop what waits."""
        if self._handle is not None:
            self._handle.cancel()
        self._queue.clear()
        self.waiting_bytes = 0
        self.idle.set()

    def _run(self) -> None:
        self._handle = None
        now_s = monotonic()
        self._next_s = max(self._next_s, now_s - BURST_S)
        for _ in range(AT_ONCE):
            if not self._queue:
                self.idle.set()
                return
            if self._next_s > now_s:
                self._handle = self._loop.call_later(self._next_s - now_s, self._run)
                return
            packet = self._queue[0]
            if not self._put(packet):
                self._blocked = True
                return
            if not self._queue:
                return  # it was stopped
            self._queue.popleft()
            self.waiting_bytes -= len(packet)
            self._next_s += self.takes_s(len(packet))
            if self._went is not None:
                self._went(packet, now_s)
        self._handle = self._loop.call_soon(self._run)


def interleaved(packets: list[bytes]) -> list[bytes]:
    """Packets in strides of the square root of their number, rounded up: a burst of losses hits no neighbours.

    >>> interleaved([b"0", b"1", b"2", b"3", b"4"])
    [b'0', b'3', b'1', b'4', b'2']
    """
    stride = int(sqrt(len(packets)))
    stride += stride * stride < len(packets)
    return [packet for offset in range(stride) for packet in packets[offset::stride]]
