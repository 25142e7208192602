"""How far the model of what codecs cost is off here, and the figures that it is made of.

Presets' codec times come from `src/splitimpera/cost/codecs.yaml`: of each stage what a call costs to start and what
each unit takes on one core, fitted to times that this script measures, and multiplied by how much slower another
machine's core is. The measure of a core is how often a second it counts the primes below 10000, as
sysbench does. Tensors are normal numbers after a ReLU in 16 channels, images smooth ones with noise. Times are the
process's own, so that a busy machine disturbs them less; caches are as cold as after other work.

    .venv/bin/python benchmarks/codec_cost.py            # compares the model with this machine, some three minutes
    .venv/bin/python benchmarks/codec_cost.py --fit      # prints the stages as measured here, for the reference core
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import numba
import numpy as np
from scipy.optimize import nnls

from splitimpera.codec.codec_names import CODECS, parsed
from splitimpera.codec.codecs import Calibration, make_codec
from splitimpera.codec.elements import image_scale
from splitimpera.cost.codec_model import DIRECTIONS, Direction, modelled_s, reference
from splitimpera.cost.coding import CHANNELS, coding
from splitimpera.cost.timing import copied_bytes_per_s
from splitimpera.records.graph import TensorSpec

SIZES = (1024, 8192, 65_536, 524_288)
ROUNDS = 11
Times = dict[tuple[str, Direction], list[tuple[int, float]]]
COMPARED = """
float32 float16 bfloat16 uint8 uint6 uint4 uint2 uint8:channel uint4:channel
float32+interleaved uint4+interleaved+mean uint8+last
uint8+rans uint6+rans uint4+rans uint2+rans uint8:channel+rans:channel
uint8+rans-packets uint4+rans-packets:channel uint2+rans-packets+interleaved
float32+zstd float16+zstd:9 uint8+zstd:1 uint8+zstd uint8+zstd:12 uint8+zstd:19 uint4+zstd
uint8+fec:20 float16+interleaved+fec:50 uint8+rans+fec:20 uint8+zstd+fec:100 uint4+rans-packets+fec:10
png jpeg:50 jpeg:90 webp webp:75 png+fec:20
""".split()


@numba.njit(error_model="numpy")
def _primes(most: int) -> int:
    found = 0
    for candidate in range(np.uint64(3), np.uint64(most)):
        root, divisor = np.uint64(math.sqrt(candidate)), np.uint64(2)
        while divisor <= root and candidate % divisor:
            divisor += np.uint64(1)
        found += divisor > root
    return found


def primes_per_s(most: int = 10_000, seconds: float = 1.0) -> float:
    """How often a second one core counts them."""
    _primes(most)
    counted, begun_s = 0, time.thread_time()
    while time.thread_time() - begun_s < seconds:
        _primes(most)
        counted += 1
    return counted / (time.thread_time() - begun_s)


def images(elements: int) -> Calibration:
    side = max(8, round((elements / 3) ** 0.5))
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    smooth = np.stack([128 + 90 * np.sin(7 * x + 3 * y + channel) for channel in range(3)])
    pixels = np.clip(smooth + rng.normal(0, 4, (2, 3, side, side)), 0, 255).astype(np.uint8)
    scale = image_scale((0.5,) * 3, (0.25,) * 3)
    return Calibration((TensorSpec("input", (3, side, side)),), (scale.to_values(pixels, "float32"),), scale)


def calls(name: str, elements: int) -> tuple[int, dict[Direction, Callable[[], object]]]:
    """Elements as they are taken, and calls that code them."""
    if not CODECS[parsed(name).base].images_only:
        return elements, coding(name, 4 * elements)
    calibration = images(elements)
    codec, row = make_codec(name, calibration), (calibration.tensors[0][0],)
    data = codec.encode(row).data
    return row[0].size, {"encode": lambda: codec.encode(row), "decode": lambda: codec.decode(data)}


def measured(names: Iterable[str]) -> Times:
    """Median seconds of each codec, in each direction and at each size, in rounds over all of them."""
    found: Times = {}
    for size in SIZES:
        prepared = {name: calls(name, size) for name in names}
        taken: dict[tuple[str, Direction], list[float]] = {}
        for turn in range(ROUNDS + 1):
            for name, (_, both) in prepared.items():
                for direction, run in both.items():
                    begun_s = time.thread_time()
                    run()
                    if turn:
                        taken.setdefault((name, direction), []).append(time.thread_time() - begun_s)
        for (name, direction), times_s in taken.items():
            found.setdefault((name, direction), []).append((prepared[name][0], float(np.median(times_s))))
    return found


def fit(core: float) -> None:
    """Print the stages: of a whole codec, or what one takes longer than another of fewer modifiers."""
    alone = "float32 float16 bfloat16 uint8 uint6 uint4 uint2 png jpeg webp".split()
    coded = [f"{base}+{coder}" for coder in ("rans", "rans-packets") for base in ("uint8", "uint6", "uint4", "uint2")]
    after = {
        "+interleaved": ("uint8+interleaved", "uint8"),
        "+rans-packets+interleaved": ("uint8+rans-packets+interleaved", "uint8+rans-packets"),
        **{f"+zstd:{level}": (f"uint8+zstd:{level}", "uint8") for level in range(1, 20)},
    }
    wanted = {**{name: (name, "") for name in (*alone, *coded)}, "webp:lossy": ("webp:75", ""), **after}
    times = measured(dict.fromkeys(name for pair in wanted.values() for name in pair if name))
    for stage_name, (whole, other) in wanted.items():
        fitted = []
        for direction in DIRECTIONS:
            units, seconds = np.array(times[whole, direction]).T
            rest = np.array(times[other, direction])[:, 1] if other else 0.0
            (start_s, unit_s), _ = nnls(np.stack([1 / seconds, units / seconds], axis=1), 1 - rest / seconds)
            fitted.append(f"{direction}: [{start_s / core * 1e6:.3g}, {unit_s / core * 1e9:.3g}]")
        print(f'"{stage_name}": {{{", ".join(fitted)}}}')


def compare(core: float) -> None:
    """Print the model's time over the measured one, at each size, and the worst."""
    here = replace(reference(), core=core, bytes_per_s=copied_bytes_per_s())
    off: list[float] = []
    times = measured(COMPARED)
    print(f"{'codec':36}{'':8}" + "".join(f"{size:>10}" for size in SIZES) + "   (model / measured)")
    for name in COMPARED:
        for direction in DIRECTIONS:
            ratios = [
                modelled_s(name, direction, 4 * n, here, CHANNELS) / seconds for n, seconds in times[name, direction]
            ]
            off += ratios
            print(f"{name:36}{direction:8}" + "".join(f"{ratio:10.2f}" for ratio in ratios), flush=True)
    factors = np.maximum(off, 1 / np.array(off))
    print(
        f"\n{len(off)} times: half of the estimates are within a factor of {np.median(factors):.2f}, "
        f"nine tenths within {np.quantile(factors, 0.9):.2f}, the worst is off by {factors.max():.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fit", action="store_true", help="print the stages as measured here")
    options = parser.parse_args()
    counted = primes_per_s()
    core = 4490 / counted
    print(f"# counts the primes {counted:.0f} times a second: core {core:.3f}", file=sys.stderr)
    print(f"# copies {copied_bytes_per_s() / 1e9:.3g} GB/s", file=sys.stderr)
    if options.fit:
        fit(core)
    else:
        compare(core)


if __name__ == "__main__":
    main()
