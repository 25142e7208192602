"""What is handed out, built once, and the base installation of it in an environment where nothing else is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import distributions
import pytest
from conftest import ROOT
from other_packages import torchvision_if_there

from splitimpera.core.extras import EXTRAS
from splitimpera.deploy.frame_log import read_log

pytestmark = [pytest.mark.slow, pytest.mark.alone]

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
DEVICE_BYTES = 150e6
PEAK = """
import atexit
from pathlib import Path

def note():
    lines = Path("/proc/self/status").read_text().splitlines()
    Path("peak").write_text(next(line.split()[1] for line in lines if line.startswith("VmHWM")))

atexit.register(note)
from splitimpera.cli import main
main()
"""
"""The command line, which notes the most memory that it had (kB): what the parent had before counts in `rusage`."""
TYPED = """
import splitimpera as sei
from splitimpera.bundle.opened import Bundle, open_bundle

link: sei.Link = sei.Link(rate_bps=1e6, delay_s=0.005, loss=0.02)
rate: float = link.rate_bps


def plans_of(path: str) -> Bundle:
    return open_bundle(path)


reveal_type(sei.__version__)
"""
"""A user's program."""


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
def built(index, tmp_path_factory):
    return distributions.build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def fresh(built, tmp_path_factory):
    """The folder of a fresh environment's programs."""
    return distributions.environment(tmp_path_factory.mktemp("fresh") / "env", built.wheel)


def test_sources_and_wheel_have_what_they_are_to_have(built):
    distributions.contents_of(built)


def test_the_sources_make_the_same_wheel(built, tmp_path):
    distributions.same_wheel(built, tmp_path)


def test_indexes_take_the_metadata(built):
    distributions.metadata_of(built)


def test_what_is_too_much_in_a_wheel_is_told(built, tmp_path):
    spoilt = tmp_path / built.wheel.name
    spoilt.write_bytes(built.wheel.read_bytes())
    with zipfile.ZipFile(spoilt, "a") as archive:
        archive.writestr("tests/conftest.py", "")
    with pytest.raises(distributions.CheckError, match=r"tests/conftest\.py"):
        distributions.contents_of(distributions.Distributions(built.sdist, spoilt))


def test_a_users_program_passes_strict_types(fresh, tmp_path):
    (tmp_path / "program.py").write_text(TYPED)
    check = [sys.executable, "-m", "mypy", "--strict", "--python-executable", fresh / "python"]
    told = run(*check, "--cache-dir", tmp_path / "cache", "program.py", cwd=tmp_path, check=False)
    assert told.returncode == 0, told.stdout
    assert re.search(r'Revealed type is "(builtins\.)?str"', told.stdout)
    (tmp_path / "program.py").write_text(TYPED.replace("loss=0.02", 'loss="little"'))
    told = run(*check, "--cache-dir", tmp_path / "cache", "program.py", cwd=tmp_path, check=False)
    assert 'incompatible type "str"; expected "float"' in told.stdout


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
    told = run(fresh / "splitimpera", *command.split(), "--help", cwd=tmp_path, check=False)
    assert told.returncode == 0, told.stderr
    assert "Usage: splitimpera" in told.stdout


def test_a_command_that_lacks_its_extra_says_the_line(fresh, tmp_path):
    told = run(fresh / "splitimpera", "design", "x.yaml", cwd=tmp_path, check=False)
    assert told.returncode == 2
    assert told.stderr.splitlines()[-1] == "pip install 'split-et-impera[design]'"


@pytest.fixture(scope="module")
def folder(fresh, tmp_path_factory):
    """A folder with a bundle, which was made here, and keys, which were made there."""
    torchvision_if_there()  # the exporter looks for it
    from mobilenet_bundle import write_mobilenet_bundle

    folder = tmp_path_factory.mktemp("deployed")
    write_mobilenet_bundle(folder / "bundle")
    run(fresh / "splitimpera", "keys", "keys", cwd=folder, check=True)
    return folder


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_both_halves_run_and_that_of_the_device_is_small(fresh, folder):
    command = [fresh / "splitimpera", "serve", "bundle", "--listen", "127.0.0.1:0", "--keys", "keys"]
    server = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    try:
        address = re.search(r" at (\S+) by ", server.stdout.readline())[1]
        infer = ["infer", "bundle", "--server", address, "--keys", "keys", "--input", "samples", "--log", "log.jsonl"]
        told = run(fresh / "python", "-c", PEAK, *infer, "--frames", "40", cwd=folder, check=False)
        assert told.returncode == 0, told.stderr
    finally:
        server.terminate()
        server.wait(60)
        server.stdout.close()
    assert server.returncode == 0
    first, frames = read_log(folder / "log.jsonl")
    assert (first.carrier, first.secure) == ("tcp", "tls")
    assert [frame.outcome for frame in frames] == ["ok"] * 40
    assert sum(frame.predicted == frame.label for frame in frames) >= 36
    assert int((folder / "peak").read_text()) * 1024 < DEVICE_BYTES


def test_all_of_it_has_wheels_for_both_processors(index, tmp_path):
    told = run(sys.executable, ROOT / "benchmarks" / "wheels.py", cwd=tmp_path, check=False)
    assert told.returncode == 0, told.stderr
    sizes = [line.split("|")[2:4] for line in told.stdout.splitlines() if "." in line]
    assert len(sizes) > 15
    assert all(float(size) > 0 for both in sizes for size in both)
