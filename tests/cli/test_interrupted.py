"""A command that is killed in the middle of a training, or interrupted in the middle of a design, and run again."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

pytestmark = pytest.mark.alone

SCENARIO = """
name: interrupted
network: {model: "parts.py:network"}
data: {source: "parts.py:pictures", validation: 10 %, test: 10 %}
devices: [{name: camera}, {name: server}]
links: [{rate: 1 Mbit/s, delay: 5 ms}]
workload: {fps: 10}
plans: {cuts: [stem.0], codecs: [uint8], transports: [udp]}
bottlenecks: {ratios: [2], codecs: [uint8], epochs: [15, 15]}
requirements: [accuracy >= 50 %]
"""

PARTS = """
from training.splits import Tiny, samples_of

def network():
    import torch
    torch.manual_seed(0)
    return Tiny().eval()

def pictures():
    samples = samples_of(1500)
    return samples.inputs, samples.labels
"""


def content(path):
    """What a cached file holds behind its checksum: tensors, and facts, which safetensors writes in any order."""
    data = path.read_bytes()[hashlib.sha256().digest_size :]
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_command_that_was_killed_goes_on_from_its_checkpoint(tmp_path):
    (tmp_path / "scenario.yaml").write_text(SCENARIO)
    (tmp_path / "parts.py").write_text(PARTS)

    def started(cache):
        # sums in another order would be other weights
        path = os.pathsep.join([str(ROOT / "tests"), str(ROOT / "tests" / "training")])
        own = {"OMP_NUM_THREADS": "1", "SPLITIMPERA_CACHE": str(tmp_path / cache), "PYTHONPATH": path}
        command = [sys.executable, "-m", "splitimpera", "design", "scenario.yaml", "--no-explore", "--out", cache]
        return subprocess.Popen(command, cwd=tmp_path, env={**os.environ, **own}, stdout=subprocess.DEVNULL)

    def kept(cache, kind):
        return sorted((tmp_path / cache).glob(f"split-*.{kind}"))

    (tmp_path / "killed").mkdir()
    first = started("killed")
    while not kept("killed", "checkpoint"):
        assert first.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.wait()
    (checkpoint,) = kept("killed", "checkpoint")
    assert not kept("killed", "weights")
    before = checkpoint.read_bytes()

    assert started("killed").wait() == 0
    assert not checkpoint.exists()
    assert started("whole").wait() == 0
    (again,), (whole,) = kept("killed", "weights"), kept("whole", "weights")
    assert again.name == whole.name
    assert content(again) == content(whole)

    # the second run did go on: from a checkpoint that is no training's, it cannot
    again.unlink()
    checkpoint.write_bytes(before[: len(before) // 2])
    assert started("killed").wait() == 0
    assert content(again) == content(whole)


LONG = """
name: long
network: {model: "parts.py:network"}
data: {source: "parts.py:pictures", validation: 80 %, test: 10 %}
devices: [{name: camera, preset: raspberry-pi-4}, {name: server, preset: t4}]
links: [{rate: 10 Mbit/s, delay: 5 ms, loss: 5 %}]
workload: {fps: 10}
plans: {cuts: all, codecs: [uint8, float32, "uint4+rans"], transports: [udp]}
requirements: [accuracy >= 1 %]
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT")
def test_an_interrupted_design_says_how_to_go_on_and_does(tmp_path):
    (tmp_path / "scenario.yaml").write_text(LONG)
    (tmp_path / "parts.py").write_text(PARTS.replace("1500", "2500"))
    out, path = tmp_path / "out", os.pathsep.join([str(ROOT / "tests"), str(ROOT / "tests" / "training")])

    def started(*options):
        command = [sys.executable, "-m", "splitimpera", "design", "scenario.yaml", "--no-explore", "--out", "out"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([path, os.environ.get("PYTHONPATH", "")])}
        both = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([*command, *options], cwd=tmp_path, env=environment, text=True, **both)

    first = started()
    while not (out / "provisional.csv").exists():
        assert first.poll() is None, "it ended before it could be interrupted"
        time.sleep(0.01)
    first.send_signal(signal.SIGINT)
    said, errors = first.communicate(timeout=60)
    assert (first.returncode, errors) == (130, "interrupted\n")
    assert "run the same again with --resume to go on" in " ".join(said.split())
    assert {each.name for each in out.iterdir()} == {"provisional.csv", "work.sqlite"}

    again = started("--resume")
    said, errors = again.communicate(timeout=300)
    assert (again.returncode, errors) == (0, "")
    assert "Recommended: " in said
    assert not {"provisional.csv", "work.sqlite"} & {each.name for each in out.iterdir()}
