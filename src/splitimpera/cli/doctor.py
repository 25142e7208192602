"""`splitimpera doctor`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

COLOURS = {"ok": "green", "note": "yellow", "missing": "yellow"}


def run(
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON, to go with a report of a fault.")] = False,
) -> None:
    """Check the installation: versions, extras, cores, clock, caches, and what is missing for which command."""
    from splitimpera.installation import checks

    if as_json:
        typer.echo(json.dumps([check.plain() for check in checks()], indent=2))
        return

    from rich.table import Table
    from rich.text import Text

    from splitimpera.cli.terminal import console

    rows = Table.grid(padding=(0, 2))
    for check in checks():
        said = f"{check.found}\n{check.advice}" if check.advice else check.found
        rows.add_row(Text(check.state, COLOURS[check.state]), Text(check.name), Text(said))
    console.print(rows)
    console.print("Next: 'splitimpera scenario init' writes a scenario, 'splitimpera design scenario.yaml' runs it.")
