"""The parts of a frame's time: the same ones of a simulated frame and of a measured one; they add up to its latency.

The two machines share no clock. The device measures from when a frame was due until its response, the server its own
durations. What is left between them is the link, there and back, as one time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from splitimpera.core.array_types import FloatArray

Bools = npt.NDArray[np.bool_]

NAMES = {
    "device_wait": "waiting on {device}",
    "device": "layers on {device}",
    "encode": "encoding",
    "link": "link, there and back",
    "server_wait": "waiting on {server}",
    "decode": "decoding",
    "server": "layers on {server}",
    "rest": "the rest",
}
"""In the order of the frames' way; `rest` is what the programs take besides."""
HALVES = {"up": "there", "back": "back, with the response"}
"""Of the link: split, not measured."""

TYPICAL = (0.25, 0.75)
SLOW = 0.9
"""Between which shares of all frames, by latency, the typical ones lie, and beyond which the slow ones."""


@dataclass(frozen=True, eq=False)
class FrameTimes:
    """Frames in the order in which they were due, arrays of shape (frames,) or (replications, frames).

    Attributes:
        latency_s: From due to response; NaN where there was none.
        parts_s: Seconds in each part of `NAMES` and `HALVES` that there is; NaN where not known.
    """

    latency_s: FloatArray
    parts_s: dict[str, FloatArray]

    @property
    def answered(self) -> Bools:
        return np.isfinite(self.latency_s)

    def typical(self) -> Bools:
        """The middle half of the answered frames, by latency."""
        low, high = np.quantile(self.latency_s[self.answered], TYPICAL)
        between: Bools = (self.latency_s >= low) & (self.latency_s <= high)
        return between

    def slow(self) -> Bools:
        """The slowest tenth of them."""
        beyond: Bools = self.latency_s >= np.quantile(self.latency_s[self.answered], SLOW)
        return beyond
