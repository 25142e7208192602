"""Inputs one after the other, each with its place in its source and its class where that is known."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from splitimpera.core.array_types import Array, Row
from splitimpera.core.errors import DataError


@dataclass(frozen=True, eq=False)
class Sample:
    """One input.

    Attributes:
        x: As `input_preparation.prepared` takes it.
        row: Which of its source; None: it has no rows.
        label: Its class; None: not known.
        target: What is expected of it, as its task has it; None: not known.
    """

    x: Array | Sequence[Array]
    row: int | None = None
    label: int | None = None
    target: Row | None = None


@dataclass(frozen=True, eq=False)
class Source:
    """Inputs.

    Attributes:
        name: As logs name it.
        samples: Those of a source that has a number of them can be gone through again.
        count: How many there are; None: nobody knows before they end.
        live: Whether each is of the moment in which it is read: then it is not read before its frame is due.
        near: How near numbers agree with those of the network unsplit, where that is what they are judged by.
    """

    name: str
    samples: Iterable[Sample]
    count: int | None = None
    live: bool = False
    near: Array | None = None

    def frames(self, wanted: int | None = None) -> Generator[Sample, None, None]:
        """So many inputs, from the first one again where there are fewer; None: each once.

        Raises:
            DataError: there are none.
        """
        if self.count == 0:
            raise DataError("there are no inputs", where=self.name)
        if wanted is None:
            yield from self.samples
            return
        left = wanted
        while left > 0:
            before = left
            for sample in islice(self.samples, left):
                left -= 1
                yield sample
            if self.count is None or left == before:
                return
