"""What devices take for their work on frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from splitimpera.records.token_times import TokenTimes


@dataclass(frozen=True)
class Cost:
    """Seconds that a device takes for a part of its work on one frame.

    Attributes:
        seconds: The median.
        how: "measured" on that very machine; "scaled" from a measurement by its slowdown; else "estimated".
        spread: What runs took over the median, in their order; empty: always `seconds`.
    """

    seconds: float
    how: Literal["measured", "scaled", "estimated"]
    spread: tuple[float, ...] = ()


@dataclass(frozen=True)
class DeviceCosts:
    """What one device of a plan takes.

    Attributes:
        network: The cost of its layers, of one frame, of two together, ... up to the largest batch.
        decode: The cost of reading a frame that arrives; None where it makes the frames itself.
        encode: The cost of writing a frame that leaves; None where it gives the response.
        memory_bytes: weights and activations.
        leaving: The cost of its layers up to each of its early exits and of the heads until there, of one frame;
            `network` has all layers and all heads.
        tokens: What a language model's blocks take there, coding included; None: frames are no requests.
        window: how many tokens a sample has, whose payload a hop's sizes are of.
        cache_bytes: What the caches of keys and values take of `memory_bytes`.
    """

    network: tuple[Cost, ...]
    decode: Cost | None
    encode: Cost | None
    memory_bytes: int
    leaving: tuple[Cost, ...] = ()
    tokens: TokenTimes | None = None
    window: int = 1
    cache_bytes: int = 0

    @property
    def parts(self) -> dict[str, Cost]:
        """The costs of a single frame, by name."""
        named = {"network": self.network[0], "decode": self.decode, "encode": self.encode}
        return {name: cost for name, cost in named.items() if cost is not None}
