"""The commands, and what becomes of their errors."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from splitimpera.cli import (
    compare,
    completion,
    design,
    doctor,
    export,
    infer,
    keys,
    policy,
    profile,
    report,
    saliency,
    scenario,
    serve,
    simulate,
    study,
    timeline,
    verbosity,
    verify,
)
from splitimpera.core.errors import SplitImperaError, SplitImperaWarning, printable
from splitimpera.core.extras import explained
from splitimpera.core.memory import MORE_MEMORY, shortage
from splitimpera.core.version import __version__

MISUSE: type[Any] = typer.BadParameter.__bases__[0]
"""Arguments that cannot be understood; the class is Typer's or Click's, as their version has it."""

ORDER = (
    *("scenario", "design", "report", "compare", "study"),
    *("saliency", "simulate", "profile"),
    *("export", "keys", "serve", "infer", "verify", "policy", "timeline"),
    "doctor",
)
"""In which the commands are listed: as one comes to need them."""


class _InOrder(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=lambda name: (*ORDER, name).index(name))


app = typer.Typer(
    name="splitimpera",
    cls=_InOrder,
    help="Find where to split a neural network between a device and a server, and why.",
    epilog="Begin with 'splitimpera scenario init', which writes a scenario, an example or one for your own network "
    "and data, and 'splitimpera design scenario.yaml'. 'splitimpera doctor' checks the installation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("design")(design.run)
app.command("policy")(policy.run)
app.command("export")(export.run)
app.command("serve")(serve.run)
app.command("infer")(infer.run)
app.command("verify")(verify.run)
app.command("timeline")(timeline.run)
app.command("keys")(keys.run)
app.command("report")(report.run)
app.command("compare")(compare.run)
app.command("profile")(profile.run)
app.command("saliency")(saliency.run)
app.command("simulate")(simulate.run)
app.command("doctor")(doctor.run)
app.command("completion")(completion.run)
app.add_typer(study.app, name="study")
app.add_typer(scenario.app, name="scenario")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"splitimpera {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    verbose: verbosity.Verbose = 0,
) -> None:
    pass


def run() -> int:
    """Run the command that the arguments name, and return the exit code: a user's mistake ends in one message and 2."""
    with warnings.catch_warnings(), verbosity.logging_to_standard_error():
        shown_by_python = warnings.showwarning
        said = set()

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if not issubclass(category, SplitImperaWarning):
                shown_by_python(message, category, *place, **more)
            elif str(message) not in said:
                said.add(str(message))
                print(f"warning: {printable(str(message))}", file=sys.stderr)

        warnings.showwarning = show
        try:
            completion.prepare()
            # 0, or what a command that ends early wants
            return int(app(standalone_mode=False) or 0)
        except SplitImperaError as error:
            return _refused(error)
        except typer.Abort:
            return _refused(SplitImperaError("the input ended while something was read from it"))
        except ModuleNotFoundError as error:
            lacking_extra = explained(error, "this command")
            if lacking_extra is None:
                raise
            return _refused(lacking_extra)
        except Exception as error:
            lacking = shortage(error)
            if lacking:
                return _refused(SplitImperaError(lacking, hint=MORE_MEMORY))
            if not isinstance(error, MISUSE):
                raise
            return _misused(error)


def _misused(error: Any) -> int:
    if type(error).__name__ != "NoArgsIsHelpError":
        return _refused(
            SplitImperaError(error.format_message().removesuffix("."), hint="add --help for the commands and options")
        )
    error.show()
    return int(error.exit_code)


def _refused(error: SplitImperaError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return error.exit_code
