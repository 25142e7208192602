"""The example in docs/deploy.md runs, and the page names what there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from small_bundle import make_bundle, network, samples

from splitimpera.cli import infer, serve
from splitimpera.deploy.metrics import Metrics

PAGE = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text()


def test_the_example_runs(tmp_path):
    make_bundle(tmp_path / "bundle")
    np.save(tmp_path / "image.npy", samples()[0])
    example = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[-1]
    code = f"import numpy\nimage = numpy.load('image.npy')\n{example}"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    first, several = run.stdout.splitlines()
    answer = int(network(samples()[:1]).argmax())
    name = ["cat", "dog", "emu"][answer]
    assert re.fullmatch(rf"ok {name} 0\.\d+ 0", first)
    assert several == str([answer] * 3)


def test_every_metric_and_option_is_on_the_page():
    known = [f"splitimpera_{name}" for name in vars(Metrics()) if name != "registry" and name[0] != "_"]
    known = [f"{name}_seconds" if name.endswith("latency") else name for name in known]
    known = [f"{name}_frames" if name.endswith(("batch", "queue")) else name for name in known]
    assert [name for name in known if name not in PAGE] == []
    for command, options in (
        (serve, ("--batch-wait", "--queue-policy", "--token-file", "--watch", "--drain", "--rate-limit", "--clients")),
        (infer, ("--fps", "--log")),
    ):
        assert command.run.__doc__
        assert [option for option in options if option not in PAGE] == []
