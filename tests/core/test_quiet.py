from __future__ import annotations

import logging
import sys
import threading
import warnings

import pytest

from splitimpera.core.quiet import quiet


def noise(word):
    sys.stdout.write(f"{word}\n")
    sys.stderr.write(word)
    warnings.warn(word, UserWarning, stacklevel=2)
    logging.getLogger("noise").warning(word)


@pytest.fixture(autouse=True)
def _every_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        yield


def test_other_threads_are_heard(capsys, recwarn, caplog):
    inside, spoken = threading.Event(), threading.Event()

    def other():
        inside.wait()
        noise("other")
        spoken.set()

    thread = threading.Thread(target=other)
    thread.start()
    streams = sys.stdout, sys.stderr
    with quiet():
        noise("mine")
        with quiet():
            noise("mine")
        noise("mine")
        inside.set()
        assert spoken.wait(10)
    thread.join()
    out, errors = capsys.readouterr()
    assert "mine" not in out + errors + caplog.text
    assert out == "other\n"
    assert "other" in errors
    assert "other" in caplog.text
    assert (sys.stdout, sys.stderr) == streams
    noise("after")
    assert capsys.readouterr().out == "after\n"


def test_it_ends_with_an_exception(capsys):
    with pytest.raises(RuntimeError), quiet():
        raise RuntimeError
    sys.stdout.write("heard\n")
    assert capsys.readouterr().out == "heard\n"


def test_two_threads_may_be_quiet_side_by_side(capsys):
    both = threading.Barrier(2)

    def work(word):
        with quiet():
            both.wait(10)
            sys.stdout.write(f"{word}\n")
            both.wait(10)
        sys.stdout.write(f"{word}\n")

    threads = [threading.Thread(target=work, args=(word,)) for word in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(capsys.readouterr().out.split()) == ["a", "b"]
