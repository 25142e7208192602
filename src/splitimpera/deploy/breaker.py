"""A circuit breaker: a server that fails is left alone for a while, then tried, and used again when it is well.

Closed, frames go to the server. After too many failures the circuit is open: nothing goes there for a random time. Then
it is half-open: single frames go as probes, until enough of them succeeded or one failed. No sockets, clocks or timers:
the time is passed in, and comes from one clock that does not go back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from math import inf, isfinite

import numpy as np

from splitimpera.core.errors import LinkError, shown


class Circuit(StrEnum):
    """Whether frames go to a server."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True)
class CircuitRules:
    """When a circuit opens and closes.

    Attributes:
        failures: So many in a row open it.
        share, window: As many failures as this share of `window` frames, among the last `window` ones, open it as well.
        first_wait_s: The wait before the first probe is drawn between 0 and this; twice that after each probe that
            failed, up to `longest_wait_s`. A link that returned is seen within that and one probe.
        probe_s: A probe of which nothing is told for so long has failed.
        successes: So many probes in a row close it.

    Raises:
        LinkError: a value that makes no circuit breaker.
    """

    failures: int = 3
    share: float = 0.5
    window: int = 20
    first_wait_s: float = 0.25
    longest_wait_s: float = 1.0
    probe_s: float = 0.5
    successes: int = 2

    def __post_init__(self) -> None:
        for name in ("failures", "window", "successes"):
            if getattr(self, name) < 1:
                raise LinkError(f"expected 1 or more, got {shown(getattr(self, name))}", where=name)
        for name in ("first_wait_s", "longest_wait_s", "probe_s"):
            if not (isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise LinkError(f"expected a time above 0 s, got {shown(getattr(self, name))}", where=name)
        if not 0 < self.share <= 1:
            raise LinkError(f"expected a share above 0 and up to 1, got {shown(self.share)}", where="share")
        if self.first_wait_s > self.longest_wait_s:
            raise LinkError(
                f"the first wait, {self.first_wait_s:g} s, is longer than the longest, {self.longest_wait_s:g} s",
                where="first_wait_s",
            )


@dataclass(frozen=True)
class CircuitChange:
    """A change of a circuit, for the log; `wait_s`: until the first probe, where it opened."""

    now_s: float
    before: Circuit
    after: Circuit
    reason: str
    wait_s: float | None = None


class Breaker:
    """The circuit to one server.

    Whoever sends a frame there calls `begin`, and afterwards `succeeded` or `failed` with what `begin` returned. What
    is told of frames that began before the latest change says nothing of the server as it is now, and is passed over;
    but a success while the circuit is open shows that the server is back, so a probe may go at once, unless the server
    asked to be left alone.

    Args:
        rng: Draws the waits, so that many clients do not return together.
        told: Called with each change.

    Example:
        >>> breaker = Breaker(CircuitRules(failures=2), np.random.default_rng(0))
        >>> for now_s in (0.0, 0.1):
        ...     breaker.failed(breaker.begin(now_s), now_s, "no answer")
        >>> breaker.circuit.value, breaker.begin(0.1) is None
        ('open', True)
    """

    def __init__(
        self, rules: CircuitRules, rng: np.random.Generator, told: Callable[[CircuitChange], None] = lambda _: None
    ) -> None:
        self.rules = rules
        self.circuit = Circuit.CLOSED
        self.since_s = -inf
        """When it came to be as it is."""
        self._rng, self._told = rng, told
        self._era = 0
        self._in_row = self._probes_succeeded = self._times_opened = 0
        self._latest: deque[bool] = deque(maxlen=rules.window)
        self._probe_from_s = self._asked_until_s = -inf
        self._probe_until_s = inf
        """When the probe that is on its way has failed; infinite: none is."""

    def allows(self, now_s: float) -> Circuit | None:
        """What a frame that is sent now would be: CLOSED: one of many, HALF_OPEN: a probe; None: it may not go."""
        if self.circuit is Circuit.CLOSED:
            return Circuit.CLOSED
        self._expire(now_s)
        if self.circuit is Circuit.OPEN:
            return Circuit.HALF_OPEN if now_s >= self._probe_from_s else None
        return Circuit.HALF_OPEN if self._probe_until_s == inf else None

    def begin(self, now_s: float) -> int | None:
        """A frame is sent now; returns what names it in `succeeded` and `failed`, or None: it may not go."""
        allowed = self.allows(now_s)
        if allowed is None:
            return None
        if allowed is Circuit.HALF_OPEN:
            if self.circuit is Circuit.OPEN:
                self._change(Circuit.HALF_OPEN, now_s, "the wait is over")
            self._probe_until_s = now_s + self.rules.probe_s
        return self._era

    def succeeded(self, attempt: int, now_s: float) -> None:
        """An answer came."""
        self._expire(now_s)
        if self.circuit is Circuit.OPEN:
            self._probe_from_s = min(self._probe_from_s, max(now_s, self._asked_until_s))
        elif attempt == self._era:
            self._in_row = 0
            self._latest.append(False)
            if self.circuit is Circuit.HALF_OPEN:
                self._probe_until_s = inf
                self._probes_succeeded += 1
                if self._probes_succeeded >= self.rules.successes:
                    self._times_opened = 0
                    self._change(Circuit.CLOSED, now_s, f"{self.rules.successes} probes succeeded")

    def failed(self, attempt: int, now_s: float, reason: str, wait_s: float = 0.0) -> None:
        """No answer came, or none that is of use.

        Args:
            reason: For the log.
            wait_s: The server asks to be left alone for so long: the circuit opens at once, for longer than that.
        """
        self._expire(now_s)
        if attempt != self._era or self.circuit is Circuit.OPEN:
            return
        self._in_row += 1
        self._latest.append(True)
        if wait_s > 0:
            self._open(now_s, f"{reason}, and asked to wait for {wait_s:g} s", wait_s)
        elif self.circuit is Circuit.HALF_OPEN:
            self._open(now_s, f"a probe failed: {reason}")
        elif self._in_row >= self.rules.failures:
            self._open(now_s, f"{self._in_row} failures in a row, the last: {reason}")
        elif sum(self._latest) >= self.rules.share * self.rules.window:
            self._open(now_s, f"{sum(self._latest)} of {len(self._latest)} frames failed, the last: {reason}")

    def alive(self, now_s: float) -> None:
        """Something came that no frame waited for, as the answer to a ping: it counts as a probe that succeeded."""
        attempt = self.begin(now_s)
        self.succeeded(self._era if attempt is None else attempt, now_s)

    def trip(self, now_s: float, reason: str) -> None:
        """Open it at once: something else than a frame says that nothing gets through."""
        if self.circuit is not Circuit.OPEN:
            self._open(now_s, reason)

    def _expire(self, now_s: float) -> None:
        """The probe that is on its way fails where nothing was told of it for too long."""
        if self._probe_until_s <= now_s:
            self._open(now_s, "a probe failed: nothing was told of it")

    def _open(self, now_s: float, reason: str, at_least_s: float = 0.0) -> None:
        rules = self.rules
        # full jitter: a wait between 0 and a bound that doubles (M. Brooker, Exponential Backoff And Jitter, 2015)
        bound_s = min(rules.first_wait_s * 2.0 ** min(self._times_opened, 60), rules.longest_wait_s)
        wait_s = at_least_s + float(self._rng.uniform(0.0, bound_s))
        self._times_opened += 1
        self._probe_from_s, self._asked_until_s = now_s + wait_s, now_s + at_least_s
        self._change(Circuit.OPEN, now_s, reason, wait_s)

    def _change(self, after: Circuit, now_s: float, reason: str, wait_s: float | None = None) -> None:
        before, self.circuit, self.since_s = self.circuit, after, now_s
        self._era += 1
        self._in_row = self._probes_succeeded = 0
        self._latest.clear()
        self._probe_until_s = inf
        self._told(CircuitChange(now_s, before, after, reason, wait_s))
