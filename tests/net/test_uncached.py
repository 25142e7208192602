"""Where what was compiled cannot be kept, simulations go on, and one line says why they begin slowly."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import splitimpera
from splitimpera.net import kernels
from splitimpera.net.kernels import compiling

CODE = """
import numpy as np
from splitimpera.net import kernels
from splitimpera.net.transports import simulate
from splitimpera.records.link import Link
from splitimpera.records.traffic import Workload
if {full}:
    def full(*arguments):
        raise OSError(28, "No space left on device")
    for kernel in (kernels.run_udp, kernels.run_arq):
        kernel.__closure__[0].cell_contents._cache.save_overload = full
for transport in ("udp", "udp-arq"):
    workload = Workload(10.0, 20, frame_bytes=9000)
    print(simulate(Link(loss=0.1), workload, transport, np.random.default_rng(1)).complete_s.sum())
"""


@pytest.mark.slow
@pytest.mark.parametrize("full", [False, True])
def test_without_a_place_for_compiled_code(full, tmp_path):
    """A read-only installation without a home; as root may write everywhere, what should be a folder is a file."""
    copy = tmp_path / "splitimpera"
    shutil.copytree(Path(splitimpera.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    nowhere = {} if full else {"NUMBA_CACHE_DIR": "/dev/null/x", "HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null/y"}
    if full:
        nowhere = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    else:
        (copy / "net" / "kernels" / "__pycache__").write_text("a file")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment |= nowhere | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run(
        [sys.executable, "-c", CODE.format(full=full)], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert run.returncode == 0, run.stderr
    (said,) = run.stderr.strip().splitlines()
    assert said.startswith("note: the compiled simulator cannot be kept")
    assert "NUMBA_CACHE_DIR" in said
    kept = subprocess.run([sys.executable, "-c", CODE.format(full=False)], capture_output=True, text=True, check=True)
    assert run.stdout == kept.stdout
    assert kept.stderr == ""


def test_here_it_is_kept():
    kernel = kernels.run_udp.__closure__[0].cell_contents
    assert kernel._cache is not None
    assert not compiling.warned
