"""Where no device is measured, the same seed gives the same plans to the byte, in any process, on any threads."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

import splitimpera as sei
from splitimpera.cost import timing
from splitimpera.evaluation import stopwatch
from splitimpera.models.recipes import RECIPES, trained
from splitimpera.report import results_of
from splitimpera.report.tables import plans_csv

# for seven frames the last convolution's sums differ in their last bit from one number of threads to another
NETWORK = """
import torch
from torch import nn

def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = [nn.Conv2d(3, 64, 3, stride=4), nn.ReLU(), nn.Conv2d(64, 512, 2), nn.ReLU(), nn.Conv2d(512, 512, 1)]
        return nn.Sequential(*body, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)).eval()

def small():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = [nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU()]
        return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)).eval()

def data():
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(50, 3, 12, 12, generator=generator), torch.randint(0, 10, (50,), generator=generator)
    return {"train": (x[14:], y[14:]), "validation": (x[:7], y[:7]), "test": (x[7:14], y[7:14])}
"""

SCENARIO = """
network: {model: "mine.py:network"}
data: {source: "mine.py:data"}
devices:
  - {name: camera, preset: raspberry-pi-4, radio: wifi}
  - {name: server, preset: t4}
links: [{rate: 5 Mbit/s, delay: 2 ms, jitter: 1 ms, loss: 3 %}]
workload: {fps: 20, response: 100 B}
plans:
  cuts: all
  codecs: [float32+zstd, "uint4:channel+rans", float16, uint6+interleaved+mean+fec:20]
  transports: [tcp, udp]
requirements: [latency_p95 <= 1 s, energy <= 1 J]
"""

DIGITS = """
network: {model: "mine.py:small"}
data: {source: digits}
devices:
  - {name: camera, preset: cortex-m7, radio: ble}
  - {name: server, preset: raspberry-pi-5}
links: [{rate: 300 kbit/s, delay: 20 ms, loss: 3 %, mtu: 127 B}]
workload: {fps: 5, deadline: 150 ms}
plans:
  cuts: candidates
  codecs: [float16, uint8+rans, uint4+zstd:9, "uint8+rans-packets:channel+interleaved"]
  input_codecs: ["jpeg:50", webp]
  transports: [tcp, udp]
bottlenecks: {ratios: [16], cuts: ['2'], codecs: [uint8, "uint4:channel+rans"], epochs: [2, 2]}
requirements: [latency_p95 <= 200 ms]
"""


def scenario_in(folder, text):
    folder.mkdir(exist_ok=True)
    (folder / "mine.py").write_text(NETWORK)
    (folder / "s.yaml").write_text(text)
    return folder / "s.yaml"


def in_a_process(path, out, hash_seed, threads, cache=None):
    """`plans.csv`, as the command line writes it."""
    environment = os.environ | {"PYTHONHASHSEED": str(hash_seed), "OMP_NUM_THREADS": str(threads)}
    if cache is not None:
        environment["SPLITIMPERA_CACHE"] = str(cache)
    command = [sys.executable, "-m", "splitimpera", "design", str(path), "--no-explore", "--out", str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr
    return (out / "plans.csv").read_bytes()


def not_measured(*arguments, **more):
    raise AssertionError("something was measured, though every device is known")


@pytest.mark.slow
def test_presets_alone_give_the_same_plans_on_another_number_of_threads(tmp_path, monkeypatch):
    for module, name in ((stopwatch, "both_ways"), (timing, "sample_together_s"), (timing, "copied_bytes_per_s")):
        monkeypatch.setattr(module, name, not_measured)
    few = SCENARIO.replace("cuts: all", "cuts: [3]").replace("tcp, ", "")
    path, before = scenario_in(tmp_path, few), torch.get_num_threads()
    tables = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            tables.append(plans_csv(results_of(sei.design(path, replications=2, explore=False))))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert tables[0] == tables[1]
    assert tables[0].count("\n") > 6


AGAIN = """
import pickle, sys
import splitimpera as sei
from splitimpera.report import plans_csv, results_of

if __name__ == "__main__":
    setting, measurements = pickle.load(open(sys.argv[1], "rb"))
    found = sei.design(setting, replications=2, explore=False, measurements=measurements)
    print(setting.digest)
    sys.stdout.write(plans_csv(results_of(found)))
"""


@pytest.mark.slow
def test_the_same_setting_and_measurements_give_the_same_plans_in_another_process(tmp_path):
    measured = SCENARIO.replace("preset: raspberry-pi-4, radio: wifi", "slowdown: 20").replace("preset: t4", "batch: 4")
    measured = measured.replace("cuts: all", "cuts: [1, 3]").replace(", energy <= 1 J", "")
    measured = measured.replace("float32+zstd, ", "").replace("float16, ", "")
    setting = sei.resolve(scenario_in(tmp_path, measured))
    first = sei.design(setting, replications=2, explore=False, workers=2)
    assert (first.measurements.threads, first.measurements.values_threads) == (1, torch.get_num_threads())
    (tmp_path / "known").write_bytes(pickle.dumps((setting, first.measurements)))
    (tmp_path / "again.py").write_text(AGAIN)
    environment = os.environ | {"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": str(3 - torch.get_num_threads() % 2)}
    command = [sys.executable, str(tmp_path / "again.py"), str(tmp_path / "known")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    digest, _, table = done.stdout.partition("\n")
    assert digest == setting.digest
    assert table == plans_csv(results_of(first)).replace("\r\n", "\n")
    assert table.count("\n") > 10


@pytest.mark.slow
def test_the_same_in_processes_with_other_hashes_and_threads(tmp_path):
    path = scenario_in(tmp_path, SCENARIO)
    first = in_a_process(path, tmp_path / "a", 0, 1)
    assert first.count(b"\n") > 20
    for name, hash_seed, threads in (("b", 1, 2), ("c", 12345, 3)):
        assert in_a_process(path, tmp_path / name, hash_seed, threads) == first


@pytest.mark.slow
def test_digits_with_a_bottleneck_that_is_trained_twice(tmp_path):
    """Two caches: the bottleneck is trained twice, on another number of threads each time."""
    path = scenario_in(tmp_path, DIGITS)
    tables = [
        in_a_process(path, tmp_path / f"out{threads}", 7 * threads, threads, tmp_path / f"cache{threads}")
        for threads in (1, 2)
    ]
    assert tables[0] == tables[1]
    assert tables[0].count(b"-b16-") == 4


@pytest.mark.slow
def test_a_built_in_network_is_the_same_whatever_the_threads(tmp_path, monkeypatch):
    recipe = replace(RECIPES["digits-resnet20"], epochs=1)
    before, trainings = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            monkeypatch.setenv("SPLITIMPERA_CACHE", str(tmp_path / str(threads)))
            torch.set_num_threads(threads)
            trainings.append(trained(recipe).state_dict())
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(trainings[0][key], trainings[1][key]) for key in trainings[0])
