"""A UDP socket in the event loop."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from splitimpera.core.errors import LinkError
from splitimpera.core.files import reason

BUFFER_BYTES = 4 << 20
DATAGRAM_BYTES = 1 << 16
AT_ONCE = 64
"""After so many datagrams others have their turn."""
Address = tuple[Any, ...]


class Port:
    """A UDP socket in the event loop.

    Args:
        came: Called with each datagram and where it is from.
        failed: Called with errors of a connected socket.
    """

    def __init__(
        self, opened: socket.socket, came: Callable[[bytes, Address], None], failed: Callable[[OSError], None]
    ) -> None:
        self.socket = opened
        self._came, self._failed = came, failed
        self._room = memoryview(bytearray(DATAGRAM_BYTES))
        self._waiting: dict[Callable[[], None], None] = {}
        self._loop = asyncio.get_running_loop()
        self._closed = False
        opened.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            with suppress(OSError):  # as far as the system lets
                opened.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        self._loop.add_reader(opened, self._read)

    def send(self, datagram: bytes, address: Address | None, resume: Callable[[], None] | None = None) -> bool:
        """Send a datagram, to `address` or where the socket is connected to.

        Returns:
            whether the system took it; where it has no room, `resume` is called when it has some.
        """
        if self._closed:
            return True
        try:
            if address is None:
                self.socket.send(datagram)
            else:
                self.socket.sendto(datagram, address)
        except (BlockingIOError, InterruptedError):
            if resume is None:
                return True  # lost, as datagrams may be
            if not self._waiting:
                self._loop.add_writer(self.socket, self._writable)
            self._waiting[resume] = None
            return False
        except OSError as failure:
            if address is None or failure.errno == errno.EMSGSIZE:
                self._failed(failure)
        return True

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self.socket)
            if self._waiting:
                self._loop.remove_writer(self.socket)
            self.socket.close()

    def _writable(self) -> None:
        self._loop.remove_writer(self.socket)
        waiting, self._waiting = self._waiting, {}
        for resume in waiting:
            resume()

    def _read(self) -> None:
        for _ in range(AT_ONCE):
            if self._closed:
                return
            try:
                size, address = self.socket.recvfrom_into(self._room)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as failure:
                self._failed(failure)
                return
            self._came(bytes(self._room[:size]), address)


async def udp_socket(host: str, port: int, use: Callable[[socket.socket, Address], None]) -> socket.socket:
    """A UDP socket that is connected or bound."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, where = found[0]
        made = socket.socket(family, kind, protocol)
        try:
            use(made, where)
        except BaseException:
            made.close()
            raise
    except OSError as failure:
        raise LinkError(f"{host}:{port} cannot be used: {reason(failure)}") from None
    return made
