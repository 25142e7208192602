"""What a lost packet does to the values: in which order they are sent, and what stands where one is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Literal

import numpy as np

from splitimpera.codec.given import checked_tensors
from splitimpera.core.array_types import Array, IntArray
from splitimpera.core.errors import CodecError
from splitimpera.records.graph import TensorSpec
from splitimpera.records.traffic import ByteRange, Codec

MULTIPLES = 8
CANDIDATES = 1024

Concealment = Literal["zero", "mean", "last", "before"]


def interleaved(shape: tuple[int, ...]) -> IntArray:
    """The elements of a tensor in an order of sending that puts neighbours far apart, shape (elements,).

    Element i takes place i t mod n, for a fixed t without a common factor with n. Whatever stands next to each other in
    the order is then spread evenly over the tensor, as the multiples of an irrational number are over a circle: a lost
    packet thins out every part of the tensor alike. t is the one that keeps neighbours along each dimension, the second
    next, and so on, furthest apart.
    """
    n = int(np.prod(shape, dtype=np.int64))
    if n < 2:
        return np.arange(n)
    tried = np.unique(np.linspace(1, n - 1, min(n - 1, CANDIDATES)).astype(np.int64))
    tried = tried[[gcd(int(t), n) == 1 for t in tried]]  # t = 1 is always among them
    worst = np.full(len(tried), np.inf)
    for dim, side in enumerate(shape):
        step = int(np.prod(shape[dim + 1 :], dtype=np.int64))
        for multiple in range(1, min(side, MULTIPLES + 1)):
            apart = tried * (step * multiple % n) % n
            worst = np.minimum(worst, np.minimum(apart, n - apart) * multiple)
    t = int(tried[np.argmax(worst)])
    order = np.empty(n, dtype=np.int64)
    order[np.arange(n) * t % n] = np.arange(n)
    return order


@dataclass(frozen=True, eq=False)
class Concealer:
    """What stands where a value is missing.

    Attributes:
        concealment: "zero"; "mean": the channel's mean over the calibration data; "last": the value that the same
            element had in the frame before, and the channel's mean where no such frame is given; "before": for tensors
            (tokens, channels), the value that the channel has in the last token before that arrived there, and the
            channel's mean where there is none. Elements that are no floats are 0 with "mean" and "before".
        specs: the tensors of one frame.
        means: Mean of each element, shape (elements,), one entry a tensor; None: zero.
    """

    concealment: Concealment
    specs: tuple[TensorSpec, ...]
    means: tuple[Array | None, ...]

    def into(
        self, values: Array, tensor: int, places: Sequence[slice | Array], previous: Sequence[Array] | None
    ) -> None:
        """Put the right values at the places of a flat tensor where they are missing.

        None of what stands there is read: it may be what was sent.

        Args:
            values: (elements,), changed in place.
            tensor: which of the frame's tensors it is.
            places: All its missing elements, in parts that NumPy takes as an index each.
            previous: the frame before, as it was decoded; used by "last" only.

        Raises:
            CodecError: the frame before has other tensors.
        """
        mean = self.means[tensor]
        if self.concealment == "last" and previous is not None:
            try:
                earlier = checked_tensors(previous, self.specs)[tensor].reshape(-1)
            except CodecError as error:
                raise CodecError(f"the frame before is none of this plan: {error.problem}") from None
            with np.errstate(over="ignore", invalid="ignore"):  # of a wider type
                for where in places:
                    values[where] = earlier[where]
            return
        for where in places:
            values[where] = 0 if mean is None else mean[where]
        if self.concealment == "before" and mean is not None:
            missing = np.zeros(len(values), dtype=bool)
            for where in places:
                missing[where] = True
            shape = self.specs[tensor].shape
            _repeat(values.reshape(shape), missing.reshape(shape))


def _repeat(values: Array, missing: Array) -> None:
    """Put what is not missing in the last row before in place of what is, by column; what has no such row stays."""
    rows = np.where(missing, -1, np.arange(len(values))[:, None])
    np.maximum.accumulate(rows, axis=0, out=rows)
    missing = missing & (rows >= 0)
    values[missing] = values[rows[missing], np.nonzero(missing)[1]]


class LastFrame:
    """Decodes a stream of frames, each with what the one before left, for codecs that fill gaps with it.

    The one before is the one that was decoded before, in the order of the calls; `codec` itself remembers nothing.

    Args:
        codec: any of this room.
    """

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.previous: tuple[Array, ...] | None = None

    def decode(self, data: bytes, erased: Sequence[ByteRange] = ()) -> tuple[Array, ...]:
        """As `codec.decode`; a frame that cannot be decoded leaves the one before it in place."""
        self.previous = self.codec.decode(data, erased, self.previous)
        return self.previous

    def reset(self) -> None:
        """Forget the frame before: another stream begins."""
        self.previous = None
