"""What sessions of every carrier have in common: who may say what and when, round trips, silence, one end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import inf
from time import monotonic

from splitimpera.codec.framing import Kind, ReceivedFrame
from splitimpera.core.errors import LinkError
from splitimpera.deploy.messages import (
    ACK,
    ANSWER_KEY,
    HELLO,
    MOST_US,
    PING,
    REFUSAL,
    TEXT_BYTES,
    TOKEN_BYTES,
    US,
    WELCOME,
    microseconds,
)
from splitimpera.deploy.sessions import Accept, Limits, Message, Pace
from splitimpera.records.traffic import Payload

MOST_OF_KIND = {
    Kind.HELLO: HELLO.size + TOKEN_BYTES + ANSWER_KEY.size,
    Kind.WELCOME: WELCOME.size,
    Kind.REFUSAL: REFUSAL.size + TEXT_BYTES,
    Kind.PING: PING.size,
    Kind.PONG: 0,
    Kind.ACK: ACK.size,
}
"""Payloads of the kinds that are not data are no longer than this, and in one packet."""
GREETING_BYTES = max(MOST_OF_KIND.values())
SESSIONS_AT_MOST = 1024
"""Sessions of one listener."""
FIRST_PINGS, PING_S, PING_AGAIN_S = 3, 1.0, 0.25
PINGS_KEPT = 64
_FROM_CLIENT = frozenset({Kind.FRAME, Kind.HELLO, Kind.PING, Kind.ACK})
_FROM_SERVER = frozenset({Kind.RESPONSE, Kind.WELCOME, Kind.REFUSAL, Kind.PONG, Kind.ACK})
_GREETINGS = frozenset({Kind.HELLO, Kind.WELCOME, Kind.REFUSAL})


def _ignore(*_: object) -> None:
    pass


class BaseSession:
    """A `Session` without its carrier, which hands in what came (`_came`) and offers `_transmit`, `_end` and `_stuck`.

    Args:
        peer: The other end, as logs name it.
        serving: Whether this is the server's end.
    """

    carrier = ""

    def __init__(self, peer: str, serving: bool, limits: Limits) -> None:
        self.peer = peer
        self.serving = serving
        self.limits = limits
        self.round_trip_s = inf
        self.on_message: Callable[[Message], None] = _ignore
        self.on_close: Callable[[LinkError | None], None] = _ignore
        self.on_ping: Callable[[int, float], None] = _ignore
        self.on_pong: Callable[[int, float], None] = _ignore
        self.greeted = False
        self.closed = False
        self.failure: LinkError | None = None
        self._loop = asyncio.get_running_loop()
        self._opened_s = self._last_s = monotonic()
        self._number = 0
        self._pings: dict[int, float] = {}
        self._pings_sent = 0
        self._ping_timer: asyncio.TimerHandle | None = None
        self._watch_timer = self._loop.call_later(min(limits.greeting_s, limits.idle_s), self._watch)

    # What the carrier does

    def _transmit(self, kind: Kind, number: int, frame: int, payload: Payload, time_left_s: float) -> int:
        raise NotImplementedError

    def _end(self, failure: LinkError | None) -> None:
        """Let the carrier go."""
        raise NotImplementedError

    def _stuck(self, now_s: float) -> str:
        """What is in the way of a frame that makes no headway; empty: nothing."""
        return ""

    # What programs do

    def settle(self, limits: Limits, pace_of: Callable[[int], Pace]) -> None:
        """See `Session.settle`."""
        self.limits = limits

    def send(self, kind: Kind, number: int, frame: int, payload: Payload, time_left_s: float = inf) -> int:
        """See `Session.send`."""
        if self.closed:
            raise self.failure or LinkError("the session is closed")
        packets = self._transmit(kind, number, frame, payload, time_left_s)
        if kind is Kind.HELLO:
            self._number = number
        if kind is Kind.WELCOME and self.serving:
            self._greet()
        return packets

    async def sent(self) -> None:
        """See `Session.sent`."""
        raise NotImplementedError

    def close(self, failure: LinkError | None = None) -> None:
        """See `Session.close`."""
        if self.closed:
            return
        self.closed, self.failure = True, failure
        self._watch_timer.cancel()
        if self._ping_timer:
            self._ping_timer.cancel()
        self._end(failure)
        self._loop.call_soon(self._closed, failure)

    def _closed(self, failure: LinkError | None) -> None:
        """Tell the program, and let go of it: what a peer leaves behind is gone at once, without garbage collection."""
        told, self.on_message, self.on_close = self.on_close, _ignore, _ignore
        self.on_ping = self.on_pong = _ignore
        told(failure)

    # What came

    def _may_come(self, kind: Kind, total: int) -> bool:
        """Whether the peer may say this now."""
        if total > MOST_OF_KIND.get(kind, self.limits.most_bytes):
            return False
        if kind not in (_FROM_CLIENT if self.serving else _FROM_SERVER):
            return False
        return self.greeted or kind in _GREETINGS

    def _came(self, message: Message) -> None:
        """Take a message that may come."""
        self._last_s = message.last_s
        id = message.frame.id
        if id.kind is Kind.PING:
            self._answer(message.frame)
        elif id.kind is Kind.PONG:
            self._measure(id.frame, message.last_s)
        else:
            if id.kind is Kind.WELCOME:
                self._greet()
            self.on_message(message)

    def _greet(self) -> None:
        if not self.greeted:
            self.greeted = True
            if not self.serving:
                self._ping()

    def _answer(self, ping: ReceivedFrame) -> None:
        if len(ping.data) == PING.size:
            (us,) = PING.unpack(ping.data)
            self.round_trip_s = inf if us == MOST_US else us / US
            with suppress(LinkError):  # where more waits than may, the peer will ask again
                self._transmit(Kind.PONG, ping.id.plan, ping.id.frame, Payload(b""), inf)

    # Round trips

    def _ping(self) -> None:
        """Send a ping, and plan the next one: the first few follow each other, then one a second."""
        first = self._pings_sent + 1 < FIRST_PINGS
        self._ping_timer = self._loop.call_later(PING_AGAIN_S if first else PING_S, self._ping)
        self.ping()

    def ping(self) -> None:
        """See `Session.ping`."""
        if self.closed or not self.greeted:
            return
        self._pings_sent += 1
        while len(self._pings) >= PINGS_KEPT:
            del self._pings[next(iter(self._pings))]
        self._pings[self._pings_sent] = monotonic()
        told = MOST_US if self.round_trip_s == inf else microseconds(self.round_trip_s)
        try:
            self._transmit(Kind.PING, self._number, self._pings_sent, Payload(PING.pack(told)), inf)
        except LinkError:
            del self._pings[self._pings_sent]  # more waits than may
        else:
            self.on_ping(self._pings_sent, self._pings[self._pings_sent])

    def _measure(self, ping: int, now_s: float) -> None:
        sent_s = self._pings.pop(ping, None)
        if sent_s is None:
            return
        self.round_trip_s = min(self.round_trip_s, now_s - sent_s)
        self.on_pong(ping, now_s)
        if ping == self._pings_sent <= FIRST_PINGS and self._ping_timer:
            # the last of the first ones tells the server what the others found
            self._ping_timer.cancel()
            self._ping()

    # Silence

    def _watch(self) -> None:
        """Close the session where the peer is silent or makes no headway."""
        now_s, limits = monotonic(), self.limits
        self._watch_timer = self._loop.call_later(min(limits.greeting_s, limits.idle_s / 4), self._watch)
        who = "client" if self.serving else "server"
        if not self.greeted and now_s - self._opened_s >= limits.greeting_s:
            self.close(LinkError(f"the {who} {self.peer} has not been heard of within {limits.greeting_s:g} s"))
        elif stuck := self._stuck(now_s):
            self.close(LinkError(f"the {who} {self.peer} {stuck}"))
        elif now_s - self._last_s >= limits.idle_s:
            self.close(LinkError(f"the {who} {self.peer} has been silent for {limits.idle_s:g} s"))


async def accepted(accept: Accept, session: BaseSession) -> bool:
    """Hand a session to the program; False where that closed it."""
    waiting = accept(session)
    if waiting is not None:
        await waiting
    return not session.closed


class Guests:
    """The sessions of a listener, no more than `most`."""

    def __init__(self, most: int = SESSIONS_AT_MOST) -> None:
        self.most = most
        self._sessions: dict[BaseSession, None] = {}

    def __iter__(self) -> Iterator[BaseSession]:
        return iter(tuple(self._sessions))

    def __len__(self) -> int:
        return len(self._sessions)

    def admit(self, session: BaseSession) -> bool:
        """Take one in; the oldest that was never welcomed gives way; False: there is no room."""
        if len(self._sessions) >= self.most:
            for other in self._sessions:
                if not other.greeted:
                    other.close(LinkError(f"too many clients, {other.peer} was not welcomed in time"))
                    self._sessions.pop(other, None)
                    break
            else:
                return False
        self._sessions[session] = None
        return True

    def leave(self, session: BaseSession) -> None:
        self._sessions.pop(session, None)
