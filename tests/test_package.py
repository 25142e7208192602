from __future__ import annotations

import subprocess
import sys
import zipfile

import pytest
from conftest import ROOT

pytestmark = pytest.mark.alone

TEXTS = {".py", ".md", ".yaml", ".toml", ".html", ".j2", ".js", ".css", ".json", ".txt", ".cff", ""}


@pytest.mark.slow
def test_the_wheel_has_all_that_runs(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    source = ROOT / "src"
    wanted = [path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert len(wanted) > 150
    assert [path for path in wanted if str(path.relative_to(source)) not in names] == []
    assert not [name for name in names if name.startswith("tests")]


def test_no_machine_is_named_in_what_is_shipped():
    import re

    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    for name in tracked:
        path = ROOT / name
        if path.suffix in TEXTS and path.is_file():
            assert not re.search(r"(?<![\w.])/(home|root|work|Users)/\w", path.read_text(errors="ignore")), name
