"""Small designs that are exported in tests."""

from __future__ import annotations

from pathlib import Path

import yaml

import splitimpera as sei
from splitimpera.report import results_of

TINY = '''
import numpy as np
import torch
from torch import nn


class Tiny(nn.Module):
    """One skip connection: at the cut inside, two tensors cross."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        x = self.stem(x).relu()
        return self.head((self.conv(x) + x).relu().mean((2, 3)))


def network():
    torch.manual_seed(3)
    made = Tiny().eval()
    with torch.no_grad():
        made.head.weight *= 20
    return made


def data():
    images = np.random.default_rng(1).integers(0, 256, (90, 8, 8, 1), np.uint8)
    x = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    with torch.no_grad():
        return images, network()(x).argmax(1)
'''
SCENARIO = {
    "network": {"model": "mine.py:network"},
    "data": {"source": "mine.py:data", "validation": 0.4, "test": 0.3},
    "devices": [{"name": "camera", "preset": "raspberry-pi-4"}, {"name": "server", "preset": "laptop-cpu"}],
    "links": [{"rate": "20 Mbit/s", "delay": "2 ms"}],
    "workload": {"fps": 20},
    "plans": {"cuts": ["stem", "conv"], "codecs": ["float32"], "input_codecs": ["uint8+rans"], "transports": ["tcp"]},
    "bottlenecks": {"ratios": [4], "cuts": ["stem"], "codecs": ["uint8"], "epochs": [1, 1]},
    "requirements": ["latency_p95 <= 1 s", {"prefer": "payload_bytes <= 1 B", "weight": 1}],
}


def designed(folder: Path, source: str = TINY, **changes: object) -> Path:
    """The results folder of a design; `changes` are keys of the scenario."""
    (folder / "mine.py").write_text(source)
    (folder / "scenario.yaml").write_text(yaml.safe_dump(SCENARIO | changes))
    result = sei.design(folder / "scenario.yaml", replications=1, explore=False)
    run = folder / "run"
    run.mkdir()
    (run / "results.json").write_bytes(results_of(result).to_json())
    return run
