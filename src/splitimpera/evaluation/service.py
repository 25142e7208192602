"""What a device takes for each frame: always the same, or drawn from what repeated runs took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.cost.spread import drawn
from splitimpera.records.costs import Cost, DeviceCosts

Seconds = float | FloatArray
"""One for all frames, or an array of shape (replications, frames)."""


@dataclass(frozen=True, eq=False)
class Service:
    """The service times of one device.

    Attributes:
        parts_s: What a single frame takes for the network, decode and encode.
        together_s: What one frame takes in all, two together, ...; the array's entry is that of the first of them.
        comes: which frames come here, where some left at an early exit before, shape (replications, frames); None: all.
            The parts of others are 0.
    """

    parts_s: dict[str, Seconds]
    together_s: list[Seconds]
    comes: npt.NDArray[np.bool_] | None = None

    def of(self, replication: int, frames: Any) -> list[Seconds]:
        """`together_s` for some frames of one replication, by any index of an array."""
        return [time_s if isinstance(time_s, float) else time_s[replication, frames] for time_s in self.together_s]

    @property
    def quickest_s(self) -> Seconds:
        """Mean seconds for each frame of the batches that take the least; shape (replications,) where drawn."""
        per_frame = [self._mean_s(time_s) / count for count, time_s in enumerate(self.together_s, 1)]
        if len(per_frame) == 1:
            return per_frame[0]
        quickest_s: FloatArray = np.minimum.reduce(np.broadcast_arrays(*per_frame))
        return quickest_s

    @property
    def quantiles_s(self) -> tuple[float, float]:
        """Median and 95th percentile of what the device takes for a frame that comes; 0 where none does."""
        time_s = self.together_s[0]
        if self.comes is not None:
            time_s = np.broadcast_to(time_s, self.comes.shape)[self.comes] if self.comes.any() else 0.0
        p50, p95 = np.percentile(time_s, (50, 95))
        return float(p50), float(p95)

    def _mean_s(self, time_s: Seconds) -> Seconds:
        """Over the frames that come."""
        if isinstance(time_s, float):
            return time_s
        if self.comes is None:
            mean_s: FloatArray = time_s.mean(1)
        else:
            mean_s = (time_s * self.comes).sum(1) / np.maximum(self.comes.sum(1), 1)
        return mean_s


def service_of(
    costs: DeviceCosts,
    rngs: Sequence[np.random.Generator],
    frames: int,
    senders: int = 1,
    leaving: IntArray | None = None,
    comes: npt.NDArray[np.bool_] | None = None,
) -> Service:
    """Draw a device's service times.

    Each part (network, decode, encode) has uniform numbers of its own for every frame, in the order of the frames, so
    that a longer run begins with the draws of a shorter one. The frames of a batch are coded as its first one is.

    Args:
        rngs: the device's own randomness, one generator a replication.
        frames: how many in all.
        senders: How many have such a device each; frame i is of sender i modulo `senders`.
        leaving: at which of the device's early exits each frame leaves, shape (replications, frames); -1: at none.
        comes: as `Service` has it.
    """
    parts = costs.parts
    chances = {}
    if any(cost.spread for cost in (*parts.values(), *costs.network, *costs.leaving)):
        every = np.stack([rng.random((frames, len(parts))) for rng in rngs])
        chances = {name: every[..., column] for column, name in enumerate(parts)}

    def times_s(cost: Cost, name: str) -> Seconds:
        if not cost.spread:
            return cost.seconds
        turns = cost.seconds * drawn(cost.spread, chances[name])
        # sender by sender, so that each has consecutive draws
        return turns.reshape(len(rngs), senders, -1).swapaxes(1, 2).reshape(turns.shape) if senders > 1 else turns

    parts_s = {name: times_s(cost, name) for name, cost in parts.items()}
    if leaving is not None:
        for place, cost in enumerate(costs.leaving):
            parts_s["network"] = np.where(leaving == place, times_s(cost, "network"), parts_s["network"])
        if "encode" in parts_s:
            parts_s["encode"] = np.where(leaving >= 0, 0.0, parts_s["encode"])
    if comes is not None:
        parts_s = {name: np.where(comes, time_s, 0.0) for name, time_s in parts_s.items()}
    coding_s = sum((time_s for name, time_s in parts_s.items() if name != "network"), start=0.0)
    networks_s = [parts_s["network"], *(times_s(cost, "network") for cost in costs.network[1:])]
    return Service(parts_s, [time_s + count * coding_s for count, time_s in enumerate(networks_s, 1)], comes)
