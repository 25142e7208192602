"""What a device takes for each frame: always the same, or drawn from what repeated runs took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from splitimpera.core.array_types import FloatArray
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
    """

    parts_s: dict[str, Seconds]
    together_s: list[Seconds]

    def of(self, replication: int, frames: Any) -> list[Seconds]:
        """`together_s` for some frames of one replication, by any index of an array."""
        return [time_s if isinstance(time_s, float) else time_s[replication, frames] for time_s in self.together_s]

    @property
    def quickest_s(self) -> Seconds:
        """Mean seconds for each frame of the batches that take the least; shape (replications,) where drawn."""
        per_frame = [
            (time_s if isinstance(time_s, float) else time_s.mean(1)) / count
            for count, time_s in enumerate(self.together_s, 1)
        ]
        return per_frame[0] if len(per_frame) == 1 else np.minimum.reduce(np.broadcast_arrays(*per_frame))


def service_of(costs: DeviceCosts, rngs: Sequence[np.random.Generator], frames: int, senders: int = 1) -> Service:
    """Draw a device's service times.

    Each part (network, decode, encode) has uniform numbers of its own for every frame, in the order of the frames, so
    that a longer run begins with the draws of a shorter one. The frames of a batch are coded as its first one is.

    Args:
        rngs: the device's own randomness, one generator a replication.
        frames: how many in all.
        senders: How many have such a device each; frame i is of sender i modulo `senders`.
    """
    parts = costs.parts
    chances = {}
    if any(cost.spread for cost in (*parts.values(), *costs.network)):
        every = np.stack([rng.random((frames, len(parts))) for rng in rngs])
        chances = {name: every[..., column] for column, name in enumerate(parts)}

    def times_s(cost: Cost, name: str) -> Seconds:
        if not cost.spread:
            return cost.seconds
        turns = cost.seconds * drawn(cost.spread, chances[name])
        # sender by sender, so that each has consecutive draws
        return turns.reshape(len(rngs), senders, -1).swapaxes(1, 2).reshape(turns.shape) if senders > 1 else turns

    parts_s = {name: times_s(cost, name) for name, cost in parts.items()}
    coding_s = sum((time_s for name, time_s in parts_s.items() if name != "network"), start=0.0)
    networks_s = [parts_s["network"], *(times_s(cost, "network") for cost in costs.network[1:])]
    return Service(parts_s, [time_s + count * coding_s for count, time_s in enumerate(networks_s, 1)])
