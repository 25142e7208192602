"""DTLS in the event loop: a handshake with its timer, and what comes after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

from splitimpera.core.errors import LinkError, UnreachableError
from splitimpera.deploy.datagram_session import DatagramSession
from splitimpera.deploy.dtls import Dtls


class Handshake:
    """A DTLS handshake under way, with its timer.

    Args:
        send: Takes datagrams to the peer.
        failed: Called once, where it fails.
        patience_s: It has failed after so long; infinite: somebody else looks after that.
    """

    def __init__(
        self,
        dtls: Dtls,
        send: Callable[[bytes], object],
        failed: Callable[[LinkError], None],
        random: bytes = b"",
        patience_s: float = inf,
    ) -> None:
        self.dtls, self.random = dtls, random
        self._send, self._failed = send, failed
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.TimerHandle | None = None
        if patience_s < inf:
            self._end = self._loop.call_later(patience_s, failed, UnreachableError("the handshake takes too long"))

    def go_on(self, step: Callable[[], object]) -> bool:
        """Take a step; whether the handshake is done."""
        self.stop()
        try:
            step()
        except LinkError as failure:
            self.flush()
            self._failed(failure)
            return False
        self.flush()
        timeout_s = self.dtls.timeout_s
        if timeout_s is not None:
            self._timer = self._loop.call_later(timeout_s, self.go_on, self.dtls.timed_out)
        return self.dtls.done

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def end(self) -> None:
        """Let go of it; no timer holds it any longer."""
        self.stop()
        if self._end is not None:
            self._end.cancel()

    def flush(self) -> None:
        for datagram in self.dtls.pending():
            self._send(datagram)


def opened_for(
    dtls: Dtls, datagram: bytes, session: DatagramSession, now_s: float, send: Callable[[bytes], object]
) -> None:
    """Hand the packets of a datagram to its session."""
    try:
        packets = dtls.arrived(datagram)
    except LinkError as failure:
        session.close(failure)
        return
    for packet in packets:
        session.arrived(packet, now_s)
    if not packets:  # something of the handshake came again, or nothing that can be opened
        for reply in dtls.pending():
            send(reply)
    if dtls.ended:
        session.ended()
