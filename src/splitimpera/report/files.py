"""One file that the user asked for."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from splitimpera.errors import OutputError
from splitimpera.models.cache import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def png(figure: Figure) -> bytes:
    """The figure as a file's content."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()


def write(path: Path, content: bytes, argument: str) -> None:
    """Write a file that the user named; it appears whole or not at all.

    Raises:
        OutputError: it cannot be written; `argument` is the option that named it.
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        raise OutputError(f"'{path}' cannot be written: {error.strerror or error}", where=argument) from None
