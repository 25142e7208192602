"""What the saliency curve costs: one batch against a plain forward and backward pass of the same batch.

The plain pass goes down to the input and computes no weight gradients. Both are timed in turn within one run, so that
the ratio holds on a noisy machine. Run: `.venv/bin/python benchmarks/saliency_cost.py`.
"""

from __future__ import annotations

import argparse

import torch
from torch import nn

import splitimpera as sei
from splitimpera.cost.measure import measure_together_s
from splitimpera.models.recipes import RECIPES
from splitimpera.models.vgg import VGG

LIMIT = 1.3


def ratio(model: nn.Module, x: torch.Tensor, budget_s: float) -> tuple[float, float, float]:
    """Seconds of a plain pass, of a saliency pass, and their ratio."""
    model.eval().requires_grad_(False)
    graph = sei.trace(model, x)

    def plain() -> None:
        leaf = x.clone().requires_grad_()
        logits = model(leaf)
        torch.autograd.grad(logits.gather(1, logits.argmax(1, keepdim=True)).sum(), leaf)

    plain_s, saliency_s = measure_together_s(
        [plain, lambda: sei.cumulative_saliency(graph, x, batch=len(x))], budget_s=budget_s
    )
    return plain_s, saliency_s, saliency_s / plain_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", type=float, default=10.0, help="seconds for each network")
    budget = parser.parse_args().budget
    cases = {
        "digits-vgg16, batch 32, 32 x 32": (RECIPES["digits-vgg16"].build(), torch.rand(32, 1, 32, 32)),
        "digits-resnet20, batch 32, 32 x 32": (RECIPES["digits-resnet20"].build(), torch.rand(32, 1, 32, 32)),
        "VGG-16, batch 8, 64 x 64": (VGG(), torch.rand(8, 3, 64, 64)),
    }
    for name, (model, x) in cases.items():
        plain_s, saliency_s, cost = ratio(model, x, budget)
        verdict = "within" if cost <= LIMIT else "ABOVE"
        times = f"plain {plain_s * 1e3:8.2f} ms  saliency {saliency_s * 1e3:8.2f} ms"
        print(f"{name:36} {times}  ratio {cost:.3f} ({verdict} {LIMIT})")


if __name__ == "__main__":
    main()
