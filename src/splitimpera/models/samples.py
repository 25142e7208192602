"""Samples whose inputs are read when they are asked for, from wherever they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import tee
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from splitimpera.core.errors import DataError, shown
from splitimpera.models.numbers import check_amount
from splitimpera.models.several import Layout, layout_of, named
from splitimpera.models.targets import Nothing, Rows, Stacked, Targets, joined_targets, labels_of, targets_of
from splitimpera.tasks.task import TargetKind


@runtime_checkable
class Source(Protocol):
    """Inputs of N samples, in memory or elsewhere."""

    def __len__(self) -> int: ...

    def read(self, rows: Rows) -> Tensor:
        """The inputs of some samples, (n, ...)."""
        ...


@runtime_checkable
class Streamed(Source, Protocol):
    """A source that knows best how many batches are read one after the other."""

    def stream(self, batches: Iterable[Rows]) -> Iterator[Tensor]:
        """The inputs of each batch; while one is used the next is being read."""
        ...


def stream(source: Source, batches: Iterable[Rows]) -> Iterator[Tensor]:
    """What `source.read` returns for each batch, in order, read one batch ahead."""
    return source.stream(batches) if isinstance(source, Streamed) else read_ahead(source.read, batches)


def read_ahead(read: Callable[[Rows], Tensor], batches: Iterable[Rows]) -> Iterator[Tensor]:
    """`read` of each batch; while one is used a thread reads the next."""
    with ThreadPoolExecutor(1, thread_name_prefix="splitimpera-read") as thread:
        waiting: Future[Tensor] | None = None
        for rows in batches:
            following = thread.submit(read, rows)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()


def indices(rows: Rows, count: int) -> Tensor:
    """Which of `count` samples `rows` are: int64 (n,), none negative."""
    if isinstance(rows, slice):
        return torch.arange(*rows.indices(count))
    if rows.dtype == torch.bool:
        return rows.nonzero()[:, 0]
    return torch.where(rows < 0, rows + count, rows)


@dataclass(frozen=True, eq=False)
class InMemory:
    """Inputs that are a tensor, (N, ...)."""

    tensor: Tensor

    def __len__(self) -> int:
        return len(self.tensor)

    def read(self, rows: Rows) -> Tensor:
        return self.tensor[rows]

    def stream(self, batches: Iterable[Rows]) -> Iterator[Tensor]:
        return map(self.read, batches)


@dataclass(frozen=True, eq=False)
class Some:
    """Some of another source's inputs, in an order of their own."""

    source: Source
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, rows: Rows) -> Tensor:
        return self.source.read(self.rows[rows])

    def stream(self, batches: Iterable[Rows]) -> Iterator[Tensor]:
        return stream(self.source, (self.rows[rows] for rows in batches))


def some(source: Source, rows: Rows) -> Source:
    """Some inputs of a source; none are read."""
    if isinstance(source, InMemory) and isinstance(rows, slice):
        return InMemory(source.tensor[rows])
    if isinstance(source, Some):
        return Some(source.source, source.rows[rows])
    return Some(source, indices(rows, len(source)))


@dataclass(frozen=True, eq=False)
class Joined:
    """Several sources one after the other."""

    sources: Sequence[Source]

    def __len__(self) -> int:
        return sum(map(len, self.sources))

    def read(self, rows: Rows) -> Tensor:
        return _together([self.sources[which].read(part) for which, part in self._runs(rows)])

    def stream(self, batches: Iterable[Rows]) -> Iterator[Tensor]:
        runs = [self._runs(rows) for rows in batches]
        streams = [
            stream(source, [part for batch in runs for owner, part in batch if owner == which])
            for which, source in enumerate(self.sources)
        ]
        for batch in runs:
            yield _together([next(streams[which]) for which, _ in batch])

    def _runs(self, rows: Rows) -> list[tuple[int, Tensor]]:
        """Rows that follow each other in one source, with the source's place."""
        ends = torch.tensor([len(source) for source in self.sources]).cumsum(0)
        index = indices(rows, len(self))
        owners = torch.bucketize(index, ends, right=True)
        inside = index - torch.cat([ends.new_zeros(1), ends])[owners]
        which, lengths = torch.unique_consecutive(owners, return_counts=True)
        parts = torch.split(inside, lengths.tolist()) if len(inside) else [inside]
        return list(zip(which.tolist() or [0], parts, strict=True))


