"""Codecs that write every element in equally many bytes: a lost packet costs only the values that it carried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from splitimpera.errors import CodecError
from splitimpera.records import Array, ByteRange, Payload, TensorSpec


@dataclass(frozen=True)
class Scale:
    """An affine map between values and integers 0 to 255: value = low + step * integer.

    `low` and `step` broadcast against one frame's tensor.
    """

    low: Array
    step: Array

    def to_integers(self, tensor: Array) -> Array:
        return np.clip(np.rint((tensor - self.low) / self.step), 0, 255).astype(np.uint8)

    def to_values(self, integers: Array, dtype: str) -> Array:
        values: Array = (self.low + self.step * integers).astype(dtype)
        return values


def calibrated_scale(tensors: Array) -> Scale:
    """The scale that just covers some tensors, shape (n, ...), with one range for all elements.

    Raises:
        CodecError: they contain NaN or infinite values.
    """
    low, high = float(tensors.min(initial=np.inf)), float(tensors.max(initial=-np.inf))
    if not np.isfinite([low, high]).all():
        raise CodecError("the calibration data are empty or contain NaN or infinite values")
    return Scale(np.array(low, np.float32), np.array((high - low) / 255 or 1.0, np.float32))


def picture_scale(mean: Sequence[float], std: Sequence[float]) -> Scale:
    """The scale that gives back the 8-bit pictures (C, H, W) from which inputs were made; without any loss."""
    mean_, std_ = (np.asarray(values, dtype=np.float32).reshape(-1, 1, 1) for values in (mean, std))
    return Scale(-mean_ / std_, 1 / (255 * std_))


class ElementCodec:
    """Writes tensors one after the other, each element as one number; missing elements are read as 0.

    Args:
        name: how the codec is called.
        specs: the tensors of one frame.
        stored: numpy's name of the number that is written for a floating-point element.
        scales: for integer `stored`, the map of each tensor; integer tensors are written as they are.
    """

    tolerates_loss = True

    def __init__(self, name: str, specs: Sequence[TensorSpec], stored: str, scales: Sequence[Scale | None]) -> None:
        self.name = name
        self.specs = tuple(specs)
        self.scales = tuple(scales)
        self.stored = tuple(np.dtype(stored if _floating(spec) else spec.dtype).newbyteorder("<") for spec in specs)
        self.payload_bytes = sum(
            spec.elements * dtype.itemsize for spec, dtype in zip(self.specs, self.stored, strict=True)
        )
        self.atom_bytes = max(dtype.itemsize for dtype in self.stored)

    def encode(self, tensors: Sequence[Array]) -> Payload:
        """Tensors of one frame, in the shapes of `specs` -> bytes."""
        pieces = []
        for tensor, spec, stored, scale in zip(tensors, self.specs, self.stored, self.scales, strict=True):
            if tensor.shape != spec.shape:
                raise CodecError(f"{spec.name}: a tensor of shape {tensor.shape} is given, {spec.shape} is expected")
            numbers = tensor if scale is None else scale.to_integers(tensor)
            pieces.append(np.ascontiguousarray(numbers, dtype=stored).tobytes())
        return Payload(b"".join(pieces), self.atom_bytes)

    def decode(self, data: bytes, erased: Sequence[ByteRange] = ()) -> tuple[Array, ...]:
        """Bytes -> tensors of one frame; elements that a range of `erased` touches become 0.

        Raises:
            CodecError: the length is not the plan's, or a range lies outside.
        """
        if len(data) != self.payload_bytes:
            raise CodecError(f"a payload of {len(data)} bytes is given, {self.name} writes {self.payload_bytes} here")
        if any(not 0 <= start <= end <= len(data) for start, end in erased):
            raise CodecError(f"an erased range lies outside the payload's {len(data)} bytes")
        tensors, offset = [], 0
        for spec, stored, scale in zip(self.specs, self.stored, self.scales, strict=True):
            numbers = np.frombuffer(data, stored, spec.elements, offset).reshape(spec.shape)
            values = numbers.astype(spec.dtype) if scale is None else scale.to_values(numbers, spec.dtype)
            flat = values.reshape(-1)
            for start, end in erased:
                first = max(start - offset, 0) // stored.itemsize
                last = ceil(max(end - offset, 0) / stored.itemsize)
                if end > start:
                    flat[first:last] = 0
            tensors.append(flat.reshape(spec.shape))
            offset += spec.elements * stored.itemsize
        return tuple(tensors)


def _floating(spec: TensorSpec) -> bool:
    return spec.dtype.startswith("float")
