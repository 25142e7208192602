"""The gallery: each page is found, tells what its pictures show, and is executed anew when what it shows changes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
INDEX = (DOCS / "gallery" / "index.md").read_text()
PAGES = {path.stem: path.read_text() for path in (DOCS / "gallery").glob("*.md") if path.stem != "index"}
CELL = re.compile(r"^```\{code-cell\}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DRAWS = re.compile(r"\bImage\(|\bplt\.|\.plot\.")


def test_there_are_pages_enough():
    assert len(PAGES) >= 12


@pytest.mark.parametrize("page", PAGES)
def test_each_page_is_in_the_index(page):
    listed = [name for block in re.findall(r"```\{toctree\}(.*?)```", INDEX, re.DOTALL) for name in block.split()]
    assert listed.count(page) == 1
    assert INDEX.count(f":link: {page}\n") == 1
    assert f"thumbnails/{page}." in INDEX


@pytest.mark.parametrize("page", PAGES)
def test_each_page_is_executed_and_says_what_it_is_for(page):
    text = PAGES[page]
    assert text.startswith("---\nfile_format: mystnb\n")
    assert re.search(r"^# .+\n\nAfter this page you ", text, re.MULTILINE)
    assert CELL.search(text)
    assert "## Change this next" in text


@pytest.mark.parametrize("page", PAGES)
def test_each_picture_has_a_text_that_says_what_it_shows(page):
    for cell in CELL.findall(PAGES[page]):
        if DRAWS.search(cell):
            (said,) = re.findall(r"^    alt: (.+)$", cell, re.MULTILINE)
            assert len(said) > 40


def test_outputs_belong_to_the_code_that_made_them(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    import executed

    for folder in ("src/package", "examples", "src/package/__pycache__"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "constraints.txt").write_text("torch==2.6\n")
    (tmp_path / "page_start.py").write_text("")
    code = tmp_path / "src/package/code.py"
    code.write_text("x = 1\n")
    monkeypatch.setattr(executed, "ROOT", tmp_path)
    monkeypatch.setattr(executed, "START", tmp_path / "page_start.py")
    before = executed.sources()
    (tmp_path / "src/package/__pycache__/code.pyc").write_text("compiled")
    assert executed.sources() == before
    code.write_text("x = 2\n")
    assert executed.sources() != before
    assert sys.modules.pop("executed")
