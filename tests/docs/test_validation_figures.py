"""Pages speak of figures by name; each is one cell of one table in docs/validation.md."""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"

spec = spec_from_file_location("docs_figures", DOCS / "figures.py")
assert spec is not None
assert spec.loader is not None
docs_figures = module_from_spec(spec)
spec.loader.exec_module(docs_figures)
Place = docs_figures.Place

TABLES = """
# How far?

First of all:

| what | limit | value |
|---|---:|---:|
| near | 2 | 1 |
| far | 2 | 3 |

Another one:

| what | value |
|---|---:|
| near | 7 |

## And then?

| net | kind | value |
|---|---|---:|
| small | a | 4 |
| | b | 5 |
"""


def test_every_figure_is_in_a_table() -> None:
    assert all(value for value in docs_figures.figures().values())


def test_pages_and_places_name_the_same_figures() -> None:
    pages = [page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md")]
    named = {name for page in pages for name in re.findall(r"\{\{ (\w+) \}\}", page)}
    assert named == set(docs_figures.PLACES)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (Place("How far?", "far", "value"), "3"),
        (Place("How far?", "near", "value", "Another"), "7"),
        (Place("And then?", "small | b", "value"), "5"),
    ],
)
def test_a_cell_is_found(place: tuple[str, ...], value: str) -> None:
    assert docs_figures.figures(TABLES, {"it": place}) == {"it": value}


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (Place("How far?", "near", "value"), "2 cells"),
        (Place("How far?", "farther", "value"), "no cell"),
        (Place("How far?", "near", "price"), "no cell"),
        (Place("And then?", "near", "value"), "no cell"),
    ],
)
def test_what_is_not_there_once_is_an_error(place: tuple[str, ...], said: str) -> None:
    with pytest.raises(LookupError, match=f"it: {said}"):
        docs_figures.figures(TABLES, {"it": place})
