"""Several servers in one list, the preferred first: which of them the next frame goes to.

A server is used as long as its circuit is closed. Where it opens, the first one of the list with a closed circuit takes
over at once. There is a way back to a preferred one when it has been well for a while, so that one that comes and goes
does not take the frames along. Pure rules, as `breaker`: the time is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np

from splitimpera.core.errors import LinkError, shown
from splitimpera.deploy.breaker import Breaker, Circuit, CircuitChange, CircuitRules

Address = tuple[str, int]

WELL_S = 5.0
CHECK_S = 1.0


@dataclass(frozen=True)
class Health:
    """What was heard last of a server.

    Attributes:
        at_s: When.
        since_s: Since when all that was heard was of this kind.
        well: It was an answer; else `reason` says why there was none.
    """

    at_s: float
    since_s: float
    well: bool
    reason: str = ""


@dataclass(frozen=True)
class ServerChange:
    """Another server is used from now on, or none (None), for the log."""

    now_s: float
    before: Address | None
    after: Address | None
    reason: str


class KnownServer:
    """A server of the list, with what is known of it.

    Attributes:
        place: Its place in the list, from 0 on.
        health: The latest that was heard; None: nothing yet.
    """

    def __init__(self, address: Address, place: int, breaker: Breaker) -> None:
        self.address, self.place, self.breaker = address, place, breaker
        self.health: Health | None = None

    def begin(self, now_s: float) -> int | None:
        """A frame or a health check is sent there now; None: it may not go. As `Breaker.begin`."""
        return self.breaker.begin(now_s)

    def succeeded(self, attempt: int, now_s: float) -> None:
        """An answer came, of whatever kind but a refusal."""
        self._heard(now_s, True)
        self.breaker.succeeded(attempt, now_s)

    def failed(self, attempt: int, now_s: float, reason: str, wait_s: float = 0.0) -> None:
        """No answer came, or a refusal; as `Breaker.failed`."""
        self._heard(now_s, False, reason)
        self.breaker.failed(attempt, now_s, reason, wait_s)

    def alive(self, now_s: float) -> None:
        """A ping was answered; as `Breaker.alive`."""
        self._heard(now_s, True)
        self.breaker.alive(now_s)

    def _heard(self, now_s: float, well: bool, reason: str = "") -> None:
        before = self.health
        since_s = before.since_s if before is not None and before.well is well else now_s
        self.health = Health(now_s, since_s, well, reason)


class Servers:
    """A list of servers in order of preference. All are taken for well until the first failure.

    Args:
        addresses: Host and port of each, the preferred first.
        rules: Those of every circuit.
        rng: Draws the waits of all circuits.
        well_s: A preferred server is gone back to when it has answered for so long, without a failure.
        check_s: A server that is not in use is asked for its health so often; see `due`.
        told: Called with each change of the server in use.
        circuit_told: Called with each change of a circuit, and whose it is.

    Raises:
        LinkError: no address, one twice, or times that are none.

    Example:
        >>> servers = Servers([("near", 7433), ("far", 7433)], CircuitRules(failures=1), np.random.default_rng(0))
        >>> first = servers.use(0.0)
        >>> first.failed(first.begin(0.0), 0.1, "no answer")
        >>> servers.use(0.1).address
        ('far', 7433)
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        rules: CircuitRules,
        rng: np.random.Generator,
        well_s: float = WELL_S,
        check_s: float = CHECK_S,
        told: Callable[[ServerChange], None] = lambda _: None,
        circuit_told: Callable[[Address, CircuitChange], None] = lambda *_: None,
    ) -> None:
        if not addresses:
            raise LinkError("no server is in the list", where="servers", hint="name one or more as 'host:port'")
        twice = next((each for place, each in enumerate(addresses) if each in addresses[:place]), None)
        if twice is not None:
            raise LinkError(
                f"'{shown(twice[0])}:{twice[1]}' is in the list twice", where="servers", hint="name each server once"
            )
        for name, time_s in (("well_s", well_s), ("check_s", check_s)):
            if not (isfinite(time_s) and time_s > 0):
                raise LinkError(f"expected a time above 0 s, got {shown(time_s)}", where=name)
        self.well_s, self.check_s = well_s, check_s
        self._told = told

        def breaker(address: Address) -> Breaker:
            return Breaker(rules, rng, lambda change: circuit_told(address, change))

        self.all = [KnownServer(address, place, breaker(address)) for place, address in enumerate(addresses)]
        self._used: KnownServer | None = self.all[0]
        self._asked_s = [-inf] * len(self.all)

    @property
    def used(self) -> KnownServer | None:
        """The one in use since the latest `use`; None: no circuit was closed."""
        return self._used

    def use(self, now_s: float) -> KnownServer | None:
        """The server of the next frame; None: every circuit is open.

        Where no circuit is closed, it is the first that takes a probe, and the frame is that probe.
        """
        used = self._used
        closed = [server for server in self.all if server.breaker.allows(now_s) is Circuit.CLOSED]
        if used is None or used not in closed:
            before = "none was well" if used is None else _why(used)
            self._move(closed[0] if closed else None, now_s, before)
        else:
            better = next((s for s in closed[: closed.index(used)] if self._well(s, now_s)), None)
            if better is not None:
                self._move(better, now_s, f"it is preferred and has been well for {self.well_s:g} s")
        return self._used or next((server for server in self.all if server.breaker.allows(now_s)), None)

    def due(self, now_s: float) -> list[KnownServer]:
        """The servers that are to be asked for their health now.

        Those not in use are asked `check_s` apart, those with an open circuit as their breaker allows. Whoever asks
        calls `begin`, then `succeeded` or `failed`. A ping or a hello will do; a frame says more.
        """
        asked = []
        for server in self.all:
            allowed = server.breaker.allows(now_s)
            resting = now_s - self._asked_s[server.place] < self.check_s
            if allowed is Circuit.HALF_OPEN or (allowed is Circuit.CLOSED and server is not self._used and not resting):
                self._asked_s[server.place] = now_s
                asked.append(server)
        return asked

    def _well(self, server: KnownServer, now_s: float) -> bool:
        """Whether all that was heard of it for a while was good, and that not too long ago."""
        health = server.health
        if health is None or not health.well:
            return False
        return now_s - health.since_s >= self.well_s and now_s - health.at_s <= 2 * self.check_s

    def _move(self, after: KnownServer | None, now_s: float, reason: str) -> None:
        before, self._used = self._used, after
        if before is not after:
            self._told(ServerChange(now_s, _address(before), _address(after), reason))


def _address(server: KnownServer | None) -> Address | None:
    return None if server is None else server.address


def _why(server: KnownServer) -> str:
    health = server.health
    reason = health.reason if health is not None and not health.well else "nothing was told of a probe"
    return f"the circuit to {server.address[0]}:{server.address[1]} is {server.breaker.circuit}: {reason}"
