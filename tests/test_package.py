from __future__ import annotations

import subprocess
import sys
import zipfile

import pytest
from conftest import ROOT


@pytest.mark.slow
def test_the_wheel_has_all_that_runs(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("py.typed", "cli/scenario.yaml", "report/html/page.html", "method.py"):
        assert f"splitimpera/{name}" in names
    assert not [name for name in names if name.startswith("tests")]


def test_no_machine_is_named_in_what_is_shipped():
    import re

    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    for name in tracked:
        path = ROOT / name
        if path.suffix in {".py", ".md", ".yaml", ".toml", ".html", ".txt", ".cff", ""} and path.is_file():
            assert not re.search(r"(?<![\w.])/(home|root|work|Users)/\w", path.read_text(errors="ignore")), name
