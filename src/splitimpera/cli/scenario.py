"""`splitimpera scenario init` and `splitimpera scenario check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from splitimpera.core.errors import OutputError, ScenarioError, shown

app = typer.Typer(help="Write or check a scenario file.", no_args_is_help=True)


@app.command()
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write.")] = Path("scenario.yaml"),
    model: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="MODEL",
            help="Your network, such as my_model.py:make, where make() returns it. What it tells is filled in.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SOURCE",
            help="With --for: your data, a folder, an .npz or .txt file, or such a function.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a commented scenario to start from, an example or for your own network and data; it runs as is."""
    from importlib.resources import files

    from splitimpera.cli.terminal import console, progress
    from splitimpera.core.files import check_file, write_output

    check_file(file, "FILE")
    if file.exists() and not force:
        raise OutputError(f"'{shown(file)}' exists already", hint="name another file, or add --force to replace it")
    if model is None and data is None:
        text = (files("splitimpera.cli") / "scenario.yaml").read_bytes()
    elif model is None or data is None:
        given, lacking = ("--for", "--data") if data is None else ("--data", "--for")
        raise ScenarioError(f"{lacking} is missing: network and data are looked at together", where=given)
    else:
        from splitimpera.drafting import draft

        folder = file.parent
        with progress() as track:
            text = draft(_seen_from(folder, model), _seen_from(folder, data), folder, track, console.print).encode()
    write_output(file, text, "FILE")
    console.print(f"Wrote {file}. Next: splitimpera design {file}", soft_wrap=True)


def _seen_from(folder: Path, name: str) -> str:
    """A path that is there from here, as the scenario has it: from its own folder."""
    import os

    place, colon, factory = name.partition(":")
    if not Path(place).exists() or (folder / place).exists():
        return name
    return f"{Path(os.path.relpath(place, folder)).as_posix()}{colon}{factory}"


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Scenario file (YAML), or a results.json.")],
) -> None:
    """Check a scenario file without running it."""
    from splitimpera.scenario import load_scenario

    scenario = load_scenario(file)

    from splitimpera.cli.terminal import console
    from splitimpera.setting import resolve

    resolve(scenario)
    console.print(
        f"{file} is a valid scenario: {shown(scenario.network.model)} on {shown(scenario.data.source)}, "
        f"{len(scenario.requirements)} requirements.",
        soft_wrap=True,
    )
