"""Codecs that write every element in equally many bits: a lost packet costs only the values that it carried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm
from typing import Protocol

import numpy as np

from splitimpera.codec.concealment import Concealer
from splitimpera.codec.given import array_dtype, checked_bytes, checked_gaps, checked_tensors
from splitimpera.core.array_types import Array, IntArray
from splitimpera.core.errors import CodecError
from splitimpera.records.graph import TensorSpec
from splitimpera.records.traffic import ByteRange, Payload

BFLOAT16_MAX = np.uint32(0x7F7F0000).view(np.float32)
HALF_RANGE = (np.float32(-65504), np.float32(65504))


@dataclass(frozen=True)
class Scale:
    """An affine map between values and integers from 0 to `levels`: value = low + step * integer.

    `low` and `step` broadcast against one frame's tensor.
    """

    low: Array
    step: Array
    levels: int = 255

    def to_integers(self, tensor: Array) -> Array:
        """Values beyond the range take its nearest end, NaN its lower one."""
        with np.errstate(over="ignore", invalid="ignore"):
            steps = np.rint((tensor - self.low) / self.step)
        return np.fmin(np.fmax(steps, 0), self.levels).astype(np.uint8)

    def to_values(self, integers: Array, dtype: str | np.dtype[np.generic]) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):  # the constants may be anybody's
            values: Array = (self.low + self.step * integers).astype(dtype)
        return values


def image_scale(mean: Sequence[float], std: Sequence[float]) -> Scale:
    """The scale that gives back the 8-bit images (C, H, W) from which inputs were made; without any loss."""
    mean_, std_ = (np.asarray(values, dtype=np.float32).reshape(-1, 1, 1) for values in (mean, std))
    return Scale(-mean_ / std_, 1 / (255 * std_))


def is_floating(spec: TensorSpec) -> bool:
    return spec.dtype in ("bfloat16", "float16", "float32", "float64")


class Numbers(Protocol):
    """How the elements of one tensor are written as numbers.

    Attributes:
        bits: Width of one number in the payload: 2, 4, 6, or whole bytes.
        stored: the type in which numbers are handed on, little endian; uint8 for fewer than 8 bits.
    """

    spec: TensorSpec
    bits: int
    stored: np.dtype[np.generic]

    def write(self, tensor: Array) -> Array:
        """A tensor of the spec's shape -> numbers, shape (elements,)."""
        ...

    def read(self, numbers: Array) -> Array:
        """Numbers, shape (elements,) -> values of the spec's type, shape (elements,), in memory of their own."""
        ...


class Plain:
    """Elements as they are, or as numbers of another floating-point type.

    The error is the type's rounding. A value beyond the type's range becomes its largest; NaN stays.

    Args:
        stored: NumPy's name of the type that floating-point elements are written in; None: their own.
    """

    def __init__(self, spec: TensorSpec, stored: str | None = None) -> None:
        own = array_dtype(spec)
        wanted = np.dtype(stored if stored is not None and is_floating(spec) else own)
        self.spec = spec
        self.stored = np.dtype(np.uint8) if wanted == np.bool_ else wanted.newbyteorder("<")
        self.bits = 8 * self.stored.itemsize
        self._own = own
        self._limit = float(np.finfo(str(wanted)).max) if is_floating(spec) else np.inf

    def write(self, tensor: Array) -> Array:
        if tensor.dtype.kind == "f" and tensor.dtype.itemsize > self.stored.itemsize:
            tensor = np.clip(tensor, -self._limit, self._limit)
        return np.ascontiguousarray(tensor, dtype=self.stored).reshape(-1)

    def read(self, numbers: Array) -> Array:
        # whoever forged the payload may have written any bits for a signalling NaN, an infinity or a bool
        with np.errstate(invalid="ignore", over="ignore"):
            return numbers.astype(self._own)


class BFloat16:
    """Floating-point elements as bfloat16: float32 without the lower 16 bits, rounded to the nearest, ties to even."""

    bits = 16
    stored: np.dtype[np.generic] = np.dtype("<u2")

    def __init__(self, spec: TensorSpec) -> None:
        self.spec = spec
        self._own = array_dtype(spec)

    def write(self, tensor: Array) -> Array:
        values = np.ascontiguousarray(np.clip(tensor, -BFLOAT16_MAX, BFLOAT16_MAX), dtype=np.float32).reshape(-1)
        bits = values.view(np.uint32)
        rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
        # the carry would make another value, or an infinity, of a NaN
        return np.where(np.isnan(values), np.uint32(0x7FC0), rounded).astype(self.stored)

    def read(self, numbers: Array) -> Array:
        with np.errstate(invalid="ignore", over="ignore"):
            values = (numbers.astype(np.uint32) << 16).view(np.float32)
            if self._own == np.float16:  # whose largest value is rounded up
                values = np.clip(values, *HALF_RANGE)
            return values.astype(self._own)


