"""What the saliency curve costs: time and peak memory against a plain forward and backward pass of the same batch.

The plain pass goes down to the input and computes no weight gradients. Both are run in turn, and the ratio is the
median over the pairs, of CPU time and of wall time; the limit is for CPU time, which other processes disturb less.
Memory is the growth of the peak resident size, in a process of its own (Linux; the median of three).

    .venv/bin/python benchmarks/saliency_speed.py             # all networks, some ten minutes on two cores
    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/saliency_speed.py --only vgg16-64 digits
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import splitimpera as sei
from splitimpera.core.array_types import FloatArray
from splitimpera.cost.timing import keep_freed_memory
from splitimpera.models.recipes import RECIPES
from splitimpera.models.reference import REFERENCE
from splitimpera.models.vgg import VGG16

MEMORY_LIMIT = 1.3
TRACE_LIMIT_S = 5.0


@dataclass(frozen=True)
class Case:
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    limit: float


class VitBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.project(mixed.transpose(1, 2).flatten(2))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class VitB(nn.Module):
    """ViT-B/16 (Dosovitskiy et al., ICLR 2021), written out here so that no other package is needed."""

    def __init__(self, width: int = 768, depth: int = 12, heads: int = 12) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 16, stride=16)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(0.02 * torch.randn(1, 197, width))
        self.blocks = nn.Sequential(*(VitBlock(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.position
        logits: Tensor = self.head(self.norm(self.blocks(x))[:, 0])
        return logits


def sequential_vgg16() -> nn.Sequential:
    """VGG-16 for maps of 64 x 64 as people write it down: in-place ReLU, dropout, no pool before the classifier."""
    layers: list[nn.Module] = []
    channels = 3
    for step in VGG16:
        if isinstance(step, str):
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(channels, 64 * step, 3, padding=1), nn.ReLU(inplace=True)]
            channels = 64 * step
    layers.append(nn.Flatten())
    for width in (2048, 4096):
        layers += [nn.Linear(width, 4096), nn.ReLU(inplace=True), nn.Dropout()]
    return nn.Sequential(*layers, nn.Linear(4096, 1000))


CASES = {
    "digits-vgg16": Case(RECIPES["digits-vgg16"].build, (32, 1, 32, 32), 1.3),
    "digits-resnet20": Case(RECIPES["digits-resnet20"].build, (32, 1, 32, 32), 1.3),
    "vgg16-64": Case(REFERENCE["vgg16"], (8, 3, 64, 64), 1.15),
    "vgg16-sequential-64": Case(sequential_vgg16, (16, 3, 64, 64), 1.15),
    "vgg16-64-batch32": Case(REFERENCE["vgg16"], (32, 3, 64, 64), 1.15),
    "vgg16-224": Case(REFERENCE["vgg16"], (8, 3, 224, 224), 1.15),
    "mobilenet_v2-224": Case(REFERENCE["mobilenet_v2"], (8, 3, 224, 224), 1.15),
    "resnet50-224": Case(REFERENCE["resnet50"], (8, 3, 224, 224), 1.15),
    "vit_b-224": Case(VitB, (8, 3, 224, 224), 1.15),
}


def prepared(case: Case) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    model = case.make().eval().requires_grad_(False)
    return model, torch.randn(case.shape)


def plain_pass(model: nn.Module, x: Tensor) -> None:
    leaf = x.clone().requires_grad_()
    logits = model(leaf)
    torch.autograd.grad(logits.gather(1, logits.argmax(1, keepdim=True)).sum(), leaf)


def time_ratio(case: Case, budget_s: float) -> str:
    model, x = prepared(case)
    start = time.perf_counter()
    graph = sei.trace(model, x)
    traced_s = time.perf_counter() - start
    runs = [lambda: plain_pass(model, x), lambda: sei.cumulative_saliency(graph, x, batch=len(x))]
    taken_s = times_together_s(runs, budget_s)  # (rounds, runs, CPU and wall)
    cpu, wall = np.median(taken_s[:, 1] / taken_s[:, 0], axis=0)
    plain_ms, saliency_ms = 1e3 * np.median(taken_s[:, :, 0], axis=0) / len(x)
    return (
        f"plain {plain_ms:8.2f} CPU-ms, saliency {saliency_ms:8.2f} CPU-ms an image, "
        f"ratio {cpu:.3f} ({_verdict(cpu, case.limit)}), of wall time {wall:.3f}; {len(taken_s)} pairs; "
        f"trace and {len(graph.cuts)} cuts {traced_s:.2f} s ({_verdict(traced_s, TRACE_LIMIT_S)})"
    )


def times_together_s(runs: list[Callable[[], object]], budget_s: float, least: int = 5) -> FloatArray:
    """CPU and wall seconds of each call of each, called in turn: (rounds, runs, 2)."""
    keep_freed_memory()
    for run in runs:
        run()
        run()
    taken: list[list[tuple[float, float]]] = []
    end = time.perf_counter() + budget_s
    while len(taken) < least or time.perf_counter() < end:
        taken.append([_time_s(run) for run in runs])
    return np.array(taken)


def _time_s(run: Callable[[], object]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - cpu, time.perf_counter() - wall


def peak_growth(name: str, kind: str, processes: int = 3) -> float:
    """Bytes by which one pass raises the peak resident size of a fresh process; the median of a few."""
    command = [sys.executable, __file__, "--peak", kind, "--only", name]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(processes)]
    return float(np.median([int(run.stdout) for run in runs]))


def print_peak_growth(name: str, kind: str) -> None:
    model, x = prepared(CASES[name])
    graph = sei.trace(model, x[:1])
    with torch.no_grad():
        model(x[:1])  # buffers and caches that any pass needs
    Path("/proc/self/clear_refs").write_text("5")  # the kernel's high-water mark starts anew
    before = _memory_kib("VmRSS")
    if kind == "plain":
        plain_pass(model, x)
    else:
        sei.cumulative_saliency(graph, x, batch=len(x))
    print((_memory_kib("VmHWM") - before) * 1024)


def _memory_kib(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def _verdict(value: float, limit: float) -> str:
    return f"{'within' if value <= limit else 'ABOVE'} {limit}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(CASES), help="names, or beginnings of names")
    parser.add_argument("--budget", type=float, default=30.0, help="seconds of timing for each network")
    parser.add_argument("--peak", choices=("plain", "saliency"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = [name for name in CASES if name.startswith(tuple(options.only))]
    if options.peak:
        print_peak_growth(names[0], options.peak)
        return
    for name in names:
        print(f"{name:20} {time_ratio(CASES[name], options.budget)}", flush=True)
        plain, saliency = peak_growth(name, "plain"), peak_growth(name, "saliency")
        if plain > 20e6:  # below that the interpreter's own noise decides
            ratio = saliency / plain
            memory = f"peak memory plain {plain / 1e6:.0f} MB, saliency {saliency / 1e6:.0f} MB"
            print(f"{'':20} {memory}, ratio {ratio:.2f} ({_verdict(ratio, MEMORY_LIMIT)})", flush=True)


if __name__ == "__main__":
    main()
