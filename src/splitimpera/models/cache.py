"""Files made once and kept in the user's cache folder, each with a checksum of its content.

A damaged or half-written file is noticed and treated as absent, so that its maker makes it anew.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from platformdirs import user_cache_path

from splitimpera.errors import OutputError
from splitimpera.files import write_atomically


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
