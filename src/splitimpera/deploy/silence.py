"""How long a link has been silent although something was sent, and the outages that this came to."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

LEAST_UNANSWERED = 3
"""Over UDP so much must be without an answer: one packet may just be lost."""
MOST_OUTAGES = 256


@dataclass(frozen=True)
class Outage:
    """A time in which something was sent and nothing came.

    Attributes:
        begun_s: The last sign of life, or when the first thing was sent without an answer, whichever came later.
        ended_s: When something came again; None: it lasts.
    """

    begun_s: float
    ended_s: float | None = None


class Silence:
    """What was sent and has no answer, and since when.

    Args:
        datagrams: Whether a packet may be lost, as over UDP.

    Attributes:
        since_s: Since when nothing came although something is under way; None: nothing is.
        outages: The last ones, in order.

    Example:
        >>> silence = Silence(datagrams=False)
        >>> silence.sent(0.0)
        >>> silence.outage(0.4, patience_s=0.5), silence.outage(0.6, patience_s=0.5)
        (None, Outage(begun_s=0.0, ended_s=None))
        >>> silence.ends(0.7, 0.5)
        >>> silence.outages
        (Outage(begun_s=0.0, ended_s=0.7),)
    """

    def __init__(self, datagrams: bool) -> None:
        self.since_s: float | None = None
        self.outages: tuple[Outage, ...] = ()
        self._least = LEAST_UNANSWERED if datagrams else 1
        self._unanswered = 0
        self._heard_s = -inf

    @property
    def telling(self) -> bool:
        """Whether so much is without an answer that silence says something."""
        return self.since_s is not None and self._unanswered >= self._least

    def sent(self, now_s: float) -> None:
        """Something was sent that is to be answered."""
        self._unanswered += 1
        if self.since_s is None:
            self.since_s = max(now_s, self._heard_s)

    def heard(self, now_s: float, under_way: int) -> None:
        """Something came; silence begins anew, where anything is still under way."""
        self._heard_s, self._unanswered = now_s, under_way
        self.since_s = now_s if under_way else None

    def outage(self, now_s: float, patience_s: float) -> Outage | None:
        """The outage that lasts, longer than this patience where it is new; None: there is none."""
        if self.outages and self.outages[-1].ended_s is None:
            return self.outages[-1]
        if self.since_s is None or not self.telling or now_s - self.since_s <= patience_s:
            return None
        self.outages = (*self.outages[1 - MOST_OUTAGES :], Outage(self.since_s))
        return self.outages[-1]

    def ends(self, now_s: float, patience_s: float) -> None:
        """Something came: an outage is over."""
        lasting = self.outage(now_s, patience_s)
        if lasting is not None:
            self.outages = (*self.outages[:-1], Outage(lasting.begun_s, now_s))
