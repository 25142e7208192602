"""A tiny classifier with images that it can be trained on within a second; also run as a program of its own."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

import splitimpera as sei
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.datasets import Samples
from splitimpera.training.cached import trained_split

CLASSES = 4
CUT = "stem.0"
ARGUMENTS = {
    "epochs": (3, 3),
    "batch": 16,
    "bits": 4,
    "packet_loss": 0.5,
    "packet_elements": 1,
    "finetune_head": True,
    "seed": 3,
}


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8 * 4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.adaptive_avg_pool2d(self.body(self.stem(x)), 2).flatten(1))


def samples_of(n: int, seed: int = 5) -> Samples:
    """A bright square in one of four corners, in noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (n,), generator=generator)
    x = 0.7 * torch.randn(n, 3, 8, 8, generator=generator)
    for image, label in zip(x, labels.tolist(), strict=True):
        row, column = 4 * (label // 2), 4 * (label % 2)
        image[:, row : row + 4, column : column + 4] += 1
    return Samples(x, labels)


def trained_network() -> nn.Module:
    """In eval mode; the same weights in every process."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model, samples = Tiny(), samples_of(128)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(25):
            optimizer.zero_grad()
            F.cross_entropy(model(samples.inputs), samples.labels).backward()
            optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def traced() -> ModelGraph:
    return sei.trace(trained_network(), samples_of(2).inputs)


def hang_after(epochs: int, ready: Path):
    """A `Track` that, once so many epochs are done and saved, says so and waits to be killed."""
    done = 0

    def track(steps, description, total):
        nonlocal done
        for step in steps:
            if done == epochs:
                ready.touch()
                time.sleep(600)
            yield step
            done += 1

    return track


if __name__ == "__main__":
    torch.set_num_threads(1)
    trained_split(traced(), CUT, samples_of(64), track=hang_after(int(sys.argv[1]), Path(sys.argv[2])), **ARGUMENTS)
