"""Data of every kind as numbered batches, of which no more are in memory than are being used."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sized
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor

from splitimpera.core.array_types import Row
from splitimpera.core.errors import DataError
from splitimpera.models.datasets import Samples

Inputs = tuple[Tensor, ...]
Data = Samples | Tensor | tuple[Tensor | Inputs, Tensor] | Iterable[Any]


@dataclass(frozen=True, eq=False)
class Batch:
    """Some samples.

    Attributes:
        number: Position of the batch in the data, from 0 on.
        samples: How many they are.
        inputs: What the network takes, (samples, ...) each; None where they were not read.
        labels: Class indices, int64 (samples,); None where there are none.
        targets: What is expected of each sample, where that is no class index.
    """

    number: int
    samples: int
    inputs: Inputs | None
    labels: Tensor | None
    targets: tuple[Row, ...] = ()

    def expected(self) -> list[Row] | None:
        """The targets as tasks take them; None where nobody knows them."""
        if self.targets:
            return list(self.targets)
        return None if self.labels is None else [(label,) for label in self.labels.cpu().numpy()]

    def read(self) -> Inputs:
        """The inputs, which must have been read."""
        assert self.inputs is not None
        return self.inputs

    def single(self) -> Iterator[Batch]:
        """The samples one by one, for networks that mix samples with another dimension."""
        for row in range(self.samples):
            rows = slice(row, row + 1)
            labels = None if self.labels is None else self.labels[rows]
            yield Batch(self.number, 1, tuple(x[rows] for x in self.read()), labels, self.targets[rows])


def batches_of(
    data: Data, size: int, done: Container[str] = (), group: Callable[[Row], int] | None = None
) -> tuple[Iterator[Batch], int]:
    """The data in batches, and how many there are (0 where nobody knows).

    Args:
        group: which class a sample counts for, given its target, where that is no class index.
        size: Most samples in a batch; an iterable's batches stay as they are.
        done: Numbers of batches that are not needed; of `Samples` those before the first other one are not read.

    Raises:
        DataError: a batch is neither inputs nor (inputs, labels).
    """
    if isinstance(data, Samples):
        return _of_samples(data, size, done, group), -(-len(data) // size)
    if isinstance(data, tuple) and len(data) == 2 and isinstance(data[1], Tensor):
        inputs = _as_inputs(data[0])
        labels = Samples(inputs[0], data[1]).labels
        return _sliced(inputs, labels, size), -(-len(labels) // size)
    if isinstance(data, Tensor):
        return _sliced((data,), None, size), -(-len(data) // size)
    total = len(data) if isinstance(data, Sized) else 0
    return (_as_batch(number, entry) for number, entry in enumerate(data)), total


def again(first: Batch, rest: Iterator[Batch]) -> Iterator[Batch]:
    """All batches, of which the first has been taken already; it is not kept longer than the others."""
    yield first
    del first
    yield from rest


def _of_samples(data: Samples, size: int, done: Container[str], group: Callable[[Row], int] | None) -> Iterator[Batch]:
    total = -(-len(data) // size)
    unread = next(number for number in count() if str(number) not in done or number == total)
    for number in range(unread):
        yield _batch(data, number, size, None, group)
    rest = data.take(slice(unread * size, None)) if unread else data
    for number, x in enumerate(rest.batches(size), unread):
        yield _batch(data, number, size, data.tensors(x), group)


def _batch(data: Samples, number: int, size: int, inputs: Inputs | None, group: Callable[[Row], int] | None) -> Batch:
    places = range(number * size, min((number + 1) * size, len(data)))
    if data.labelled:
        return Batch(number, len(places), inputs, data.labels[places.start : places.stop])
    targets = tuple(data.targets.rows(places)) if data.known else ()
    labels = torch.tensor([group(target) for target in targets]) if targets and group else None
    return Batch(number, len(places), inputs, labels, targets)


def _sliced(inputs: Inputs, labels: Tensor | None, size: int) -> Iterator[Batch]:
    for number, first in enumerate(range(0, len(inputs[0]), size)):
        rows = slice(first, first + size)
        part = tuple(x[rows] for x in inputs)
        yield Batch(number, len(part[0]), part, None if labels is None else labels[rows])


def _as_batch(number: int, entry: Any) -> Batch:
    if isinstance(entry, Tensor):
        return Batch(number, len(entry), (entry,), None)
    if isinstance(entry, Samples):
        return Batch(number, len(entry), entry.tensors(entry.inputs), entry.labels if entry.labelled else None)
    if isinstance(entry, (tuple, list)) and len(entry) == 2 and isinstance(entry[1], Tensor):
        inputs = _as_inputs(entry[0])
        return Batch(number, len(inputs[0]), inputs, Samples(inputs[0], entry[1]).labels)
    raise DataError(f"a batch is inputs, or (inputs, labels); this one is {type(entry).__name__}")


def _as_inputs(given: Tensor | tuple[Tensor, ...] | list[Tensor]) -> Inputs:
    return tuple(given) if isinstance(given, (tuple, list)) else (given,)
