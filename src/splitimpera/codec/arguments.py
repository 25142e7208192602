"""What may follow the colons of a codec's name: functions that raise CodecError for anything else."""

from __future__ import annotations

from collections.abc import Callable

from splitimpera.core.errors import CodecError


def no_argument(given: str, name: str) -> None:
    if given:
        raise CodecError(f"'{name}': '{given}' follows what takes no argument", hint=f"leave ':{given}' out")


def one_of(*known: str) -> Callable[[str, str], None]:
    def read(given: str, name: str) -> None:
        if given not in ("", *known):
            hint = "write " + "".join(f"':{each}', " for each in known) + "or nothing"
            raise CodecError(f"'{name}': ':{given}' is not understood", hint=hint)

    return read


def whole_number(what: str, least: int, most: int, example: str) -> Callable[[str, str], None]:
    def read(given: str, name: str) -> None:
        if not (given.isascii() and given.isdecimal() and len(given) <= 4 and least <= int(given) <= most):
            raise CodecError(f"'{name}' has no {what} from {least} to {most}", hint=f"write for example '{example}'")

    return read


def or_none(read: Callable[[str, str], None]) -> Callable[[str, str], None]:
    return lambda given, name: read(given, name) if given else None
