"""Headless Chromium: open a page, wait for its scripts, give back what it shows and what went wrong."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


@dataclass(frozen=True)
class Page:
    text: str
    errors: list[str]
    screenshot: Path


def open_page(path: Path, folder: Path, size: str = "1200,3600") -> Page:
    """Open a file; skipped without Chromium, except in CI, where that is a failure."""
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("CI has no Chromium: '.ci/run' installs it with 'make browser'")
        pytest.skip("no Chromium here: 'make browser' installs it")
    screenshot = folder / "page.png"
    dom = _run(folder, size, "--dump-dom", path.as_uri())
    shot = _run(folder, size, f"--screenshot={screenshot}", path.as_uri())
    logged = re.findall(r"CONSOLE.*", dom.stderr + shot.stderr)
    return Page(
        dom.stdout,
        [line for line in logged if re.search(r"error|uncaught|refused|failed", line, re.IGNORECASE)],
        screenshot,
    )


def _run(folder: Path, size: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    flags = (
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr", "--v=0"),
    )
    command = [
        CHROMIUM,
        *flags,
        f"--window-size={size}",
        f"--user-data-dir={folder / 'profile'}",
        "--virtual-time-budget=8000",
    ]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120, check=True)
