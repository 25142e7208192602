"""`splitimpera completion`, and what shells are told while somebody types."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Annotated

import typer

from splitimpera.core.errors import UnknownNameError, shown
from splitimpera.core.registry import nearest

SHELLS = ("bash", "zsh", "fish")
ASKED_BY = "_SPLITIMPERA_COMPLETE"
"""The variable by which a shell's script asks this program what may come next."""


def among(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """What completes an option or an argument by the names that it knows.

    Args:
        names: Gives them, and imports what it needs for that; where that is not installed there are none.
    """

    def complete(incomplete: str) -> list[str]:
        try:
            return [name for name in names() if name.startswith(incomplete)]
        except ImportError:
            return []

    return complete


def run(
    shell: Annotated[
        str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.", autocompletion=among(lambda: SHELLS))
    ],
) -> None:
    """Print the script by which a shell completes commands, options and their values (docs/install.md)."""
    # private, and there since long before the lowest version that is allowed
    from typer._completion_shared import get_completion_script

    if shell not in SHELLS:
        raise UnknownNameError(
            f"no completion for the shell '{shown(shell)}'", where="SHELL", hint=nearest(shell, SHELLS)
        )
    typer.echo(get_completion_script(prog_name="splitimpera", complete_var=ASKED_BY, shell=shell))


def prepare() -> None:
    """Let Typer answer a shell that asks; by itself it does so only where it adds options of its own for that."""
    if ASKED_BY in os.environ:
        from typer._completion_classes import completion_init

        completion_init()
