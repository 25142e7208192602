from __future__ import annotations

import io
import logging
import re
import sys
import threading
import time

import pytest
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from test_cli import here

from splitimpera.cli import terminal, verbosity
from splitimpera.cli.terminal import PlainConsole
from splitimpera.report.tables import sparkline

HOSTILE = "\x1b]0;title\x07[/bold][red]:smile:\u202e\udcff"
SEEN = "\\x1b]0;title[/bold][red]:smile:\\u202e\\udcff"  # Rich itself leaves the bell out


def printed(renderable, encoding="utf-8", width=100):
    console = PlainConsole()
    console.file = io.TextIOWrapper(io.BytesIO(), encoding)
    console.width = width
    console.print(renderable)
    console.file.flush()
    return console.file.buffer.getvalue().decode(encoding)


def table():
    found = Table(title=HOSTILE)
    found.add_column(HOSTILE, min_width=60)
    found.add_row(HOSTILE)
    found.add_row(Text(HOSTILE, "bold"))
    return found


@pytest.mark.parametrize(
    ("renderable", "times"),
    [(HOSTILE, 1), (Text(HOSTILE), 1), (Panel(Text(HOSTILE), title=Text("x")), 1), (table(), 4)],
)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_text_is_printed_as_it_is_and_harmless(renderable, times, encoding):
    out = printed(renderable, encoding)
    assert out.count(SEEN) == times
    assert all(letter == "\n" or letter.isprintable() for letter in out)


def test_what_grows_is_broken_into_lines_and_not_cut():
    out = printed(Panel(Text("é" * 40)), "ascii", 30)
    assert "".join(out.replace("|", "").split()).count("\\xe9") == 40


def test_a_curve_in_ascii_has_its_heights():
    assert printed(sparkline([0, 1, 2, 7]), "ascii").strip() == "_.-#"
    assert printed(sparkline([0, 1, 2, 7])).strip() == "▁▂▃█"


def stage(monkeypatch, steps, total, every_s=30.0):
    """What a stage prints where there is no terminal."""
    out = io.StringIO()
    monkeypatch.setattr(terminal, "SAY_EVERY_S", every_s)
    monkeypatch.setattr(sys, "stdout", out)
    with terminal.progress() as track:
        for step in track(steps, "Training the bottleneck at features.13", total):
            yield step, out


def test_bars_move_on_a_terminal_alone(monkeypatch):
    """Not into a pipe whose reader only asks for colours, and not into a notebook's cell."""
    asked = PlainConsole()
    asked.file = io.StringIO()
    asked._force_terminal = True
    monkeypatch.setattr(terminal, "console", asked)
    assert not terminal.moves()
    monkeypatch.setattr(asked.file, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    assert terminal.moves()
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    assert not terminal.moves()


def test_a_stage_prints_one_line_with_its_time(monkeypatch):
    for _, out in stage(monkeypatch, range(3), 3):
        assert out.getvalue() == ""
    assert re.fullmatch(r"Training the bottleneck at features.13: 0\.\d s\n", out.getvalue())


def test_a_long_stage_says_how_far_it_is_also_within_a_step(monkeypatch):
    for step, out in stage(monkeypatch, range(2), 2, every_s=0.02):
        until_s = time.monotonic() + 20
        while f": {step} of 2 after 0." not in out.getvalue():
            assert time.monotonic() < until_s
            time.sleep(0.01)
    lines = out.getvalue().splitlines()
    said = re.compile(r"Training .*: (0 of 2 after \d+\.\d s|1 of 2 after \d+\.\d s, about \d+\.\d s left)")
    assert all(said.fullmatch(line) for line in lines[:-1])
    assert re.fullmatch(r"Training the bottleneck at features.13: \d+\.\d s", lines[-1])


def test_a_stage_that_fails_says_nothing_more_and_leaves_no_thread(monkeypatch):
    def failing():
        yield 1
        raise ValueError("no more")

    before = threading.active_count()
    said = []
    with pytest.raises(ValueError, match="no more"):
        said.extend(out.getvalue() for _, out in stage(monkeypatch, failing(), 2))
    assert said == [""]
    assert threading.active_count() == before


def test_long_times_are_in_minutes(monkeypatch):
    monkeypatch.setattr(terminal.time, "monotonic", lambda: 125.4)
    assert terminal._duration(0.0) == "2 min 5 s"
    assert terminal._duration(84.2) == "41.2 s"


def test_what_is_logged_can_harm_no_terminal(capsys):
    with verbosity.logging_to_standard_error():
        verbosity._more(1)
        logging.getLogger("splitimpera.test").info("%s", HOSTILE)
        logging.getLogger("splitimpera.test").debug("too much")
        logging.getLogger("other").info("not ours")
    logging.getLogger("splitimpera.test").info("after")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("INFO splitimpera.test: \\x1b]0;title\\x07[/bold][red]:smile:\\u202e\\udcff")


def test_v_counts_before_and_after_the_command():
    for arguments in (
        ["-v", "scenario", "init", "--help"],
        ["design", "-vv", "--help"],
        ["simulate", "--verbose", "--help"],
    ):
        assert here(*arguments).returncode == 0
