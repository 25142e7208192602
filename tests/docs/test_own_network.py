"""The way of docs/start/own_network.md, line by line: from a network and a folder of pictures to two programs.

The page's network would be fetched; a small one of the test's own stands in for it, on a device too small for it.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

pytestmark = [pytest.mark.slow, pytest.mark.alone]

PAGE = (ROOT / "docs/start/own_network.md").read_text()
REMARK = "<!-- run by: tests/docs/test_own_network.py -->\n"
NETWORK = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
    deep = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten())
    return nn.Sequential(stem, deep, nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10))
"""


def lines():
    """The commands of the page that this test runs, as arguments of `splitimpera`, in order."""
    for block in re.findall(REMARK + r"```sh\n(.*?)```", PAGE, re.DOTALL):
        for line in block.replace("\\\n", "").splitlines():
            words = shlex.split(line.replace("torchvision/mobilenet_v2@pretrained", "net.py:make"), comments=True)
            if words and words[0] == "splitimpera":
                yield words[1:]


def decided(folder):
    """The lower half of the drafted scenario, as the page has it."""
    (text,) = re.findall(r"```yaml\n(devices:.*?)```", PAGE, re.DOTALL)
    drafted = (folder / "mine.yaml").read_text()
    text = text.replace("preset: raspberry-pi-4\n", "preset: raspberry-pi-4\n    memory: 60 kB\n")
    (folder / "mine.yaml").write_text(drafted[: drafted.index("devices:")] + text)


def test_the_page_leads_to_two_programs(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(40):
        colours = rng.integers(0, 256, (2, 2, 3), np.uint8).repeat(16, 0).repeat(16, 1)
        Image.fromarray(colours).save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "net.py").write_text(NETWORK)
    program, server, said, done = [sys.executable, "-m", "splitimpera"], None, "", []
    try:
        for words in lines():
            words = [word.replace("127.0.0.1:7433", said or "127.0.0.1:0") for word in words]
            if words[0] == "serve":
                assert words.pop() == "&"
                server = subprocess.Popen([*program, *words], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
                (said,) = re.findall(r"127\.0\.0\.1:\d+", server.stdout.readline())
            else:
                run = subprocess.run([*program, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
                assert run.returncode == 0, (words, run.stdout, run.stderr)
                if words[:2] == ["scenario", "init"]:
                    assert "Task agreement" in " ".join(run.stdout.split())
                    decided(tmp_path)
            done.append(words[0])
    finally:
        if server is not None:
            server.terminate()
            assert server.wait(30) == 0
            server.stdout.close()
    assert done == [*("scenario", "scenario", "design", "export", "keys", "serve", "infer", "infer", "verify")]
    assert (tmp_path / "runs/mine/verify.html").exists()
