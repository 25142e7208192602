"""A run's files, written by a process that is killed, and on a disk that is full."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from chaos import killing
from chaos.killing import NAMES, contents, runs_in
from report.made import four_plans, made_values

from splitimpera.core.errors import OutputError
from splitimpera.core.folders import write_together

FREE_KB = range(0, 60, 3)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="folders change places on Linux only")
@pytest.mark.parametrize("mode", ["exchange", "in place"])
def test_killed_at_any_moment_a_folder_holds_one_run(tmp_path, mode):
    command = [sys.executable, killing.__file__, str(tmp_path / "run"), mode]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    moments = found["moments"]
    assert len(moments) > 60
    ends = set()
    for moment in moments:
        runs = set(moment["files"].values())
        assert len(runs) == 1, moment  # never a mixture
        assert runs <= {moment["before"], moment["now"]}, moment
        assert "results.json" in moment["files"], moment
        assert mode == "in place" or moment["files"].keys() == set(NAMES), moment
        assert moment["notes"] == "mine"
        ends.add("new" if runs == {moment["now"]} else "old")
    assert ends == {"old", "new"}
    assert found["left"] >= 3
    assert found["left_later"] == 0  # it went with the next run
    assert found["others"] == ["another.txt", "run"]


@contextmanager
def small_disk(folder: Path, size_kb: int):
    folder.mkdir()
    try:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(folder)]
        made = subprocess.run(mount, capture_output=True, text=True, check=False)
    except OSError as failure:
        pytest.skip(f"there is no mount here: {failure}")
    if made.returncode:
        pytest.skip(f"no disk can be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, free_kb: int):
    """Leave so many kB."""
    (disk / "filler").unlink(missing_ok=True)
    space = os.statvfs(disk)
    with (disk / "filler").open("wb") as file:
        file.write(bytes(max(0, space.f_bavail * space.f_frsize - free_kb * 1024)))


@pytest.mark.slow
@pytest.mark.parametrize("place", ["run", "."])  # "." is a mount point, which cannot be moved
def test_on_a_full_disk_the_old_run_stays_whole(tmp_path, place):
    with small_disk(tmp_path / "disk", 512) as disk:
        folder = disk / place
        write_together(folder, contents(0), "--out")
        refused, run = [], 0
        for free_kb in FREE_KB:
            fill(disk, free_kb)
            try:
                write_together(folder, contents(run + 1), "--out")
                run += 1
            except OutputError as error:
                refused.append(str(error))
            assert runs_in(folder) == dict.fromkeys(NAMES, run)
            assert not [path for where in (folder, disk) for path in where.glob(".*")]
        assert len(refused) >= 10
        assert all("No space left on device; make room there" in message for message in refused)
        assert run  # it is written where there is room


@pytest.mark.slow
def test_a_command_on_a_full_disk_ends_with_2_and_leaves_the_old_report(tmp_path):
    with small_disk(tmp_path / "disk", 16 * 1024) as disk:
        folder = disk / "run"
        folder.mkdir()
        (folder / "results.json").write_text(json.dumps(made_values(four_plans(), ["accuracy >= 90 %"])))
        command = [sys.executable, "-m", "splitimpera", "report", str(folder)]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        fill(disk, 1000)
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 2
        assert run.stderr.startswith("error: DIR: ")
        assert "No space left on device" in run.stderr
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
