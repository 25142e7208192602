"""`splitimpera design`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    scenario: Annotated[Path, typer.Argument(metavar="SCENARIO", help="The scenario file (YAML).")],
    out: Annotated[Path | None, typer.Option(help="Folder for the results (default: runs/<scenario name>).")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the simulation (default: the scenario's).")] = None,
    replications: Annotated[int, typer.Option(min=1, max=1000, help="How often each plan's links are simulated.")] = 5,
    explore: Annotated[
        bool | None,
        typer.Option(
            "--explore/--no-explore",
            help="Also find what would help where nothing fits, and where the choice flips (default: if it is quick).",
        ),
    ] = None,
) -> None:
    """Find where to split a network: saliency, simulation, choice; with a report."""
    from splitimpera.core.files import check_writable
    from splitimpera.scenario import load_scenario

    wanted = load_scenario(scenario)
    folder = out or Path("runs") / wanted.name
    check_writable(folder, "--out")
    place = folder.absolute()  # before the user's code runs, which may go elsewhere

    from rich.text import Text

    from splitimpera.cli.terminal import console, progress
    from splitimpera.core.errors import shown
    from splitimpera.method import design
    from splitimpera.report import results_of, show, write_results
    from splitimpera.report.writing import FILES

    check_writable(place, "--out", FILES)
    console.print(
        Text.assemble((shown(wanted.name), "bold"), f": {shown(wanted.network.model)} on {shown(wanted.data.source)}")
    )
    with progress() as track:
        result = design(wanted, seed=seed, replications=replications, explore=explore, track=track, say=console.print)
    results = results_of(result)
    files = write_results(results, place)
    show(results, console)
    console.print(f"Written to {folder}: {', '.join(sorted(path.name for path in files))}", soft_wrap=True)
