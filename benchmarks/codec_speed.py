"""How fast codecs are, and how small what they make: a tensor of 100 kB as it comes out of a ReLU.

The elements are normal numbers without their negative half, in 64 channels that each have a deviation of their own; the
codecs are calibrated on 64 other such tensors. A codec is timed over one tensor after the other, and each figure is a
median. Limits: 2 ms for encoding and decoding together without entropy coding, 50 MB of tensor a second for both
together with it. Whatever follows "+" besides counts as entropy coding or not as its codec does.

    .venv/bin/python benchmarks/codec_speed.py             # some 20 seconds
    .venv/bin/python benchmarks/codec_speed.py uint8+rans float16+zstd:9
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from splitimpera.codec.codec_names import parsed
from splitimpera.codec.codecs import Calibration, make_codec
from splitimpera.core.array_types import Array
from splitimpera.records.graph import TensorSpec

SHAPE = (64, 20, 20)
FRAMES = 64
ROUNDS = 5
LIMIT_S = 2e-3
LIMIT_BYTES_PER_S = 50e6
NAMES = """
float32 float16 bfloat16 float16+interleaved float16+zstd
uint8 uint6 uint4 uint2 uint8:channel uint4:channel uint8+interleaved uint4+interleaved+mean
uint8+fec:20 uint8+interleaved+fec:20
uint8+zstd uint4+zstd
uint8+rans uint6+rans uint4+rans uint2+rans uint8:channel+rans uint8+rans:channel uint4:channel+rans:channel
uint8+rans-packets uint4+rans-packets uint8+rans-packets:channel uint8+rans-packets+interleaved
uint8+rans-packets:channel+interleaved uint8+rans-packets+interleaved+fec:20 uint4+rans+fec:20
""".split()


def tensors(count: int, rng: np.random.Generator, deviations: Array) -> Array:
    return np.maximum(rng.normal(0, deviations, (count, *SHAPE)), 0).astype(np.float32)


def median_s(work: Callable[[Array], object], frames: Array) -> float:
    times = []
    for _ in range(ROUNDS):
        for frame in frames:
            start = time.perf_counter()
            work(frame)
            times.append(time.perf_counter() - start)
    return median(times)


def main() -> None:
    rng = np.random.default_rng(0)
    deviations = rng.lognormal(0, 0.7, (SHAPE[0], 1, 1))
    calibration = Calibration((TensorSpec("features", SHAPE),), (tensors(FRAMES, rng, deviations),))
    frames = tensors(FRAMES, rng, deviations)
    size = frames[0].nbytes
    print(f"{size} bytes of float32, {' x '.join(map(str, SHAPE))}\n")
    print(f"{'codec':42}{'bytes':>8}{'ratio':>7}{'encode':>10}{'decode':>10}{'MB/s':>7}  limit")
    for name in sys.argv[1:] or NAMES:
        codec = make_codec(name, calibration)
        payloads = [codec.encode([frame]).data for frame in frames]
        encode_s = median_s(lambda frame, codec=codec: codec.encode([frame]), frames)
        decode_s = median_s(codec.decode, payloads)
        both_s = encode_s + decode_s
        coded = any(modifier in ("rans", "rans-packets", "zstd") for modifier in parsed(name).modifiers)
        holds = size / both_s >= LIMIT_BYTES_PER_S if coded else both_s <= LIMIT_S
        print(
            f"{name:42}{np.mean([len(data) for data in payloads]):8.0f}"
            f"{size / np.mean([len(data) for data in payloads]):7.2f}{encode_s * 1e3:7.3f} ms{decode_s * 1e3:7.3f} ms"
            f"{size / both_s / 1e6:7.0f}  {'holds' if holds else 'missed'}"
        )


if __name__ == "__main__":
    main()
