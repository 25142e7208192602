"""`splitimpera scenario init` and `splitimpera scenario check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from splitimpera.errors import OutputError

app = typer.Typer(help="Write or check a scenario file.", no_args_is_help=True)


@app.command()
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")] = Path("scenario.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a commented scenario to start from; it runs as it is."""
    from importlib.resources import files

    from splitimpera.files import write_atomically

    if file.exists() and not force:
        raise OutputError(f"'{file}' exists already", hint="give another name, or --force to replace it")
    content = (files("splitimpera.cli") / "scenario.yaml").read_bytes()
    try:
        write_atomically(file, content)
    except OSError as error:
        raise OutputError(f"'{file}' cannot be written: {error.strerror or error}") from None
    typer.echo(f"Wrote {file}. Next: splitimpera design {file}")


@app.command()
def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="The scenario file (YAML).")]) -> None:
    """Check a scenario file without running it."""
    from splitimpera.scenario import load_scenario

    scenario = load_scenario(file)

    from splitimpera.method import check_names

    check_names(scenario)
    typer.echo(
        f"{file} is a valid scenario: {scenario.network.model} on {scenario.data.source}, "
        f"{len(scenario.requirements)} requirements."
    )
