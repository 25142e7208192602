"""TLS in memory, by the ssl module: records in, stretches of a stream out, and the other way round; no sockets."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress

from splitimpera.codec.framing import StreamReader
from splitimpera.core.errors import LinkError
from splitimpera.deploy.security import refused

CIPHER_BYTES = 1 << 16


class Tls:
    """TLS 1.3 between a session and its connection.

    Attributes:
        room: Where bytes from the connection go; `arrived` is told how many.
        ended: The peer said that this was all.
    """

    def __init__(self, context: ssl.SSLContext, serving: bool, server_name: str | None) -> None:
        self.room = memoryview(bytearray(CIPHER_BYTES))
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

    def sealed(self, data: bytes) -> bytes:
        """Data as records."""
        self._object.write(data)
        return self._goes.read()

    def opened(self, reader: StreamReader) -> Iterator[int]:
        """Decrypt into a reader's room; yields how much there is. Raises ssl.SSLError."""
        while self._came.pending or self._object.pending():
            room = reader.room()
            try:
                size = self._read(len(room), room)
            except ssl.SSLWantReadError:
                return
            except ssl.SSLZeroReturnError:
                size = 0
            finally:
                del room
            if not size:
                self.ended = True
                return
            yield size

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
