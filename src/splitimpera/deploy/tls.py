"""TLS in memory, by the ssl module: records in, stretches of a stream out, and the other way round; no sockets."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np

from splitimpera.codec.framing import StreamReader
from splitimpera.core.errors import LinkError
from splitimpera.deploy.security import refused

CIPHER_BYTES = 1 << 18


class Tls:
    """TLS 1.3 between a session and its connection.

    Attributes:
        room: Where bytes from the connection go; `arrived` is told how many.
        ended: The peer said that this was all.
    """

    def __init__(self, context: ssl.SSLContext, serving: bool, server_name: str | None) -> None:
        self.room = np.empty(CIPHER_BYTES, np.uint8).data  # pages that are never used take no memory
        self.shaken_hands = self.ended = False
        self._came, self._goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._came, self._goes, serving, server_name)
        self._read: Callable[[int, memoryview], int] = self._object.read  # type: ignore[assignment]  # into a buffer

    def arrived(self, size: int) -> None:
        self._came.write(self.room[:size])

    def shaken(self) -> bool:
        """Go on with the handshake; whether it is done. Raises ssl.SSLError."""
        with suppress(ssl.SSLWantReadError):
            self._object.do_handshake()
            self.shaken_hands = True
        return self.shaken_hands

    def pending(self) -> bytes:
        """What waits to be sent: of the handshake, or an alert."""
        return self._goes.read()

    def sealed(self, data: bytes | memoryview) -> bytes:
        """Data as records."""
        self._object.write(data)
        return self._goes.read()

    def opened(self, reader: StreamReader) -> Iterator[int]:
        """Decrypt into a reader's room; yields how much there is. Raises ssl.SSLError."""
        while size := self._filled(reader.room()):
            yield size

    def _filled(self, room: memoryview) -> int:
        """How much of a room is filled with what came."""
        at = 0
        try:
            while at < len(room) and (self._came.pending or self._object.pending()):
                size = self._read(len(room) - at, room[at:])
                if not size:
                    self.ended = True
                    break
                at += size
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return at

    def farewell(self) -> bytes:
        """Tell the peer that this was all."""
        if self.shaken_hands:
            with suppress(ssl.SSLError):
                self._object.unwrap()
        return self._goes.read()


def handshake_fault(failure: ssl.SSLError, serving: bool) -> LinkError:
    """What to tell of a fault."""
    problem = getattr(failure, "verify_message", "") or failure.reason or str(failure)
    return refused(problem, of="client" if serving else "server")
