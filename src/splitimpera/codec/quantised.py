"""Affine quantisation to 8, 6, 4 or 2 bits, with ranges that are fixed beforehand."""

from __future__ import annotations

import numpy as np

from splitimpera.codec.elements import Scale
from splitimpera.codec.given import array_dtype
from splitimpera.core.array_types import Array
from splitimpera.core.errors import CodecError
from splitimpera.records.graph import TensorSpec

BITS = {"uint8": 8, "uint6": 6, "uint4": 4, "uint2": 2}


class Quantised:
    """Floating-point elements as integers of 2 to 8 bits on a scale.

    The error is at most half a step inside the scale's range, and beyond it the distance to its nearest end, besides
    the rounding of the arithmetic, which is done in float32 (float64 for tensors of it).
    """

    stored: np.dtype[np.generic] = np.dtype(np.uint8)

    def __init__(self, spec: TensorSpec, scale: Scale, bits: int) -> None:
        self.spec = spec
        self.scale = scale
        self.bits = bits
        self._own = array_dtype(spec)

    def write(self, tensor: Array) -> Array:
        return self.scale.to_integers(tensor).reshape(-1)

    def read(self, numbers: Array) -> Array:
        return self.scale.to_values(numbers.reshape(self.spec.shape), self._own).reshape(-1)


def calibrated_scale(tensors: Array, spec: TensorSpec, bits: int = 8, per_channel: bool = False) -> Scale:
    """The scale that just covers some tensors.

    Args:
        tensors: (n, *spec.shape).
        per_channel: one range for each channel instead of one for all elements; a tensor without channels has one.

    Raises:
        CodecError: they contain NaN or infinite values.
    """
    kept = channel_axis(spec) if per_channel else None
    axes = tuple(axis for axis in range(tensors.ndim) if kept is None or axis != kept + 1)
    low = tensors.min(axis=axes, keepdims=True, initial=np.inf).astype(np.float64)
    high = tensors.max(axis=axes, keepdims=True, initial=-np.inf).astype(np.float64)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise CodecError("the calibration data are empty or contain NaN or infinite values", where=spec.name)
    low, high = (np.zeros(()) + end[0] if kept is not None else end.reshape(()) for end in (low, high))
    levels = 2**bits - 1
    dtype = np.float64 if spec.dtype == "float64" else np.float32
    least = float(np.finfo(dtype).tiny)
    # both ends are divided before they are subtracted, for their difference may be too large
    step = high / levels - low / levels
    # a constant has no range, and in the smallest ranges a step would round to 0
    step = np.where(step < least, np.where(high > low, least, 1.0), step)
    return Scale(low.astype(dtype), step.astype(dtype), levels)


def coarser(scale: Scale, bits: int) -> Scale:
    """The same range in fewer steps."""
    levels = 2**bits - 1
    return Scale(scale.low, scale.step * np.asarray(scale.levels / levels, scale.step.dtype), levels)


def channel_axis(spec: TensorSpec) -> int | None:
    """The dimension of `spec.shape` with the channels; None where the tensor has none."""
    return spec.channel_dim if 0 <= spec.channel_dim < len(spec.shape) else None
