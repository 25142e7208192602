"""What each quantity of a link, a workload, its frames and a trace may be: in scenarios, commands and Python alike.

The simulator counts whole nanoseconds in 64 bits and keeps some times as floats, so that nothing may be so slow, so
late or so large that it leaves them; the bounds lie far beyond what networks do. What several values make together,
such as many frames over a slow link, is bounded by `splitimpera.net.budget`.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from splitimpera.core import units


@dataclass(frozen=True)
class Bound:
    """From `low` to `high`, SI units; `above` and `below` leave the ends themselves out, `whole` all fractions."""

    low: float
    high: float
    above: bool = False
    below: bool = False
    whole: bool = False

    def holds(self, value: object) -> bool:
        """Whether a number lies within; what is none never does, nor does NaN, nor True."""
        if isinstance(value, bool) or not isinstance(value, Integral if self.whole else Real):
            return False
        number: Any = value
        return bool(
            (self.low < number if self.above else self.low <= number)
            and (number < self.high if self.below else number <= self.high)
        )

    def limits(self) -> dict[str, Any]:
        """The same as the keywords of a pydantic field."""
        low, high = (int(self.low), int(self.high)) if self.whole else (self.low, self.high)
        return {"gt" if self.above else "ge": low, "lt" if self.below else "le": high}

    def __str__(self) -> str:
        low, high = (f"{end:.0f}" if self.whole and end < 1e7 else f"{end:g}" for end in (self.low, self.high))
        if not self.above and not self.below:
            return f"{low} to {high}"
        return f"{'above' if self.above else 'at least'} {low} and {'below' if self.below else 'at most'} {high}"


RATE = Bound(1.0, 1e16)
DELAY = Bound(0.0, 3600.0)
LOSS = Bound(0.0, 1.0, below=True)
HEADER = Bound(0, 1000, whole=True)
SIZE = Bound(0, 10**9, whole=True)
MOST_DUE_S = 1e7
"""Within these 116 days a nanosecond is told from the next, also where times are floats."""

BOUNDS: dict[str, Bound] = {
    # Link
    **{"rate_bps": RATE, "downlink_rate_bps": RATE},
    **{"delay_s": DELAY, "downlink_delay_s": DELAY, "jitter_s": DELAY},
    **{"loss": LOSS, "downlink_loss": LOSS, "loss_burst": Bound(1.0, 1e6)},
    "mtu_bytes": Bound(68, 65535, whole=True),
    **{"link_header_bytes": HEADER, "app_header_bytes": HEADER, "stream_record_bytes": HEADER},
    "queue_bytes": Bound(68, 10**9, whole=True),
    "queue_packets": Bound(1, 10**7, whole=True),
    "drops": Bound(0, 2**63, below=True, whole=True),
    # Workload and Frames
    "fps": Bound(1e-5, 1e6),
    "frames": Bound(1, 10**6, whole=True),
    "senders": Bound(1, 1000, whole=True),
    "deadline_s": Bound(0.0, MOST_DUE_S, above=True),
    **{"frame_bytes": SIZE, "response_bytes": SIZE, "size_bytes": Bound(1, 10**9, whole=True)},
    "element_bytes": Bound(1, 65535, whole=True),
    "times_s": Bound(0.0, MOST_DUE_S),
    "ready_s": Bound(0.0, 1e9),
    # Trace
    **{"time_s": Bound(0.0, MOST_DUE_S), "trace_start_s": Bound(0.0, MOST_DUE_S)},
    "period_s": Bound(1e-6, 2 * MOST_DUE_S),
    "opportunity_bytes": SIZE,
}
"""By the names of the records' fields."""

MOST_FRAMES = 10**6
"""Of all senders together."""
SHORTEST_STEP_S = 1e-6
"""Of a trace."""
MOST_PIXELS = 50_000_000
"""Largest number of pixels of one image."""


def check_pixels(height: int, width: int) -> None:
    """Refuse an image that is too large, before it is decoded or made.

    Raises:
        ValueError: it has more than MOST_PIXELS.
    """
    if height * width > MOST_PIXELS:
        raise ValueError(
            f"{height} x {width} are {units.format_count(height * width)} pixels per image, at most "
            f"{units.format_count(MOST_PIXELS)} are loaded"
        )
