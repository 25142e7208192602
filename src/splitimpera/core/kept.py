"""What a long run has computed so far, in one file that survives a kill: values by the digest of all they follow from.

SQLite writes each change whole or not at all. A damaged file is noticed and begun anew, with a warning, so that its
values are computed again. One run at a time has the file; the system takes it from a run that was killed.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import warnings
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from splitimpera.core.errors import OutputError, SplitImperaWarning, shown_path
from splitimpera.core.files import reason

log = logging.getLogger(__name__)

LARGEST_BYTES = 1 << 28
"""What one value may take."""


class _DamagedError(Exception):
    """The file is damaged, or one of another hand."""


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
        self._unlink()

    def _unlink(self) -> None:
        for suffix in ("", "-journal"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)

    @property
    def connection(self) -> sqlite3.Connection:
        """The open file.

        Raises:
            OutputError: it cannot be written, or another process is using it.
        """
        if self._connection is None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._connection = self._whole()
            except (OSError, sqlite3.Error) as error:
                raise self._unwritable(error) from None
        return self._connection

    def _whole(self) -> sqlite3.Connection:
        """The file, opened; begun anew where that is wanted or it is damaged."""
        if self.fresh and self.path.exists():
            with suppress(_DamagedError):
                _opened(self.path).close()  # which another run that has it does not allow
            self._unlink()
        try:
            return _opened(self.path)
        except _DamagedError as error:
            return self._anew(error)

    def _anew(self, damage: Exception) -> sqlite3.Connection:
        text = f"'{shown_path(self.path)}' is damaged and begun anew ({damage}): all of it is computed again"
        warnings.warn(text, SplitImperaWarning, stacklevel=2)
        self.__exit__()
        self._unlink()
        return _opened(self.path)

    def _unwritable(self, error: Exception) -> OutputError:
        if "locked" in str(error):
            return OutputError(
                f"'{shown_path(self.path)}' is in use by another run",
                where="--out",
                hint="wait for its end, or choose another folder",
            )
        return OutputError(
            f"'{shown_path(self.path)}' cannot be written: {reason(error)}",
            where="--out",
            hint="make room there, or see that it may be written",
        )

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
            try:
                self._insert(rows)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:  # damaged while it was in use
                self._connection = self._anew(error)
                self._insert(rows)
        except (OSError, sqlite3.Error) as error:
            raise self._unwritable(error) from None
        log.debug("kept %s", " ".join(entries))

    def _insert(self, rows: list[tuple[str, bytes, bytes]]) -> None:
        with self.connection:
            self.connection.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", rows)

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
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, checksum BLOB, value BLOB)")
        connection.commit()
        connection.execute("SELECT key, checksum, value FROM kept LIMIT 1").fetchone()
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(str(found).splitlines()[-1])
    except BaseException as error:
        with suppress(sqlite3.Error):
            connection.close()
        # a column is missing where another hand made the file
        operational = isinstance(error, sqlite3.OperationalError) and "no such column" not in str(error)
        if isinstance(error, sqlite3.DatabaseError) and not operational:
            raise _DamagedError(str(error)) from None
        raise
    return connection
