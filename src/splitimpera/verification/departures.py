"""From which frame on something is no longer as it was expected: Page's CUSUM of a yes or no from each frame.

Expected is that a share of frames, `usual` at most, lies beyond a limit. Each frame adds the logarithm of how much more
likely it is where a share `often` does; the sum starts anew wherever it falls below 0. Beyond a threshold it is no
chance, and the change came where the sum last started.

For independent frames as expected, a sum that starts at a given frame ever reaches h with probability exp(-h) at most
(J. Ville, 1939: of a martingale with mean 1). There are as many starts as frames, so h = ln(frames / chance) raises a
false alarm with probability `chance` at most, whatever the distribution of what is held to the limit.

Source: E. S. Page, "Continuous inspection schemes", Biometrika 41 (1954).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.verification.frame_times import Bools

USUAL, OFTEN = 0.25, 0.75
"""Beyond the quartiles lie a quarter of the frames; three times as many are a change."""
BLOCK, OWN = 50, (20, 50, 80)
"""Frames whose own spread is taken, so that a change in level is none; wider than quartiles, for it is an estimate."""


@dataclass(frozen=True)
class Departure:
    """Frames that are not as expected, from `start` until before `end`; `end` None: until the last one."""

    start: int
    end: int | None


def threshold(frames: int, chance: float) -> float:
    """The sum that frames as expected reach with probability `chance` at most.

    >>> round(threshold(600, 0.001), 2)
    13.3
    """
    return log(max(frames, 1) / chance)


def steps(usual: float = USUAL, often: float = OFTEN) -> tuple[float, float]:
    """What a frame beyond the limit adds to the sum, and what one within it does.

    >>> [round(step, 3) for step in steps()]
    [1.099, -1.099]
    """
    return log(often / usual), log((1 - often) / (1 - usual))


def departures(beyond: Bools, alarm: float, usual: float = USUAL, often: float = OFTEN) -> list[Departure]:
    """Spans of frames of which more are beyond a limit than chance explains.

    That a span is over takes as much evidence as that it began.

    Args:
        beyond: shape (frames,): which are beyond the limit.
        alarm: Threshold of the sum.
        usual, often: Shares of frames beyond it, expected and where something has changed.

    >>> departures(np.arange(100) >= 40, threshold(100, 0.001))
    [Departure(start=40, end=None)]
    >>> departures(np.arange(100) % 4 == 0, threshold(100, 0.001))
    []
    """
    more, less = steps(usual, often)
    found: list[Departure] = []
    departed, total, began = False, 0.0, 0
    for place, hit in enumerate(beyond.tolist()):
        step = more if hit else less
        total += -step if departed else step
        if total <= 0:
            total, began = 0.0, place + 1
        elif total >= alarm:
            if departed:
                found[-1] = Departure(found[-1].start, began)
            else:
                found.append(Departure(began, None))
            departed, total, began = not departed, 0.0, place + 1
    return found


def highest(beyond: Bools, usual: float = USUAL, often: float = OFTEN) -> float:
    """The largest that the sum becomes over some frames, shape (frames,)."""
    more, less = steps(usual, often)
    sums = np.concatenate(([0.0], np.cumsum(np.where(beyond, more, less))))
    return float((sums - np.minimum.accumulate(sums)).max())


def own_spread(values: FloatArray) -> tuple[float, float]:
    """The 20 and 80 % quantiles of frames, shape (frames,), as shares of the median: the medians of those of blocks.

    >>> own_spread(np.tile([1.0, 2.0, 3.0], 100))
    (0.5, 1.5)
    """
    count = max(1, len(values) // BLOCK)
    quartiles = np.array([np.percentile(block, OWN) for block in np.array_split(values, count)])
    known = quartiles[quartiles[:, 1] > 0]
    if not len(known):
        return 1.0, 1.0
    return float(np.median(known[:, 0] / known[:, 1])), float(np.median(known[:, 2] / known[:, 1]))
