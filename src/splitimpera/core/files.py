"""Files, read with a limit and written whole: whoever looks at one sees the old content or the new, never a part."""

from __future__ import annotations

import errno
import math
import os
import stat
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from splitimpera.core.errors import OutputError, SplitImperaError, shown_path
from splitimpera.core.units import format_bytes

TEMPORARY_SUFFIX = ".sei-tmp"
LONGEST_NAME_BYTES = 255
STALE_S = 86_400.0
"""A temporary file of this age was left behind by a process that was killed while it wrote."""
UNHELD_S = 60.0
"""So was one of this age that no process holds; a younger one may have been made just now, and be held soon."""


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
    with open_file(path, error, what=what, hint=hint, most_bytes=most_bytes) as file:
        try:
            content = file.read(most_bytes + 1)
        except OSError as failure:
            raise error(f"the {what} '{shown_path(path)}' cannot be read: {reason(failure)}", hint=hint) from None
    if len(content) > most_bytes:
        raise _too_large(path, most_bytes, error, what)
    return content


@contextmanager
def open_file(
    path: str | Path,
    error: type[SplitImperaError],
    *,
    what: str = "file",
    hint: str = "",
    most_bytes: float = math.inf,
) -> Iterator[BinaryIO]:
    """A regular file, open for reading; arguments and errors as `read_file` has them."""
    expected = f"{'an' if what[0] in 'aeiou' else 'a'} {what}"
    try:
        # a pipe without a writer would wait for one
        file = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb")
    except FileNotFoundError:
        raise error(f"the {what} '{shown_path(path)}' does not exist", hint=hint) from None
    except IsADirectoryError:
        raise error(f"'{shown_path(path)}' is a folder, {expected} is expected", hint=hint) from None
    except (OSError, ValueError) as failure:  # ValueError: a null character in the path
        raise error(f"the {what} '{shown_path(path)}' cannot be read: {reason(failure)}", hint=hint) from None
    with file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise error(f"'{shown_path(path)}' is a pipe or a device, {expected} is expected", hint=hint)
        if found.st_size > most_bytes:
            raise _too_large(path, most_bytes, error, what)
        yield file


def _too_large(path: str | Path, most_bytes: float, error: type[SplitImperaError], what: str) -> SplitImperaError:
    return error(f"the {what} '{shown_path(path)}' is larger than {format_bytes(most_bytes)}, the most that is read")


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
            hold(handle)
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
    """Write a file that the user named; where that is a link, the file that it leads to.

    Raises:
        OutputError: it cannot be written; `argument` is the option that named it.
    """
    try:
        check_kind(path, argument)
        place = path.resolve()
        remove_stale(place.parent)
        write_atomically(place, content)
    except (OSError, ValueError) as failure:
        raise output_error(path, failure, argument) from None


def output_error(path: Path, failure: Exception, argument: str = "") -> OutputError:
    """What to raise where a path cannot be written."""
    full = isinstance(failure, OSError) and failure.errno in (errno.ENOSPC, errno.EDQUOT)
    hint = "make room there, or choose another place" if full else "choose another place"
    return OutputError(f"'{shown_path(path)}' cannot be written: {reason(failure)}", where=argument, hint=hint)


def remove_stale(folder: Path, names: Collection[str] = (), now_s: float | None = None) -> list[Path]:
    """Remove what killed processes left while they wrote; returns what was removed.

    That is what is older than `STALE_S` or, where the system tells so, held by no process. Of folders only such files
    go that have another name elsewhere, or one of `names`.
    """
    now_s = time.time() if now_s is None else now_s
    removed = []
    with suppress(OSError):
        for path in sorted(folder.glob(f".*{TEMPORARY_SUFFIX}")):
            with suppress(OSError):
                age_s = now_s - path.lstat().st_mtime
                if age_s > STALE_S or (age_s > UNHELD_S and not _is_held(path)):
                    discard(path, names)
                    removed.append(path)
    return removed


def check_writable(folder: Path, argument: str, names: Collection[str] = ()) -> None:
    """Raise OutputError where files (of these names) could not be written to `folder`; asked before any work is done.

    What does not exist yet is not made; its nearest existing parent is tried with a file that is gone at once. Links
    that lead nowhere, or in a circle, are refused.
    """
    try:
        if "\0" in str(folder):
            raise ValueError("it contains a null character")
        existing = folder.absolute()
        while not existing.exists() and existing != existing.parent:
            _check_link(existing, argument)
            existing = existing.parent
        if not existing.is_dir():
            what = "file" if existing.is_file() else "pipe or a device"
            raise OutputError(f"'{shown_path(existing)}' is a {what}, a folder is expected", where=argument)
        for name in folder.parts:
            if len(os.fsencode(name)) > LONGEST_NAME_BYTES:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        with tempfile.TemporaryFile(dir=existing):
            pass
        for name in names:
            check_kind(folder / name, argument)
    except (OSError, ValueError) as failure:
        raise output_error(folder, failure, argument) from None


def check_file(path: Path, argument: str) -> None:
    """Raise OutputError where a file could not be written to `path`; asked before any work is done."""
    check_writable(path.parent, argument)
    try:
        check_kind(path, argument)
    except OSError as failure:
        raise output_error(path, failure, argument) from None


def check_kind(path: Path, argument: str) -> None:
    """Raise OutputError where something but a regular file stands: nothing else is ever replaced.

    Raises:
        OSError: the system does not tell.
    """
    try:
        mode = path.stat().st_mode
    except OSError as failure:
        _check_link(path, argument)
        if not isinstance(failure, FileNotFoundError):
            raise
    else:
        if not stat.S_ISREG(mode):
            what = "folder" if stat.S_ISDIR(mode) else "pipe or a device"
            raise OutputError(f"'{shown_path(path)}' is a {what}, a file is expected", where=argument)


def _check_link(path: Path, argument: str) -> None:
    if path.is_symlink():
        raise OutputError(
            f"'{shown_path(path)}' is a link that leads nowhere", where=argument, hint="choose another place"
        )


# Temporary files -----------------------------------------------------------------------------------------------------


def discard(path: Path, names: Collection[str]) -> None:
    """Remove a temporary file, or folder. What a folder should not hold stays, and so does the folder."""
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    with os.scandir(path) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False) and (
                entry.name in names or entry.stat(follow_symlinks=False).st_nlink > 1
            ):
                Path(entry.path).unlink()
    path.rmdir()


def hold(handle: int) -> None:
    """Mark a temporary file as its process's; the system takes the mark off when that ends, however it does."""
    with suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_held(path: Path) -> bool:
    """Whether a process holds a temporary file, as far as the system tells."""
    try:
        import fcntl

        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(handle)
    except (ImportError, OSError):
        return True
    return False
