"""The directive `command`: how a command is called, its arguments and options, from the function that it calls.

    ```{command} study run
    ```

A command that no page shows is a warning, and so is an option without help.
"""

from __future__ import annotations

import enum
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

import typer
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from splitimpera.cli.app import app as ours

log = logging.getLogger(__name__)
TYPES = {int: "whole number", float: "number", str: "text"}


def commands(group: typer.Typer = ours, before: str = "") -> Iterator[tuple[str, Callable[..., None]]]:
    """Each command's full name, and its function."""
    for command in group.registered_commands:
        assert command.callback is not None
        yield before + (command.name or command.callback.__name__), command.callback
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from commands(inner.typer_instance, f"{before}{inner.name} ")


def parameters(function: Callable[..., None]) -> Iterator[tuple[str, Any, Any, Any]]:
    """Name, type, what Typer is told, and default of each argument and option."""
    hints = typing.get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        kind, told = typing.get_args(hints[name])[:2]
        yield name, kind, told, parameter.default


def kind_words(kind: Any) -> str:
    """What a value looks like: a file, a whole number, one of some words."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) in (typing.Union, list):
        return kind_words(next(each for each in typing.get_args(kind) if each is not type(None)))
    if typing.get_origin(kind) is typing.Literal:
        return "|".join(map(str, typing.get_args(kind)))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "|".join(str(each.value) for each in kind)
    return TYPES.get(kind, "path")


def option_lines(name: str, kind: Any, told: Any, default: Any) -> list[str]:
    """An argument or option as Markdown."""
    given = isinstance(told, typer.models.OptionInfo)
    flag = bool in (kind, *typing.get_args(kind)) or bool(getattr(told, "count", False))
    value = "" if flag else told.metavar or f"<{kind_words(kind)}>"
    long = f"--{name.replace('_', '-')}"
    spelled = [part for each in told.param_decls or (long,) for part in each.split("/")]
    if flag and given and not told.param_decls and not getattr(told, "count", False):
        spelled.append(f"--no-{long[2:]}")
    title = ", ".join(f"{each} {value}".rstrip() for each in spelled) if given else told.metavar or name.upper()
    ends = [f"{word} {end:.10g}" for word, end in (("from", told.min), ("to", told.max)) if end is not None]
    notes = [" ".join(ends).capitalize()] if ends else []
    repeated = list in (typing.get_origin(kind), *map(typing.get_origin, typing.get_args(kind)))
    notes += ["May be repeated"] if repeated else []
    if default is inspect.Parameter.empty or default is ...:
        notes.append("Required")
    elif "default" not in told.help and default not in (None, "", False, []) and not flag:
        notes.append(f"Default: `{default}`")
    text = re.sub(r"[<*_$\[\]]", r"\\\g<0>", told.help)
    return [f"````{{option}} {title}", " ".join([text, *(f"{note}." for note in notes)]), "````", ""]


class Command(SphinxDirective):
    """One command."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        function = dict(commands()).get(name)
        if function is None:
            raise self.error(f"there is no command '{name}'")
        every = list(parameters(function))
        words = [
            told.metavar or key.upper() for key, _, told, _ in every if isinstance(told, typer.models.ArgumentInfo)
        ]
        lines = ["```text", " ".join(["splitimpera", name, *words, "[OPTIONS]"]), "```", ""]
        lines += [
            *inspect.cleandoc(function.__doc__ or "").split("\n"),
            "",
            f"```{{program}} splitimpera {name}",
            "```",
            "",
        ]
        for key, kind, told, default in every:
            if not told.help:
                log.warning("%s: '%s' has no help", name, key, location=self.get_location())
            lines += option_lines(key, kind, told, default)
        shown: dict[str, str] = getattr(self.env, "shown_commands", {})
        self.env.shown_commands = shown | {name: self.env.docname}  # type: ignore[attr-defined]
        into = nodes.container()
        self.state.nested_parse(StringList(lines, self.get_source_info()[0]), self.content_offset, into)
        return into.children


def purge(app: Sphinx, env: BuildEnvironment, page: str) -> None:
    env.shown_commands = {name: at for name, at in getattr(env, "shown_commands", {}).items() if at != page}  # type: ignore[attr-defined]


def merge(app: Sphinx, env: BuildEnvironment, pages: list[str], other: BuildEnvironment) -> None:
    env.shown_commands = getattr(env, "shown_commands", {}) | getattr(other, "shown_commands", {})  # type: ignore[attr-defined]


def check(app: Sphinx, env: BuildEnvironment) -> None:
    for name, _ in commands():
        if name not in getattr(env, "shown_commands", {}):
            log.warning("no page shows the command '%s': write ```{command} %s", name, name)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("command", Command)
    app.connect("env-purge-doc", purge)
    app.connect("env-merge-info", merge)
    app.connect("env-check-consistency", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
