"""How much may be sent only to learn what the link is like."""

from __future__ import annotations

from math import exp, inf

SHARE = 0.01
"""Of the traffic of the last seconds."""
LEAST_BYTES_PER_S = 2000.0
"""So much is always allowed."""
SECONDS = 5.0
"""What the last seconds are, and for how long what is not used is saved."""


class ProbeBudget:
    """A bucket that fills with a share of the traffic, or with a constant rate, whichever is more.

    From the start until any time no more is spent than has come in until then: it begins empty. Traffic counts as if it
    were spread over the time after it, by exp(-age / seconds), so that all of it counts once, whenever it came.

    Args:
        share: Of the traffic's bytes.
        least_bytes_per_s: Where traffic allows less.
        seconds: Over which traffic is spread; and so many seconds' worth are saved at most.

    >>> budget = ProbeBudget()
    >>> budget.sent(100_000, 0.0)
    >>> budget.may_probe(1000, 0.1), budget.may_probe(1000, 0.6), budget.may_probe(1000, 0.7)
    (False, True, False)
    """

    def __init__(
        self, share: float = SHARE, least_bytes_per_s: float = LEAST_BYTES_PER_S, seconds: float = SECONDS
    ) -> None:
        self._share, self._least_bytes_per_s, self._seconds = share, least_bytes_per_s, seconds
        self._traffic_bytes = self._saved_bytes = 0.0
        self._last_s = -inf

    def sent(self, size: int, now_s: float) -> None:
        """So many bytes were sent that are no probe."""
        self._fill(now_s)
        self._traffic_bytes += size

    def may_probe(self, size: int, now_s: float) -> bool:
        """Whether a probe of so many bytes, headers included, may go now; if so, it is paid for."""
        self._fill(now_s)
        if size > self._saved_bytes:
            return False
        self._saved_bytes -= size
        return True

    @property
    def most_bytes(self) -> float:
        """What a probe may have at most, however long it waits, as the traffic is now."""
        return max(self._least_bytes_per_s * self._seconds, self._share * self._traffic_bytes)

    def _fill(self, now_s: float) -> None:
        if self._last_s > -inf:
            passed_s = max(now_s - self._last_s, 0.0)
            most_bytes = self.most_bytes
            left_bytes = self._traffic_bytes * exp(-passed_s / self._seconds)
            earned_bytes = max(self._least_bytes_per_s * passed_s, self._share * (self._traffic_bytes - left_bytes))
            self._traffic_bytes = left_bytes
            self._saved_bytes = max(min(self._saved_bytes + earned_bytes, most_bytes), 0.0)
        self._last_s = max(now_s, self._last_s)
