"""What a device takes for the tokens of a language model: many at once of a prompt, then one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.records.checks import require

Points = tuple[tuple[int, float], ...]
"""What was found at some counts: (count, seconds), counts ascending."""


@dataclass(frozen=True)
class TokenTimes:
    """Seconds that a run of blocks takes on one device, between the counts of tokens that were timed on straight lines.

    Attributes:
        prefill: Seconds for a whole prompt, by its tokens.
        decode: Seconds for one more token of one user, by the tokens before it.
        together: How much longer a step takes for one token each of several users than for one user's, by the number of
            users; (1, 1.0) first.
        how: "measured" on that very machine; "scaled" from a measurement by its slowdown; else "estimated".
        spread: What steps took over their median, in their order; empty: all take the same.

    >>> times = TokenTimes(prefill=((1, 0.002), (101, 0.012)), decode=((0, 0.001), (100, 0.002)), how="measured")
    >>> float(times.prefill_s(51)), float(times.decode_s(50)), float(times.decode_s(150))
    (0.007, 0.0015, 0.0025)
    """

    prefill: Points
    decode: Points
    how: Literal["measured", "scaled", "estimated"]
    together: Points = ((1, 1.0),)
    spread: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("prefill", "decode", "together"):
            counts, seconds = (np.array(column) for column in zip(*getattr(self, name), strict=True))
            require((np.diff(counts) > 0).all() and counts[0] >= 0, name, counts.tolist(), "counts in ascending order")
            require(
                np.isfinite(seconds).all() and (seconds >= 0).all(), name, seconds.tolist(), "finite and not below 0"
            )
        require(self.together[0] == (1, 1.0), "together", self.together[0], "(1, 1.0) first")

    def prefill_s(self, tokens: object) -> FloatArray:
        """Seconds for prompts of so many tokens, of the shape of `tokens`."""
        return _between(self.prefill, tokens)

    def decode_s(self, past: object, users: object = 1) -> FloatArray:
        """Seconds of a step that makes one token for each of some users, after so many tokens before."""
        return _between(self.decode, past) * self.slower_together(users)

    def slower_together(self, users: object) -> FloatArray:
        """How many times longer a step takes for one token each of so many users, of the shape of `users`."""
        return _between(self.together, users)

    def scaled(self, slowdown: float) -> TokenTimes:
        """The same on a device that takes so many times as long."""
        if slowdown == 1:
            return self

        def slower(points: Points) -> Points:
            return tuple((count, seconds * slowdown) for count, seconds in points)

        how: Literal["scaled", "estimated"] = "estimated" if self.how == "estimated" else "scaled"
        return TokenTimes(slower(self.prefill), slower(self.decode), how, self.together, self.spread)


def _between(points: Points, counts: object) -> FloatArray:
    """Linear between the points and beyond the last; below the first as the first."""
    known, values = (np.array(column, dtype=np.float64) for column in zip(*points, strict=True))
    wanted = np.asarray(counts, dtype=np.float64)
    found: FloatArray = np.interp(wanted, known, values)
    if len(known) > 1:
        slope = (values[-1] - values[-2]) / (known[-1] - known[-2])
        found = found + max(slope, 0.0) * np.maximum(wanted - known[-1], 0.0)
    return np.asarray(found)
