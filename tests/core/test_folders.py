from __future__ import annotations

import errno
import os
import resource
import sys
import time
from pathlib import Path

import pytest
from chaos.killing import NAMES, contents, runs_in

from splitimpera.core import folders
from splitimpera.core.errors import OutputError
from splitimpera.core.files import STALE_S, TEMPORARY_SUFFIX, UNHELD_S, hold, remove_stale
from splitimpera.core.folders import write_together

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no links and modes to keep")


@pytest.fixture
def folder(tmp_path):
    write_together(tmp_path / "run", contents(0), "--out")
    return tmp_path / "run"


def no_exchange(monkeypatch):
    def refuse(first, second):
        raise OSError(errno.EINVAL, "not here")

    monkeypatch.setattr(folders, "_exchange", refuse)


def whole(folder, run):
    assert runs_in(folder) == dict.fromkeys(NAMES, run)
    assert not [path for place in (folder, folder.parent) for path in place.glob(f".*{TEMPORARY_SUFFIX}")]


def test_a_new_folder_appears_with_all_its_parents(tmp_path):
    paths = write_together(tmp_path / "a" / "b", contents(7), "--out")
    assert paths == [tmp_path / "a" / "b" / name for name in NAMES]
    whole(tmp_path / "a" / "b", 7)


@pytest.mark.parametrize("exchange", [True, False])
def test_what_else_lies_in_the_folder_stays_as_it_is(folder, monkeypatch, exchange):
    if not exchange:
        no_exchange(monkeypatch)
    (folder / "notes.txt").write_text("mine")
    (folder / "link").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    folder.chmod(0o751)
    before = (folder / "notes.txt").stat().st_ino
    write_together(folder, contents(1), "--out")
    whole(folder, 1)
    assert (folder / "notes.txt").stat().st_ino == before
    assert (folder / "notes.txt").stat().st_nlink == 1
    assert (folder / "link").readlink() == Path("nowhere")
    assert (folder / "pipe").is_fifo()
    assert folder.stat().st_mode & 0o777 == 0o751
    assert len(list(folder.iterdir())) == len(NAMES) + 3


@pytest.mark.skipif(sys.platform != "linux", reason="folders change places on Linux only")
def test_what_comes_while_a_run_is_written_stays_too(folder, monkeypatch):
    (folder / "notes.txt").write_text("old")
    fill = folders._fill

    def slow(*arguments):
        fill(*arguments)
        (folder / "new.txt").write_text("new")
        (folder / "edited").write_text("edited")
        os.replace(folder / "edited", folder / "notes.txt")

    monkeypatch.setattr(folders, "_fill", slow)
    before = folder.stat().st_ino
    write_together(folder, contents(1), "--out")
    assert folder.stat().st_ino != before  # they did change places
    whole(folder, 1)
    assert (folder / "new.txt").read_text() == "new"
    assert (folder / "notes.txt").read_text() == "edited"


def test_a_folder_within_or_one_that_somebody_works_in_stays_the_same_folder(folder, monkeypatch):
    (folder / "within").mkdir()
    (folder / "within" / "notes.txt").write_text("mine")
    before = folder.stat().st_ino
    write_together(folder, contents(1), "--out")
    whole(folder, 1)
    monkeypatch.chdir(folder / "within")
    write_together(Path(".."), contents(2), "--out")
    whole(folder, 2)
    assert Path("notes.txt").read_text() == "mine"
    assert folder.stat().st_ino == before


def test_a_link_to_a_folder_stays_one(folder, tmp_path):
    (tmp_path / "link").symlink_to("run")
    write_together(tmp_path / "link", contents(1), "--out")
    assert (tmp_path / "link").is_symlink()
    whole(folder, 1)


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("most_bytes", [0, 1, 4_900])
def test_a_file_that_cannot_be_written_leaves_all_as_it_was(folder, monkeypatch, exchange, most_bytes):
    if not exchange:
        monkeypatch.setattr(folders, "_stays", lambda _: True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"--out: .* cannot be written: File too large"):
            write_together(folder, contents(1), "--out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    whole(folder, 0)


@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling", "circle"])
def test_what_is_no_file_is_never_replaced(folder, kind):
    path = folder / "plans.csv"
    path.unlink()
    {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "dangling": lambda: path.symlink_to("nowhere"),
        "circle": lambda: path.symlink_to("plans.csv"),
    }[kind]()
    before = path.lstat().st_ino
    with pytest.raises(OutputError, match=r"plans\.csv"):
        write_together(folder, contents(1), "--out")
    assert path.lstat().st_ino == before


def test_ctrl_c_between_two_files_ends_after_the_last(folder, monkeypatch):
    monkeypatch.setattr(folders, "_stays", lambda _: True)
    replace, calls = os.replace, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        replace(*arguments)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_together(folder, contents(1), "--out")
    whole(folder, 1)


def test_of_a_folder_that_was_left_behind_only_what_is_known_goes(tmp_path):
    def left(name, age_s):
        path = tmp_path / f".{name}{TEMPORARY_SUFFIX}"
        path.mkdir()
        (path / "results.json").write_text("half")
        os.utime(path, (time.time() - age_s,) * 2)
        return path

    (tmp_path / "notes.txt").write_text("mine")
    known, mine, held, young = left("1", 2 * STALE_S), left("2", 0), left("3", 2 * UNHELD_S), left("4", 1)
    os.link(tmp_path / "notes.txt", known / "notes.txt")
    (mine / "only here.txt").write_text("mine")
    for path in (known, mine):
        os.utime(path, (time.time() - 2 * UNHELD_S,) * 2)
    handle = os.open(held, os.O_RDONLY)
    hold(handle)
    try:
        assert remove_stale(tmp_path, NAMES) == [known]
    finally:
        os.close(handle)
    assert [path.name for path in mine.iterdir()] == ["only here.txt"]
    assert held.exists()
    assert young.exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"
    os.utime(held, (time.time() - 2 * UNHELD_S,) * 2)
    assert remove_stale(tmp_path, NAMES) == [held]
