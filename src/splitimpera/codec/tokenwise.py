"""Quantisation with a range for each token, sent with it: a lost packet costs whole tokens."""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm

import numpy as np

from splitimpera.codec.concealment import Concealer
from splitimpera.codec.elements import HALF_RANGE, Scale, is_floating, packed, unpacked
from splitimpera.codec.given import array_dtype, checked_bytes, checked_gaps, checked_tensors
from splitimpera.codec.quantised import channel_axis
from splitimpera.core.array_types import Array, IntArray
from splitimpera.core.errors import CodecError
from splitimpera.records.graph import TensorSpec
from splitimpera.records.traffic import ByteRange, Payload

HEAD_BYTES = 4
"""Of a row: its lowest value and the step, float16 each."""
LEAST_STEP = np.float16(6e-8)


class Rows:
    """One tensor as rows of equally many bytes: all channels of a token, or of a pixel; what is no float, as it is.

    Attributes:
        bytes: Of a row.
        places: Where each row's elements lie in the flat tensor, int64 (rows, channels).
    """

    def __init__(self, spec: TensorSpec, bits: int) -> None:
        axis = channel_axis(spec)
        channels = spec.shape[axis] if axis is not None else 1
        places = np.arange(spec.elements).reshape(spec.shape)
        self.places: IntArray = (places if axis is None else np.moveaxis(places, axis, -1)).reshape(
            -1, max(channels, 1)
        )
        self.spec, self.bits = spec, bits
        self.own = array_dtype(spec)
        self.floating = is_floating(spec)
        channels = self.places.shape[1]
        self.bytes = HEAD_BYTES + (channels * bits + 7) // 8 if self.floating else channels * self.own.itemsize

    @property
    def size(self) -> int:
        return len(self.places) * self.bytes

    def write(self, tensor: Array) -> bytes:
        rows = tensor.reshape(-1)[self.places]
        if not self.floating:
            return np.ascontiguousarray(rows, dtype=self.own.newbyteorder("<")).tobytes()
        wide = np.clip(rows.astype(np.float32), *HALF_RANGE)  # NaN stays, and takes the lower end
        levels = 2**self.bits - 1
        low, high = (np.nan_to_num(end(wide, axis=1, keepdims=True)) for end in (np.fmin.reduce, np.fmax.reduce))
        begin = low.astype(np.float16)
        begin = np.where(begin > low, np.nextafter(begin, np.float16(-np.inf)), begin)  # so that the range covers all
        begin = np.maximum(begin, np.float16(HALF_RANGE[0]))
        wanted = (high - begin.astype(np.float32)) / levels
        step = wanted.astype(np.float16)
        step = np.where(step < wanted, np.nextafter(step, np.float16(np.inf)), step)
        step = np.clip(step, LEAST_STEP, np.float16(HALF_RANGE[1]))
        integers = Scale(begin.astype(np.float32), step.astype(np.float32), levels).to_integers(wide)
        heads = np.concatenate([begin, step], axis=1).astype("<f2")
        return b"".join(head.tobytes() + packed(row, self.bits) for head, row in zip(heads, integers, strict=True))

    def read(self, data: bytes, offset: int) -> Array:
        channels = self.places.shape[1]
        values = np.empty(self.spec.elements, self.own)
        if not self.floating:
            kind = self.own.newbyteorder("<") if self.own != np.bool_ else np.dtype(np.uint8)
            values[self.places] = np.frombuffer(data, kind, self.places.size, offset).reshape(self.places.shape)
            return values.reshape(self.spec.shape)
        for row, places in enumerate(self.places):
            start = offset + row * self.bytes
            low, step = np.frombuffer(data, "<f2", 2, start).astype(np.float32)
            integers = unpacked(data, start + HEAD_BYTES, channels, self.bits, np.dtype(np.uint8))
            values[places] = Scale(low, step, 2**self.bits - 1).to_values(integers, self.own)
        return values.reshape(self.spec.shape)


class TokenCodec:
    """Writes tensors one after the other, row by row, each with its own range.

    Ranges are float16: values beyond 65504 become that. A packet carries whole rows where one fits into it; a row of
    which anything is missing is missing as a whole.

    Args:
        name: Name of the codec.
        specs: Tensors of a frame.
        bits: Width of an element.
        fill: Concealment of missing elements.
        packet_bytes: What one datagram carries.
    """

    tolerates_loss = True

    def __init__(self, name: str, specs: Sequence[TensorSpec], bits: int, fill: Concealer, packet_bytes: int) -> None:
        self.name = name
        self.specs = tuple(specs)
        self.fill = fill
        self.rows = [Rows(spec, bits) for spec in specs]
        together = lcm(*(rows.bytes for rows in self.rows))
        self.element_bytes = together if together <= packet_bytes else 1
        self.offsets = []
        self.payload_bytes = 0
        for rows in self.rows:
            group = rows.bytes if self.element_bytes > 1 else 1
            self.offsets.append(-(-self.payload_bytes // group) * group)
            self.payload_bytes = self.offsets[-1] + rows.size
        self.most_bytes = self.payload_bytes

    def encode(self, tensors: Sequence[Array]) -> Payload:
        """Tensors of one frame -> bytes.

        Raises:
            CodecError: they are not those of the plan.
        """
        written = b""
        for tensor, rows, offset in zip(checked_tensors(tensors, self.specs), self.rows, self.offsets, strict=True):
            written = written.ljust(offset, b"\0") + rows.write(tensor)
        return Payload(written, self.element_bytes)

    def decode(
        self, data: bytes, erased: Sequence[ByteRange] = (), previous: Sequence[Array] | None = None
    ) -> tuple[Array, ...]:
        """Bytes -> tensors of one frame; rows that a range of `erased` touches are filled.

        Args:
            previous: the frame before, for codecs that fill with it.

        Raises:
            CodecError: the length is not the plan's, or a range lies outside.
        """
        data = checked_bytes(data)
        if len(data) != self.payload_bytes:
            raise CodecError(f"a payload of {len(data)} bytes is given, {self.name} writes {self.payload_bytes} here")
        gaps = checked_gaps(erased, len(data))
        tensors = []
        for index, (rows, offset) in enumerate(zip(self.rows, self.offsets, strict=True)):
            tensor = rows.read(data, offset)
            lost = np.zeros(len(rows.places), dtype=bool)
            for start, end in gaps:
                lost[max(start - offset, 0) // rows.bytes : max(-(-(end - offset) // rows.bytes), 0)] = True
            if lost.any():
                self.fill.into(tensor.reshape(-1), index, rows.places[lost].reshape(-1), previous)
            tensors.append(tensor)
        return tuple(tensors)
