"""What a design costs as a user starts it: CPU and wall time, peak memory, and the least that it has to compute.

    python benchmarks/design_scale.py                        # all rows but c, half an hour or more
    python benchmarks/design_scale.py --large                # row c as well: 10 000 images, hours
    python benchmarks/design_scale.py --rows a b --images 100 --replications 1      # does it work?

a, b  MobileNetV2 at 224 x 224, 1000 images in a folder of which 400 validate, with --all (every plan's accuracy) and
      without. The floor is measured in the same run: see scale_floor.py. The limit in seconds is for a pass of 56
      CPU-ms an image and scaled to the one measured here.
c     as a, with 10 000 images of which 4000 validate; its time may grow as the images.
d, e  the digits and digits_resnet examples with exploration, started for the second time.
f     the peak memory of `splitimpera saliency` for 1000 and 4000 images.
g     a ResNet-56 on 2000 images of 32 x 32 with a bottleneck, all in the cache: what exploration takes on top.

Each measurement is a process of its own, with one thread for torch; CPU is user and system time, memory the largest
resident size of any of its processes (Linux). This script imports nothing large, since a process begins with the peak
of the one that started it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parent
PYTHON = sys.executable
SPLITIMPERA = (PYTHON, "-m", "splitimpera")

IMAGES, MANY_IMAGES = 1000, 10_000
REPLICATIONS = 5
SALIENCY_IMAGES = (1000, 4000)
FLOOR_LIMIT = 1.7
CPU_LIMIT_S, PASS_MS = 300.0, 56.0
MEMORY_LIMIT_BYTES, MANY_MEMORY_LIMIT_BYTES = 1.5e9, 1.6e9
SECOND_START_LIMIT_S = 20.0
SALIENCY_GROWTH_LIMIT = 1.1
ACCURACY = (0.6, 0.9)
SMALL_IMAGES = 2000
EXPLORING_LIMIT_S = 10.0

SCENARIO = """\
name: design_scale
network: {model: mobilenet_v2, weights: weights.safetensors}
data:
  source: images
  validation: 0.4
  test: 0.4
  mean: [0.5, 0.5, 0.5]
  std: [0.25, 0.25, 0.25]
devices:
  - {name: camera, preset: raspberry-pi-4}
  - {name: server, preset: t4}
links:
  - {preset: wifi-5, loss: 1 %}
workload: {fps: 10}
plans: {cuts: candidates, codecs: [uint8], transports: [tcp, udp]}
requirements: [latency_p95 <= 60 ms, fps >= 10]
"""


SMALL_SCENARIO = """\
name: resnet56
network: {model: "network.py:resnet56", weights: weights.safetensors}
data:
  source: images.npz
  validation: 0.4
  test: 0.4
  mean: [0.5, 0.5, 0.5]
  std: [0.25, 0.25, 0.25]
devices:
  - {name: camera, preset: raspberry-pi-4}
  - {name: server, slowdown: 1}
links:
  - {rate: 20 Mbit/s, delay: 10 ms, loss: 1 %}
