"""`splitimpera design`."""

from __future__ import annotations

import gc
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from splitimpera.cli.verbosity import Verbose

if TYPE_CHECKING:
    from splitimpera.qos.recommendation import Recommendation

REPLICATIONS = 5
KEPT = "work.sqlite"
"""What an interrupted run goes on from, in the results folder."""

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
    measurements: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Use the times that the results.json of an earlier design holds."),
    ] = None,
    every_accuracy: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Compute the quality, such as accuracy, of every plan, also of those that violate a requirement "
            "whatever they predict.",
        ),
    ] = False,
    fresh_times: Annotated[
        bool, typer.Option("--fresh-times", help="Time this machine anew, instead of using the times kept from before.")
    ] = False,
    device: Annotated[
        str,
        typer.Option(
            help="Where saliency, training and predictions are computed: cpu, cuda, mps (Apple), or auto: the best "
            "there is. The scenario's devices are modelled or timed on this CPU all the same."
        ),
    ] = "cpu",
    autocast: Annotated[
        str, typer.Option(help="Mixed precision, faster on most accelerators: bfloat16 or float16 (default: none).")
    ] = "",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from what an interrupted run left in the results folder.")
    ] = False,
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
    from splitimpera.net.compilation import begin_compiling, transports_in

    begin_compiling(transports_in(wanted), console.print)  # beside the imports, and all that comes before it is needed

    from splitimpera.core.errors import SplitImperaError, shown
    from splitimpera.core.kept import KeptFile
    from splitimpera.cost.measured_times import read_measurements
    from splitimpera.method import design
    from splitimpera.models.accelerators import torch_device, torch_precision
    from splitimpera.records.requirement import title_of
    from splitimpera.report import results_of, show, write_results
    from splitimpera.report.writing import FILES, write_provisional

    check_writable(place, "--out", FILES)
    gc.freeze()  # what is imported stays, and no collection need look at it again
    try:
        where, precision = torch_device(device), torch_precision(autocast)
    except SplitImperaError as error:
        raise error.at(f"--{error.where}") from None
    times = None if measurements is None else read_measurements(measurements)
    log.info("seed %d, %d replications, results go to %s", seed, replications, place)
    console.print(
        Text.assemble((shown(wanted.name), "bold"), f": {shown(wanted.network.model)} on {shown(wanted.data.source)}")
    )

    def preview(decision: Recommendation) -> None:
        path = write_provisional(decision, place)
        feasible = sum(verdict.evaluation.stable and verdict.can_run for verdict in decision.verdicts)
        quality = title_of(decision.verdicts[0].evaluation.quality_metric)
        console.print(
            f"Without {quality} yet: the timelines of all {len(decision.verdicts)} plans, {feasible} of them stable, "
            f"are in {folder / path.name}.",
            soft_wrap=True,
        )

    with KeptFile(place / KEPT, fresh=not resume) as kept:
        try:
            with progress() as track:
                result = design(
                    wanted,
                    seed=seed,
                    replications=replications,
                    explore=explore,
                    measurements=times,
                    workers=os.cpu_count() or 1,
                    every_accuracy=every_accuracy,
                    fresh_times=fresh_times,
                    device=where,
                    autocast=precision,
                    kept=kept,
                    preview=preview,
                    track=track,
                    expect=track.expect,
                    say=console.print,
                )
        except (KeyboardInterrupt, SplitImperaError):
            if kept.used:
                console.print(f"What was computed is kept in {folder}: run the same again with --resume to go on.")
            raise
        kept.remove()
    results = results_of(result)
    files = write_results(results, place)
    show(results, console)
    console.print(f"Written to {folder}: {', '.join(sorted(path.name for path in files))}", soft_wrap=True)
