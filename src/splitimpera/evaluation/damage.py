"""Payloads of which a link has lost something, as rows of tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from splitimpera.codec.elements import ElementCodec
from splitimpera.evaluation.batches import Row, batched
from splitimpera.records.traffic import ByteRange, Codec, Payload

Gap = tuple[int, tuple[ByteRange, ...]]
"""Which payload, and the bytes of it that are missing."""


class DamagedRows:
    """The rows of payloads with gaps, which come in the order of the payloads; `Batched` where frames can be stacked.

    A codec that fills gaps with the frame before gets the one of the sample before, as if it had come whole.
    """

    def __init__(self, codec: Codec, payloads: Sequence[Payload], gaps: Sequence[Gap]) -> None:
        self.codec = codec
        self.payloads = payloads
        self.gaps = gaps
        self.fills_with_last = "last" in codec.name.split("+")

    def __iter__(self) -> Iterator[Row]:
        for source, erased in self.gaps:
            yield self.codec.decode(self.payloads[source].data, erased, *self._previous(source))

    def batches(self, size: int) -> Iterator[Row]:
        """The same, stacked; no payload is read for each of its gaps."""
        codec = self.codec
        if not isinstance(codec, ElementCodec):
            for rows in batched(self, size):
                yield tuple(np.stack(tensors) for tensors in zip(*rows, strict=True))
            return
        read = -1
        whole: Row = ()
        previous: tuple[Row, ...] = ()
        for first in range(0, len(self.gaps), size):
            some = self.gaps[first : first + size]
            stacked: Row = ()
            for place, (source, erased) in enumerate(some):
                if source != read:
                    read, whole, previous = source, codec.decode(self.payloads[source].data), self._previous(source)
                if not stacked:
                    stacked = tuple(np.empty((len(some), *tensor.shape), tensor.dtype) for tensor in whole)
                codec.put_with_gaps([array[place] for array in stacked], whole, erased, *previous)
            yield stacked

    def _previous(self, source: int) -> tuple[Row, ...]:
        return (self.codec.decode(self.payloads[source - 1].data),) if self.fills_with_last and source else ()


def survives(codec: Codec, size: int, erased: Sequence[ByteRange]) -> bool:
    """Whether a codec can decode a payload of `size` bytes with gaps."""
    own: Callable[[int, Sequence[ByteRange]], bool] | None = getattr(codec, "survives", None)
    return codec.tolerates_loss if own is None else own(size, erased)
