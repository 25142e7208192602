"""A command that is killed in the middle of a training, and run again."""

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
