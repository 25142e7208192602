"""Small named registries: how a stage finds a network, a codec or a transport by the name a scenario gives it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Generic, TypeVar

from splitimpera.core.errors import LIST_ENTRIES, VALUE_CHARACTERS, UnknownNameError, listed, shown
from splitimpera.core.extensions import import_extensions


def nearest(name: str, known: Iterable[str]) -> str:
    """Words that help with an unknown name: the nearest known one, and the first of all of them, near ones first."""
    names = sorted(known)
    close = get_close_matches(name[:VALUE_CHARACTERS].lower(), names, n=LIST_ENTRIES, cutoff=0.6)
    if not close:
        return f"known: {listed(names)}"
    # whoever is shown all of them looks for them in order
    others = names if len(names) <= LIST_ENTRIES else [*close, *(other for other in names if other not in close)]
    return f"did you mean '{shown(close[0])}'? Known: {listed(others)}"


T = TypeVar("T")


class Registry(Generic[T]):
    """Names of one kind of thing, in the order in which they were registered.

    A name that is not there is looked for in what installed packages bring (`core.extensions`).

    Args:
        kind: what is registered, in the singular, as an error message would call it.

    Example:
        >>> shapes: Registry[int] = Registry("shape")
        >>> _ = shapes.register("triangle")(3)
        >>> shapes["triangle"], "square" in shapes
        (3, False)
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files its argument under `name`."""

        def add(entry: T) -> T:
            self._entries[name] = entry
            return entry

        return add

    def remove(self, name: str) -> None:
        """Forget a name, say before it is registered anew.

        Raises:
            UnknownNameError: nothing is registered under it.
        """
        self[name]  # names the nearest where there is none
        del self._entries[name]

    def __getitem__(self, name: str) -> T:
        if name not in self:
            raise UnknownNameError(f"no {self.kind} is called '{shown(name)}'", hint=nearest(name, self._entries))
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        if name not in self._entries:
            import_extensions()
        return name in self._entries

    def names(self) -> tuple[str, ...]:
        import_extensions()
        return tuple(self._entries)
