"""A user's own source of inputs, held to what a network can take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import tee

from torch import Tensor

from splitimpera.core.errors import DataError, shown
from splitimpera.models.imports import telling
from splitimpera.models.numbers import as_numbers, finite_inputs
from splitimpera.models.pixels import Pixels
from splitimpera.models.samples import Source, indices, layout_in, stream
from splitimpera.models.several import Layout
from splitimpera.models.targets import Rows


@dataclass(frozen=True, eq=False)
class Held:
    """A user's own source, each batch of which is held to what a network takes as it is read."""

    source: Source
    name: str
    pixels: Pixels | None

    def __len__(self) -> int:
        return len(self.source)

    @property
    def layout(self) -> Layout | None:
        return layout_in(self.source)

    def read(self, rows: Rows) -> Tensor:
        with telling(DataError, f"{self.name} cannot be read"):
            inputs = self.source.read(rows)
        return self._held(rows, inputs)

    def stream(self, batches: Iterable[Rows]) -> Iterator[Tensor]:
        wanted, asked = tee(batches)
        found = stream(self.source, asked)
        for rows in wanted:
            with telling(DataError, f"{self.name} cannot be read"):
                inputs = next(found)
            yield self._held(rows, inputs)

    def _held(self, rows: Rows, inputs: object) -> Tensor:
        x = as_numbers(inputs, self.name)
        count = len(indices(rows, len(self)))
        if not x.ndim or len(x) != count:
            raise DataError(f"{self.name} have shape {tuple(x.shape)} where {count} rows are read")
        if count and not x[0].numel():
            raise DataError(f"{self.name} have shape {tuple(x.shape)}: there is nothing in a row")
        x = finite_inputs(x, self.name)
        if self.pixels is not None:
            check_made(self.pixels, x)
        return x


def check_made(pixels: Pixels, inputs: Tensor) -> None:
    """Raise DataError where inputs are not those of 8-bit images."""
    if not pixels.made(inputs):
        raise DataError(
            f"the inputs are not those that pixels (mean {shown(pixels.mean)}, std {shown(pixels.std)}) make of "
            "8-bit images",
            hint="give the mean and std that were used, or None",
        )
