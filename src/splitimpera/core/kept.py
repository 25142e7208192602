"""What a long run has computed so far, in one file that survives a kill: values by the digest of all they follow from.

SQLite writes each change whole or not at all. A damaged file is noticed and begun anew, so that its values are computed
again.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from splitimpera.core.errors import OutputError, shown_path

log = logging.getLogger(__name__)

LARGEST_BYTES = 1 << 28
"""What one value may take."""


class KeptFile:
    """Values by key, in a file that is made when there is something to keep.

    Args:
        path: The file; it is made where there is none.
        fresh: Whether to begin anew.

    Attributes:
        found: how many values were found when they were asked for.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, KeptFile(Path(folder) / "work.sqlite") as kept:
        ...     kept.put({"a": b"1"})
        ...     kept.get("a"), kept.get("b")
        (b'1', None)
    """

    def __init__(self, path: Path, fresh: bool = False) -> None:
        self.path = path
        self.fresh = fresh
        self.found = 0
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def used(self) -> bool:
        """Whether the file was opened."""
        return self._connection is not None

    @property
    def empty(self) -> bool:
        """Whether there is surely nothing to be found."""
        return self._connection is None and (self.fresh or not self.path.exists())

    def remove(self) -> None:
        """Close the file and take it away."""
        self.__exit__()
        self.path.unlink(missing_ok=True)

    @property
    def connection(self) -> sqlite3.Connection:
        """The open file.

        Raises:
            OutputError: it cannot be written, or another process is using it.
        """
        if self._connection is None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                if self.fresh:
                    self.path.unlink(missing_ok=True)
                try:
                    self._connection = _opened(self.path)
                except sqlite3.OperationalError:
                    raise
                except sqlite3.DatabaseError:  # damaged, or a file of that name by another hand
                    self.path.unlink(missing_ok=True)
                    self._connection = _opened(self.path)
            except (OSError, sqlite3.Error) as error:
                hint = "another run may be using it" if "locked" in str(error) else ""
                words = f"'{shown_path(self.path)}' cannot be written: {error}"
                raise OutputError(words, where="--out", hint=hint) from None
        return self._connection

    def get(self, key: str) -> bytes | None:
        """The value kept under a key; None where there is none, or its checksum does not fit."""
        if self.empty:
            return None
        try:
            row = self.connection.execute("SELECT checksum, value FROM kept WHERE key = ?", (key,)).fetchone()
        except sqlite3.DatabaseError:
            return None
        if row is None or not isinstance(row[1], bytes) or sha256(row[1]).digest() != row[0]:
            return None
        self.found += 1
        return row[1]

    def put(self, entries: Mapping[str, bytes]) -> None:
        """Keep values, all of them or none.

        Raises:
            OutputError: the file cannot be written.
        """
        rows = [(key, sha256(value).digest(), value) for key, value in entries.items()]
        try:
            with self.connection:
                self.connection.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", rows)
        except sqlite3.Error as error:
            raise OutputError(f"what was computed so far cannot be kept: {error}", where="--out") from None
        log.debug("kept %s", " ".join(entries))

    def section(self, name: str) -> Section:
        """Plain values by the names of a part of the work."""
        return Section(self, name)


class Section(MutableMapping[str, Any]):
    """Values that JSON can write, under keys that begin with a section's name."""

    def __init__(self, file: KeptFile, name: str) -> None:
        self.file = file
        self.name = f"{name}/"

    def __getitem__(self, key: str) -> Any:
        content = self.file.get(self.name + key)
        if content is None:
            raise KeyError(key)
        return json.loads(content)

    def __setitem__(self, key: str, value: Any) -> None:
        self.file.put({self.name + key: json.dumps(value).encode()})

    def __delitem__(self, key: str) -> None:
        with self.file.connection:
            self.file.connection.execute("DELETE FROM kept WHERE key = ?", (self.name + key,))

    def __iter__(self) -> Iterator[str]:
        if self.file.empty:
            return
        like = self.name.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        rows = self.file.connection.execute("SELECT key FROM kept WHERE key LIKE ? ESCAPE '\\'", (like,))
        yield from [str(key).removeprefix(self.name) for (key,) in rows.fetchall()]

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=1.0, check_same_thread=False)
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_BYTES)
        connection.execute("CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, checksum BLOB, value BLOB)")
        connection.execute("SELECT count(*) FROM kept").fetchone()
    except BaseException:
        with suppress(sqlite3.Error):
            connection.close()
        raise
    return connection
