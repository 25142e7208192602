"""How the kernels are compiled, and where what comes of it is kept.

Numba's cache on disk notices edits of a cached function's own file, not of the files of what that calls. So it is kept
in a folder named by the sources of all kernels, which import nothing else of this program.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # what `signal` wraps, which takes several times as long
import hashlib
import logging
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
from platformdirs import user_cache_path

F = TypeVar("F", bound=Callable[..., Any])

PACKAGE = Path(__file__).resolve().parent
SETTINGS: Any = numba.config

# None of these functions makes arrays, so none counts references to them (_nrt): that took nine tenths of the time.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}
WITHIN = OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def entry(function: F) -> F:
    """Compile on first call, for good: to disk, with all that it calls, and without the interpreter's lock.

    Where there is no folder for that, or it is full, what is compiled lasts as long as the process.
    """
    try:
        with kept_by_source():
            kernel = numba.njit(cache=True, **OPTIONS)(function)
    except (OSError, RuntimeError):  # no place can be written; the latter is Numba's word for that
        warn_uncached()
        return numba.njit(**OPTIONS)(function)

    known: dict[tuple[object, ...], Callable[..., Any]] = {}

    @wraps(function)
    def call(*arguments: Any) -> Any:
        # Numba takes longer to find the types of structured arrays, anew in each call, than a thousand frames do
        kinds = _kind(arguments)
        if kinds not in known:
            types = tuple(map(numba.typeof, arguments))
            try:
                known[kinds] = kernel.compile(types)
            except OSError:  # it was compiled, but could not be written
                warn_uncached()
                known[kinds] = kernel.compile(types)
        return _uninterrupted(known[kinds], arguments)

    return call  # type: ignore[return-value]


def _uninterrupted(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Call a compiled function; Ctrl-C comes afterwards. Numba runs Python code where it takes a random generator
    apart, and where that raises it reads through a null pointer."""
    before = _signal.getsignal(signal.SIGINT)
    if before is None or threading.get_ident() != threading.main_thread().ident:
        return function(*arguments)
    came: list[int] = []
    _signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        return function(*arguments)
    finally:
        _signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)


def _kind(value: Any) -> tuple[object, ...]:
    """What a compiled function of Numba's depends on."""
    if isinstance(value, tuple):
        return (type(value), *map(_kind, value))
    if isinstance(value, np.ndarray):
        flags = value.flags
        return value.dtype, value.ndim, flags.c_contiguous, flags.f_contiguous, flags.aligned, flags.writeable
    return (type(value),)


@contextmanager
def kept_by_source() -> Iterator[None]:
    """Functions decorated inside are kept in `cache_folder`.

    Raises:
        OSError: there is no place for it.
    """
    before = SETTINGS.CACHE_DIR
    SETTINGS.CACHE_DIR = str(cache_folder())
    try:
        yield
    finally:
        SETTINGS.CACHE_DIR = before


@cache
def cache_folder() -> Path:
    """The folder of what is compiled from these very sources, made if need be; those of earlier sources are removed.

    It lies where Numba would keep its own: in `NUMBA_CACHE_DIR`, beside the sources, or in the user's cache.

    Raises:
        OSError: none of the three can be written.
    """
    installed = f"kernels-{hashlib.sha256(str(PACKAGE).encode()).hexdigest()[:8]}"
    places = [PACKAGE / "__pycache__", user_cache_path("splitimpera")]
    if SETTINGS.CACHE_DIR:
        places.insert(0, Path(SETTINGS.CACHE_DIR))
    for place in places:
        folder = place / f"{installed}-{source_digest()}"
        known = folder.exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue
        if not known:
            for old in set(place.glob(f"{installed}-*")) - {folder}:
                shutil.rmtree(old, ignore_errors=True)
        return folder
    raise OSError("no folder for compiled code can be written")


def is_kept(kernel: str) -> bool:
    """Whether no process of this Python need compile an `entry` again, or none could keep it."""
    try:
        files = cache_folder().rglob(f"*.{kernel}-*.py{sys.version_info.major}{sys.version_info.minor}*.nbc")
    except OSError:
        return True
    return any(files)


def source_digest() -> str:
    """SHA-256 of the sources of all kernels, their names and Numba's version; half of it, as paths are short on
    Windows."""
    sources = hashlib.sha256(numba.__version__.encode())
    for path in sorted(PACKAGE.rglob("*.py")):
        content = path.read_bytes()
        sources.update(f"{path.relative_to(PACKAGE).as_posix()} {len(content)}\n".encode() + content)
    return sources.hexdigest()[:32]


warned: list[bool] = []


def warn_uncached() -> None:
    """Say once, in one line, why each process begins slowly."""
    if not warned:
        warned.append(True)
        logging.getLogger(__name__).warning(
            "note: the compiled simulator cannot be kept, so that each start compiles it anew, which takes some 10 s; "
            "let NUMBA_CACHE_DIR name a folder that can be written"
        )


def compiled(function: F) -> F:
    """Compile what only compiled functions call."""
    return numba.njit(**WITHIN)(function)


def inlined(function: F) -> F:
    """Compile as part of whatever calls it: for what runs once a packet and is called from few places.

    Inlining everything would be twice as fast again, and take twice as long to compile.
    """
    return numba.njit(forceinline=True, **WITHIN)(function)


def record(integers: str, floats: str = "", lists: str = "", length: int = 0) -> np.dtype[Any]:
    """A structured type of int64 and float64 fields, and of lists of int64."""
    fields: list[Any] = [(name, np.int64) for name in integers.split()]
    fields += [(name, np.float64) for name in floats.split()]
    return np.dtype(fields + [(name, np.int64, (length,)) for name in lists.split()])
