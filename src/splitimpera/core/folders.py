"""Files that belong together, written so that a folder holds one whole set of them at any time: the old or the new."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from splitimpera.core.files import TEMPORARY_SUFFIX, check_kind, discard, hold, output_error, remove_stale


def write_together(folder: Path, contents: Mapping[str, bytes], argument: str) -> list[Path]:
    """Write files that belong together, the one that the others are made from first.

    A fresh folder is filled beside the old one and changes places with it in one act of the system, so that whoever
    looks sees all the old files or all the new ones. What else lies in the old folder is linked into the new one
    before. Where that cannot be done (see docs/adr/0006) all is written within the folder, the old files but the first
    are removed, the first is replaced and the others appear: then a part may be missing for a moment, but files of two
    runs are never there at once, and the first always is.

    Returns:
        The paths of the files, in `folder`.

    Raises:
        OutputError: they cannot be written, and the old ones are as they were; `argument` is the option that named
            the folder.
    """
    try:
        place = folder.resolve()
        place.parent.mkdir(parents=True, exist_ok=True)
        for name in contents:
            check_kind(place / name, argument)
        for near in (place, place.parent):
            remove_stale(near, contents)
        if not _exchanged(place, contents):
            _replaced(place, contents)
    except (OSError, ValueError, RuntimeError) as failure:  # RuntimeError: links that lead in a circle
        raise output_error(folder, failure, argument) from None
    return [folder / name for name in contents]


def _exchanged(place: Path, contents: Mapping[str, bytes]) -> bool:
    """Put a fresh folder with these files in the place of the old one; False, and all as it was, where none can be."""
    if _stays(place):
        return False
    with _staging(place.parent, contents) as fresh:
        if fresh is None:
            return False
        if not place.exists():
            _fill(fresh, contents)
            fresh.rename(place)
            _sync(place.parent)
            return True
        try:
            _dress(fresh, place)
            others = _link_others(place, fresh, contents)
        except OSError:
            return False
        _fill(fresh, contents)
        try:
            fresh.chmod(stat.S_IMODE(place.stat().st_mode))
            _exchange(fresh, place)
        except OSError:
            return False
        _sync(place.parent)
        # what came, or was replaced by its owner, while the links were made
        for entry in _entries(fresh):
            if entry.name not in contents and others.get(entry.name) != entry.inode():
                with suppress(OSError):
                    os.replace(entry.path, place / entry.name)
        return True


def _stays(place: Path) -> bool:
    """Whether a folder cannot be moved, or somebody who works in it would lose it from under the feet."""
    try:
        here = Path.cwd()
    except OSError:  # it is gone
        return os.path.ismount(place)
    return os.path.ismount(place) or place in (here, *here.parents)


def _dress(fresh: Path, old: Path) -> None:
    """Give a folder another one's owner and attributes (access control lists are among them)."""
    mine, theirs = fresh.stat(), old.stat()
    if (mine.st_uid, mine.st_gid) != (theirs.st_uid, theirs.st_gid):
        os.chown(fresh, theirs.st_uid, theirs.st_gid)
    if sys.platform == "linux":
        for name in os.listxattr(old):
            os.setxattr(fresh, name, os.getxattr(old, name))


def _link_others(old: Path, fresh: Path, names: Collection[str]) -> dict[str, int]:
    """Give all files of a folder but `names` a second name in another one: name -> inode.

    Raises:
        OSError: there are folders among them, or the file system knows no links.
    """
    others = {entry.name: entry.inode() for entry in _entries(old) if entry.name not in names}
    for name in others:
        os.link(old / name, fresh / name, follow_symlinks=False)
    return others


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def _exchange(first: Path, second: Path) -> None:
    """Let two folders change places, in one act."""
    import ctypes

    at_here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if call(at_here, os.fsencode(first), at_here, os.fsencode(second), exchange):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _replaced(place: Path, contents: Mapping[str, bytes]) -> None:
    """Write the files within their folder, so that those of two runs are never there at once."""
    place.mkdir(exist_ok=True)
    with _staging(place, contents) as fresh:
        if fresh is None:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        _fill(fresh, contents)
        try:
            _bring(fresh, place, list(contents))
        except KeyboardInterrupt:
            _bring(fresh, place, list(contents))  # half of it is done
            raise
        _sync(place)


def _bring(fresh: Path, place: Path, names: list[str]) -> None:
    first, *others = names
    if (fresh / first).exists():
        for name in others:
            (place / name).unlink(missing_ok=True)
        os.replace(fresh / first, place / first)
    for name in others:
        if (fresh / name).exists():
            os.replace(fresh / name, place / name)


def _fill(folder: Path, contents: Mapping[str, bytes]) -> None:
    for name, content in contents.items():
        with (folder / name).open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    _sync(folder)


def _sync(folder: Path) -> None:
    with suppress(OSError):  # not every system can
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _staging(parent: Path, names: Collection[str]) -> Iterator[Path | None]:
    """A hidden folder that is gone afterwards, with files of these names; None where none can be made."""
    path = parent / f".{os.getpid()}-{os.urandom(6).hex()}{TEMPORARY_SUFFIX}"
    try:
        path.mkdir()
    except OSError as failure:
        if failure.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        yield None
        return
    handle = None
    try:
        with suppress(OSError):  # some systems open no folders
            handle = os.open(path, os.O_RDONLY)
            hold(handle)
        yield path
    finally:
        with suppress(OSError):
            discard(path, names)
        if handle is not None:
            os.close(handle)
