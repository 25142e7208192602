"""The Python reference: names as `splitimpera` exports them, each shown, each with a text."""

from __future__ import annotations

import inspect
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

import splitimpera

ERRORS = "splitimpera.core.errors"

log = logging.getLogger(__name__)


def exported() -> list[str]:
    """The names that the package offers."""
    return [name for name in splitimpera.__all__ if not name.startswith("_")]


def without_text() -> list[str]:
    """Exported names, and their own public methods and properties, that have no docstring."""
    found = []
    for name in exported():
        value = getattr(splitimpera, name)
        found += [] if inspect.getdoc(value) else [name]
        if inspect.isclass(value):
            found += [f"{name}.{key}" for key, member in own_members(value) if not inspect.getdoc(member)]
    return found


def own_members(cls: type) -> list[tuple[str, Any]]:
    """The public methods and properties that a class defines itself."""
    kinds = (property, classmethod, staticmethod)
    return [
        (key, member)
        for key, member in vars(cls).items()
        if not key.startswith("_") and (inspect.isfunction(member) or isinstance(member, kinds))
    ]


def check(app: Sphinx, env: BuildEnvironment) -> None:
    shown = env.get_domain("py").objects  # type: ignore[attr-defined]
    for name in exported():
        if f"splitimpera.{name}" not in shown:
            log.warning("splitimpera.%s is on no page: add it to docs/reference/python.md", name)
    for name in without_text():
        log.warning("splitimpera.%s has no docstring", name)


def code_examples(app: Sphinx, what: str, name: str, value: object, options: Any, lines: list[str]) -> None:
    """An example that is no session is code all the same; a property's first line has no type in front of its colon."""
    if what in ("property", "attribute", "data"):
        lines.insert(0, "")
    for place in range(len(lines) - 1, -1, -1):
        after = next((line.strip() for line in lines[place + 1 :] if line.strip()), "")
        if lines[place].strip() == "Example:" and not after.startswith(">>>"):
            lines[place : place + 1] = [lines[place] + ":", ""]


def by_exported_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element) -> Any:
    """Types are written where they are defined; what is exported is described under the package's name."""
    name = node.get("reftarget", "").rpartition(".")[2]
    if node.get("refdomain") != "py":
        return None
    domain, kinds = env.get_domain("py"), ("class", "func", "exc")
    for kind in kinds if name in exported() else ():
        found = domain.resolve_xref(env, node["refdoc"], app.builder, kind, f"splitimpera.{name}", node, content)
        if found is not None:
            return found
    return domain.resolve_xref(env, node["refdoc"], app.builder, "exc", f"{ERRORS}.{name}", node, content)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", code_examples, priority=400)  # before napoleon
    app.connect("missing-reference", by_exported_name)
    app.connect("env-check-consistency", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
