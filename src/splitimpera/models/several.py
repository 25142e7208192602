"""Several inputs of a sample as one row of bytes: whatever reads, divides and caches inputs sees one tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from splitimpera.core.errors import DataError, shown
from splitimpera.models.numbers import finite_inputs, is_image

if TYPE_CHECKING:
    from splitimpera.models.pixels import Pixels


@dataclass(frozen=True)
class Field:
    """One of the inputs.

    Attributes:
        shape: of one sample.
        pixels: How it was made of 8-bit images; None where it was not.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    pixels: Pixels | None = None

    @property
    def bytes(self) -> int:
        return self.dtype.itemsize * prod(self.shape)

    @property
    def image(self) -> bool:
        """Whether it is an image of 8 or 16 bits, which mean and standard deviation make an input of."""
        return is_image(torch.empty(self.shape, dtype=self.dtype, device="meta"))

    def __str__(self) -> str:
        dtype = "8-bit images" if self.pixels else str(self.dtype).removeprefix("torch.")
        return f"{dtype} of shape {self.shape}"


@dataclass(frozen=True)
class Layout:
    """Where each input of a sample lies in its row of bytes: one after the other, as they are in memory.

    Attributes:
        names: What the network's `forward` calls them; empty where they are given in order.

    Example:
        >>> layout = layout_of((torch.rand(3, 2), torch.arange(3)))
        >>> rows = layout.packed((torch.rand(3, 2), torch.arange(3)))
        >>> rows.shape, rows.dtype
        (torch.Size([3, 16]), torch.uint8)
        >>> layout.tensors(rows)[1]
        tensor([0, 1, 2])
    """

    fields: tuple[Field, ...]
    names: tuple[str, ...] = ()

    def packed(self, inputs: Sequence[Tensor], what: str = "the inputs") -> Tensor:
        """Inputs (n, ...) each -> uint8 (n, bytes of a sample).

        Raises:
            DataError: they differ in number, rows, shape or type, or are not finite.
        """
        if len(inputs) != len(self.fields):
            raise DataError(f"{what} are {len(inputs)} arrays, {len(self.fields)} are expected")
        rows = []
        for place, (x, field) in enumerate(zip(inputs, self.fields, strict=True)):
            x = x if field.image else finite_inputs(x, f"{self.called(place)} of {what}")
            if x.shape[1:] != field.shape or x.dtype != field.dtype:
                found = Field(x.dtype, tuple(x.shape[1:]))
                raise DataError(f"{self.called(place)} of {what} is {found}, {field} is expected")
            if len(x) != len(inputs[0]):
                raise DataError(
                    f"{self.called(place)} of {what} has {len(x)} rows, {self.called(0)} {len(inputs[0])}",
                    hint="each input has one row a sample",
                )
            rows.append(x.contiguous().reshape(len(x), prod(field.shape)).view(torch.uint8))
        return torch.cat(rows, 1)

    def tensors(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Rows of bytes, uint8 (n, bytes) -> the inputs, (n, ...) each."""
        parts = torch.split(rows, [field.bytes for field in self.fields], 1)
        return tuple(
            # a view in another type must begin where such a number may
            part.clone(memory_format=torch.contiguous_format).view(field.dtype).reshape(len(rows), *field.shape)
            for part, field in zip(parts, self.fields, strict=True)
        )

    def given(self, rows: Tensor) -> tuple[Tensor, ...] | dict[str, Tensor]:
        """The same as the network's `forward` takes them: in order, or by name."""
        inputs = self.tensors(rows)
        return dict(zip(self.names, inputs, strict=True)) if self.names else inputs

    def called(self, place: int) -> str:
        return f"input '{shown(self.names[place])}'" if self.names else f"input {place}"

    def with_fields(self, fields: Sequence[Field]) -> Layout:
        return replace(self, fields=tuple(fields))

    def __str__(self) -> str:
        return ", ".join(f"{self.called(place)}: {field}" for place, field in enumerate(self.fields))


def layout_of(inputs: Sequence[Tensor], names: Sequence[str] = (), what: str = "the inputs") -> Layout:
    """The layout of inputs, (n, ...) each; images of 8 and 16 bits as they are.

    Raises:
        DataError: one has no rows, or nothing in a row.
    """
    fields = []
    for place, x in enumerate(inputs):
        which = f"input '{shown(names[place])}'" if names else f"input {place}"
        if not x.ndim or not prod(x.shape[1:]):
            raise DataError(f"{which} of {what} has shape {tuple(x.shape)}, one row per sample is expected")
        field = Field(x.dtype, tuple(x.shape[1:]))
        fields.append(field if field.image else replace(field, dtype=finite_inputs(x[:0], what).dtype))
    return Layout(tuple(fields), tuple(names))


def named(inputs: object) -> tuple[tuple[str, ...], tuple[object, ...]] | None:
    """The names (none for a tuple) and values of several inputs; None where it is neither a mapping nor a tuple."""
    if isinstance(inputs, Mapping):
        return tuple(map(str, inputs)), tuple(inputs.values())
    return ((), inputs) if isinstance(inputs, tuple) else None
