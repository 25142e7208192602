"""Files, read with a limit and written whole: whoever looks at one sees the old content or the new, never a part."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from splitimpera.errors import OutputError, SplitImperaError, shown, shown_path
from splitimpera.units import format_bytes

TEMPORARY_SUFFIX = ".sei-tmp"
LONGEST_NAME_BYTES = 255
STALE_S = 86_400.0
"""A temporary file of this age was left behind by a process that was killed while it wrote."""


def read_file(
    path: str | Path, most_bytes: int, error: type[SplitImperaError], *, what: str = "file", hint: str = ""
) -> bytes:
    """The content of a regular file of bounded size.

    Pipes, devices and sockets are refused without waiting for them, and no more than `most_bytes` are ever read,
    whatever the file's size says.

    Args:
        error: what to raise.
        what: what the message calls the file ("scenario file").

    Raises:
        error: it does not exist, is no regular file, is too large, or cannot be read.
    """
    with open_file(path, error, what=what, hint=hint) as file:
        try:
            small = os.fstat(file.fileno()).st_size <= most_bytes
            content = file.read(most_bytes + 1) if small else None
        except OSError as failure:
            raise error(f"the {what} '{shown_path(path)}' cannot be read: {reason(failure)}", hint=hint) from None
    if content is None or len(content) > most_bytes:
        raise error(f"the {what} '{shown_path(path)}' is larger than {format_bytes(most_bytes)}, the most that is read")
    return content


@contextmanager
def open_file(
    path: str | Path, error: type[SplitImperaError], *, what: str = "file", hint: str = ""
) -> Iterator[BinaryIO]:
    """A regular file, open for reading; arguments and errors as `read_file` has them, without a limit."""
    try:
        # a pipe without a writer would wait for one
        file = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb")
    except FileNotFoundError:
        raise error(f"the {what} '{shown_path(path)}' does not exist", hint=hint) from None
    except IsADirectoryError:
        raise error(f"'{shown_path(path)}' is a folder, a {what} is expected", hint=hint) from None
    except (OSError, ValueError) as failure:  # ValueError: a null character in the path
        raise error(f"the {what} '{shown_path(path)}' cannot be read: {reason(failure)}", hint=hint) from None
    with file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise error(f"'{shown_path(path)}' is a pipe or a device, a {what} is expected", hint=hint)
        yield file


def reason(failure: Exception) -> str:
    """The system's own words for what went wrong ("No space left on device")."""
    return getattr(failure, "strerror", None) or str(failure)


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside, then rename.

    Raises:
        OSError: that cannot be done; `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # not after the file's name, which may be as long as the system allows
    handle, temporary = tempfile.mkstemp(prefix=f".{os.getpid()}-", suffix=TEMPORARY_SUFFIX, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise


def write_output(path: Path, content: bytes, argument: str) -> None:
    """Write a file that the user named.

    Raises:
        OutputError: it cannot be written; `argument` is the option that named it.
    """
    try:
        write_atomically(path, content)
    except (OSError, ValueError) as failure:
        raise output_error(path, failure, argument) from None


def output_error(path: Path, failure: Exception, argument: str = "") -> OutputError:
    """What to raise where a path cannot be written."""
    full = isinstance(failure, OSError) and failure.errno in (errno.ENOSPC, errno.EDQUOT)
    hint = "make room there, or choose another place" if full else "choose another place"
    return OutputError(f"'{shown(path)}' cannot be written: {reason(failure)}", where=argument, hint=hint)


def remove_stale(folder: Path, now_s: float | None = None) -> list[Path]:
    """Remove the temporary files of killed processes: those older than `STALE_S`; returns what was removed."""
    limit = (time.time() if now_s is None else now_s) - STALE_S
    removed = []
    with suppress(OSError):
        for path in sorted(folder.glob(f".*{TEMPORARY_SUFFIX}")):
            with suppress(OSError):
                if path.lstat().st_mtime < limit and not path.is_dir():
                    path.unlink()
                    removed.append(path)
    return removed


def check_writable(folder: Path, argument: str) -> None:
    """Raise OutputError where files could not be written to `folder`; asked before any work is done.

    What does not exist yet is not made; its nearest existing parent is tried with a file that is gone at once. Links
    that lead nowhere, or in a circle, are refused.
    """
    existing = folder.absolute()
    try:
        if "\0" in str(folder):
            raise ValueError("it contains a null character")
        while not existing.exists() and existing != existing.parent:
            if existing.is_symlink():
                raise OutputError(
                    f"'{shown(existing)}' is a link that leads nowhere", where=argument, hint="choose another place"
                )
            existing = existing.parent
        if not existing.is_dir():
            raise OutputError(f"'{shown(existing)}' is a file, a folder is expected", where=argument)
        for name in folder.parts:
            if len(os.fsencode(name)) > LONGEST_NAME_BYTES:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        with tempfile.TemporaryFile(dir=existing):
            pass
    except (OSError, ValueError) as failure:
        raise output_error(folder, failure, argument) from None
