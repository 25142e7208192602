"""Ways to servers: sessions that are opened again whenever they end, and what is known of the link they share.

Plans that are sent alike share a session; a server's way holds one for each kind of sending. All of it happens in one
event loop, but rules and estimates are read from other threads too, and are touched under one lock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Literal

from splitimpera.bundle.manifest import HopEntry
from splitimpera.core.errors import LinkError, UnreachableError
from splitimpera.deploy.adapting import Adapting
from splitimpera.deploy.connection import Connection, connect
from splitimpera.deploy.event_log import tell
from splitimpera.deploy.hops import pace
from splitimpera.deploy.link_estimate import LinkEstimate
from splitimpera.deploy.messages import Hello, Response
from splitimpera.deploy.servers import KnownServer
from splitimpera.deploy.sessions import Limits, Pace

if TYPE_CHECKING:
    from splitimpera.deploy.security import ClientSecurity

log = logging.getLogger(__name__)

AGAIN_S = 0.02
"""How often a way asks whether it may try again."""
SILENT_S = 3.5
"""A session whose pings, one a second, are not answered for so long is opened anew."""

Carrier = Literal["tcp", "udp"]


def carrier_of(hop: HopEntry) -> Carrier:
    """What carries a hop's frames."""
    return "tcp" if hop.transport == "tcp" else "udp"


class Watched:
    """A link's estimate as a session's `Watch`: under the lock, and with the session's pings told from others'."""

    def __init__(self, link: LinkEstimate, server: KnownServer, lock: Lock, place: int) -> None:
        self.link, self.heard_s = link, monotonic()
        self.adapting: Adapting | None = None
        """Where the link is the one that plans are chosen by."""
        self.trial = False
        """Whether the next frame is a trial."""
        self._server, self._lock, self._first = server, lock, place << 32

    @property
    def _followed(self) -> Adapting | None:
        """The rules, where they look at this link; they tell it what they are told."""
        return self.adapting if self.adapting is not None and self.adapting.estimate is self.link else None

    def sent(self, frame: int, size: int, packets: int, now_s: float, deadline_s: float) -> None:
        with self._lock:
            if self._followed is not None:
                self._followed.sent(frame, size, packets, now_s, deadline_s, self.trial)
            else:
                self.link.sent(frame, size, packets, now_s, deadline_s)

    def answered(self, frame: int, response: Response, now_s: float, handed_s: float | None) -> None:
        self.heard_s = now_s
        with self._lock:
            (self._followed or self.link).answered(frame, response, now_s, handed_s)

    def lost(self, frame: int, now_s: float) -> None:
        with self._lock:
            (self._followed or self.link).lost(frame, now_s)

    def probed(self, number: int, now_s: float) -> None:
        with self._lock:
            self.link.probed(self._first + number, now_s)

    def probe_answered(self, number: int, now_s: float) -> None:
        self.heard_s = now_s
        with self._lock:
            self.link.probe_answered(self._first + number, now_s)
            self._server.alive(now_s)

    def heard(self) -> None:
        """The server has welcomed a session."""
        self.heard_s = monotonic()
        with self._lock:
            self.link.heard(self.heard_s)


@dataclass(eq=False)
class Lane:
    """One kind of sending: the session for it, None where it could not be opened."""

    hop: HopEntry
    watched: Watched
    connection: Connection | None = None

    @property
    def open(self) -> bool:
        return self.connection is not None and self.connection.failure is None

    @property
    def link(self) -> LinkEstimate:
        return self.watched.link


