"""Write a design's files; what stood there stays whole until each new file is complete."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from splitimpera.errors import OutputError
from splitimpera.files import check_writable, write_atomically
from splitimpera.report.html.page import report_html
from splitimpera.report.pictures import plans_png, saliency_png
from splitimpera.report.results import Results
from splitimpera.report.tables import plans_csv

if TYPE_CHECKING:
    from splitimpera.method import Design

DRAWN: dict[str, Callable[[Results], bytes]] = {
    "saliency.png": saliency_png,
    "plans.png": plans_png,
    "report.html": lambda results: report_html(results).encode(),
    "plans.csv": lambda results: plans_csv(results).encode(),
}
"""What can be made anew from the results."""


def save(design: Design, folder: Path) -> list[Path]:
    """Make every file's content first, then write them all.

    Raises:
        OutputError: the folder cannot be written.
    """
    check_writable(folder, "--out")
    results = design.results()
    content = (json.dumps(results, indent=1, allow_nan=False) + "\n").encode()
    return _write(_drawn(results, folder) | {folder / "results.json": content}, "--out")


def redraw(results: Results, folder: Path) -> list[Path]:
    """Make all files but results.json anew.

    Raises:
        OutputError: the folder cannot be written.
    """
    check_writable(folder, "DIR")
    return _write(_drawn(results, folder), "DIR")


def _drawn(results: Results, folder: Path) -> dict[Path, bytes]:
    return {folder / name: make(results) for name, make in DRAWN.items()}


def _write(contents: Mapping[Path, bytes], where: str) -> list[Path]:
    try:
        for path, content in contents.items():
            write_atomically(path, content)
    except OSError as error:
        folder = next(iter(contents)).parent
        raise OutputError(f"'{folder}' cannot be written: {error.strerror or error}", where=where) from None
    return list(contents)
