"""Every error that a user can cause.

    SplitImperaError
    ├── ScenarioError        the scenario file: a key, a value, a unit
    ├── UnknownNameError     a name that no registry knows; carries the nearest known one
    ├── UnitError            a quantity that cannot be read ("100 Mbit" for a bit rate)
    ├── ModelError           the network cannot be loaded
    │   ├── TraceError       the network cannot be traced into a graph
    │   └── ShapeError       the network refuses the data's shape
    ├── DataError            data that cannot be loaded or used
    ├── CutError             a cut that does not exist
    ├── CodecError           a codec that does not fit, or a damaged payload
    ├── SimulationError      a link, workload or transport that cannot be simulated
    ├── RequirementError     a requirement that cannot be used
    └── OutputError          a folder or file that cannot be written

The command line prints `str(error)` and exits with code 2, without a traceback.
"""

from __future__ import annotations

from typing import Self


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
        return f"{place}{self.problem}{advice}"


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


class CutError(SplitImperaError):
    """A cut that the graph does not have, or that cannot be used in this way."""


class CodecError(SplitImperaError):
    """A codec that does not fit the tensors, or a payload that it did not make."""


class SimulationError(SplitImperaError, ValueError):
    """A link, workload or transport with values that cannot be simulated."""


class RequirementError(SplitImperaError, ValueError):
    """A requirement that cannot be parsed or met, or does not go with another."""


class OutputError(SplitImperaError):
    """The results cannot be written."""
