"""`splitimpera design`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from splitimpera.cli.verbosity import Verbose

REPLICATIONS = 5

log = logging.getLogger(__name__)


def run(
    scenario: Annotated[
        Path, typer.Argument(metavar="SCENARIO", help="Scenario file (YAML), or the results.json of an earlier design.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder for the results (default: runs/<scenario name>).")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Random seed of the simulation (default: the scenario's).")
    ] = None,
    replications: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="Simulation runs per plan, each with its own random numbers (default: 5)."),
    ] = None,
    explore: Annotated[
        bool | None,
        typer.Option(
            "--explore/--no-explore",
            help="Also vary the link and the devices, to find what would make a plan feasible and where the choice "
            "changes (default: only if that takes less than about 10 minutes).",
        ),
    ] = None,
    verbose: Verbose = 0,
) -> None:
    """Find the best place to split a network, and write a report.

    With the results.json of an earlier design, that design is run again, with the same seed and replications.
    """
    from splitimpera.core.files import check_writable
    from splitimpera.scenario import load_run

    run = load_run(scenario)
    wanted = run.scenario
    if seed is None:
        seed = wanted.seed if run.seed is None else run.seed
    replications = replications or run.replications or REPLICATIONS
    folder = out or Path("runs") / wanted.name
    check_writable(folder, "--out")
    place = folder.absolute()  # before the user's code runs, which may go elsewhere

    from rich.text import Text

    from splitimpera.cli.terminal import console, progress
    from splitimpera.core.errors import shown
    from splitimpera.method import design
    from splitimpera.report.results import results
    from splitimpera.report.tables import show
    from splitimpera.report.writing import FILES, write_results

    check_writable(place, "--out", FILES)
    log.info("seed %d, %d replications, results go to %s", seed, replications, place)
    console.print(
        Text.assemble((shown(wanted.name), "bold"), f": {shown(wanted.network.model)} on {shown(wanted.data.source)}")
    )
    with progress() as track:
        result = design(wanted, seed=seed, replications=replications, explore=explore, track=track, say=console.print)
    found = results(result)
    files = write_results(found, place)
    show(found, console)
    console.print(f"Written to {folder}: {', '.join(sorted(path.name for path in files))}", soft_wrap=True)
