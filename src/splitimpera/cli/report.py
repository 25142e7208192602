"""`splitimpera report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a design, with its results.json.")],
    out: Annotated[
        Path | None, typer.Option(help="Write only the page, to this file (default: page, figures and table in DIR).")
    ] = None,
) -> None:
    """Redraw a design's report from its results.json."""
    from splitimpera.core.files import check_file
    from splitimpera.report import read

    results = read(folder)
    if out is not None:
        check_file(out, "--out")

    from splitimpera.cli.terminal import console

    if out is None:
        from splitimpera.report import redraw

        names = ", ".join(sorted(path.name for path in redraw(results, folder)))
        console.print(f"Written to {folder}: {names}", soft_wrap=True)
        return

    from splitimpera.core.files import write_output
    from splitimpera.report import report_html

    write_output(out, report_html(results).encode("utf-8", "backslashreplace"), "--out")
    console.print(f"Written: {out}", soft_wrap=True)
