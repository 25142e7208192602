"""Packages that bring their own tasks, codecs, transports, scores and engines.

A package names a module under the entry points of the group "splitimpera"; the module registers what it brings when it
is imported. That happens the first time that a name is asked for which nothing is registered under, in any process: a
command, a worker, a server that opens a bundle.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from splitimpera.core.errors import ExtensionError, SplitImperaError, shown

GROUP = "splitimpera"
_imported: dict[str, str | None] = {}
"""What became of each module: None, or why it cannot be imported."""


@cache  # some milliseconds each time
def _named() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=GROUP))


def import_extensions() -> None:
    """Import what installed packages bring, once.

    Raises:
        ExtensionError: one of them cannot be imported.
    """
    for entry in _named():
        module = entry.module
        if module not in _imported:
            _imported[module] = None  # before it is imported: it may ask for names itself
            try:
                entry.load()
            except SplitImperaError as failure:
                _imported[module] = str(failure)
            except Exception as failure:
                _imported[module] = f"{type(failure).__name__}: {failure}"
        if _imported[module] is not None:
            raise ExtensionError(
                f"the extension '{shown(entry.name)}' cannot be imported: {shown(_imported[module], 300)}",
                where=shown(module),
                hint="mend it, or uninstall the package that brings it",
            )
