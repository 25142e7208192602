"""What joins two programs, whatever carries it: messages go in on one side and come out on the other, or not at all.

A carrier makes sessions: `streams` over TCP and TLS, where nothing is lost; `datagrams` over UDP and DTLS, where what
is lost stays lost, but for `udp-arq`. Every carrier passes the same suite of tests (tests/contracts).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf
from typing import Protocol

from splitimpera.codec.framing import BYTES_KEPT, FRAMES_KEPT, Kind, ReceivedFrame
from splitimpera.core.errors import LinkError
from splitimpera.records.traffic import Payload


@dataclass(frozen=True)
class Message:
    """Something that came.

    Attributes:
        frame: The frame, with its gaps where a deadline has passed.
        first_s, last_s: When its first byte came and when it was complete or used, by `time.monotonic`.
        lost_packets: How many of its packets never came.
    """

    frame: ReceivedFrame
    first_s: float
    last_s: float
    lost_packets: int = 0


@dataclass(frozen=True)
class Limits:
    """How much one peer may make the other hold.

    Attributes:
        most_bytes: Largest frame, and all frames in flight together.
        most_frames: Frames in flight at once.
        idle_s: A session in which so long nothing came is closed; so is one whose frame makes no headway.
        greeting_s: A peer that has not been taken in after so long is given up.
    """

    most_bytes: int = BYTES_KEPT
    most_frames: int = FRAMES_KEPT
    idle_s: float = 30.0
    greeting_s: float = 5.0


@dataclass(frozen=True)
class Pace:
    """How datagrams are put onto the link.

    Attributes:
        packet_bytes: Room for data in one, after the header.
        rate_bps: No faster than this, headers included; infinite: as fast as the system takes them.
        header_bytes: What comes with each on the wire: IP, UDP, DTLS, the frame's header, the link's.
        again: Whether lost ones are sent again as long as they can come in time (`udp-arq`).
        interleaved: Whether neighbours are sent apart from each other (`udp-interleaved`).
    """

    packet_bytes: int
    rate_bps: float = inf
    header_bytes: int = 0
    again: bool = False
    interleaved: bool = False


class Session(Protocol):
    """One peer. All of it happens in one event loop.

    Attributes:
        peer: The other end, as logs name it.
        carrier: "tcp" or "udp".
        round_trip_s: The smallest round trip seen; infinite before the first.
        on_message: Called with each message that came.
        on_close: Called once, with what went wrong, or None after an orderly end.
        on_ping, on_pong: Called when a ping was sent and when it was answered, with its number and that time.
    """

    peer: str
    carrier: str
    round_trip_s: float
    on_message: Callable[[Message], None]
    on_close: Callable[[LinkError | None], None]
    on_ping: Callable[[int, float], None]
    on_pong: Callable[[int, float], None]

    def settle(self, limits: Limits, pace_of: Callable[[int], Pace]) -> None:
        """Go by what is known once a peer has greeted: how much it may send, and how its hops' datagrams are sent.

        Args:
            pace_of: Told the number of a hop, known or not.
        """
        ...

    def send(self, kind: Kind, number: int, frame: int, payload: Payload, time_left_s: float = inf) -> int:
        """Hand a message to the system, without waiting.

        Args:
            number: The hop's number.
            time_left_s: Until the frame's deadline.

        Returns:
            how many packets it takes.

        Raises:
            LinkError: the session is closed, or more waits to be sent than may.
        """
        ...

    def ping(self) -> None:
        """Send a ping besides those that are sent anyhow; a client does."""
        ...

    async def sent(self) -> None:
        """Wait until what was sent is with the system, or the session closed."""
        ...

    def close(self, failure: LinkError | None = None) -> None:
        """End it; the peer is told where it can be."""
        ...


Accept = Callable[[Session], Awaitable[None] | None]
"""Called with each new session of a listener, once its peer is verified and before any message of it is read."""


class Listener(Protocol):
    """Where a server is reached."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, the real one where any was asked for."""
        ...

    async def close(self) -> None:
        """Take no more peers in; those that are there stay."""
        ...
