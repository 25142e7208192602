"""Frames as rows, a tensor each that crosses a cut, and rows stacked as programs take them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from splitimpera.core.array_types import Array
from splitimpera.models.datasets import Samples
from splitimpera.records.graph import TensorSpec

T = TypeVar("T")
Row = tuple[Array, ...]
"""The tensors of one frame that cross a cut."""


@runtime_checkable
class Batched(Protocol):
    """Rows that come stacked."""

    def batches(self, size: int) -> Iterator[Row]:
        """At most `size` frames at a time, stacked in front."""
        ...


@dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs of some samples as rows; what the whole network makes of them must be finite."""

    samples: Samples

    def __iter__(self) -> Iterator[Row]:
        for x in self.samples.inputs:
            yield (x.numpy(),)

    def batches(self, size: int) -> Iterator[Row]:
        for x in torch.split(self.samples.inputs, size):
            yield (x.numpy(),)


def batched(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """At most `size` at a time."""
    iterator = iter(rows)
    while some := list(islice(iterator, size)):
        yield some


def own(row: Row) -> Row:
    """The same tensors apart from their batch, which then need not be kept."""
    return tuple(tensor.copy() for tensor in row)


def stack(rows: Sequence[Row], specs: Sequence[TensorSpec]) -> tuple[Tensor, ...]:
    """Frames -> the batch that a program takes."""
    if all(spec.batch_dim is not None for spec in specs):
        return tensors(tuple(np.stack(frames) for frames in zip(*rows, strict=True)), specs)
    (row,) = rows
    return tuple(
        torch.from_numpy(
            np.ascontiguousarray(frame if spec.batch_dim is None else np.expand_dims(frame, spec.batch_dim))
        )
        for spec, frame in zip(specs, row, strict=True)
    )


def tensors(stacked: Row, specs: Sequence[TensorSpec]) -> tuple[Tensor, ...]:
    """Arrays with the frames in front -> the batch that a program takes."""
    return tuple(
        torch.from_numpy(array).movedim(0, spec.batch_dim or 0) for array, spec in zip(stacked, specs, strict=True)
    )


def unstack(tensors: Sequence[Tensor], specs: Sequence[TensorSpec]) -> Iterator[Row]:
    """What a program made -> frames."""
    arrays = [
        tensor.numpy()[None] if spec.batch_dim is None else tensor.movedim(spec.batch_dim, 0).numpy()
        for tensor, spec in zip(tensors, specs, strict=True)
    ]
    yield from zip(*arrays, strict=True)
