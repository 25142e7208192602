"""The pictures of the report: all are there, small, and shown in both colour schemes with the same words."""

from __future__ import annotations

import re
import sys

import pytest
from conftest import ROOT

sys.path.append(str(ROOT / "docs"))
from report_pictures import PARTS, PICTURES

TEMPLATE = (ROOT / "src/splitimpera/report/html/templates/page.html.j2").read_text()
PAGES = [ROOT / "docs/index.md", *sorted((ROOT / "docs/start").glob("*.md"))]
SHOWN = re.compile(r"```\{image\} \S*images/report/(\S+)-(light|dark)\.png\n:alt: (.+)\n:class: only-(light|dark)")


def test_each_part_is_there_in_both_schemes_and_all_are_small():
    there = {path.name for path in PICTURES.iterdir()}
    assert there == {f"{name}-{scheme}.png" for name in PARTS for scheme in ("light", "dark")}
    assert sum(path.stat().st_size for path in PICTURES.iterdir()) < 300_000


@pytest.mark.parametrize("name", sorted({end for first, last, _ in PARTS.values() for end in (first, last)} - {""}))
def test_the_report_has_the_parts(name):
    assert f'id="{name}"' in TEMPLATE


def test_pages_show_them_in_both_schemes_with_the_same_words():
    for page in PAGES:
        text = page.read_text()
        shown = SHOWN.findall(text)
        assert len(shown) == text.count("images/report/"), page
        assert all(name in PARTS and scheme == only for name, scheme, _, only in shown)
        light, dark = ([(name, alt) for name, scheme, alt, _ in shown if scheme == each] for each in ("light", "dark"))
        assert light == dark
