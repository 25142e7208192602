"""What a run keeps: whole, damaged, locked, and on a full disk."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import warnings

import pytest

from splitimpera.core.errors import OutputError, SplitImperaWarning
from splitimpera.core.kept import KeptFile

ENTRIES = {f"key {number}": os.urandom(900) for number in range(40)}


@pytest.fixture
def path(tmp_path):
    """A file with entries."""
    place = tmp_path / "work.sqlite"
    with KeptFile(place) as kept:
        kept.put(ENTRIES)
    assert [entry.name for entry in tmp_path.iterdir()] == ["work.sqlite"]
    return place


def found(path):
    with KeptFile(path) as kept, warnings.catch_warnings():
        warnings.simplefilter("error")
        return {key: value for key in ENTRIES if (value := kept.get(key)) is not None}


def damaged(path, begin, end):
    content = bytearray(path.read_bytes())
    content[begin:end] = b"\xa5" * (end - begin)
    path.write_bytes(content)


def other_hand(path):
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE kept (name TEXT)")
    connection.close()


DAMAGES = {
    "no database": lambda path: path.write_bytes(b"notes of mine " * 50),
    "header": lambda path: damaged(path, 0, 200),
    "tree": lambda path: damaged(path, 8192, 8300),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:10_000]),
    "another table": other_hand,
}


def test_what_is_kept_is_found(path):
    assert found(path) == ENTRIES
    with KeptFile(path, fresh=True) as kept:
        kept.put({"new": b"1"})
        assert kept.get("key 1") is None
    assert found(path) == {}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_begun_anew_and_that_is_said(path, damage):
    DAMAGES[damage](path)
    with KeptFile(path) as kept:
        with pytest.warns(SplitImperaWarning, match=r"work.sqlite' is damaged and begun anew .*computed again"):
            assert kept.get("key 1") is None
        kept.put(ENTRIES)
    assert found(path) == ENTRIES


def test_damage_while_it_is_in_use(path):
    with KeptFile(path) as kept:
        assert kept.get("key 1") == ENTRIES["key 1"]
        kept.connection.execute("PRAGMA cache_size = 1")
        damaged(path, 4096, path.stat().st_size)
        with pytest.warns(SplitImperaWarning, match="begun anew"):
            kept.put(ENTRIES)
    assert found(path) == ENTRIES


@pytest.mark.parametrize("fresh", [False, True])
def test_one_run_at_a_time(path, fresh):
    """A run that was killed has it no longer."""
    code = (
        "import sys, time; from pathlib import Path; from splitimpera.core.kept import KeptFile\n"
        "kept = KeptFile(Path(sys.argv[1])); kept.get('key 1'); print('open', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "open\n"
            with (
                KeptFile(path, fresh) as kept,
                pytest.raises(OutputError, match=r"^--out: '.*work.sqlite' is in use by another run; wait"),
            ):
                kept.put({"key 1": b"other"})
        finally:
            other.kill()
    assert found(path) == ENTRIES


def test_on_a_full_disk_what_was_kept_stays(path):
    with KeptFile(path) as kept:
        (pages,) = kept.connection.execute("PRAGMA page_count").fetchone()
        kept.connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(OutputError, match=r"^--out: '.*' cannot be written: .*full; make room there"):
            kept.put({"large": bytes(100_000)})
    assert found(path) == ENTRIES


def test_in_a_folder_that_may_no_longer_be_written_what_was_kept_stays(path):
    with KeptFile(path) as kept:
        kept.connection.execute("PRAGMA query_only = ON")
        with pytest.raises(OutputError, match=r"^--out: '.*' cannot be written: .*readonly.*may be written"):
            kept.put({"new": b"1"})
    assert found(path) == ENTRIES


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "work.sqlite").mkdir()
    for place in (tmp_path / "file" / "work.sqlite", tmp_path / "work.sqlite"):
        with KeptFile(place) as kept, pytest.raises(OutputError, match=r"^--out: '.*work.sqlite' cannot be written: "):
            kept.put(ENTRIES)
