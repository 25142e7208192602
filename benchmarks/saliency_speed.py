"""What the saliency curve costs: time and peak memory against a plain forward and backward pass of the same batch.

The plain pass goes down to the input and computes no weight gradients. Times are taken in turn within one run, so that
the ratio holds on a noisy machine; memory is the growth of the peak resident size, in a process of its own (Linux).

    .venv/bin/python benchmarks/saliency_speed.py             # all networks, some ten minutes on two cores
    .venv/bin/python benchmarks/saliency_speed.py --only vgg16-64 digits
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import splitimpera as sei
from splitimpera.cost.timing import measure_together_s
from splitimpera.models.recipes import RECIPES
from splitimpera.models.reference import REFERENCE

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


CASES = {
    "digits-vgg16": Case(RECIPES["digits-vgg16"].build, (32, 1, 32, 32), 1.3),
    "digits-resnet20": Case(RECIPES["digits-resnet20"].build, (32, 1, 32, 32), 1.3),
    "vgg16-64": Case(REFERENCE["vgg16"], (8, 3, 64, 64), 1.15),
    "vgg16-64-batch32": Case(REFERENCE["vgg16"], (32, 3, 64, 64), 1.15),
    "vgg16-224": Case(REFERENCE["vgg16"], (8, 3, 224, 224), 1.15),
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
    plain_s, saliency_s = measure_together_s(runs, budget_s=budget_s)
    ratio = saliency_s / plain_s
    return (
        f"plain {1e3 * plain_s / len(x):8.2f} ms, saliency {1e3 * saliency_s / len(x):8.2f} ms an image, "
        f"ratio {ratio:.3f} ({_verdict(ratio, case.limit)}); "
        f"trace and {len(graph.cuts)} cuts {traced_s:.2f} s ({_verdict(traced_s, TRACE_LIMIT_S)})"
    )


def peak_growth(name: str, kind: str) -> int:
    """Bytes by which one pass raises the peak resident size of a fresh process."""
    command = [sys.executable, __file__, "--peak", kind, "--only", name]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


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
        print(f"{name:16} {time_ratio(CASES[name], options.budget)}", flush=True)
        plain, saliency = peak_growth(name, "plain"), peak_growth(name, "saliency")
        if plain > 20e6:  # below that the interpreter's own noise decides
            ratio = saliency / plain
            memory = f"peak memory plain {plain / 1e6:.0f} MB, saliency {saliency / 1e6:.0f} MB"
            print(f"{'':16} {memory}, ratio {ratio:.2f} ({_verdict(ratio, MEMORY_LIMIT)})", flush=True)


if __name__ == "__main__":
    main()
