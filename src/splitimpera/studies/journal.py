"""A file that is only ever added to, one record a line: what a study has found out, whole after any kill.

    splitimpera-journal 1 KIND IDENTITY
    CHECKSUM LENGTH KEY BODY

CHECKSUM is the CRC-32 of all of the line that follows it, in eight hexadecimal digits; LENGTH counts the bytes of the
body, JSON without a line break. A line that is not whole is never a record. What a kill left torn at the end is cut off
by the next writer, so that no record is ever glued to it; a line that was damaged later is left out, and those after
it are read. Bodies are parsed when they are asked for.
"""

from __future__ import annotations

import json
import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any, Self
from zlib import crc32

from filelock import FileLock, Timeout

from splitimpera.core.errors import OutputError, SplitImperaWarning, shown, shown_path
from splitimpera.core.files import output_error, reason

VERSION = 1
SYNC_S = 1.0
"""A record is on the disk this long after it was added, whatever becomes of the machine."""
LARGEST_BYTES = 1 << 26
"""The longest line that is read."""
_CHUNK_BYTES = 1 << 24
_HEADER = re.compile(rb"splitimpera-journal (\d{1,9}) ([\w-]{1,40}) ([\w-]{1,64})\n")
_KEY = re.compile(r"[!-~]{1,200}")


def _record(line: bytes) -> tuple[bytes, int, int] | None:
    """Key, and place and length of the body, of the record that a line begins with."""
    parts = line.split(b" ", 3)
    if len(parts) < 4 or not parts[1].isdigit() or len(parts[1]) > 9:
        return None
    length, start = int(parts[1]), len(line) - len(parts[3])
    if length > len(parts[3]) or parts[0] != b"%08x" % crc32(memoryview(line)[9 : start + length]):
        return None
    return parts[2], start, length