def packed(numbers: Array, bits: int) -> bytes:
    """Numbers, shape (n,), below 2**bits -> ceil(n bits / 8) bytes, the first number in the lowest bits."""
    if bits >= 8:
        return numbers.tobytes()
    group = lcm(bits, 8) // bits
    rows = np.zeros((-(-len(numbers) // group), group), dtype=np.uint8)
    rows.reshape(-1)[: len(numbers)] = numbers
    if bits == 6:
        a, b, c, d = rows.T
        joined = np.stack([a | b << 6, b >> 2 | c << 4, c >> 4 | d << 2], axis=1)
    else:
        joined = np.bitwise_or.reduce(rows << (bits * np.arange(group, dtype=np.uint8)), axis=1)
    return joined.tobytes()[: (len(numbers) * bits + 7) // 8]


def unpacked(data: bytes, offset: int, elements: int, bits: int, stored: np.dtype[np.generic]) -> Array:
    """The inverse of `packed`, from a place in the payload; what it returns may lie in `data` and not be written to."""
    if bits >= 8:
        return np.frombuffer(data, stored, elements, offset)
    group, size = lcm(bits, 8) // bits, (elements * bits + 7) // 8
    wide = lcm(bits, 8) // 8
    rows = np.zeros((-(-elements // group), wide), dtype=np.uint8)
    rows.reshape(-1)[:size] = np.frombuffer(data, np.uint8, size, offset)
    if bits == 6:
        x, y, z = rows.T
        apart = np.stack([x, x >> 6 | y << 2, y >> 4 | z << 4, z >> 2], axis=1)
    else:
        apart = rows >> (bits * np.arange(group, dtype=np.uint8))
    return np.asarray(apart & (2**bits - 1)).reshape(-1)[:elements]


class ElementCodec:
    """Writes tensors one after the other, each element as one number.

    What a packet must not cut, `element_bytes`, holds a whole number of each tensor's smallest group of whole bytes
    (three bytes hold four elements of 6 bits), and every tensor starts at a multiple of its own.

    Args:
        name: Name of the codec.
        numbers: How the elements of each tensor are written.
        fill: Concealment of missing elements.
        orders: Order in which the elements of each tensor are sent; None: as they lie.
    """

    tolerates_loss = True

    def __init__(
        self, name: str, numbers: Sequence[Numbers], fill: Concealer, orders: Sequence[IntArray | None] | None = None
    ) -> None:
        self.name = name
        self.numbers = tuple(numbers)
        self.specs = tuple(kind.spec for kind in numbers)
        self.fill = fill
        self.orders = tuple(orders or [None] * len(self.numbers))
        groups = [lcm(kind.bits, 8) // 8 for kind in self.numbers]
        self.element_bytes = lcm(*groups)
        self.offsets = []
        self.payload_bytes = 0
        for kind, group in zip(self.numbers, groups, strict=True):
            self.offsets.append(-(-self.payload_bytes // group) * group)
            self.payload_bytes = self.offsets[-1] + (kind.spec.elements * kind.bits + 7) // 8
        self.most_bytes = self.payload_bytes

    def encode(self, tensors: Sequence[Array]) -> Payload:
        """Tensors of one frame -> bytes.

        Raises:
            CodecError: they are not those of the plan.
        """
        given = checked_tensors(tensors, self.specs)
        pieces: list[bytes] = []
        size = 0
        for tensor, kind, order, offset in zip(given, self.numbers, self.orders, self.offsets, strict=True):
            numbers = kind.write(tensor)
            written = packed(numbers if order is None else numbers[order], kind.bits)
            pieces += [bytes(offset - size), written]
            size = offset + len(written)
        return Payload(b"".join(pieces), self.element_bytes)

    def decode(
        self, data: bytes, erased: Sequence[ByteRange] = (), previous: Sequence[Array] | None = None
    ) -> tuple[Array, ...]:
        """Bytes -> tensors of one frame; elements that a range of `erased` touches are filled.

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
        for kind, order, offset in zip(self.numbers, self.orders, self.offsets, strict=True):
            sent = unpacked(data, offset, kind.spec.elements, kind.bits, kind.stored)
            numbers = sent
            if order is not None:
                numbers = np.empty_like(sent)
                numbers[order] = sent
            tensors.append(kind.read(numbers).reshape(kind.spec.shape))
        self._fill(tensors, gaps, previous)
        return tuple(tensors)

    def put_with_gaps(
        self,
        into: Sequence[Array],
        tensors: Sequence[Array],
        gaps: Sequence[ByteRange],
        previous: Sequence[Array] | None = None,
    ) -> None:
        """Write what `decode` makes of a payload with gaps, given what it makes of the same payload without any.

        Args:
            into: arrays of the tensors' shapes and types, overwritten.
            tensors: the payload decoded without gaps.
            gaps: ranges inside the payload, none empty.
        """
        for target, tensor in zip(into, tensors, strict=True):
            target[...] = tensor
        self._fill(into, gaps, previous)

    def _fill(self, tensors: Sequence[Array], gaps: Sequence[ByteRange], previous: Sequence[Array] | None) -> None:
        places = zip(tensors, self.numbers, self.orders, self.offsets, strict=True)
        for index, (tensor, kind, order, offset) in enumerate(places):
            values = tensor.reshape(-1)
            missing: list[slice | Array] = []
            for start, end in gaps:
                first = max(start - offset, 0) * 8 // kind.bits
                last = min(-(-max(end - offset, 0) * 8 // kind.bits), len(values))
                if first < last:
                    missing.append(slice(first, last) if order is None else order[first:last])
            if missing:
                self.fill.into(values, index, missing, previous)
