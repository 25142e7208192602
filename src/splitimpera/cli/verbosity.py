"""`-v`: logging to standard error, with the time of each message."""

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
    """Writes to `sys.stderr` as it is at that moment: a progress bar replaces it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(printable(self.format(record)), file=sys.stderr)
        except Exception:
            self.handleError(record)


@contextmanager
def logging_to_standard_error() -> Iterator[None]:
    """Inside, this package logs its warnings, and more once `-v` is given; other libraries' loggers are left alone."""
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
    # it may be given before the command and after it: the higher count wins
    LOGGER.setLevel(min(level, LOGGER.level))
    return count


Verbose = Annotated[
    int,
    typer.Option(
        *("--verbose", "-v"),
        count=True,
        callback=_more,
        show_default=False,
        metavar="",
        help="Log progress to standard error; -vv logs debug messages too.",
    ),
]
