"""The README's Python is run as it stands."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT

pytestmark = pytest.mark.alone

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_there_are_two_examples():
    assert len(BLOCKS) == 2
    for name in ("design", "trace", "cumulative_saliency", "split", "simulate", "evaluate", "recommend"):
        assert any(f"sei.{name}(" in block for block in BLOCKS)


@pytest.mark.parametrize(
    "block",
    [pytest.param(BLOCKS[0], id="design", marks=pytest.mark.slow), pytest.param(BLOCKS[1], id="stages")],
)
def test_an_example_runs(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
    assert capsys.readouterr().out


def test_the_commands_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile
    assert "make test" in (ROOT / ".ci/run").read_text()
    assert "make check" in (ROOT / ".ci/run").read_text()
