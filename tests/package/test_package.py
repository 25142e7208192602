"""What is handed out, as far as it can be told from the checkout."""

from __future__ import annotations

import json
import re
import subprocess

import bounds
import distributions
import environments
import pytest
from conftest import ROOT

from splitimpera.core.version import __version__

TEXTS = {".py", ".md", ".yaml", ".toml", ".html", ".j2", ".js", ".css", ".json", ".txt", ".cff", ""}


def test_no_machine_is_named_in_what_is_shipped():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    for name in tracked:
        path = ROOT / name
        if path.suffix in TEXTS and path.is_file():
            assert not re.search(r"(?<![\w.])/(home|root|work|Users)/\w", path.read_text(errors="ignore")), name


def test_the_version_is_in_one_place_and_the_others_agree():
    assert distributions.versions_agree() == __version__
    assert distributions.PROJECT["dynamic"] == ["version"]


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("CITATION.cff", f"version: {__version__}", "version: 9.9.9", "CITATION.cff has version 9.9.9"),
        ("CHANGELOG.md", "## [Unreleased]\n", "## [99.0.0] - 2030-01-31\n", "CHANGELOG.md describes 99.0.0"),
        ("CHANGELOG.md", "## [Unreleased]\n", "## [0.0.1]\n", "a version has no date"),
    ],
)
def test_a_version_that_differs_is_told(file, old, new, told, tmp_path, monkeypatch):
    for name in ("CITATION.cff", "CHANGELOG.md", "src/splitimpera/core/version.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        text = (ROOT / name).read_text()
        assert name != file or old in text
        (tmp_path / name).write_text(text.replace(old, new) if name == file else text)
    monkeypatch.setattr(distributions, "ROOT", tmp_path)
    with pytest.raises(distributions.CheckError, match=re.escape(told)):
        distributions.versions_agree()


def test_a_release_has_its_section_in_the_changelog(tmp_path, monkeypatch):
    (tmp_path / "src" / "splitimpera" / "core").mkdir(parents=True)
    (tmp_path / "src" / "splitimpera" / "core" / "version.py").write_text('__version__ = "1.2.0"\n')
    (tmp_path / "CITATION.cff").write_text("version: 1.2.0\n")
    monkeypatch.setattr(distributions, "ROOT", tmp_path)
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text("# Changelog\n\n## [Unreleased]\n\n## [1.2.0] - 2030-01-31\n\n- All.\n")
    assert distributions.versions_agree(released=True) == "1.2.0"
    changelog.write_text("# Changelog\n\n## [Unreleased]\n\n- More.\n\n## [1.2.0] - 2030-01-31\n\n- All.\n")
    with pytest.raises(distributions.CheckError, match="under Unreleased"):
        distributions.versions_agree(released=True)
    changelog.write_text("# Changelog\n\n## [Unreleased]\n\n- All.\n")
    with pytest.raises(distributions.CheckError, match="no section"):
        distributions.versions_agree(released=True)


def test_the_sizes_in_the_document_are_those_that_were_measured():
    measured = json.loads(environments.MEASURED.read_text())
    assert [row["installation"] for row in measured["environments"]] == list(environments.INSTALLATIONS)
    assert environments.table(measured) in environments.DOCUMENT.read_text()


def test_the_lowest_versions_are_those_of_the_project():
    lowest = dict(line.split("==") for line in bounds.lowest())
    assert lowest["typer"] == re.search(r'"typer>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())[1]
    assert set(lowest) >= {"numpy", "onnxruntime", "numba", "scipy", "constriction"}
    assert "torch" not in lowest