class Way:
    """The sessions with one server.

    Args:
        hops: Of all plans that are sent there.
        patience_s: How long opening may take, after the first time.
        seconds: Over which the link is looked at.

    Attributes:
        failure: Why the latest attempt to open a session failed; None: it did not.
    """

    def __init__(
        self,
        server: KnownServer,
        hops: Iterable[HopEntry],
        hello: Hello,
        security: ClientSecurity | None,
        limits: Limits,
        lock: Lock,
        patience_s: float,
        seconds: float,
    ) -> None:
        self.server = server
        self.failure: LinkError | None = None
        self._hello, self._security, self._limits, self._lock = hello, security, limits, lock
        self._patience_s = patience_s
        self._lanes: dict[Pace | None, Lane] = {}
        self.links: dict[Carrier, LinkEstimate] = {}
        for hop in hops:
            link = self.links.setdefault(carrier_of(hop), LinkEstimate(carrier_of(hop), seconds=seconds))
            self._lanes.setdefault(self._kind(hop), Lane(hop, Watched(link, server, lock, len(self._lanes))))
        self._broken = asyncio.Event()

    def _kind(self, hop: HopEntry) -> Pace | None:
        return None if hop.transport == "tcp" else pace(hop, self._security is not None)

    def lane(self, hop: HopEntry) -> Lane:
        """The one that a hop's frames take."""
        return self._lanes[self._kind(hop)]

    def followed_by(self, adapting: Adapting) -> None:
        """Frames that are sent here count for its budget of trials."""
        for lane in self._lanes.values():
            lane.watched.adapting = adapting

    @property
    def open(self) -> bool:
        """Whether all its sessions are open."""
        return all(lane.open for lane in self._lanes.values())

    @property
    def round_trip_s(self) -> float:
        """The smallest round trip seen by the sessions that are open; infinite before the first."""
        opened = (lane.connection for lane in self._lanes.values())
        return min((each.session.round_trip_s for each in opened if each is not None), default=float("inf"))

    async def open_first(self) -> None:
        """Open all sessions, with as much time as a first greeting has.

        Raises:
            LinkError: nobody is there, somebody else answers, its certificate is not trusted, or it refuses.
        """
        with self._lock:
            attempt = self.server.begin(monotonic())
        await self._attempt(attempt, self._limits.greeting_s)
        if self.failure is not None:
            raise self.failure

    async def keep(self) -> None:
        """Open again what ends, as often as the server's circuit lets it; until it is cancelled."""
        while True:
            if self.open:
                self._broken.clear()
                try:
                    await asyncio.wait_for(self._broken.wait(), 1.0)
                except TimeoutError:
                    self._check_silence()
                continue
            with self._lock:
                attempt = self.server.begin(monotonic())
            if attempt is not None:
                await self._attempt(attempt, self._patience_s)
            await asyncio.sleep(AGAIN_S)

    async def _attempt(self, attempt: int | None, patience_s: float) -> None:
        """Open what is not open, and tell the circuit."""
        try:
            async with asyncio.timeout(patience_s):
                for lane in self._lanes.values():
                    if not lane.open:
                        await self._join(lane)
            self.failure = None
        except TimeoutError:
            self.failure = UnreachableError(
                f"{self._where} does not answer within {patience_s:g} s", hint="is the server running, and reachable?"
            )
        except LinkError as failure:
            self.failure = failure
        now_s = monotonic()
        if self.failure is not None:
            tell(log, logging.INFO, "not joined", server=self._where, failure=self.failure.problem)
        if attempt is not None:
            with self._lock:
                if self.failure is None:
                    self.server.succeeded(attempt, now_s)
                else:
                    self.server.failed(attempt, now_s, self.failure.problem)

    async def _join(self, lane: Lane) -> None:
        host, port = self.server.address
        lane.connection = None
        connection = await connect(host, port, lane.hop, self._hello, self._security, self._limits, lane.watched)
        lane.connection = connection
        lane.watched.heard()
        connection.on_end = self._broken.set
        tell(log, logging.INFO, "joined", server=self._where, carrier=carrier_of(lane.hop))

    def _check_silence(self) -> None:
        now_s = monotonic()
        for lane in self._lanes.values():
            if now_s - lane.watched.heard_s > SILENT_S:
                with self._lock:
                    self.server.breaker.trip(now_s, f"no ping was answered for {SILENT_S:g} s")
                return self.reset()
        return None

    def reset(self) -> None:
        """End all sessions: a link that was away may hold what TCP sends again for seconds after it is back."""
        for lane in self._lanes.values():
            if lane.connection is not None:
                lane.connection.session.close(LinkError(f"{self._where} could not be reached"))
            lane.connection = None
        self._broken.set()

    @property
    def _where(self) -> str:
        return f"{self.server.address[0]}:{self.server.address[1]}"

    async def close(self) -> None:
        """End all sessions in good order."""
        for lane in self._lanes.values():
            if lane.connection is not None:
                await lane.connection.close()
