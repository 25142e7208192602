"""Options that are whole numbers."""

from __future__ import annotations

from collections.abc import Callable

from splitimpera.core.errors import DataError, shown


def whole(option: str, least: int, most: int) -> Callable[[object], int]:
    """A parser of whole numbers; Typer's own would echo any number of digits."""

    def read(given: object) -> int:
        text = str(given).strip()
        if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and least <= int(text) <= most):
            raise DataError(f"'{shown(text)}' is not a whole number from {least} to {most}", where=option)
        return int(text)

    return read