workload: {fps: 10}
plans: {cuts: candidates, codecs: [uint8], transports: [tcp, udp]}
bottlenecks: {ratios: [8], epochs: [2, 2]}
requirements: [accuracy >= 50 %, latency_p95 <= 60 ms, fps >= 10]
"""


@dataclass(frozen=True)
class Used:
    """What a process used, with those that it started and waited for."""

    cpu_s: float
    wall_s: float
    peak_bytes: int
    printed: str = ""


@dataclass(frozen=True)
class Figure:
    """One line of the table; `holds` is None where there is no limit."""

    row: str
    what: str
    measured: str
    value: float
    limit: str = ""
    holds: bool | None = None


@dataclass
class Table:
    """Prints each figure when it is known, and keeps it."""

    figures: list[Figure]

    def head(self) -> None:
        print(f"| row | {'':46} | {'measured':>34} | {'limit':>12} | {'':6} |")
        print(f"|-----|{'-' * 48}|{'-' * 35}:|{'-' * 13}:|{'-' * 8}|", flush=True)

    def add(self, row: str, what: str, measured: str, value: float, limit: str = "", holds: bool | None = None) -> None:
        self.figures.append(Figure(row, what, measured, value, limit, holds))
        verdict = "" if holds is None else "holds" if holds else "missed"
        print(f"| {row:3} | {what:46} | {measured:>34} | {limit:>12} | {verdict:6} |", flush=True)

    def seconds(self, row: str, what: str, value: float, limit: float | None = None, more: str = "") -> None:
        text = "" if limit is None else f"<= {limit:.0f} s"
        self.add(row, what, f"{value:.1f} s{more}", value, text, None if limit is None else value <= limit)

    def memory(self, row: str, what: str, value: float, limit: float | None = None) -> None:
        text = "" if limit is None else f"<= {limit / 1e9:.1f} GB"
        self.add(row, what, f"{value / 1e9:.2f} GB", value, text, None if limit is None else value <= limit)

    def ratio(self, row: str, what: str, value: float, limit: float | None) -> None:
        text = "" if limit is None else f"<= {limit:g}"
        self.add(row, what, f"{value:.2f}", value, text, None if limit is None else value <= limit)

    def note(self, row: str, what: str, measured: str, value: float) -> None:
        self.add(row, what, measured, value)


def started(command: Sequence[str], output: Path, folder: Path | None = None) -> Used:
    """Run a command to its end and say what it used; what it prints goes to a file."""
    begun_s = time.perf_counter()
    with output.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - begun_s
    printed = output.read_text(errors="replace")
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{printed[-3000:]}")
    return Used(used.ru_utime + used.ru_stime, wall_s, used.ru_maxrss * 1024, printed)


class Bench:
    """The rows, in a folder for images, scenarios and results."""

    def __init__(self, folder: Path, images: int, replications: int, table: Table) -> None:
        self.folder = folder
        self.images = images
        self.replications = replications
        self.table = table
        self.has_all = "--all" in self.run(*SPLITIMPERA, "design", "--help").printed
        self.floor: dict[str, float] = {}
        self.all_cpu_s: float | None = None

    def run(self, *command: str) -> Used:
        return started(command, self.folder / "output.txt", HERE.parent)

    def scenario(self, images: int) -> Path:
        """A scenario with so many images, which are made where they are not there yet."""
        weights, folder = self.folder / "weights.safetensors", self.folder / f"{images}"
        if not weights.exists():
            self.run(PYTHON, str(HERE / "scale_pictures.py"), "weights", str(weights))
        if not folder.exists():
            self.run(PYTHON, str(HERE / "scale_pictures.py"), "images", str(folder / "images"), str(images))
            (folder / "weights.safetensors").symlink_to(weights)
            (folder / "scenario.yaml").write_text(SCENARIO)
        return folder / "scenario.yaml"

    def design(self, scenario: Path, *options: str) -> tuple[Used, Path]:
        out = self.folder / "results"
        options = ("--out", str(out), "--replications", str(self.replications), *options)
        return self.run(*SPLITIMPERA, "design", str(scenario), *options), out / "results.json"

    def every_plan(self) -> None:
        """Row a."""
        used, results = self.design(self.scenario(self.images), "--no-explore", *self._all)
        self.all_cpu_s = used.cpu_s
        self._find_floor(results)
        self._against_floor("a", "every plan's accuracy", used)

    def some_plans(self) -> None:
        """Row b."""
        if not self.has_all:
            self.table.note("b", "without --all", "no such option: as row a", float("nan"))
            return
        used, results = self.design(self.scenario(self.images), "--no-explore")
        self._find_floor(results)
        self._against_floor("b", "without --all", used)

    def many_images(self) -> None:
        """Row c."""
        used, _ = self.design(self.scenario(MANY_IMAGES), "--no-explore", *self._all)
        growth = MANY_IMAGES / self.images
        limit_s = None if self.all_cpu_s is None else self.all_cpu_s * growth
        what = f"{MANY_IMAGES} images"
        self.table.seconds("c", f"{what}, CPU, at most {growth:g} x row a", used.cpu_s, limit_s, self._wall(used))
        self.table.memory("c", f"{what}, peak memory", used.peak_bytes, MANY_MEMORY_LIMIT_BYTES)

    def second_start(self, row: str, example: str) -> None:
        """Rows d and e."""
        for _ in range(2):
            used, _ = self.design(Path("examples", example, "scenario.yaml"), "--explore")
        self.table.seconds(row, f"{example}, explored, second start, wall", used.wall_s, SECOND_START_LIMIT_S)
        self.table.seconds(row, f"{example}, CPU", used.cpu_s)

    def saliency(self) -> None:
        """Row f."""
        peaks = []
        for images in SALIENCY_IMAGES:
            folder = self.scenario(images).parent
            model = ("mobilenet_v2", "--weights", str(folder / "weights.safetensors"))
            used = self.run(*SPLITIMPERA, "saliency", *model, "--data", str(folder / "images"))
            self.table.memory("f", f"saliency, {images} images, peak memory", used.peak_bytes)
            peaks.append(used.peak_bytes)
        self.table.ratio("f", "the last over the first", peaks[-1] / peaks[0], SALIENCY_GROWTH_LIMIT)

    def exploring(self) -> None:
        """Row g."""
        folder = self.folder / "small"
        self.run(PYTHON, str(HERE / "scale_pictures.py"), "small", str(folder), str(SMALL_IMAGES))
        (folder / "scenario.yaml").write_text(SMALL_SCENARIO)
        self.design(folder / "scenario.yaml", "--no-explore")
        without, results = self.design(folder / "scenario.yaml", "--no-explore")
        plans = len(json.loads(results.read_text())["plans"])
        explored, _ = self.design(folder / "scenario.yaml", "--explore")
        self.table.seconds("g", f"ResNet-56, {plans} plans, second start, wall", without.wall_s)
        self.table.seconds("g", "exploration on top", explored.wall_s - without.wall_s, EXPLORING_LIMIT_S)
        self.table.memory("g", "explored, peak memory", explored.peak_bytes)

    @property
    def _all(self) -> tuple[str, ...]:
        return ("--all",) if self.has_all else ()

    def _find_floor(self, results: Path) -> None:
        if self.floor:
            return
        scenario = self.scenario(self.images)
        used = self.run(PYTHON, str(HERE / "scale_floor.py"), str(scenario), str(results))
        self.floor = json.loads(used.printed.splitlines()[-1])
        floor, spent_s = self.floor, self.floor["spent_s"]
        low, high = ACCURACY
        right = floor["accuracy"]
        limit, holds = f"{low:.0%} to {high:.0%}", low <= right <= high
        self.table.add("a", f"accuracy of the network on {self.images} images", f"{right:.1%}", right, limit, holds)
        self.table.note("a", "one pass of an image", f"{floor['pass_ms']:.1f} CPU-ms", floor["pass_ms"])
        tails, lossy = f"{floor['tails']} tails", f"{floor['damaged_frames']} frames of {floor['lossy_plans']} plans"
        for what, key in (
            ("each image decoded", "reading"),
            ("each image through the network", "passes"),
            (f"the validation images through {tails}", "tails"),
            (f"damaged: {lossy}", "damaged"),
            ("coding", "coding"),
        ):
            self.table.seconds("a", f"floor: {what}", spent_s.get(key, 0.0))
        self.table.seconds("a", "floor: together", floor["floor_s"], more=f", {floor['plans']} plans")

    def _against_floor(self, row: str, what: str, used: Used) -> None:
        # a design of few images mostly starts up, or simulates the 1000 frames that a workload has at least
        full = (self.images, self.replications) == (IMAGES, REPLICATIONS)
        cpu_limit_s = CPU_LIMIT_S * self.floor["pass_ms"] / PASS_MS
        limits = (cpu_limit_s, FLOOR_LIMIT, MEMORY_LIMIT_BYTES) if full else (None, None, None)
        self.table.seconds(row, f"{what}, CPU", used.cpu_s, limits[0], self._wall(used))
        self.table.ratio(row, f"{what}, CPU over floor", used.cpu_s / self.floor["floor_s"], limits[1])
        self.table.memory(row, f"{what}, peak memory", used.peak_bytes, limits[2])

    def _wall(self, used: Used) -> str:
        return f" ({used.wall_s:.0f} s wall)"


def main() -> bool:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices="abcdefg", default=[*"abdefg"], help="the rows to measure")
    parser.add_argument("--large", action="store_true", help="row c as well")
    parser.add_argument("--images", type=int, default=IMAGES, help="images of rows a and b; limits are for 1000")
    parser.add_argument("--replications", type=int, default=REPLICATIONS, help="of each design; limits are for 5")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    rows = sorted({*arguments.rows, *("c" if arguments.large else "")})
    table = Table([])
    with TemporaryDirectory() as folder:
        bench = Bench(Path(folder), arguments.images, arguments.replications, table)
        table.head()
        work = {
            "a": bench.every_plan,
            "b": bench.some_plans,
            "c": bench.many_images,
            "d": lambda: bench.second_start("d", "digits"),
            "e": lambda: bench.second_start("e", "digits_resnet"),
            "f": bench.saliency,
            "g": bench.exploring,
        }
        for row in rows:
            work[row]()
    if arguments.json is not None:
        content = {"images": arguments.images, "floor": bench.floor, "figures": [*map(asdict, table.figures)]}
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")
    return all(figure.holds is not False for figure in table.figures)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
