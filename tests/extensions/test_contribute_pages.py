"""The drawing and the pages of docs/contribute agree with the code that they tell of."""

from __future__ import annotations

import importlib.util
import re
from xml.etree import ElementTree

from conftest import ROOT

from splitimpera.report.palette import ink_on

PAGES = ROOT / "docs" / "contribute"


def drawn():
    spec = importlib.util.spec_from_file_location("draw_house", PAGES / "draw_house.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_drawing_is_of_todays_stages():
    module = drawn()
    assert [stage for _, stages, _ in module.ROWS for stage in stages.split()] == module.order()
    assert (PAGES / "house.svg").read_text() == module.drawing(), "python docs/contribute/draw_house.py"
    ElementTree.fromstring(module.drawing())


def test_white_is_read_on_its_colours():
    assert {ink_on(colour) for _, _, colour in drawn().ROWS} == {"#fff"}


def test_the_files_that_pages_name_are_there():
    for page in PAGES.glob("*.md"):
        for path in re.findall(r"`((?:tests|benchmarks|examples|docs)/[\w./]+)`", page.read_text()):
            assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_the_registries_that_pages_name_are_there():
    named = re.findall(r"`(splitimpera(?:\.\w+)+)\.([A-Z]+)`", (PAGES / "extend.md").read_text())
    assert len(named) >= 6
    for module, registry in named:
        assert hasattr(importlib.import_module(module), registry)


def test_every_example_has_its_page():
    shown = "".join(page.read_text() for page in PAGES.glob("*.md"))
    for example in (ROOT / "examples" / "extensions" / "splitimpera_examples").glob("[a-z]*.py"):
        assert f"splitimpera_examples/{example.name}" in shown
