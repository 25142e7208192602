from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitimpera.core import errors
from splitimpera.core.errors import SplitImperaError, listed, printable, shown


def test_the_examples_in_the_documentation():
    assert doctest.testmod(errors).failed == 0


@given(st.text())
def test_whatever_is_said_a_terminal_shows_it_as_it_is(text):
    made = printable(text)
    assert not any(ord(letter) < 32 and letter != "\n" for letter in made)
    made.encode("utf-8")


@pytest.mark.parametrize("text", ["\x1b]0;title\x07", "\x9b2J", "\u202eevil", "\ud800", "a\rb", "\u2028"])
def test_what_moves_a_terminal_is_escaped(text):
    assert text not in printable(text)
    assert "\\" in printable(text)


def test_ordinary_text_of_any_language_stays():
    assert printable("größe 5 µs, 图片") == "größe 5 µs, 图片"


class Mute:
    def __str__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize("value", [Mute(), 10**6000, "x" * 10**6, b"\xff" * 1000, ["y"] * 10**5], ids=type)
def test_any_value_is_shown_short(value):
    assert len(shown(value)) <= 83


def test_lists_are_shown_short():
    assert listed(range(10)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert listed(range(20_000)).endswith("9 and 19990 more")


def test_an_error_stays_readable_whatever_it_quotes():
    text = str(SplitImperaError("\n".join(["x" * 10**5] * 200), where="\x1b[2J", hint="h"))
    assert len(text) < 25_000
    assert text.startswith("\\x1b[2J: xxx")
    assert text.endswith("and 180 more")
