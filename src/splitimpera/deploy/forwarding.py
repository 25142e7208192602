"""From a machine in the middle to the next one: frames that its layers are through with go on, answers come back.

Every client has sessions of its own with the next machine, as it has with this one. So clients take turns there as they
do here, a rate limit is that of one client, and a codec that fills gaps with the frame before finds that of the same
client; one session for all of them would have none of that. Answers go back the way that the frames came, or past the
machines in the middle (`direct_answers`); then a word does.

Where the next machine is gone, frames are finished here, if this machine has the layers for it, or else told at once
that it cannot be reached, so that whoever sent them may do so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Hashable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from math import inf
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from splitimpera.core.errors import LinkError
from splitimpera.deploy.batching import Waiting, way_s
from splitimpera.deploy.breaker import Breaker, Circuit, CircuitChange, CircuitRules
from splitimpera.deploy.connection import Exchange
from splitimpera.deploy.dispatch import Dispatch, Ran
from splitimpera.deploy.door import Peer
from splitimpera.deploy.event_log import tell
from splitimpera.deploy.halves import MiddleHalf, ReceivingHalf
from splitimpera.deploy.hops import pace
from splitimpera.deploy.messages import Hello, Onward, Status, least_patience_s
from splitimpera.deploy.servers import KnownServer
from splitimpera.deploy.serving_bundles import LOOK_S, ServedBundle
from splitimpera.deploy.sessions import Limits
from splitimpera.deploy.ways import Way
from splitimpera.records.traffic import Payload

if TYPE_CHECKING:
    from splitimpera.deploy.security import ClientSecurity

log = logging.getLogger(__name__)

ANSWER_S = 5.0
"""A response of the next machine that takes longer counts as lost, where the frame has no deadline."""
GRACE_S = 0.5
"""How long after its deadline; the client waits longer."""
SPARE_S = 0.01
"""So much earlier than it must be, a frame is begun here that the next machine has not answered."""
RULES = CircuitRules(probe_s=2.0)
"""How long the next machine is left alone; to join it again may take as long as a probe."""
HOLD_S = 0.5
"""So long a client's first frames wait until the next machine is joined."""
LEAVE_S = 1.0
WINDOW_S = 2.0
ELSEWHERE = (Status.STOPPING, Status.UNREACHABLE)
"""Answers after which a frame is finished here, where it can be."""


@dataclass(frozen=True)
class NextMachine:
    """Where frames go on to.

    Attributes:
        address: Host and port.
        security: Whom to trust and what to show there; None: nothing is encrypted.
    """

    address: tuple[str, int]
    security: ClientSecurity | None = None


@dataclass(eq=False)
class _Sent:
    """A frame that is at the next machine."""

    waiting: Waiting
    ran: Ran
    since_s: float


@dataclass(eq=False)
class _Sessions:
    """Those of one client with the next machine.

    Attributes:
        keyed: Whether answers may go to its client directly, which knows them by the numbers of its own frames.
        held: Frames that wait until it is joined for the first time; None: that took too long, or is done.
    """

    way: Way
    keyed: bool = False
    held: list[tuple[Waiting, Payload, Ran]] | None = None
    sent: dict[int, _Sent] = field(default_factory=dict)
    numbers: count[int] = field(default_factory=count)
    keeping: asyncio.Task[None] | None = None


