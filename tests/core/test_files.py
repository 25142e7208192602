from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from splitimpera.core.errors import DataError, OutputError
from splitimpera.core.files import (
    STALE_S,
    TEMPORARY_SUFFIX,
    UNHELD_S,
    check_file,
    check_writable,
    hold,
    read_file,
    remove_stale,
    write_atomically,
    write_output,
)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_as_long_as_the_system_allows_can_be_written(tmp_path):
    path = tmp_path / ("x" * 255)
    write_atomically(path, b"content")
    assert path.read_bytes() == b"content"


def test_a_file_is_read_up_to_its_limit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_file(path, 5, DataError) == b"12345"
    with pytest.raises(DataError, match="larger than 4 B"):
        read_file(path, 4, DataError)


def test_a_file_whose_size_lies_is_still_bounded():
    with pytest.raises(DataError, match="larger than 10 B"):
        read_file("/proc/self/status", 10, DataError)  # of size 0, as the system says


@pytest.mark.parametrize("given", ["pipe", "/dev/zero", ".", "nowhere", "circle", "nul\0", "x" * 300])
def test_what_is_no_regular_file_is_refused_at_once(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("circle").symlink_to("circle")
    with pytest.raises(DataError) as raised:
        read_file(given, 1000, DataError, what="profile")
    assert "profile" in str(raised.value)
    assert len(str(raised.value)) < 300


def test_only_old_temporary_files_are_removed(tmp_path):
    for name, age in (
        (f".1-a{TEMPORARY_SUFFIX}", 2 * STALE_S),
        (f".2-b{TEMPORARY_SUFFIX}", 10),
        (".mine", 2 * STALE_S),
    ):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    assert [path.name for path in remove_stale(tmp_path)] == [f".1-a{TEMPORARY_SUFFIX}"]
    assert len(list(tmp_path.iterdir())) == 2
    assert remove_stale(tmp_path / "nowhere") == []


@pytest.mark.parametrize("target", ["nowhere", "link"])
def test_links_that_lead_nowhere_or_in_a_circle_are_refused_before_work_begins(target, tmp_path):
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(OutputError, match=r"--out: .*link"):
        check_writable(tmp_path / "link" / "results", "--out")


@pytest.mark.parametrize("name", ["x" * 256, "a\0b"])
def test_names_that_no_system_takes_are_refused_before_work_begins(name, tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        check_writable(tmp_path / name, "--out")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes with names")
@pytest.mark.parametrize("given", ["pipe", "/dev/null", "folder", "nowhere", "circle", "x" * 256])
def test_a_file_is_written_to_a_regular_file_or_a_new_one_only(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("folder").mkdir()
    Path("nowhere").symlink_to("there")
    Path("circle").symlink_to("circle")
    before = sorted((path.name, path.lstat().st_ino) for path in tmp_path.iterdir())
    null = Path("/dev/null").lstat().st_ino
    with pytest.raises(OutputError, match=r"--json: "):
        check_file(Path(given), "--json")
    with pytest.raises(OutputError, match=r"--json: "):
        write_output(Path(given), b"content", "--json")
    assert sorted((path.name, path.lstat().st_ino) for path in tmp_path.iterdir()) == before
    assert Path("/dev/null").lstat().st_ino == null


def test_a_link_to_a_file_stays_one(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("file")
    write_output(tmp_path / "link", b"new", "--json")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"


def test_what_a_living_process_writes_stays_until_it_is_a_day_old(tmp_path):
    held, left = (tmp_path / f".{name}{TEMPORARY_SUFFIX}" for name in "ab")
    for path in (held, left):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - 2 * UNHELD_S,) * 2)
    with held.open("rb") as file:
        hold(file.fileno())
        write_output(tmp_path / "file", b"content", "--json")
    assert {path.name for path in tmp_path.iterdir()} == {held.name, "file"}


def test_a_full_disk_is_said_and_leaves_what_was_there():
    with pytest.raises(OutputError, match=r"--json: .*cannot be written"):
        write_output(Path("/dev/full/x"), b"content", "--json")
