"""Write a design's files; what stood there stays whole until each new file is complete."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from splitimpera.errors import OutputError
from splitimpera.models.cache import check_writable, write_atomically
from splitimpera.report.html.page import report_html
from splitimpera.report.pictures import plans_png, saliency_png
from splitimpera.report.results import Results
from splitimpera.report.tables import plans_csv

if TYPE_CHECKING:
    from splitimpera.method import Design

FILES: dict[str, Callable[[Results], bytes]] = {
    "saliency.png": saliency_png,
    "plans.png": plans_png,
    "report.html": lambda results: report_html(results).encode(),
    "plans.csv": lambda results: plans_csv(results).encode(),
    "results.json": lambda results: (json.dumps(results, indent=1, allow_nan=False) + "\n").encode(),
}


def save(design: Design, folder: Path) -> list[Path]:
    """Make every file's content first, then write them all.

    Raises:
        OutputError: the folder cannot be written.
    """
    check_writable(folder, "--out")
    results = design.results()
    contents = {folder / name: make(results) for name, make in FILES.items()}
    try:
        for path, content in contents.items():
            write_atomically(path, content)
    except OSError as error:
        raise OutputError(f"'{folder}' cannot be written: {error.strerror or error}", where="--out") from None
    return list(contents)
