"""The README is short, its Python is run as it stands, and so is that of the guide to Python."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT

pytestmark = pytest.mark.alone

README = (ROOT / "README.md").read_text()
GUIDE = (ROOT / "docs/guides/python.md").read_text()
BLOCKS = {
    name: re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for name, text in {"readme": README, "guide": GUIDE}.items()
}


def test_it_is_short():
    assert len(README.splitlines()) < 120


def test_there_are_three_examples():
    assert {name: len(blocks) for name, blocks in BLOCKS.items()} == {"readme": 1, "guide": 2}
    assert BLOCKS["readme"][0] == BLOCKS["guide"][0]
    for name in ("design", "trace", "cumulative_saliency", "split", "simulate", "evaluate", "recommend"):
        assert any(f"sei.{name}(" in block for block in BLOCKS["guide"])


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(BLOCKS["readme"][0], id="design", marks=pytest.mark.slow),
        pytest.param(BLOCKS["guide"][1], id="stages"),
    ],
)
def test_an_example_runs(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    exec(compile(block, "example", "exec"), {"__name__": "readme"})
    assert capsys.readouterr().out


def test_its_links_and_pictures_are_there():
    named = re.findall(r"\]\(([^)#:]+)\)|(?:src|srcset)=\"([^\"]+)\"", README)
    assert len(named) > 10
    assert [path for pair in named for path in pair if path and not (ROOT / path).exists()] == []


def test_the_commands_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile
    assert "make test" in (ROOT / ".ci/run").read_text()
    assert "make check" in (ROOT / ".ci/run").read_text()
