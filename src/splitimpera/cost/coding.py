"""How long codecs take on this machine, for tensors of any size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from splitimpera.codec.codecs import Calibration, make_codec
from splitimpera.cost.codec_model import Direction
from splitimpera.records.device import CodecTime
from splitimpera.records.graph import TensorSpec

CHANNELS = 16


def coding(name: str, tensor_bytes: int) -> dict[Direction, Callable[[], object]]:
    """Calls that encode one float32 tensor of about this size, and decode it: normal numbers after a ReLU.

    Raises:
        UnknownNameError, CodecError: as `make_codec`, and for image codecs.
    """
    width = max(1, round(tensor_bytes / 4 / CHANNELS))
    spec = TensorSpec("example", (CHANNELS, width, 1))
    numbers = np.random.default_rng(0).standard_normal((2, *spec.shape), dtype=np.float32)
    frames = np.maximum(numbers, 0, out=numbers)
    codec = make_codec(name, Calibration((spec,), (frames,)))
    row = (frames[0],)
    data = codec.encode(row).data
    return {"encode": lambda: codec.encode(row), "decode": lambda: codec.decode(data)}


def fitted(codec: str, sizes_bytes: Sequence[int], encode_s: Sequence[float], decode_s: Sequence[float]) -> CodecTime:
    """The straight lines that come nearest to measured times, by their relative distance."""
    return CodecTime(codec, *_line(sizes_bytes, encode_s), *_line(sizes_bytes, decode_s))


def coded_s(time: CodecTime, direction: Direction, tensor_bytes: float) -> float:
    """Seconds that a line gives."""
    if direction == "encode":
        return time.encode_start_s + time.encode_per_byte_s * tensor_bytes
    return time.decode_start_s + time.decode_per_byte_s * tensor_bytes


def _line(sizes_bytes: Sequence[int], times_s: Sequence[float]) -> tuple[float, float]:
    """Start and slope, neither below 0, with the least sum of squared relative distances."""
    x, t = np.array(sizes_bytes, dtype=float), np.array(times_s)
    columns = np.stack([1 / t, x / t], axis=1)
    start, slope = np.linalg.lstsq(columns, np.ones(len(t)), rcond=None)[0]
    if start < 0 or slope < 0:
        ((only,), *_) = np.linalg.lstsq(columns[:, [1 if start < 0 else 0]], np.ones(len(t)), rcond=None)
        start, slope = (0.0, only) if start < 0 else (only, 0.0)
    return float(start), float(slope)
