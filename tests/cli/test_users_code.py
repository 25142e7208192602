"""Commands on networks and data that mix pictures, answer NaN, end the process, or go to another folder."""

from __future__ import annotations

import json
from typing import Any

import pytest
from test_cli import here

CODE = """
import os, sys, torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 4, 3)
        self.head = nn.Linear(4, 3)
        self.head.weight.data *= 20
    def forward(self, x):
        return self.head(self.conv(x).relu().mean((2, 3)))

class Mixes(Net):
    def forward(self, x):
        y = self.conv(x).relu().mean((2, 3))
        return self.head(9 * (y - y.mean(0)) + y[:1])

class Nothing(Net):
    def forward(self, x):
        return self.head((self.conv(x).mean((2, 3)) - 1e3).log())

class Ends(Net):
    def forward(self, x):
        sys.exit(0)

def ends(): sys.exit(0)

def away():
    os.mkdir("elsewhere")
    os.chdir("elsewhere")
    return Net()

def pictures():
    x = torch.randn(120, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    x *= torch.linspace(0.1, 9, 120)[:, None, None, None]
    model = Mixes().eval().requires_grad_(False)
    return x, torch.tensor([int(model(one[None]).argmax()) for one in x])

def no_numbers():
    x, y = pictures()
    x[7] = float("nan")
    return x, y
"""

SCENARIO = """
network: {{model: "mine.py:{network}"}}
data: {{source: "mine.py:{data}", validation: 40 %, test: 40 %}}
devices: [{{name: camera}}, {{name: server}}]
links: [{{rate: 5 Mbit/s, delay: 2 ms}}]
workload: {{fps: 20}}
plans: {{cuts: [conv], codecs: [float32], transports: [tcp]}}
requirements: [accuracy >= 90 %, latency_p95 <= 10 s]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def designed(folder, network, data="pictures"):
    (folder / "s.yaml").write_text(SCENARIO.format(network=network, data=data))
    return here("design", "s.yaml", "--no-explore", "--out", "out")


def in_batches(folder):
    """What the network is right on where nobody asks whether it mixes pictures."""
    code: dict[str, Any] = {}
    exec((folder / "mine.py").read_text(), code)
    x, y = code["pictures"]()
    return f"right on {float((code['Mixes']().eval()(x).argmax(1) == y).double().mean()):.2%}"


@pytest.mark.parametrize(
    ("network", "data", "message"),
    [
        ("ends", "pictures", "network.model: calling 'mine.py:ends' failed: SystemExit: 0 (mine.py, line"),
        ("Ends", "pictures", "network.model: the network refuses inputs of shape (2, 1, 8, 8): SystemExit: 0 (mine.py"),
        ("Net", "ends", "data.source: calling 'mine.py:ends' failed: SystemExit: 0 (mine.py, line"),
        ("Nothing", "pictures", "NaN values appear first in layer 'mean' (log)"),
        ("Net", "no_numbers", "the inputs contain NaN"),
    ],
)
def test_no_network_and_no_data_end_without_a_word(network, data, message, folder):
    run = designed(folder, network, data)
    assert run.returncode == 2
    assert message in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
    assert not (folder / "out").exists()
    run = here("saliency", f"mine.py:{network}", "--data", f"mine.py:{data}", "--json", "s.json")
    assert run.returncode == 2
    assert not (folder / "s.json").exists()


@pytest.mark.slow
def test_a_design_for_a_network_that_mixes_pictures_sees_them_one_by_one(folder):
    run = designed(folder, "Mixes")
    assert run.returncode == 0, run.stderr
    assert "output for a sample depends on the others in its batch" in " ".join(run.stdout.split())
    assert "right on 100.00% of 48 test samples" in run.stdout
    assert "right on 100.00%" not in in_batches(folder)
    results = json.loads((folder / "out" / "results.json").read_text())
    assert results["base_quality"] == 1
    assert {plan["metrics"]["accuracy"] for plan in results["plans"] if "float32" in plan["id"]} == {1.0}
    run = here("saliency", "mine.py:Mixes", "--data", "mine.py:pictures")
    assert run.returncode == 0
    assert "depends on the others in its batch" in " ".join(run.stdout.split())


@pytest.mark.slow
def test_a_network_that_goes_to_another_folder_takes_nothing_along(folder):
    run = designed(folder, "away")
    assert run.returncode == 0, run.stderr
    assert (folder / "out" / "results.json").exists()
    (folder / "elsewhere").rmdir()
    run = here("saliency", "mine.py:away", "--data", "mine.py:pictures", "--json", "s.json")
    assert run.returncode == 0, run.stderr
    assert (folder / "s.json").exists()
    assert not list((folder / "elsewhere").iterdir())
