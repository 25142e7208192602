from __future__ import annotations

import io

import pytest
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

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
