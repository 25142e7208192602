"""The journal: whole after any kill, any damage; nothing read that was not written."""

import os
import signal
import subprocess
import sys
import time
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitimpera.core.errors import OutputError, SplitImperaWarning
from splitimpera.studies.journal import Journal

RECORDS = {f"plan-{number}": {"number": number, "text": "é \n x" * number} for number in range(6)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal"


def written(path, records=RECORDS):
    with Journal(path, "study", "a1", write=True) as journal:
        for key, body in records.items():
            journal.add(key, body)
    return path.read_bytes()


def read(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SplitImperaWarning)
        with Journal(path, "study", "a1") as journal:
            return dict(journal)


def test_records_come_back(path):
    written(path)
    assert read(path) == RECORDS
    with Journal(path, "study", "a1", write=True) as journal:
        journal.add("plan-1", "again")
        assert journal["plan-1"] == "again"
        assert "plan-9" not in journal
    assert read(path) == RECORDS | {"plan-1": "again"}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_prefix_is_gone_on_from(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("prefix") / "journal"
    content = written(path)
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with Journal(path, "study", "a1", write=True) as journal:
        found = dict(journal)
        journal.add("more", 1)
    assert found == dict(list(RECORDS.items())[: len(found)])
    assert read(path) == found | {"more": 1}


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_costs_one_record_at_most(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("flipped") / "journal"
    content = bytearray(written(path))
    begin = content.index(b"\n") + 1
    content[data.draw(st.integers(begin, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    found = read(path)
    assert found.items() <= RECORDS.items()
    assert len(found) >= len(RECORDS) - 1


def test_what_was_damaged_is_said(path):
    content = written(path)
    path.write_bytes(content.replace(b'"number":2', b'"number":7'))
    with pytest.warns(SplitImperaWarning, match="1 damaged record"):
        Journal(path, "study", "a1").close()


def test_a_flipped_bit_in_the_header_is_refused(path):
    content = bytearray(written(path))
    for place in range(content.index(b"\n")):
        content[place] ^= 2
        path.write_bytes(content)
        for write in (False, True):
            with pytest.raises(OutputError):
                Journal(path, "study", "a1", write=write)
        content[place] ^= 2
    assert len(path.read_bytes()) == len(content)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("splitimpera-journal 2 study a1\n", "version 2, 1 is expected"),
        ("splitimpera-journal 1 study b2\n", "another study"),
        ("splitimpera-journal 1 training a1\n", "journal of a training"),
        ("something else\n", "no journal"),
    ],
)
def test_other_journals_are_refused_and_not_touched(path, header, said):
    path.write_text(header)
    with pytest.raises(OutputError, match=said):
        Journal(path, "study", "a1", write=True)
    assert path.read_text() == header


def test_one_writer_at_a_time_and_readers_live(path):
    with Journal(path, "study", "a1", write=True) as journal:
        with pytest.raises(OutputError, match="another run"):
            Journal(path, "study", "a1", write=True)
        with Journal(path, "study", "a1") as reader:
            journal.add("one", 1)
            assert not len(reader)
            assert reader.refresh() == 1
            assert reader["one"] == 1
    Journal(path, "study", "a1", write=True).close()


def test_no_journal_to_read(path):
    with pytest.raises(OutputError, match="cannot be read"):
        Journal(path, "study", "a1")


def test_a_full_disk_leaves_the_journal_as_it_was(path, monkeypatch):
    content = written(path)
    with Journal(path, "study", "a1", write=True) as journal:
        real = journal._file

        class Full:
            def __getattr__(self, name):
                return getattr(real, name)

            def write(self, data):
                if len(data) > 20:
                    return real.write(data[:20])
                raise OSError(28, os.strerror(28))

        journal._file = Full()
        with pytest.raises(OutputError, match="No space left"):
            journal.add("more", "x" * 100)
        journal._file = real
        assert path.read_bytes() == content
        journal.add("more", "x")
    assert read(path) == RECORDS | {"more": "x"}


@pytest.mark.parametrize("key", ["", "a b", "a\n", "é", "k" * 201])
def test_keys(path, key):
    with Journal(path, "study", "a1", write=True) as journal, pytest.raises(ValueError, match="no key"):
        journal.add(key, 1)


WRITER = """
import sys
from pathlib import Path
from splitimpera.studies.journal import Journal
with Journal(Path(sys.argv[1]), "study", "a1", write=True) as journal:
    for number in range(len(journal), 10**9):
        journal.add(str(number), "x" * 3000)
"""


def test_killed_writers(path):
    """What a writer had added when it was killed is there, in order, and the next goes on."""
    before = 0
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
        until_s = time.monotonic() + 20
        while (not path.exists() or path.stat().st_size < before + 100_000) and time.monotonic() < until_s:
            time.sleep(0.01)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        before = path.stat().st_size
        keys = [*read(path)]
        assert keys == [str(number) for number in range(len(keys))]
        assert len(keys) > 30
