"""`splitimpera design`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    scenario: Annotated[Path, typer.Argument(metavar="SCENARIO", help="The scenario file (YAML).")],
    out: Annotated[Path | None, typer.Option(help="Folder for the results (default: runs/<scenario name>).")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the simulation (default: the scenario's).")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="How often each plan's links are simulated.")] = 5,
    explore: Annotated[
        bool | None,
        typer.Option(
            "--explore/--no-explore",
            help="Also find what would help where nothing fits, and where the choice flips (default: if it is quick).",
        ),
    ] = None,
) -> None:
    """Find where to split a network: saliency, simulation, choice; with a report."""
    from splitimpera.files import check_writable
    from splitimpera.scenario import load_scenario

    wanted = load_scenario(scenario)
    named = out or Path("runs") / wanted.name
    folder = named.absolute()  # a network's or data's code may go to another folder
    check_writable(folder, "--out")

    from splitimpera.cli.terminal import console, progress
    from splitimpera.method import design
    from splitimpera.report.tables import show

    console.print(f"[bold]{wanted.name}[/bold]: {wanted.network.model} on {wanted.data.source}", highlight=False)
    with progress() as track:
        result = design(
            wanted,
            seed=seed,
            seeds=seeds,
            explore=explore,
            track=track,
            say=lambda line: console.print(line, highlight=False),
        )
    files = result.save(folder)
    show(result.results(), console)
    console.print(
        f"Written to {named}: {', '.join(sorted(path.name for path in files))}", highlight=False, soft_wrap=True
    )
