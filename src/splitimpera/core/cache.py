"""Files made once and kept in the user's cache folder, each with a checksum of its content.

A damaged or half-written file is noticed and treated as absent, so that its maker makes it anew.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from splitimpera.core.errors import OutputError, SplitImperaWarning
from splitimpera.core.files import check_writable, read_file, remove_stale, write_output

LARGEST_BYTES = 4_000_000_000
VARIABLE = "SPLITIMPERA_CACHE"


def cache_folder() -> Path:
    """The folder of all cached files: `$SPLITIMPERA_CACHE`, or the one that this system keeps for caches."""
    chosen = os.environ.get(VARIABLE)
    return Path(chosen) if chosen else user_cache_path("splitimpera")


def usable_cache() -> Path | None:
    """The cache folder, freed of what killed processes left there; None, with a warning, where nothing can be kept.

    Ask before long work, so that the user hears of it then.
    """
    folder = cache_folder()
    try:
        check_writable(folder, VARIABLE)
    except OutputError as error:
        _warn(error)
        return None
    remove_stale(folder)
    return folder


def read_cached(name: str) -> bytes | None:
    """The content filed under `name`, or None where there is none or its checksum does not fit."""
    try:
        stored = read_file(cache_folder() / name, LARGEST_BYTES, OutputError)
    except OutputError:
        return None
    checksum, content = stored[:32], stored[32:]
    return content if hashlib.sha256(content).digest() == checksum else None


def write_cached(name: str, content: bytes) -> None:
    """File `content` under `name`: its SHA-256, then itself. Where that cannot be done there is a warning."""
    try:
        write_output(cache_folder() / name, hashlib.sha256(content).digest() + content, VARIABLE)
    except OutputError as error:
        _warn(error)


@contextmanager
def made_once(name: str) -> Iterator[None]:
    """Wait until nobody else makes what is to be filed under `name`; look for it again inside.

    Where nothing can be kept, nobody waits. The lock ends with its process, however that ends.
    """
    folder = cache_folder() / ".locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / name)
        lock.acquire()
    except OSError:
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _warn(error: OutputError) -> None:
    text = f"what is trained is kept for this run only: {error.problem}; set {VARIABLE} to a folder that can be written"
    warnings.warn(text, SplitImperaWarning, stacklevel=3)
