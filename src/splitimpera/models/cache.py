"""Files made once and kept in the user's cache folder, each with a checksum of its content.

A damaged or half-written file is noticed and treated as absent, so that its maker makes it anew.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from platformdirs import user_cache_path

from splitimpera.errors import OutputError


def cache_folder() -> Path:
    """The folder of all cached files: `$SPLITIMPERA_CACHE`, or the one that this system keeps for caches."""
    chosen = os.environ.get("SPLITIMPERA_CACHE")
    return Path(chosen) if chosen else user_cache_path("splitimpera")


def read_cached(name: str) -> bytes | None:
    """The content filed under `name`, or None where there is none or its checksum does not fit."""
    try:
        stored = (cache_folder() / name).read_bytes()
    except OSError:
        return None
    checksum, content = stored[:32], stored[32:]
    return content if hashlib.sha256(content).digest() == checksum else None


def write_cached(name: str, content: bytes) -> None:
    """File `content` under `name`: its SHA-256, then itself; written beside, then renamed."""
    folder = cache_folder()
    try:
        write_atomically(folder / name, hashlib.sha256(content).digest() + content)
    except OSError as error:
        raise OutputError(
            f"the cache folder '{folder}' cannot be written: {error.strerror or error}",
            hint="set SPLITIMPERA_CACHE to a folder that can",
        ) from None


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside, then rename: whoever reads `path` sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def check_writable(folder: Path, argument: str) -> None:
    """Raise OutputError where files could not be written to `folder`; asked before any work is done.

    What does not exist yet is not made; its nearest existing parent is tried with a file that is gone at once.
    """
    existing = folder.absolute()
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise OutputError(f"'{existing}' is a file, a folder is expected", where=argument)
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise OutputError(
            f"'{folder}' cannot be written: {error.strerror or error}", where=argument, hint="choose another place"
        ) from None
