"""A link that changes as a trace says, in front of a server: a relay on this machine, for trying things out.

What goes up passes a queue at the trace's rate, is delayed, and, over UDP, lost; what comes back is delayed alone. The
relay sees bytes, encrypted ones as well. It is as exact as timers of a program are, about a millisecond; over TCP the
two halves of the connection are acknowledged by themselves and nothing is lost, so that loss slows nothing down.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any, Self

import numpy as np

from splitimpera.core.errors import UnreachableError
from splitimpera.deploy.servers import Address
from splitimpera.records.link import Trace

SEGMENT_BYTES, SEGMENT_HEADER_BYTES, DATAGRAM_HEADER_BYTES = 1448, 52, 28
QUEUE_S = 0.25
"""What comes behind so much waiting is dropped, over TCP held back."""
READ_BYTES = 1 << 14


class ChangingLink:
    """When each packet comes through a link that changes; time is passed in, from the trace's begin on.

    Args:
        rate_bps, delay_s, loss: Where the trace does not say.
        queue_s, queue_bytes: What the queue holds: so many seconds, or so many bytes, where that is said.

    Example:
        >>> link = ChangingLink(Trace("", (0.0, 1.0), 2.0, rate_bps=(8000.0, 80000.0)), rng=np.random.default_rng(0))
        >>> [link.arrives(500, 0.0), link.arrives(1000, 0.6)]  # the second one's last 500 bytes go at the higher rate
        [0.5, 1.06]
    """

    def __init__(
        self,
        trace: Trace,
        rng: np.random.Generator,
        rate_bps: float = 1e9,
        delay_s: float = 0.0,
        loss: float = 0.0,
        queue_s: float = QUEUE_S,
        queue_bytes: int | None = None,
    ) -> None:
        self._trace, self._rng, self._queue_s, self._queue_bytes = trace, rng, queue_s, queue_bytes
        self._waiting: deque[tuple[float, int]] = deque()
        self._waiting_bytes = 0
        self._rate_bps, self._delay_s, self._loss = rate_bps, delay_s, loss
        self._free_s = self._last_s = 0.0
        self._opportunity, self._used = 0, 0

    def waits_s(self, now_s: float) -> float:
        """How long the queue is."""
        return max(self._free_s - now_s, 0.0)

    def arrives(self, size: int, now_s: float, loses: bool = True) -> float | None:
        """When a packet of so many bytes, headers included, is through; None: it is lost.

        Args:
            loses: Whether the link loses packets at all.
        """
        if loses and self._full(size, now_s):
            return None
        self._free_s = self._through(size, max(now_s, self._free_s))
        self._waiting.append((self._free_s, size))
        self._waiting_bytes += size
        if loses and self._rng.random() < self._of(self._trace.loss, now_s, self._loss):
            return None
        # a delay that falls lets no packet overtake another
        self._last_s = max(self._last_s, self._free_s + self._of(self._trace.delay_s, now_s, self._delay_s))
        return self._last_s

    def _full(self, size: int, now_s: float) -> bool:
        while self._waiting and self._waiting[0][0] <= now_s:
            self._waiting_bytes -= self._waiting.popleft()[1]
        if self._queue_bytes is None:
            return self.waits_s(now_s) > self._queue_s
        return self._waiting_bytes + size > self._queue_bytes

    def back(self, now_s: float) -> float:
        """When something comes back that was sent now."""
        return now_s + self._of(self._trace.delay_s, now_s, self._delay_s)

    def _of(self, values: tuple[float, ...], now_s: float, otherwise: float) -> float:
        if not values:
            return otherwise
        return values[bisect_right(self._trace.time_s, now_s % self._trace.period_s) - 1]

    def _through(self, size: int, begin_s: float) -> float:
        """When so many bytes have left, of which the first may at a time."""
        if self._trace.opportunity_bytes:
            return self._by_opportunities(size, begin_s)
        left_bits, now_s, trace = 8.0 * size, begin_s, self._trace
        while True:
            rounds, within_s = divmod(now_s, trace.period_s)
            place = bisect_right(trace.time_s, within_s)
            end_s = rounds * trace.period_s + (trace.time_s[place] if place < len(trace.time_s) else trace.period_s)
            rate_bps = trace.rate_bps[place - 1] if trace.rate_bps else self._rate_bps
            if rate_bps and left_bits <= rate_bps * (end_s - now_s):
                return now_s + left_bits / rate_bps
            left_bits -= rate_bps * (end_s - now_s)
            now_s = max(end_s, now_s + 1e-9)

    def _by_opportunities(self, size: int, begin_s: float) -> float:
        trace, count = self._trace, len(self._trace.time_s)

        def at_s(number: int) -> float:
            return number // count * trace.period_s + trace.time_s[number % count]

        while True:
            if at_s(self._opportunity) < begin_s:
                rounds, within_s = divmod(begin_s, trace.period_s)
                there = int(rounds) * count + bisect_right(trace.time_s, within_s)
                self._opportunity, self._used = max(self._opportunity + 1, there), 0
                continue
            taken = min(size, trace.opportunity_bytes - self._used)
            size -= taken
            self._used += taken
            if not size:
                return at_s(self._opportunity)
            self._opportunity, self._used = self._opportunity + 1, 0


class EmulatedLink:
    """A relay to a server, in a thread of its own; `with` opens and closes it.

    Args:
        server: Where what comes is sent on to.
        link: How.
        start_s: Where in the trace it begins.

    Attributes:
        address: Where clients are to go; the trace begins when it is opened.
    """

    def __init__(self, server: Address, link: ChangingLink, start_s: float = 0.0) -> None:
        self.address: Address = ("", 0)
        self._server, self._link, self._start_s = server, link, start_s
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="splitimpera-relay", daemon=True)
        self._begun_s = 0.0
        self._closing: list[Callable[[], object]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        except OSError as failure:
            self._end()
            raise UnreachableError(f"{self._server[0]}:{self._server[1]} cannot be reached: {failure}") from None
        return self

    def __exit__(self, *failure: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._end()

    @property
    def trace_s(self) -> float:
        """Where in the trace it is now."""
        return monotonic() - self._begun_s

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> None:
        server = await asyncio.start_server(self._joined, "127.0.0.1", 0, limit=READ_BYTES)
        self._closing.append(server.close)
        self.address = server.sockets[0].getsockname()[:2]
        family, _, _, _, there = (await self._loop.getaddrinfo(*self._server, type=socket.SOCK_DGRAM))[0]
        uplink = _Uplink(self, family, (str(there[0]), int(there[1])))
        transport, _ = await self._loop.create_datagram_endpoint(lambda: uplink, local_addr=self.address)
        self._closing += [transport.close, uplink.close]
        self._begun_s = monotonic() - self._start_s

    async def _close(self) -> None:
        for close in self._closing:
            close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    # What passes; in the loop ----------------------------------------------------------------------------------------

    def up(self, size: int, call: Callable[..., object], *arguments: Any, loses: bool = True) -> None:
        """Call something when so many bytes are through; never, where they are lost."""
        arrives_s = self._link.arrives(size, self.trace_s, loses)
        if arrives_s is not None:
            self._loop.call_at(self._begun_s + arrives_s, call, *arguments)

    def down(self, call: Callable[..., object], *arguments: Any) -> None:
        """Call something when what is sent back now has come."""
        self._loop.call_at(self._begun_s + self._link.back(self.trace_s), call, *arguments)

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A TCP connection, until either end is closed."""
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._server, limit=READ_BYTES)
        except OSError:
            writer.close()
            return
        ways = [
            asyncio.create_task(self._upwards(reader, far_writer)),
            asyncio.create_task(self._downwards(far_reader, writer)),
        ]
        self._tasks.update(ways)
        await asyncio.wait(ways)
        self._tasks.difference_update(ways)
        for each in (writer, far_writer):
            each.close()

    async def _upwards(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(SEGMENT_BYTES):
                self.up(len(data) + SEGMENT_HEADER_BYTES, _written, writer, data, loses=False)
                while (waits_s := self._link.waits_s(self.trace_s)) > QUEUE_S:
                    await asyncio.sleep(waits_s - QUEUE_S)
        self.up(SEGMENT_HEADER_BYTES, writer.close, loses=False)

    async def _downwards(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(READ_BYTES):
                self.down(_written, writer, data)
                await writer.drain()
        self.down(writer.close)


class _Uplink(asyncio.DatagramProtocol):
    """Datagrams of clients, each of whom has a socket to the server of its own."""

    def __init__(self, relay: EmulatedLink, family: int, server: Address) -> None:
        self._relay, self._family, self._server = relay, family, server
        self._transport: asyncio.DatagramTransport | None = None
        self._sockets: dict[Address, socket.socket] = {}

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, address: Address) -> None:
        there = self._sockets.get(address) or self._joined(address)
        self._relay.up(len(data) + DATAGRAM_HEADER_BYTES, _sent, there, data)

    def _joined(self, client: Address) -> socket.socket:
        made = self._sockets[client] = socket.socket(self._family, socket.SOCK_DGRAM)
        made.setblocking(False)
        made.connect(self._server)

        def came() -> None:
            with suppress(OSError):
                while True:
                    data = made.recv(1 << 16)
                    if self._transport is not None:
                        self._relay.down(self._transport.sendto, data, client)

        asyncio.get_running_loop().add_reader(made, came)
        return made

    def close(self) -> None:
        for made in self._sockets.values():
            asyncio.get_running_loop().remove_reader(made)
            made.close()


def _sent(there: socket.socket, data: bytes) -> None:
    with suppress(OSError):  # nobody listens, or the socket is closed
        there.send(data)


def _written(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.is_closing():
        writer.write(data)
