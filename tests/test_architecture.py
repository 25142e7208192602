"""The house as it is drawn, as the import contract has it, and as its folders are: one and the same."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "splitimpera"
DOCUMENT = (ROOT / "docs" / "architecture.md").read_text()
LONGEST = 400


def modules(folder):
    return {path.stem for path in folder.rglob("*.py")} - {"__init__", "__main__"}


def drawn():
    """The rooms in the order of the document's first drawing, the lowest first."""
    return re.findall(r"\w+", DOCUMENT.split("```text\n")[1].split("```")[0])


def contract():
    """The rooms in the order of the import contract, the lowest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each["name"].startswith("Data goes one way"))
    return [layer.removeprefix("splitimpera.") for layer in reversed(layers)]


def rows():
    """What the document's table says of each room."""
    return dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", DOCUMENT, re.MULTILINE))


def test_document_contract_and_folders_agree():
    there = {path.name for path in SOURCE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    there |= {path.stem for path in SOURCE.glob("*.py")} - {"__init__", "__main__"}
    assert drawn() == contract()
    assert sorted(drawn()) == sorted(there)
    assert list(rows()) == drawn()


def test_the_table_names_every_module():
    for room, text in rows().items():
        if (SOURCE / room).is_dir():
            names = set(re.findall(r"`(\w+)`", text))
            inner = modules(SOURCE / room) - (modules(SOURCE / "net" / "kernels") if room == "net" else set())
            assert inner - names == set(), room


def test_no_two_modules_bear_one_name():
    """A command's file bears the command's name, whatever else does."""
    names = Counter(path.stem for path in SOURCE.rglob("*.py") if path.parent.name != "cli")
    assert [name for name, times in names.items() if times > 1 and name != "__init__"] == []


def test_every_file_is_read_in_one_sitting():
    lengths = {str(path.relative_to(SOURCE)): path.read_text().count("\n") for path in SOURCE.rglob("*.py")}
    assert {name: length for name, length in lengths.items() if length >= LONGEST} == {}