class Forwarding:
    """Frames on to the next machine, and its answers back. All of it happens in the server's event loop.

    Args:
        next_machine: None: all plans end here.
        dispatch: Whose frames are sent on, and who answers them.
        limits: How many frames of one client may be away at once.
    """

    def __init__(self, next_machine: NextMachine | None, dispatch: Dispatch, limits: Limits) -> None:
        self.next, self._dispatch, self._limits = next_machine, dispatch, limits
        self._of: dict[Hashable, _Sessions] = {}
        self._lock = Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        address = ("", 0) if next_machine is None else next_machine.address
        self._server = KnownServer(address, 0, Breaker(RULES, np.random.default_rng(), self._changed))
        dispatch.pass_on = self.send

    # Clients

    def join(self, client: Peer, served: ServedBundle) -> None:
        """A client was taken in: open its sessions with the next machine, which learns by which key it is answered."""
        if self.next is None or not served.onward:
            return
        security = self.next.security
        token = ((security.token if security is not None else None) or "").encode()
        hello = Hello(bytes.fromhex(served.id), token=token, key=client.key, answers=client.answers)
        way = Way(self._server, served.onward, hello, security, self._limits, self._lock, RULES.probe_s, WINDOW_S)
        own = self._of[client] = _Sessions(way, keyed=client.answers is not None)
        loop = asyncio.get_running_loop()
        if self._server.breaker.allows(monotonic()) is Circuit.CLOSED:
            own.held = []
            loop.call_later(HOLD_S, self._release, own)
        own.keeping = loop.create_task(self._keep(own))

    async def _keep(self, own: _Sessions) -> None:
        """Open the sessions, and again whenever they end."""
        if own.held is not None:
            with suppress(LinkError):  # it was told
                await own.way.open_first()
            self._release(own)
        await own.way.keep()

    def _release(self, own: _Sessions) -> None:
        """Frames are held no longer."""
        held, own.held = own.held or [], None
        for waiting, payload, ran in held:
            self.send(waiting, payload, ran)

    def leave(self, client: Hashable) -> None:
        """A client is gone; nobody waits for its frames any more."""
        own = self._of.pop(client, None)
        if own is None:
            return
        own.sent.clear()
        own.held = None
        if own.keeping is not None:
            own.keeping.cancel()
        task = asyncio.get_running_loop().create_task(_closed(own.way))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _changed(self, change: CircuitChange) -> None:
        if self.next is not None:
            host, port = self.next.address
            tell(log, logging.INFO, "next machine", server=f"{host}:{port}", now=change.after, reason=change.reason)

    # Frames

    def take(self, waiting: Waiting) -> None:
        """A frame came: have it run, by what ends here while the next machine is away."""
        half = waiting.half
        if isinstance(half, MiddleHalf):
            own = self._of.get(waiting.client)
            if own is None or (own.held is None and not own.way.lane(half.onward).open):
                return self._without(waiting)
        return self._dispatch.take(waiting)

    def send(self, waiting: Waiting, payload: Payload, ran: Ran) -> None:
        """Send a frame on that this machine's layers are through with."""
        own, half = self._of.get(waiting.client), waiting.half
        assert isinstance(half, MiddleHalf)
        if own is None:
            return None  # its client is gone
        if len(own.sent) + len(own.held or ()) >= self._limits.most_frames:
            return self._dispatch.answer(waiting, Status.FULL, ran)
        if own.held is not None:
            own.held.append((waiting, payload, ran))
            return None
        lane, now_s = own.way.lane(half.onward), monotonic()
        number = waiting.message.frame.id.frame if own.keyed else next(own.numbers)
        if number in own.sent:  # its client has another one of this number on its way
            return self._dispatch.answer(waiting, Status.DAMAGED, ran)
        if lane.connection is None or not lane.open:
            return self._without(waiting, ran)
        round_trip_s = lane.connection.session.round_trip_s
        left_s, asked = self._left_s(waiting, half, len(payload.data), now_s, round_trip_s)
        own.sent[number] = _Sent(waiting, ran, now_s)

        def told(exchange: Exchange) -> None:
            self._told(own, number, exchange)

        try:
            give_up_s = self._give_up_s(waiting, half, now_s, left_s, asked)
            lane.connection.send(number, payload, max(left_s, 0.0), give_up_s, told, half.onward.number)
        except LinkError:
            del own.sent[number]
            if own.way.lane(half.onward).open:  # more waits to be sent than may
                return self._dispatch.answer(waiting, Status.FULL, ran)
            self._without(waiting, ran)
        return None

    def _told(self, own: _Sessions, number: int, exchange: Exchange) -> None:
        """Hand back what the next machine says of a frame."""
        sent, response = own.sent.pop(number, None), exchange.response
        if sent is None:
            pass  # its client is gone
        elif response is None or response.status in ELSEWHERE or exchange.response_s is None:
            self._without(sent.waiting, sent.ran)
        else:
            away_s = exchange.response_s - sent.since_s
            self._dispatch.answer(
                sent.waiting,
                response.status,
                sent.ran,
                tensors=response.tensors,
                retry_s=response.retry_s,
                onward=Onward(sent.ran.encode_s, away_s, exchange.payload_bytes, exchange.packets, response),
            )

    def _without(self, waiting: Waiting, ran: Ran | None = None) -> None:
        """Finish a frame without the next machine, or say that it is away."""
        half = waiting.half
        if isinstance(half, MiddleHalf) and half.alone is not None:
            self._dispatch.take(replace(waiting, half=half.alone))
        else:
            self._dispatch.answer(waiting, Status.UNREACHABLE, ran)

    def _left_s(
        self, waiting: Waiting, half: MiddleHalf, size: int, now_s: float, round_trip_s: float
    ) -> tuple[float, bool]:
        """Until a frame's deadline, as the next machine is told, and whether it is to be answered by then.

        What is left of it goes along. A frame that its deadline cut short, or for which nobody asked for one, has as
        long as it takes to pass the next link; over TCP it has none.
        """
        onward, message = half.onward, waiting.message
        left_s = waiting.deadline_s - now_s
        asked = half.hop.transport == "tcp" or half.hop.deadline_s is not None
        asked = asked and message.frame.complete
        if onward.transport == "tcp":
            return (left_s, True) if asked else (inf, False)
        if left_s == inf:
            asked = onward.deadline_s is not None
            left_s = message.first_s + (onward.deadline_s or 1 / half.plan.fps) - now_s
        if asked:
            return left_s, True
        way = pace(onward, self.next is not None and self.next.security is not None)
        wire_bytes = size + -(-size // way.packet_bytes) * way.header_bytes
        patience_s: float = least_patience_s(wire_bytes, onward.link.rate_bps)
        return max(left_s, way_s(round_trip_s) + patience_s), False

    def _give_up_s(self, waiting: Waiting, half: MiddleHalf, now_s: float, left_s: float, asked: bool) -> float:
        """When the next machine's answer is no longer waited for: as late as it could be finished here in time, if it
        can and is asked for."""
        if left_s == inf:
            return now_s + ANSWER_S
        if asked and half.alone is not None:
            begins_s = now_s + left_s - waiting.back_s - self._dispatch.takes_s(half.alone) - SPARE_S
            if begins_s > now_s:
                return begins_s
        return now_s + max(left_s, 0.0) + GRACE_S

    # The end

    def has_frames_of(self, halves: Collection[ReceivingHalf]) -> bool:
        """Whether frames of any of these are here or at the next machine."""
        away = [sent.waiting for own in self._of.values() for sent in own.sent.values()]
        away += [waiting for own in self._of.values() for waiting, _, _ in own.held or ()]
        return self._dispatch.has_frames_of(halves) or any(waiting.half in halves for waiting in away)

    async def idle(self) -> None:
        """Wait until all frames are answered."""
        while True:
            await self._dispatch.idle()
            if not any(own.sent or own.held for own in self._of.values()):
                return
            await asyncio.sleep(LOOK_S / 10)

    async def stop(self) -> None:
        """End all sessions with the next machine."""
        for client in list(self._of):
            self.leave(client)
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _closed(way: Way) -> None:
    """Let what was sent get on its way, for a moment."""
    with suppress(TimeoutError):
        await asyncio.wait_for(way.close(), LEAVE_S)
    way.reset()