class Journal(Mapping[str, Any]):
    """The records of a journal by their keys; of several with one key the last. Readers come and go as they like.

    Args:
        path: The file. A writer makes it where there is none.
        kind: What it is a journal of, one word.
        identity: What makes its records valid, one word: a journal of another identity is refused.
        write: Whether records are to be added; one writer at a time.

    Raises:
        OutputError: the file is no such journal, is of another version, cannot be read or written, or has a writer.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "journal"
        ...     with Journal(path, "study", "a1", write=True) as journal:
        ...         journal.add("plan-1", {"value": 0.5})
        ...         reader = Journal(path, "study", "a1")
        ...         journal.add("plan-2", {"value": 0.7})
        ...     len(reader), reader.refresh(), reader["plan-2"]
        (1, 1, {'value': 0.7})
    """

    def __init__(self, path: Path, kind: str, identity: str, write: bool = False) -> None:
        self.path = path
        self.damaged = 0
        self._kind, self._identity = kind, identity
        self._places: dict[bytes, tuple[int, int]] = {}
        self._end = 0
        self._lock = FileLock(f"{path}.lock") if write else None
        self._synced_s = time.monotonic()
        self._dirty = False
        self._file: FileIO | None = None
        try:
            if self._lock is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._lock.acquire(timeout=0)
            self._file = _opened(path, write)
            self._begin()
            if write:
                self._file.truncate(self._end)
        except Timeout:
            raise OutputError(
                f"'{shown_path(path)}' is being written by another run",
                where="--out",
                hint="wait for its end, or choose another folder",
            ) from None
        except BaseException as failure:
            self.close()
            if isinstance(failure, OSError):
                raise self._failed(failure) from None
            raise
        if self.damaged:
            text = f"'{shown_path(path)}' has {self.damaged} damaged records: what they held is computed again"
            warnings.warn(text, SplitImperaWarning, stacklevel=2)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Bring all records to the disk, and let another write."""
        try:
            if self._file is not None:
                self.sync()
                self._file.close()
                self._file = None
        finally:
            if self._lock is not None:
                self._lock.release()

    def add(self, key: str, body: Any) -> None:
        """Add a record; another process sees it when this returns.

        Args:
            key: Printable ASCII without spaces, 200 characters at most.
            body: Anything that JSON can write.

        Raises:
            OutputError: it cannot be written; the journal is as it was.
            ValueError: the key is none, or the body is too long.
        """
        if not _KEY.fullmatch(key):
            raise ValueError(f"no key of a journal: {shown(key)}")
        content = json.dumps(body, separators=(",", ":")).encode()
        rest = b"%d %s %s" % (len(content), key.encode(), content)
        line = b"%08x %s\n" % (crc32(rest), rest)
        if len(line) > LARGEST_BYTES:
            raise ValueError(f"a record of {len(line)} bytes is longer than {LARGEST_BYTES}")
        self._append(line)
        self._places[key.encode()] = (self._end - 1 - len(content), len(content))
        self.sync(SYNC_S)

    def sync(self, after_s: float = 0.0) -> None:
        """Bring what was added to the disk, unless that was done in the last `after_s` seconds."""
        if self._dirty and time.monotonic() - self._synced_s >= after_s:
            try:
                os.fsync(self._open.fileno())
            except OSError as failure:
                raise self._failed(failure) from None
            self._dirty, self._synced_s = False, time.monotonic()

    def refresh(self) -> int:
        """Read what was added since; returns how many records that were."""
        try:
            return self._scan()
        except OSError as failure:
            raise self._failed(failure) from None

    def __getitem__(self, key: str) -> Any:
        place, length = self._places[key.encode("ascii", "replace")]
        return json.loads(self._read(place, length))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.encode("ascii", "replace") in self._places

    def __iter__(self) -> Iterator[str]:
        return (key.decode() for key in self._places)

    def __len__(self) -> int:
        return len(self._places)

    def _begin(self) -> None:
        """The header, written where there is nothing, and all records."""
        wanted = f"splitimpera-journal {VERSION} {self._kind} {self._identity}\n".encode()
        found = self._read(0, 200)
        if wanted.startswith(found) and self._lock is not None:
            self._open.truncate(0)
            self._append(wanted)
        elif not found.startswith(wanted):
            raise self._foreign(found)
        self._end = len(wanted)
        self._scan()

    def _foreign(self, found: bytes) -> OutputError:
        header = _HEADER.match(found)
        said, hint = "no journal", "choose another folder"
        if header is not None:
            version, kind, identity = (part.decode() for part in header.groups())
            said = f"a journal of another {self._kind} ({identity}, not {self._identity})"
            if int(version) != VERSION:
                said, hint = f"a journal of version {version}, {VERSION} is expected", "use the version that wrote it"
            elif kind != self._kind:
                said = f"a journal of a {kind}, not of a {self._kind}"
        return OutputError(f"'{shown_path(self.path)}' is {said}", where="--out", hint=hint)

    def _scan(self) -> int:
        """Index the records from `_end` on; `_end` is then behind the last line that is a record."""
        added, bad, place, rest = 0, 0, self._end, b""
        while len(rest) <= LARGEST_BYTES and (chunk := self._read(place + len(rest), _CHUNK_BYTES)):
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            for line in lines:
                while line and (found := _record(line)):
                    key, start, length = found
                    self._places[key] = (place + start, length)
                    self.damaged, added, bad = self.damaged + bad, added + 1, 0
                    # more than a record, where the line break after it was damaged
                    place, line = place + start + length + 1, line[start + length + 1 :]
                    self._end = place
                if line:
                    place, bad = place + len(line) + 1, bad + 1
        return added

    def _append(self, line: bytes) -> None:
        """Write a line at the end, all of it or nothing."""
        file, written = self._open, 0
        try:
            file.seek(self._end)
            while written < len(line):
                written += file.write(line[written:]) or 0
        except OSError as failure:
            file.truncate(self._end)
            raise self._failed(failure) from None
        self._end += len(line)
        self._dirty = True

    def _read(self, place: int, length: int) -> bytes:
        self._open.seek(place)
        return self._open.read(length) or b""

    @property
    def _open(self) -> FileIO:
        if self._file is None:
            raise ValueError("the journal is closed")
        return self._file

    def _failed(self, failure: OSError) -> OutputError:
        if self._lock is not None:
            return output_error(self.path, failure, "--out")
        return OutputError(f"the journal '{shown_path(self.path)}' cannot be read: {reason(failure)}", where="--out")


def _opened(path: Path, write: bool) -> FileIO:
    if write and not path.exists():
        path.touch()
    return FileIO(path, "r+" if write else "r")
