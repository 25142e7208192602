"""The parts of a frame's time: the same ones of a simulated frame and of a measured one; they add up to its latency.

Machines share no clock. The device measures from when a frame was due until its response, each other one its own
durations. What is left between two of them is the link, there and back, as one time.
"""

from __future__ import annotations

from collections.abc import Sequence
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
OF_HOPS = {
    "encode": "encoding on {device}",
    "link": "{link}, there and back",
    "server_wait": "waiting on {server}",
    "decode": "decoding on {server}",
    "server": "layers on {server}",
}
"""What each hop has where there are several."""
HALVES = {"up": "there", "back": "back, with the response"}
"""Of the link: split, not measured."""


def of_hop(key: str, hop: int) -> str:
    """The key of a part of a hop, counted from 1.

    >>> of_hop("link", 1), of_hop("link", 2)
    ('link', 'link_2')
    """
    return key if hop == 1 else f"{key}_{hop}"


def key_and_hop(key: str) -> tuple[str, int]:
    """The inverse of `of_hop`.

    >>> key_and_hop("server_wait_2"), key_and_hop("rest")
    (('server_wait', 2), ('rest', 1))
    """
    start, _, digits = key.rpartition("_")
    return (start, int(digits)) if digits.isdecimal() else (key, 1)


def part_names(devices: Sequence[str], links: Sequence[str]) -> dict[str, str]:
    """What the parts of a plan's frames are called, by key, in the order of the frames' way.

    >>> list(part_names(["camera"], []).values())[:2]
    ['waiting on camera', 'layers on camera']
    >>> [name for key, name in part_names(["a", "b", "c"], ["radio", "fibre"]).items() if key.endswith("_2")]
    ['encoding on b', 'fibre, there and back', 'waiting on c', 'decoding on c', 'layers on c']
    """
    if len(devices) < 3:
        return {key: name.format(device=devices[0], server=devices[-1]) for key, name in NAMES.items()}
    names = {key: NAMES[key].format(device=devices[0]) for key in ("device_wait", "device")}
    for hop, (device, server, link) in enumerate(zip(devices, devices[1:], links, strict=False), 1):
        for key, name in OF_HOPS.items():
            names[of_hop(key, hop)] = name.format(device=device, server=server, link=link)
    return names | {"rest": NAMES["rest"]}


TYPICAL = (0.25, 0.75)
SLOW = 0.9
"""Between which shares of all frames, by latency, the typical ones lie, and beyond which the slow ones."""


@dataclass(frozen=True, eq=False)
class FrameTimes:
    """Frames in the order in which they were due, arrays of shape (frames,) or (replications, frames).

    Attributes:
        latency_s: From due to response; NaN where there was none.
        parts_s: Seconds in each part of `part_names` and `HALVES` that there is; NaN where not known.
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
