"""The drawings of docs/how: what they show, and that they show what the package does."""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from xml.etree import ElementTree

import pytest

HOW = Path(__file__).parents[2] / "docs" / "how"

spec = spec_from_file_location("docs_how_drawings", HOW / "drawings.py")
assert spec is not None
assert spec.loader is not None
drawings = module_from_spec(spec)
spec.loader.exec_module(drawings)


@pytest.mark.parametrize("name", drawings.DRAWINGS)
def test_a_drawing_is_what_the_package_draws(name: str) -> None:
    assert (HOW / f"{name}.svg").read_text(encoding="utf-8") == str(drawings.DRAWINGS[name]()), "run drawings.py"


@pytest.mark.parametrize("name", drawings.DRAWINGS)
def test_a_drawing_can_be_read_by_anyone(name: str) -> None:
    text = (HOW / f"{name}.svg").read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    assert root.get("role") == "img"
    assert len(root.get("aria-label", "")) > 60
    assert root.get("width") is None  # as wide as the page
    assert not re.search(r"href|url\(|<script|<image", text)
    # text is the page's own colour, or black or white on a box
    for each in root.iter("{http://www.w3.org/2000/svg}text"):
        assert each.get("fill") in ("currentColor", "#000", "#fff")
    pages = "\n".join(page.read_text(encoding="utf-8") for page in HOW.glob("*.md"))
    assert f":file: {name}.svg" in pages