@dataclass(frozen=True, eq=False)
class Beside:
    """Several inputs of each sample, a source for each of them; they are read as rows of bytes.

    Attributes:
        name: what messages call them.
    """

    sources: Sequence[Source]
    layout: Layout
    name: str = "the inputs"

    def __len__(self) -> int:
        return len(self.sources[0])

    def read(self, rows: Rows) -> Tensor:
        return self.layout.packed([source.read(rows) for source in self.sources], self.name)

    def stream(self, batches: Iterable[Rows]) -> Iterator[Tensor]:
        wanted = tee(batches, len(self.sources))
        streams = [stream(source, own) for source, own in zip(self.sources, wanted, strict=True)]
        return (self.layout.packed(inputs, self.name) for inputs in zip(*streams, strict=True))


def beside(sources: Sequence[Source], names: Sequence[str] = (), name: str = "the inputs") -> Beside:
    """Several inputs as one source.

    Args:
        names: what the network's `forward` calls them; empty: they are given in order.
        name: what messages call them.

    Raises:
        DataError: there are not as many of each.
    """
    layout = layout_of([source.read(slice(1)) for source in sources], names, name)
    for place, source in enumerate(sources):
        if len(source) != len(sources[0]):
            raise DataError(
                f"{layout.called(place)} of {name} has {len(source)} rows, {layout.called(0)} {len(sources[0])}",
                hint="each input has one row a sample",
            )
    return Beside(tuple(sources), layout, name)


def layout_in(source: Source) -> Layout | None:
    """How several inputs lie in the rows of a source; None where rows are the one input."""
    while isinstance(source, (Some, Joined)):
        source = source.source if isinstance(source, Some) else source.sources[0]
    found = getattr(source, "layout", None)
    return found if isinstance(found, Layout) else None


def joined(sources: Sequence[Source]) -> Source:
    """Sources one after the other; none are read."""
    parts = [source for source in sources if isinstance(source, Some)]
    if len(parts) == len(sources) and all(part.source is parts[0].source for part in parts):
        return Some(parts[0].source, torch.cat([part.rows for part in parts]))
    return sources[0] if len(sources) == 1 else Joined(sources)


