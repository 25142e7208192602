"""A design that is killed goes on where it was: the same results, and nothing that was kept is computed again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.alone

NETWORK = """
import torch
from torch import nn

def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = [nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 24, 3, 2, 1), nn.ReLU()]
        last = [nn.Conv2d(24, 48, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 10)]
        return nn.Sequential(*body, *last).eval()

def data():
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(700, 3, 32, 32, generator=generator), torch.randint(0, 10, (700,), generator=generator)
    return {"train": (x[:60], y[:60]), "validation": (x[60:500], y[60:500]), "test": (x[500:], y[500:])}
"""

SCENARIO = """
network: {model: "mine.py:network"}
data: {source: "mine.py:data"}
devices: [{name: camera, preset: raspberry-pi-4}, {name: server, preset: t4}]
links: [{rate: 20 Mbit/s, delay: 2 ms, loss: 3 %}]
workload: {fps: 20}
plans: {cuts: all, codecs: [uint8, float32, "uint4+rans"], transports: [tcp, udp]}
requirements: [accuracy >= 5 %, latency_p95 <= 1 s]
"""


@pytest.mark.slow
def test_a_killed_design_goes_on_where_it_was(tmp_path):
    (tmp_path / "mine.py").write_text(NETWORK)
    (tmp_path / "s.yaml").write_text(SCENARIO)
    command = [sys.executable, str(Path(__file__).with_name("resuming.py")), str(tmp_path), "10", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["keys"] > 50
    assert [run["same"] for run in found["runs"]] == [True] * 10
    assert [run["twice"] for run in found["runs"]] == [0] * 10
    assert [run["all"] for run in found["runs"]] == [True] * 10
    assert sum(run["killed"] for run in found["runs"]) >= 7
    assert any(0 < run["first"] < found["keys"] for run in found["runs"])
