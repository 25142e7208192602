"""Write a design's files: all of one run, together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from splitimpera.core.files import check_writable, write_output
from splitimpera.core.folders import write_together
from splitimpera.report.design_drawing import design_svg
from splitimpera.report.html.page import report_html
from splitimpera.report.network_drawing import network_svg
from splitimpera.report.schema import Results
from splitimpera.report.static_figures import plans_png, saliency_png, samples_png
from splitimpera.report.tables import csv_of, plans_csv

if TYPE_CHECKING:
    from splitimpera.designs import Design
    from splitimpera.qos.recommendation import Recommendation

DRAWN: dict[str, Callable[[Results], bytes]] = {
    "saliency.png": saliency_png,
    "plans.png": plans_png,
    "samples.png": samples_png,
    "design.svg": lambda results: design_svg(results).encode("utf-8", "backslashreplace"),
    "network.svg": lambda results: network_svg(results).encode("utf-8", "backslashreplace"),
    "report.html": lambda results: report_html(results).encode("utf-8", "backslashreplace"),
    "plans.csv": lambda results: plans_csv(results).encode("utf-8", "backslashreplace"),
}
"""What can be made anew from the results; what would be empty is not written."""
PROVISIONAL = "provisional.csv"
FILES = ("results.json", *DRAWN)


def save(design: Design, folder: str | Path) -> list[Path]:
    """Write results.json, plans.csv, report.html and the figures; each appears whole or not at all.

    Returns:
        The files that it has written.

    Raises:
        OutputError: the folder cannot be written; what was there is as it was.
    """
    from splitimpera.report.building import results_of  # a design brings torch, results do without

    return write_results(results_of(design), Path(folder))


def write_results(results: Results, folder: Path) -> list[Path]:
    """The same from results."""
    check_writable(folder, "--out", FILES)
    contents = {"results.json": results.to_json()} | _drawn(results)
    written = _without_others(folder, write_together(folder, contents, "--out"))
    (folder / PROVISIONAL).unlink(missing_ok=True)
    return written


def write_provisional(decision: Recommendation, folder: Path) -> Path:
    """All plans by their timelines, before any accuracy is known; `write_results` takes the file away."""
    from splitimpera.report.building import plan_entry

    plans = [plan_entry(verdict) for verdict in decision.verdicts]
    path = folder / PROVISIONAL
    write_output(path, csv_of(plans, list(plans[0].metrics)).encode("utf-8", "backslashreplace"), "--out")
    return path


def redraw(results: Results, folder: Path) -> list[Path]:
    """Make all files but results.json anew.

    Raises:
        OutputError: the folder cannot be written; what was there is as it was.
    """
    check_writable(folder, "DIR", DRAWN)
    return _without_others(folder, write_together(folder, _drawn(results), "DIR"))


def _drawn(results: Results) -> dict[str, bytes]:
    drawn = {name: make(results) for name, make in DRAWN.items()}
    return {name: content for name, content in drawn.items() if content}


def _without_others(folder: Path, written: list[Path]) -> list[Path]:
    """Take away what an earlier run drew and this one does not."""
    for name in DRAWN:
        if folder / name not in written:
            (folder / name).unlink(missing_ok=True)
    return written
