"""The command line: one file a command, one call a command. Heavy imports happen inside the commands."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

from splitimpera import __version__
from splitimpera.cli import compare, design, profile, report, saliency, scenario, simulate
from splitimpera.errors import SplitImperaError

INTERRUPTED = 130

app = typer.Typer(
    name="splitimpera",
    help="Where to split a neural network between a device and a server, and why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("design")(design.run)
app.command("report")(report.run)
app.command("compare")(compare.run)
app.command("profile")(profile.run)
app.command("saliency")(saliency.run)
app.command("simulate")(simulate.run)
app.add_typer(scenario.app, name="scenario")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"splitimpera {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; a user's mistake ends in one message and exit code 2, Ctrl-C in 130."""
    signal.signal(signal.SIGINT, _interrupt)
    try:
        app()
    except SplitImperaError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    # SystemExit, since typer would turn KeyboardInterrupt into exit code 1
    print("interrupted", file=sys.stderr)
    raise SystemExit(INTERRUPTED)
