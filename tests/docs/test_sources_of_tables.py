"""Every table of the validation says which script made it, and that script is there."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT

TEXT = (ROOT / "docs" / "validation.md").read_text()
SECTIONS = {part.split("\n")[0]: part for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]}
SCRIPT = re.compile(r"`[^`]*?(benchmarks/\w+\.(?:py|c))\b")


@pytest.mark.parametrize("title", [title for title, part in SECTIONS.items() if re.search(r"^\|", part, re.MULTILINE)])
def test_a_section_with_tables_names_what_made_them(title):
    assert SCRIPT.findall(SECTIONS[title]), f"{title}: name the script of its tables"


def test_the_scripts_that_documents_name_are_there():
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for script in re.findall(r"benchmarks/\w+\.(?:py|c)\b", page.read_text()):
            assert (ROOT / script).exists(), f"{page.name}: {script}"
