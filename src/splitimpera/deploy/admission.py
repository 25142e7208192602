"""How many frames a second one client may send: a bucket that fills with time and from which each frame takes one."""

from __future__ import annotations

from splitimpera.core.errors import LinkError, shown

MOST_RATE_HZ = 1e6


class RateLimit:
    """A client's bucket, full at first: it holds the frames of one second, and one at least.

    A client that keeps to its rate is never told to wait, however uneven its frames come within a second.

    Args:
        rate_hz: Frames a second.

    Raises:
        LinkError: it is no rate.

    Example:
        >>> limit = RateLimit(2.0)
        >>> [limit.wait_s(10.0) for _ in range(3)]
        [0.0, 0.0, 0.5]
    """

    def __init__(self, rate_hz: float) -> None:
        if not 0 < rate_hz <= MOST_RATE_HZ:
            raise LinkError(
                f"a rate above 0 and up to {MOST_RATE_HZ:g} frames/s is expected, {shown(rate_hz)} is given",
                where="rate limit",
            )
        self.rate_hz = rate_hz
        self.most = max(rate_hz, 1.0)
        self._left = self.most
        self._since_s: float | None = None

    def wait_s(self, now_s: float) -> float:
        """A frame came: 0.0 and it may pass, or how long until one may; `now_s` does not go back."""
        if self._since_s is not None:
            self._left = min(self.most, self._left + (now_s - self._since_s) * self.rate_hz)
        self._since_s = now_s
        if self._left >= 1.0:
            self._left -= 1.0
            return 0.0
        return (1.0 - self._left) / self.rate_hz