def _together(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


@dataclass(frozen=True, eq=False, init=False)
class Samples:
    """Inputs and targets: class indices ("labels"), or what else a task expects.

    Class indices are in memory. Inputs are wherever their source has them: `read` some, or go through all in `batches`,
    of which one is in memory and the next on its way; `inputs` reads all of them.

    Attributes:
        source: what inputs are read from, one row per sample.
        targets: what is expected of each; `Nothing` where nobody knows.

    Example:
        >>> samples = Samples(torch.rand(10, 3, 8, 8), torch.arange(10))
        >>> samples.read(slice(2)).shape
        torch.Size([2, 3, 8, 8])
        >>> [len(x) for x in samples.batches(4)]
        [4, 4, 2]
    """

    source: Source
    targets: Targets

    def __init__(
        self,
        inputs: Tensor | Source | tuple[Tensor | Source, ...] | Mapping[str, Tensor | Source],
        targets: Tensor | Targets | None = None,
    ) -> None:
        """Samples of a tensor (N, ...), or of anything with `__len__` and `read`.

        Args:
            inputs: of a network with several inputs a tuple of them, or a mapping by the names in its `forward`.
            targets: class indices (N,), or `Targets` of any kind; None: nobody knows them.

        Raises:
            DataError: there is not one target a row, or labels are no class indices.
        """
        several = named(inputs)
        if several is None or not several[1]:
            source = _source(inputs, "inputs")
        else:
            source = beside([_source(each, "inputs") for each in several[1]], several[0])
        if targets is not None and not isinstance(targets, Targets):
            _check_rows("labels", targets)
            targets = labels_of(targets, len(source))
        object.__setattr__(self, "source", source)
        kind: TargetKind = "none" if targets is None else "class"
        object.__setattr__(self, "targets", targets_of(targets, kind, len(source), "the labels"))

    @property
    def labels(self) -> Tensor:
        """The class index of each sample, int64 (N,).

        Raises:
            DataError: the targets are something else.
        """
        if not self.labelled:
            raise DataError("these samples have no class labels", where="data.source")
        assert isinstance(self.targets, Stacked)
        return self.targets.tensor

    @property
    def labelled(self) -> bool:
        """Whether targets are class indices."""
        targets = self.targets
        return isinstance(targets, Stacked) and targets.tensor.ndim == 1 and targets.tensor.dtype == torch.int64

    @property
    def known(self) -> bool:
        """Whether there are targets."""
        return not isinstance(self.targets, Nothing)

    @property
    def strata(self) -> Tensor:
        """What shares are drawn in proportion of, int64 (N,): class labels, else all alike."""
        return self.labels if self.labelled else torch.zeros(len(self), dtype=torch.int64)

    @property
    def inputs(self) -> Tensor:
        """All inputs in memory, (N, ...).

        Raises:
            DataError: that would be too much; `read` and `batches` have no such limit.
        """
        if isinstance(self.source, InMemory):
            return self.source.tensor
        if len(self):
            check_amount(len(self), self.read(slice(1)).shape[1:])
        return self.read(slice(None))

    @property
    def layout(self) -> Layout | None:
        """How the several inputs of a sample lie in what is read, uint8 (n, bytes); None where that is the input."""
        return layout_in(self.source)

    def tensors(self, rows: Tensor) -> tuple[Tensor, ...]:
        """What was read of some samples -> the inputs, (n, ...) each, in the order of the network's."""
        layout = self.layout
        return (rows,) if layout is None else layout.tensors(rows)

    def example(self, rows: Tensor) -> Tensor | tuple[Tensor, ...] | dict[str, Tensor]:
        """The same as a network is called: alone, in order, or by name."""
        layout = self.layout
        return rows if layout is None else layout.given(rows)

    def __len__(self) -> int:
        return len(self.source)

    def take(self, rows: Rows) -> Samples:
        """Some of the samples; no inputs are read."""
        return Samples(some(self.source, rows), self.targets.take(rows))

    def read(self, rows: Rows) -> Tensor:
        """The inputs of some samples, (n, ...)."""
        return self.source.read(rows)

    def spread(self, count: int) -> Tensor:
        """The inputs of a few samples from all over, `count` at most."""
        return self.read(torch.linspace(0, len(self) - 1, min(len(self), count)).round().long())

    def batches(self, size: int) -> Iterator[Tensor]:
        """All inputs in order, at most `size` at a time; while a batch is used the next is being read."""
        return stream(self.source, (slice(first, first + size) for first in range(0, len(self), size)))


def together(parts: Sequence[Samples]) -> Samples:
    """All samples of some parts; no inputs are read."""
    return Samples(joined([part.source for part in parts]), joined_targets([part.targets for part in parts]))


def _source(inputs: object, name: str) -> Source:
    if isinstance(inputs, Source):
        return inputs
    _check_rows(name, inputs)
    assert isinstance(inputs, Tensor)
    return InMemory(inputs)


def _check_rows(name: str, value: object) -> None:
    if not isinstance(value, Tensor) or not value.ndim:
        given = "a single number" if isinstance(value, Tensor) else type(value).__name__
        raise DataError(f"{name} are {shown(given)}, a tensor with one row per sample is expected")
