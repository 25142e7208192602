"""Frames as rows, a tensor each that crosses a cut, and rows stacked as programs take them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from splitimpera.core.array_types import Row
from splitimpera.models.datasets import Samples
from splitimpera.records.graph import TensorSpec

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs of some samples as rows."""

    samples: Samples
    size: int = 32

    def __iter__(self) -> Iterator[Row]:
        for batch in self.samples.batches(self.size):
            for row in zip(*self.samples.tensors(batch), strict=True):
                yield tuple(x.numpy() for x in row)


def batched(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """At most `size` at a time."""
    iterator = iter(rows)
    while some := list(islice(iterator, size)):
        yield some


def stack(rows: Sequence[Row], specs: Sequence[TensorSpec]) -> tuple[Tensor, ...]:
    """Frames -> the batch that a program takes."""
    return tensors(tuple(np.stack(frames) for frames in zip(*rows, strict=True)), specs)


def tensors(stacked: Row, specs: Sequence[TensorSpec]) -> tuple[Tensor, ...]:
    """Arrays with the frames in front -> the batch that a program takes; a single frame where some do not stack."""
    found = []
    for array, spec in zip(stacked, specs, strict=True):
        one = np.ascontiguousarray(array[0]).reshape(array.shape[1:]) if spec.batch_dim is None else array
        found.append(torch.from_numpy(one).movedim(0, spec.batch_dim) if spec.batch_dim else torch.from_numpy(one))
    return tuple(found)


def unstack(tensors: Sequence[Tensor], specs: Sequence[TensorSpec]) -> Iterator[Row]:
    """What a program made -> frames."""
    arrays = [
        tensor.numpy()[None] if spec.batch_dim is None else tensor.movedim(spec.batch_dim, 0).numpy()
        for tensor, spec in zip(tensors, specs, strict=True)
    ]
    yield from zip(*arrays, strict=True)
