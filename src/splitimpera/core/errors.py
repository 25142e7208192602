"""Every error that a user can cause.

    SplitImperaError
    ├── ScenarioError        the scenario file: a key, a value, a unit
    ├── UnknownNameError     a name that no registry knows; carries the nearest known one
    ├── UnitError            a quantity that cannot be read ("100 Mbit" for a bit rate)
    ├── ModelError           the network cannot be loaded
    │   ├── TraceError       the network cannot be traced into a graph
    │   └── ShapeError       the network refuses the data's shape
    ├── DataError            data that cannot be loaded or used
    │   └── BrokenFileError  a sample's file that cannot be decoded
    ├── CutError             a cut that does not exist
    ├── CodecError           a codec that does not fit, or a damaged payload
    ├── PlanError            devices and hops that make no plan
    ├── SimulationError      a link, workload or transport that cannot be simulated
    ├── RequirementError     a requirement that cannot be used
    ├── BundleError          a bundle that is damaged, was changed, or does not fit
    ├── LinkError            a peer that cannot be reached, refuses, or does not keep to the protocol
    ├── ExtensionError       an installed package that extends this one and cannot be imported
    ├── MissingExtraError    a library that an extra of the package brings is not installed
    └── OutputError          a folder or file that cannot be written

The command line prints `str(error)` and exits with code 2, without a traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

VALUE_CHARACTERS = 80
PATH_CHARACTERS = 200
LIST_ENTRIES = 10
LINE_CHARACTERS = 1000
LINES = 20


def printable(text: str) -> str:
    """Text that is safe on a terminal: control characters, lone surrogates and what turns the direction of writing
    become escapes such as \\x1b, as all that Python does not call printable; line breaks stay.

    >>> print(printable("red \\x1b[31m"))
    red \\x1b[31m
    """
    return "".join(letter if letter == "\n" or letter.isprintable() else _escaped(letter) for letter in text)


def shown(value: object, most: int = VALUE_CHARACTERS) -> str:
    """A value from outside as a message may show it: printable, on one line, of at most `most` characters.

    >>> shown("x" * 1000, 10)
    'xxxxxxxxxx...'
    """
    try:
        text = value if isinstance(value, str) else str(value)
    except Exception as failure:  # a user's object may refuse, and str() refuses integers of thousands of digits
        text = f"<{type(value).__name__} without text: {type(failure).__name__}>"
    short = text[:most]
    line = printable(short).replace("\n", "\\n")
    return line + "..." if len(text) > most else line


def shown_path(path: object, most: int = PATH_CHARACTERS) -> str:
    """As `shown`, but of a long path the end is kept, which tells files apart.

    >>> shown_path("/a/long/way/to/cat/0.png", 10)
    '.../cat/0.png'
    """
    text = str(path)
    return shown(text, most) if len(text) <= most else "..." + shown(text[-most:], most)


def listed(entries: Iterable[object], most: int = LIST_ENTRIES) -> str:
    """Entries with commas between them, and how many more there are.

    >>> listed(range(5), most=3)
    '0, 1, 2 and 2 more'
    """
    words = [shown(entry) for entry in entries]
    more = len(words) - most
    return ", ".join(words[:most]) + (f" and {more} more" if more > 0 else "")


def _escaped(letter: str) -> str:
    return letter.encode("ascii", "backslashreplace").decode() if ord(letter) > 127 else f"\\x{ord(letter):02x}"


class SplitImperaError(Exception):
    """Base of all errors: what is wrong, where, and what to do about it.

    Args:
        problem: what was given and what was expected instead.
        where: the key in the YAML file, the argument, or the place in the network.
        hint: what to do; appended after a semicolon.
    """

    exit_code = 2

    def __init__(self, problem: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.hint = hint

    def at(self, where: str) -> Self:
        """Name the place, for a caller that knows it better than the one who raised."""
        self.where = where
        return self

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f"; {self.hint}" if self.hint else ""
        lines = f"{place}{self.problem}{advice}".split("\n")
        more = [f"and {len(lines) - LINES} more"] if len(lines) > LINES else []
        # whatever a message quotes, it stays one that a person reads
        return "\n".join([*(printable(_cut(line)) for line in lines[:LINES]), *more])


def _cut(line: str) -> str:
    return (
        line if len(line) <= LINE_CHARACTERS else f"{line[: LINE_CHARACTERS // 2]} ... {line[-LINE_CHARACTERS // 3 :]}"
    )


class SplitImperaWarning(UserWarning):
    """Something that the user should know and that stops nothing; the command line prints it as one line."""


class ScenarioError(SplitImperaError):
    """The scenario file cannot be read or one of its values makes no sense."""


class UnknownNameError(SplitImperaError):
    """A name that nothing is registered under."""


class UnitError(SplitImperaError, ValueError):
    """A quantity without its unit, or with one of another dimension."""


class ModelError(SplitImperaError):
    """The network cannot be loaded."""


class TraceError(ModelError):
    """The network cannot be traced into a graph."""


class ShapeError(ModelError):
    """The network refuses data of the given shape."""


class DataError(SplitImperaError):
    """The data cannot be loaded or used."""


class BrokenFileError(DataError):
    """A sample's file cannot be decoded, as opposed to one that is not read for what it is."""


class CutError(SplitImperaError):
    """A cut that the graph does not have, or that cannot be used in this way."""


class CodecError(SplitImperaError):
    """A codec that does not fit the tensors, or a payload that it did not make."""


class PlanError(SplitImperaError, ValueError):
    """Devices and hops that do not make a plan."""


class SimulationError(SplitImperaError, ValueError):
    """A link, workload or transport with values that cannot be simulated."""


class RequirementError(SplitImperaError, ValueError):
    """A requirement that cannot be parsed or met, or does not go with another."""


class BundleError(SplitImperaError):
    """A bundle that cannot be opened, or not used for this."""


class LinkError(SplitImperaError):
    """The program at the other end cannot be reached, refuses, or does not keep to the protocol."""


class UnreachableError(LinkError):
    """Nobody is there, or nothing comes back."""


class ExtensionError(SplitImperaError):
    """A package that extends this one cannot be imported."""


class MissingExtraError(SplitImperaError, ImportError):
    """A library is not installed that one of the package's extras brings."""


class OutputError(SplitImperaError):
    """The results cannot be written."""
