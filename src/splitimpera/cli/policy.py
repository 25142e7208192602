"""`splitimpera policy`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from splitimpera.cli.verbosity import Verbose
from splitimpera.cli.whole_numbers import whole
from splitimpera.core import units
from splitimpera.core.errors import OutputError, ScenarioError, SplitImperaError, UnitError, shown_path

if TYPE_CHECKING:
    from splitimpera.studies.study_results import StudyResults

STUDY = "policy"
"""Beside a design: the study that its policy is made from."""


def run(
    source: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a design, or of a study over its link; or a scenario.")
    ],
    plans: Annotated[str, typer.Option(metavar="INTEGER", help="At most so many plans, one of them local.")] = "4",
    over: Annotated[
        str | None,
        typer.Option(help="Link conditions, such as 'rate=0.03..50 Mbit/s in 8, delay=5..100 ms, loss=0..10 %'."),
    ] = None,
    trace: Annotated[
        list[Path] | None,
        typer.Option(help="Recording of such a link, which says how often each rate is met; may be repeated."),
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="What the device has for all plans, as '512 KiB' (default: the scenario's).")
    ] = None,
    replications: Annotated[
        str, typer.Option(metavar="INTEGER", help="Simulation runs of each plan at each condition, at most 1000.")
    ] = "5",
    out: Annotated[
        Path | None,
        typer.Option(help="File to write (default: policy.json in RUN); its page, .html, is written beside it."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Processes of this machine (default: one a core).")
    ] = None,
    verbose: Verbose = 0,
) -> None:
    """Choose a few plans, and which of them to use in each condition of the link.

    The plans are evaluated at each condition; interrupted at any time, the same command goes on where it was.
    """
    from splitimpera.core.files import check_file
    from splitimpera.net.traces import load_trace
    from splitimpera.records.policy import MOST_PLANS, POLICY, written_policy
    from splitimpera.studies.study_files import FACTS

    most = whole("--plans", 1, MOST_PLANS)(plans)
    runs = whole("--replications", 1, 1000)(replications)
    memory_bytes = None if memory is None else _bytes(memory)
    traces = [load_trace(path) for path in trace or []]
    home = source if source.is_dir() else source.parent
    file = (out or home / POLICY).absolute()  # before the user's code runs, which may go elsewhere
    page = file.with_suffix(".html")
    if page == file:
        raise OutputError(
            f"'{shown_path(file)}' is where its page goes", where="--out", hint="name a file that ends in .json"
        )
    check_file(file, "--out")
    check_file(page, "--out")
    if (source / FACTS).is_file():
        if over is not None:
            raise ScenarioError("a study has its own link conditions", where="--over", hint="name the design's folder")
        from splitimpera.studies.study_files import read_study

        results = read_study(source)
    else:
        results, known_bytes = _evaluated(source, home, over, runs, workers or os.cpu_count() or 1)
        memory_bytes = known_bytes if memory_bytes is None else memory_bytes

    from splitimpera.cli.terminal import console
    from splitimpera.core.files import write_output
    from splitimpera.report import policy_account, policy_html
    from splitimpera.studies.policy_study import device_needs, policy_of

    policy = policy_of(results, most, traces=traces, memory_bytes=memory_bytes)
    drawn = policy_html(policy, device_needs(results, policy)).encode("utf-8", "backslashreplace")
    write_output(file, written_policy(policy), "--out")
    write_output(page, drawn, "--out")
    console.print(policy_account(policy))
    written = out or home / POLICY
    console.print(f"Written: {written}, {written.with_suffix('.html').name}", soft_wrap=True)


def _bytes(text: str) -> int:
    try:
        return int(units.parse(text, units.SIZE))
    except UnitError as error:
        raise error.at("--memory") from None


def _evaluated(
    source: Path, home: Path, over: str | None, replications: int, workers: int
) -> tuple[StudyResults, int | None]:
    """The plans of a scenario at every link condition, and what its device has for them."""
    from splitimpera.scenario.link_grid import OVER, parse_grid, study_over

    grid = parse_grid(OVER if over is None else over)
    wanted = study_over(source / "results.json" if source.is_dir() else source, grid, replications)
    folder = (home / STUDY).absolute()

    from splitimpera.cli.terminal import console, progress
    from splitimpera.net.compilation import begin_compiling, transports_in

    begin_compiling(transports_in(wanted.scenario({})), console.print)

    from splitimpera.cost.spending import memory_bytes
    from splitimpera.setting import resolve
    from splitimpera.studies.study import study
    from splitimpera.studies.study_files import JOURNAL

    device = resolve(wanted.scenario({})).devices[0]
    console.print(f"{wanted.name}: {len(wanted)} link conditions")
    try:
        with progress() as track:
            found = study(wanted, folder, workers=workers, track=track, say=console.print)
    except (KeyboardInterrupt, SplitImperaError):
        if (folder / JOURNAL).exists():
            console.print("What was found is kept: the same command goes on.")
        raise
    return found, memory_bytes(device)
