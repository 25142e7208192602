"""`splitimpera study run`, `status` and `page`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from splitimpera.cli.verbosity import Verbose
from splitimpera.core.errors import SplitImperaError

if TYPE_CHECKING:
    from splitimpera.studies.maps import Map
    from splitimpera.studies.study_results import StudyResults

app = typer.Typer(help="Find which designs win where, over ranges of a scenario.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder that 'splitimpera study run' wrote to.")]


@app.command()
def run(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="Study file (YAML).")],
    out: Annotated[Path | None, typer.Option(help="Folder for the results (default: runs/<study name>).")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Processes of this machine (default: one a core).")
    ] = None,
    ray: Annotated[
        bool, typer.Option("--ray", help="Run on Ray: a cluster started here, or that of --ray-address.")
    ] = False,
    ray_address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="The Ray cluster to join, or 'auto' for the one here.")
    ] = None,
    max_time: Annotated[
        str | None, typer.Option(metavar="TIME", help="Begin nothing after this long, such as '30 min' or '2 h'.")
    ] = None,
    max_trainings: Annotated[
        int | None, typer.Option(min=0, help="Train no more bottlenecks than this; plans with others are left out.")
    ] = None,
    fresh_times: Annotated[
        bool, typer.Option("--fresh-times", help="Time this machine anew, instead of using the times kept from before.")
    ] = False,
    verbose: Verbose = 0,
) -> None:
    """Evaluate every cell of a study, and write a page.

    Interrupted at any time, the same command goes on where it was; what a changed study still shares is not done again.
    """
    import os

    from splitimpera.core import units
    from splitimpera.core.files import check_writable
    from splitimpera.scenario.study_section import load_study

    max_time_s = None
    if max_time is not None:
        try:
            max_time_s = units.parse(_spaced(max_time), units.TIME)
        except SplitImperaError as error:
            raise error.at("--max-time") from None
    wanted = load_study(study)
    folder = out or Path("runs") / wanted.name
    check_writable(folder, "--out")
    place = folder.absolute()  # before the user's code runs, which may go elsewhere

    from splitimpera.cli.terminal import console, progress
    from splitimpera.net.compilation import begin_compiling, transports_in

    begin_compiling(transports_in(wanted.scenario({})), console.print)

    from splitimpera.report import study_account
    from splitimpera.studies.study import study as run_study
    from splitimpera.studies.study_files import JOURNAL

    using: Map | None = None
    joined: AbstractContextManager[object] = nullcontext()
    if ray or ray_address is not None:
        from splitimpera.studies.ray_map import Ray

        using = Ray(ray_address, workers)
        joined = using.joined()
    console.print(f"{wanted.name}: {len(wanted)} cells")
    try:
        with joined, progress() as track:
            found = run_study(
                wanted,
                place,
                workers=workers or os.cpu_count() or 1,
                using=using,
                max_time_s=max_time_s,
                max_trainings=max_trainings,
                fresh_times=fresh_times,
                track=track,
                say=console.print,
            )
    except (KeyboardInterrupt, SplitImperaError):
        if (place / JOURNAL).exists():
            console.print(f"What was found is kept in {folder}: the same command goes on.")
        raise
    written = _written(found, place)
    console.print(study_account(found))
    console.print(f"Written to {folder}: {', '.join(written)}", soft_wrap=True)


@app.command()
def status(folder: Folder) -> None:
    """Say how far a study has come, also while it runs."""
    from splitimpera.cli.terminal import console
    from splitimpera.report import study_account
    from splitimpera.studies.study_files import read_study

    console.print(study_account(read_study(folder)))


@app.command()
def page(folder: Folder) -> None:
    """Write the page and the tables of a study anew, also while it runs."""
    from splitimpera.cli.terminal import console
    from splitimpera.studies.study_files import read_study

    written = _written(read_study(folder), folder)
    console.print(f"Written to {folder}: {', '.join(written)}", soft_wrap=True)


def _written(found: StudyResults, folder: Path) -> list[str]:
    from splitimpera.core.files import write_output
    from splitimpera.report import study_html
    from splitimpera.studies.study_files import PAGE, write_tables

    write_output(folder / PAGE, study_html(found).encode("utf-8", "backslashreplace"), "--out")
    return sorted([PAGE, *(path.name for path in write_tables(folder, found))])


def _spaced(text: str) -> str:
    """'2h' as units have it, '2 h'."""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzµ")
    return f"{number.strip()} {text[len(number) :]}"
