"""What single packets tell of a link: pings, and frames that are one packet.

A link is first in, first out. So it took as long for a packet as that came after the quickest ping would have come that
was sent with it, or after what was in front of it was through, whichever was later. Of a large packet that is goodput;
of a small one it is how long the link let it wait for other reasons: bursts of delivery, other traffic. What small
packets wait, large ones do as well, and it is no lack of rate.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isfinite

from splitimpera.deploy.recent_values import WindowedLevel

SHORTEST_S = 0.002
"""Durations are known to about half of this: timers and schedulers."""
LEAST_BYTES = 400
"""A frame of one packet that is smaller may be late for any reason."""
WINDOWS = 2.0
"""Small packets are rare, and looked back on for so many times as long as frames."""
MOST_PONGS = 64


class LonePackets:
    """What is known by single packets.

    Args:
        seconds: For how long observations count.
        held_up: Whether what was sent at a time and came at another was held up by an outage, which tells nothing here.

    Attributes:
        answered: The place of the latest frame that was answered; all before it are through, or lost.
        through_s: When it was through, and the way back.

    Example:
        >>> lone = LonePackets(1.0, lambda sent_s, came_s: False)
        >>> lone.pong(0, 0.0, 0.030)
        >>> goodput_bps, at_least = lone.came(1000, 0.1, 0.140, 0.140)  # 10 ms longer than the ping
        >>> round(goodput_bps), at_least
        (800000, False)
    """

    def __init__(self, seconds: float, held_up: Callable[[float, float], bool]) -> None:
        self.answered = 0
        self.through_s = -inf
        self._quickest_s = [inf, inf]
        self._ways = WindowedLevel(WINDOWS * seconds)
        self._pongs: list[tuple[int, float, float]] = []
        self._bytes = 0
        self._held_up = held_up

    def pong(self, place: int, sent_s: float, now_s: float) -> None:
        """A ping's answer came; it is judged as soon as is known when the frame in front of it, at `place`, was
        through."""
        self._quickest_s[1] = min(self._quickest_s[1], now_s - sent_s)
        self._pongs = [*self._pongs[1 - MOST_PONGS :], (place, sent_s, now_s)]
        self._judge()

    def through(self, place: int, came_s: float) -> None:
        """The frame at `place` was through, its last packet and the way back, at `came_s`."""
        self.answered = max(self.answered, place - 1)
        self._judge()
        self.answered, self.through_s = max(self.answered, place), max(self.through_s, came_s)
        self._judge()

    def came(self, size: int, sent_s: float, came_s: float, now_s: float) -> tuple[float, bool] | None:
        """A frame of one packet, or a ping (size 0), came; before `through` is told of it.

        Returns:
            goodput, bit/s, and whether it is only a bound; None: it tells none.
        """
        quickest_s = min(self._quickest_s)
        taken_s = came_s - max(self.through_s, sent_s + quickest_s)
        if not isfinite(taken_s) or self._held_up(sent_s, now_s):
            return None
        small = size < LEAST_BYTES
        if small:
            self._ways.add(quickest_s + max(taken_s, 0.0), now_s)
        else:
            self._bytes = size
        at_least = taken_s < SHORTEST_S or small
        return (8 * size / (max(taken_s, 0.0) + SHORTEST_S * at_least), at_least) if size else None

    def way_quantile(self, share: float, now_s: float) -> float | None:
        """A small packet's round trip without this client's own queue, which it exceeds with 1 - share, s."""
        return self._ways.quantile(share, now_s)

    def net(self, goodput_bps: float, share: float, now_s: float) -> float:
        """A goodput that is exceeded with 1 - share, without what small packets wait as well; where frames are no
        single packets, as it is."""
        way_s = self.way_quantile(1 - share, now_s)
        if way_s is None or not self._bytes or goodput_bps == inf:
            return goodput_bps
        net_s = 8 * self._bytes / goodput_bps - (way_s - min(self._quickest_s))
        return 8 * self._bytes / net_s if net_s > SHORTEST_S else inf

    def age(self) -> None:
        """The quickest ping of before is forgotten: a route may change."""
        self._quickest_s = [self._quickest_s[1], inf]

    def _judge(self) -> None:
        """The pings of which is known when what was in front of them was through."""
        known = [pong for pong in self._pongs if pong[0] <= self.answered]
        self._pongs = [pong for pong in self._pongs if pong[0] > self.answered]
        for _, sent_s, came_s in known:
            self.came(0, sent_s, came_s, came_s)
