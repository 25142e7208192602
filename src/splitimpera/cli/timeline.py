"""`splitimpera timeline`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from splitimpera.cli.verbosity import Verbose
from splitimpera.core.errors import OutputError, shown_path

PAGE = "timeline.html"


def run(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="What 'splitimpera infer --log' wrote.")],
    out: Annotated[
        Path | None, typer.Option(help=f"The page that is written (default: {PAGE} beside the log).")
    ] = None,
    verbose: Verbose = 0,
) -> None:
    """Show a run over time: link, plans, latencies, who answered, and every change of plan with its reason."""
    from splitimpera.core.files import check_file, write_output

    page = log.parent / PAGE if out is None else out
    if page.resolve() == log.resolve():
        raise OutputError(f"'{shown_path(page)}' is the log itself", where="--out", hint="name another file")
    check_file(page, "--out")

    from splitimpera.cli.terminal import console
    from splitimpera.report import run_account, run_html
    from splitimpera.report.run_history import read_history

    history = read_history(log)
    write_output(page, run_html(history).encode("utf-8", "backslashreplace"), "--out")
    console.print(run_account(history))
    console.print(f"Written: {page}", soft_wrap=True)
