"""`splitimpera compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    first: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a design, with its results.json.")],
    second: Annotated[Path, typer.Argument(metavar="DIR", help="Another one.")],
    out: Annotated[Path | None, typer.Option(help="Write all plans with all metrics to this file (HTML).")] = None,
) -> None:
    """Set two designs side by side: settings, decisions, and what each plan does in either."""
    from splitimpera.core.files import check_file
    from splitimpera.report import read

    results = [read(folder) for folder in (first, second)]
    if out is not None:
        check_file(out, "--out")

    from splitimpera.cli.terminal import console
    from splitimpera.report.comparison import compare, comparison_tables

    comparison = compare(*results)
    console.print(comparison_tables(comparison))
    if out is not None:
        from splitimpera.core.files import write_output
        from splitimpera.report.html.comparison_page import comparison_html

        write_output(out, comparison_html(comparison).encode("utf-8", "backslashreplace"), "--out")
        console.print(f"Written: {out}", soft_wrap=True)
