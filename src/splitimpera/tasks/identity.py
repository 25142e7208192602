"""What tells a task from every other: what was computed for one is not taken for what another one asks."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import suppress
from copyreg import dispatch_table
from dataclasses import fields, is_dataclass
from functools import cached_property, lru_cache
from hashlib import blake2b
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from splitimpera.tasks.task import Task

OURS = __name__.partition(".")[0]


def identity(task: Task) -> str:
    """A digest of all that a fitted task's answers, and what they are worth, follow from; the same in every process.

    That is the class, what its object was made with and fitted to, and the same of its quality. Parameters are the
    fields of a dataclass, and the attributes of any object, but for cached properties and for private attributes of
    dataclasses and of what is ours. Of classes and functions that somebody else wrote the whole source files count, as
    they were when they were first seen; what these files import does not.

    >>> from splitimpera.tasks.regression import Regression
    >>> identity(Regression()) == identity(Regression()), identity(Regression()) == identity(Regression(fallback=1.0))
    (True, False)
    """
    return _told([task, task.quality]).hex()


def _told(value: Any, above: tuple[int, ...] = ()) -> bytes:
    """A digest of a value.

    Args:
        above: what it is a part of, by `id`; a value may be a part of itself.
    """
    kind: type[object] = type(value)
    if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        return _joined("array", value.dtype.str, value.shape, value.tobytes())
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return _joined(kind.__name__, repr(value))
    if id(value) in above:
        return _joined("above", above[::-1].index(id(value)))

    def told(parts: Iterable[Any]) -> list[bytes]:
        return [_told(part, (*above, id(value))) for part in parts]

    if isinstance(value, ModuleType):
        return _joined("module", value.__name__)
    if isinstance(value, type):
        return _joined("class", *map(_code, value.__mro__), *told(map(_held_by_class, value.__mro__)))
    if isinstance(value, FunctionType):
        return _joined("function", _code(value), *told(_held_by_function(value)))
    if hasattr(value, "tolist") and hasattr(value, "dtype"):  # an array of objects, or a tensor
        return _joined("array", str(value.dtype), tuple(value.shape), *told([value.tolist()]))
    if isinstance(value, list | tuple):
        return _joined("sequence", *told(value))
    if isinstance(value, Mapping):
        return _joined("mapping", *sorted(_joined(*told(item)) for item in value.items()))
    if isinstance(value, Set):
        return _joined("set", *sorted(told(value)))
    return _joined("object", *told([kind, _variables(value)]))


def _variables(value: Any) -> Any:
    """What an object is made of: as it says itself (paths, enumerations, partial functions), or its variables."""
    kind = type(value)
    if kind in dispatch_table:
        return dispatch_table[kind](value)
    if any(getattr(kind, way) is not getattr(object, way) for way in ("__reduce__", "__reduce_ex__")):
        with suppress(TypeError):  # it says that nobody can know
            return value.__reduce_ex__(4)
    names = {field.name for field in fields(value)} if is_dataclass(value) else set[str]()
    private = not names and kind.__module__.partition(".")[0] != OURS
    names |= {
        name
        for name in getattr(value, "__dict__", {})
        if (private or not name.startswith("_")) and not isinstance(getattr(kind, name, None), cached_property)
    }
    return {name: getattr(value, name) for name in names}


def _held_by_class(kind: type) -> dict[str, Any] | None:
    """What a class that is made inside a function may have of that function's values."""
    if "<locals>" not in kind.__qualname__:
        return None
    members = {name: _inner(member) for name, member in vars(kind).items() if not name.startswith("__")}
    return {name: each for name, each in members.items() if name[0] != "_" or isinstance(each, FunctionType)}


def _held_by_function(function: FunctionType) -> Iterator[Any]:
    """Where in its file a function is, its defaults, and what it has of the values around it."""
    yield from ([*function.__code__.co_positions()], function.__defaults__, function.__kwdefaults__)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if name != "__class__":
            with suppress(ValueError):  # it has no value yet
                yield cell.cell_contents


def _inner(member: Any) -> Any:
    """The function of a method, a property or a cached one; all else as it is."""
    for way in ("__func__", "fget", "func"):
        if isinstance(function := getattr(member, way, None), FunctionType):
            return function
    return member


@lru_cache(maxsize=256)
def _code(made: Any) -> bytes:
    """A digest of the name of a class or a function and, if it is not ours, of the files that it comes from.

    Those are its own and its methods', as they were when it was first seen.
    """
    name = f"{made.__module__}.{made.__qualname__}"
    if name.partition(".")[0] == OURS:
        return name.encode()
    files = {getattr(sys.modules.get(made.__module__), "__file__", None)}
    for function in (made, *map(_inner, vars(made).values())):
        files.add(getattr(getattr(function, "__code__", None), "co_filename", None))
    return _joined(name, *sorted({_source(file) for file in files if isinstance(file, str)}))


def _source(file: str) -> bytes:
    """What a file says; of a cell of a notebook what was typed; nothing where nobody knows."""
    try:
        return Path(file).read_bytes()
    except (OSError, ValueError):
        return "".join(linecache.getlines(file)).encode()


def _joined(*parts: object) -> bytes:
    found = blake2b(digest_size=32)
    for part in parts:
        content = part if isinstance(part, bytes) else repr(part).encode()
        found.update(len(content).to_bytes(8, "big") + content)
    return found.digest()
