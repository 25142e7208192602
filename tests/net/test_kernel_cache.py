"""Compiled kernels are kept by the sources of all of them: an edit in any is noticed, and nothing else matters."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import splitimpera
from splitimpera.net.kernels import compiling

# a frame of no bytes first arrives never
CODE = """
import numba
import numpy as np
from splitimpera.net import kernels
assert numba.config.CACHE_DIR == {place!r}
frames = np.zeros(1, kernels.DATAGRAMS)
nothing = np.zeros(0, kernels.STEP), np.zeros(0, np.int64), np.zeros(0, kernels.WAITING)
rest = np.zeros(0, np.int64), 1000, 0, False, np.random.default_rng(1)
kernels.run_udp(np.zeros(2, kernels.WAY), 0, *nothing, frames, *rest)
kernel = kernels.run_udp.__closure__[0].cell_contents
print(frames["first"][0], sum(kernel.stats.cache_hits.values()))
"""


@pytest.mark.slow
def test_an_edit_in_any_file_is_noticed(tmp_path):
    copy = tmp_path / "splitimpera"
    shutil.copytree(Path(splitimpera.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    place = tmp_path / "cache"
    stranger = place / "kernels-00000000-of_another_installation"
    stranger.mkdir(parents=True)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(place)}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"  # bytecode of the same second would pass for fresh

    def first_arrival() -> tuple[int, int]:
        """When the frame arrives, and how many compiled functions were found."""
        command = [sys.executable, "-c", CODE.format(place=str(place))]
        printed = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=True)
        assert printed.stderr == ""
        time, found = printed.stdout.split()
        return int(time), int(found)

    assert first_arrival() == (2**62, 0)
    assert first_arrival() == (2**62, 1)
    leaf = copy / "net" / "kernels" / "wire.py"
    before = leaf.read_text()
    leaf.write_text(before.replace("NEVER = np.int64(2**62)", "NEVER = np.int64(2**61)"))
    assert first_arrival() == (2**61, 0)
    assert first_arrival() == (2**61, 1)
    kept = set(place.iterdir())
    assert stranger in kept
    assert len(kept) == 2  # what came of the earlier sources is gone


def test_kernels_depend_on_their_own_sources_only():
    """The digest knows no others."""
    for path in compiling.PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0
                own = (node.module or "").startswith("splitimpera.net.kernels.")
                assert own or "splitimpera" not in (node.module or ""), f"{path}: {node.module}"
            elif isinstance(node, ast.Import):
                assert all("splitimpera" not in name.name for name in node.names), path


def test_the_digest_tells_names_and_contents(tmp_path, monkeypatch):
    monkeypatch.setattr(compiling, "PACKAGE", tmp_path)
    seen = set()
    for name, content in (("a.py", "1"), ("a.py", "2"), ("b.py", "2"), ("c/d.py", "2")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
        seen.add(compiling.source_digest())
    (tmp_path / "b.py").unlink()
    seen.add(compiling.source_digest())
    assert len(seen) == 5
    (tmp_path / "notes.txt").write_text("not code")
    assert compiling.source_digest() in seen


def test_the_first_place_that_can_be_written_is_taken(tmp_path, monkeypatch):
    chosen, package, user = tmp_path / "chosen", tmp_path / "package", tmp_path / "user"
    monkeypatch.setattr(compiling, "PACKAGE", package)
    monkeypatch.setattr(compiling, "user_cache_path", lambda _: user)
    monkeypatch.setattr(compiling.SETTINGS, "CACHE_DIR", "")
    find = compiling.cache_folder.__wrapped__  # as a process that asks for the first time
    assert find().parent == package / "__pycache__"
    monkeypatch.setattr(compiling.SETTINGS, "CACHE_DIR", str(chosen))
    assert find().parent == chosen
    shutil.rmtree(chosen)
    chosen.write_text("a file, where root cannot make a folder either")
    assert find().parent == package / "__pycache__"
    shutil.rmtree(package)
    package.write_text("a file")
    assert find().parent == user
    shutil.rmtree(user)
    user.write_text("a file")
    with pytest.raises(OSError, match="no folder"):
        find()
