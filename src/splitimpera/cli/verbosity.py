"""`-v`: what the program does goes to standard error, with the time."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from splitimpera.core.errors import printable

LOGGER = logging.getLogger("splitimpera")
LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
FORM = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _StandardError(logging.Handler):
    """Writes to whatever standard error is at that moment: a progress bar puts itself in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(printable(self.format(record)), file=sys.stderr)
        except Exception:
            self.handleError(record)


@contextmanager
def logging_to_standard_error() -> Iterator[None]:
    """Inside, our warnings are logged, and more once `-v` asks for it; other libraries' logs stay as they are."""
    handler = _StandardError()
    handler.setFormatter(logging.Formatter(FORM))
    before = LOGGER.level, LOGGER.propagate
    LOGGER.addHandler(handler)
    LOGGER.propagate = False
    LOGGER.setLevel(LEVELS[0])
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(before[0])
        LOGGER.propagate = before[1]


def _more(count: int) -> int:
    level = LEVELS[min(count, len(LEVELS) - 1)]
    # given before the command or after it, the more of both counts
    LOGGER.setLevel(min(level, LOGGER.level))
    return count


Verbose = Annotated[
    int,
    typer.Option("--verbose", "-v", count=True, callback=_more, help="Log to standard error what is done; -vv: more."),
]
