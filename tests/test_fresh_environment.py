"""The base installation in an environment of its own, outside the repository, where nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import ROOT

from splitimpera.core.extras import EXTRAS

pytestmark = pytest.mark.slow

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
PINNED = dict.fromkeys(("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT"), str(ROOT / "constraints.txt"))


def run(*command, cwd, **options):
    return subprocess.run(
        [*map(str, command)], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=600, **options
    )


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """The package index, which not every machine can reach."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "annotated-types"]
    tried = run(*command, cwd=tmp_path_factory.mktemp("index"), check=False)
    if tried.returncode:
        pytest.skip(f"no package index can be reached: {tried.stderr.strip().splitlines()[-1]}")


@pytest.fixture(scope="module")
def fresh(index, tmp_path_factory):
    """The folder of a fresh environment's programs."""
    folder = tmp_path_factory.mktemp("fresh")
    run(sys.executable, "-m", "venv", "env", cwd=folder, check=True)
    programs = folder / "env" / "bin"
    command = [programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(ROOT)]
    made = subprocess.run(command, env=ENVIRONMENT | PINNED, capture_output=True, text=True, timeout=600, check=False)
    assert made.returncode == 0, made.stderr
    return programs


def test_no_extra_is_there(fresh, tmp_path):
    code = f"from importlib.util import find_spec; print([name for name in {sorted(EXTRAS)} if find_spec(name)])"
    assert run(fresh / "python", "-c", code, cwd=tmp_path, check=True).stdout == "[]\n"
    assert "No module named 'torch'" in run(fresh / "python", "-c", "import torch", cwd=tmp_path, check=False).stderr


@pytest.mark.parametrize("module", ["deploy.halves", "bundle.opened", "codec.codecs"])
def test_what_runs_halves_is_there(module, fresh, tmp_path):
    code = f"import splitimpera.{module} as module; print(module.__file__)"
    where = run(fresh / "python", "-c", code, cwd=tmp_path, check=True).stdout
    assert where.startswith(str(fresh.parent))


@pytest.mark.parametrize("command", ["", "serve", "infer", "keys"])
def test_help(command, fresh, tmp_path):
    if command and not (ROOT / "src" / "splitimpera" / "cli" / f"{command}.py").exists():
        pytest.skip(f"there is no command '{command}' yet")
    told = run(fresh / "splitimpera", *command.split(), "--help", cwd=tmp_path, check=False)
    assert told.returncode == 0, told.stderr
    assert "Usage: splitimpera" in told.stdout


def test_a_command_that_lacks_its_extra_says_the_line(fresh, tmp_path):
    told = run(fresh / "splitimpera", "design", "x.yaml", cwd=tmp_path, check=False)
    assert told.returncode == 2
    assert told.stderr.splitlines()[-1] == "pip install 'split-et-impera[design]'"


def test_all_of_it_has_wheels_for_both_processors(index, tmp_path):
    told = run(sys.executable, ROOT / "benchmarks" / "wheels.py", cwd=tmp_path, check=False)
    assert told.returncode == 0, told.stderr
    sizes = [line.split("|")[2:4] for line in told.stdout.splitlines() if "." in line]
    assert len(sizes) > 15
    assert all(float(size) > 0 for both in sizes for size in both)
