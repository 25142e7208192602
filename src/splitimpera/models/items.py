"""Map-style datasets: anything with `__len__` and `__getitem__`, read item by item, by worker processes."""

from __future__ import annotations

import random
import sys
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, RandomSampler, SequentialSampler, Subset, SubsetRandomSampler
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data.dataloader import default_collate

from splitimpera.core.array_types import Row
from splitimpera.core.errors import DataError, shown
from splitimpera.models.imports import contained, exception_text, telling
from splitimpera.models.numbers import WHOLE, as_numbers, check_amount, class_indices, finite_inputs, is_image, kind_of
from splitimpera.models.samples import indices
from splitimpera.models.targets import Listed, Rows, Stacked, Targets, boxes_of, targets_of
from splitimpera.tasks.task import TargetKind

MOST_SAMPLES = 50_000_000
"""More than the largest sets of labelled images have; labels are kept in memory."""
CHUNK = 64
PROBED = 8
"""How many items' labels are compared with those that a dataset keeps as an attribute."""


def is_map_style(value: object) -> bool:
    """Whether items can be asked for one by one; arrays and Python's own collections are read otherwise."""
    kind = type(value)
    own = kind.__module__ in ("builtins", "array", "collections") or isinstance(value, (Mapping, type, Tensor, tuple))
    array = any(hasattr(kind, way) for way in ("__array__", "__array_interface__"))
    asked = all(hasattr(kind, way) for way in ("__len__", "__getitem__"))
    return isinstance(value, DataLoader) or (asked and not own and not array)


class _Batch(NamedTuple):
    inputs: Tensor
    targets: list[Any]


class _Failure(NamedTuple):
    """Why items could not be read; exceptions of a user's code may not survive the way between processes."""

    problem: str
    hint: str = ""


@dataclass(frozen=True, eq=False)
class Items:
    """The inputs of a map-style dataset, (n, ...), of whatever type its items have.

    An item is the same whenever and wherever it is read: `torch`, `numpy` and `random` are seeded with its index first,
    so that a random transform draws the same for it each time.

    Attributes:
        dataset: the user's.
        count: how many items it has.
        workers: how many processes read at the same time; 0: this one alone.
        name: what messages call it.
        labels: what the items' labels were; None where an item is an input alone.
        like: an item's index and its input, which all others have the shape and the type of.
        paired: whether an item is (input, target), or an input alone.
    """

    dataset: Any
    count: int
    workers: int
    name: str
    labels: Tensor | None
    like: tuple[int, Tensor]
    paired: bool = False

    def __len__(self) -> int:
        return self.count

    def read(self, rows: Rows) -> Tensor:
        """Read some items, in this process.

        Raises:
            DataError: an item cannot be read, or differs from others; it is named by its index.
        """
        places = indices(rows, self.count).tolist()
        if not places:
            return self.read(slice(1))[:0]
        with contained():
            found = self._reader().__getitems__(places)
        return self._taken(places, found)

    def stream(self, batches: Iterable[Rows]) -> Iterator[Tensor]:
        wanted = (indices(rows, self.count).tolist() for rows in batches)
        for places, found in _read_by_workers(self._reader(), wanted, self.workers):
            yield self._taken(places, found)

    def _reader(self) -> _Reader:
        kind: TargetKind | None = "class" if self.labels is not None else None
        return _Reader(self.dataset, self.count, self.name, kind, self.like, paired=self.paired)

    def _taken(self, places: list[int], found: _Batch | _Failure) -> Tensor:
        batch = _checked(found)
        for place, label in zip(places, batch.targets, strict=False):
            if self.labels is not None and label != int(self.labels[place]):
                raise DataError(
                    f"item {place} of {self.name} has label {label}, and had {int(self.labels[place])} before",
                    where="data.source",
                    hint="let an item be the same whenever it is read",
                )
        return batch.inputs


def items_of(
    dataset: Any,
    workers: int | None,
    name: str,
    given: Callable[[int], Targets] | None = None,
    kind: TargetKind = "class",
) -> tuple[Items, Tensor, Targets]:
    """The inputs of a map-style dataset or a DataLoader, which of its items are meant, and their targets.

    Labels are those of the attribute `targets` or `labels` where they agree with what some items say; otherwise every
    item is read once for them.

    Args:
        workers: how many processes read; None: as many as a DataLoader says, or 2.
        given: where items are inputs alone, function from their number to their targets.
        kind: how targets are read.

    Raises:
        DataError: items cannot be read, or are no pairs (input, target).
    """
    dataset, chosen, own_workers = _unloaded(dataset, name)
    workers = own_workers if workers is None else workers
    with contained(), telling(DataError, f"the length of {name} cannot be asked for"):
        count = len(dataset)
    if not 0 < count <= MOST_SAMPLES:
        raise DataError(f"the length of {name} is {count}, 1 to {MOST_SAMPLES} is expected")
    rows = torch.arange(count) if chosen is None else chosen
    if not len(rows):
        raise DataError(f"the sampler of {name} asks for no item")
    if not 0 <= int(rows.min()) <= int(rows.max()) < count:
        raise DataError(f"the sampler of {name} asks for item {int(rows.max())} of {count}")
    with contained():
        reader = _Reader(dataset, count, name, kind if given is None else None)
        first = _checked(reader.__getitems__(rows[:1].tolist()))
    like = int(rows[0]), first.inputs[0]
    if given is not None:
        return Items(dataset, count, workers, name, None, like), rows, given(len(rows))
    if kind != "class":
        reader = _Reader(dataset, count, name, kind, like, inputs=False)
        return Items(dataset, count, workers, name, None, like, True), rows, _targets(reader, rows, workers)
    known = _labels_beside(dataset, count)
    if known is None or not _agree(dataset, known, rows, name):
        reader = _Reader(dataset, count, name, kind, like, inputs=False)
        known = torch.full((count,), -1)
        known[rows] = _labels_of_items(reader, rows, workers)
    return Items(dataset, count, workers, name, known, like, True), rows, Stacked(known[rows])


def identity(dataset: Any, row: int) -> bytes:
    """Which item of which dataset it is, whatever subsets it is reached by."""
    while type(dataset) in (Subset, ConcatDataset):
        if type(dataset) is Subset:
            row, dataset = int(dataset.indices[row]), dataset.dataset
        else:
            which = bisect_right(dataset.cumulative_sizes, row)
            row -= dataset.cumulative_sizes[which - 1] if which else 0
            dataset = dataset.datasets[which]
    return b"%d %d" % (id(dataset), row)


def _unloaded(dataset: Any, name: str) -> tuple[Any, Tensor | None, int]:
    """The dataset of a DataLoader, which items it loads (None: all), and by how many workers."""
    if not isinstance(dataset, DataLoader):
        return dataset, None, 2
    loader = dataset
    if not is_map_style(loader.dataset):
        raise DataError(
            f"{name} loads {shown(type(loader.dataset).__name__)}, which has no items to be asked for by index"
        )
    if loader.collate_fn is not default_collate and loader.batch_size is not None:
        raise DataError(f"{name} has a collate_fn of its own", hint="let the dataset do what it does, item by item")
    sampler = loader.sampler
    if isinstance(sampler, SubsetRandomSampler):
        return loader.dataset, torch.as_tensor(sampler.indices).sort().values, loader.num_workers
    if type(sampler) is SequentialSampler or (type(sampler) is RandomSampler and not sampler.replacement):
        return loader.dataset, None, loader.num_workers
    raise DataError(
        f"{name} chooses its samples by {shown(type(sampler).__name__)}",
        hint="return a torch.utils.data.Subset of those that are meant",
    )


# Labels ---------------------------------------------------------------------------------------------------------------


def _labels_beside(dataset: Any, count: int) -> Tensor | None:
    """The labels that a dataset keeps beside its items; None where it has none of the right kind and length."""
    if type(dataset) is Subset:
        inner = _labels_beside(dataset.dataset, len(dataset.dataset))  # type: ignore[arg-type]
        return None if inner is None else inner[torch.as_tensor(dataset.indices)]
    if type(dataset) is ConcatDataset:
        parts = [_labels_beside(part, len(part)) for part in dataset.datasets]  # type: ignore[arg-type]
        return None if any(part is None for part in parts) else torch.cat([part for part in parts if part is not None])
    for attribute in ("targets", "labels"):
        try:
            labels = as_numbers(getattr(dataset, attribute), "labels")
            if labels.shape == (count,) and labels.dtype in WHOLE:
                return class_indices(labels)
        except (AttributeError, DataError):
            continue
    return None


def _agree(dataset: Any, labels: Tensor, rows: Tensor, name: str) -> bool:
    """Whether some items have the labels that the dataset keeps beside them; a `target_transform` makes others."""
    places = rows[torch.linspace(0, len(rows) - 1, min(len(rows), PROBED)).round().long()]
    with contained():
        batch = _checked(_Reader(dataset, len(labels), name, "class").__getitems__(places.tolist()))
    return batch.targets == labels[places].tolist()


def _labels_of_items(reader: _Reader, rows: Tensor, workers: int) -> Tensor:
    return torch.tensor([target for batch in _all_read(reader, rows, workers) for target in batch.targets])


def _targets(reader: _Reader, rows: Tensor, workers: int) -> Listed:
    """The targets of items, which are kept in memory."""
    found: list[Row] = []
    for batch in _all_read(reader, rows, workers):
        found += batch.targets
        check_amount(len(rows), (sum(part.nbytes for row in found for part in row) // (4 * len(found)),))
    return Listed(tuple(found))


def _all_read(reader: _Reader, rows: Tensor, workers: int) -> Iterator[_Batch]:
    for _, batch in _read_by_workers(reader, (part.tolist() for part in torch.split(rows, CHUNK)), workers):
        yield _checked(batch)


def _checked(found: _Batch | _Failure) -> _Batch:
    if isinstance(found, _Failure):
        raise DataError(found.problem, where="data.source", hint=found.hint)
    return found


# Reading --------------------------------------------------------------------------------------------------------------


class _Reader(TorchDataset[Any]):
    """Reads items, in whatever process, and returns what went wrong as a value.

    Args:
        kind: how an item's target is read; None: it is not.
        like: an item's index and its input, which all others have the shape and the type of; None: the first that is
            read.
        inputs: whether inputs are wanted, or targets alone; inputs are looked at in any case.
        paired: whether an item is (input, target), or an input alone.
    """

    def __init__(
        self,
        dataset: Any,
        count: int,
        name: str,
        kind: TargetKind | None,
        like: tuple[int, Tensor] | None = None,
        inputs: bool = True,
        paired: bool | None = None,
    ) -> None:
        self.dataset, self.count, self.name, self.kind, self.inputs = dataset, count, name, kind, inputs
        self.like, self.paired = like, kind is not None if paired is None else paired

    def __getitems__(self, places: list[int]) -> _Batch | _Failure:
        try:
            return self._batch(places)
        except DataError as error:
            ended = isinstance(error.__cause__, IndexError)
            return _Failure(error.problem, "let __len__ say how many items there are" if ended else error.hint)

    def _batch(self, places: list[int]) -> _Batch:
        inputs, targets = [], []
        for place in places:
            x, target = self._item(place)
            other, like = self.like = self.like or (place, x)
            if x.shape != like.shape or x.dtype != like.dtype:
                raise DataError(
                    f"item {place} of {self.name} is {kind_of(x)}, item {other} {kind_of(like)}",
                    hint="let all items have one shape and one type; a transform may resize them",
                )
            if self.inputs:
                check_amount(len(places), x.shape)
                inputs.append(x)
            targets += [] if target is None else [target]
        return _Batch(torch.stack(inputs) if inputs else torch.empty(0), targets)

    def _item(self, place: int) -> tuple[Tensor, Any]:
        random.seed(place)
        np.random.seed(place)  # noqa: NPY002  (what a user's transform draws from)
        torch.default_generator.manual_seed(place)  # not those of accelerators, which takes a hundred times as long
        which = f"item {place} of {self.name}"
        with telling(DataError, f"{which}, which says that it has {self.count}, cannot be read"):
            entry = self.dataset[place]
            if not self.paired:
                return _input(entry, which), None
            if not isinstance(entry, (tuple, list)) or len(entry) != 2:
                given = type(entry).__name__ + (f" of {len(entry)}" if isinstance(entry, (tuple, list)) else "")
                raise DataError(f"{which} is {shown(given)}, a pair (input, label) is expected")
            return _input(entry[0], which), _target(entry[1], which, self.kind)


def _input(value: object, which: str) -> Tensor:
    name = f"the inputs of {which}"
    x = as_numbers(value, name)
    if not x.numel():
        raise DataError(f"{name} have shape {tuple(x.shape)}: there is nothing in them")
    return x if is_image(x) else finite_inputs(x, name)


def _target(value: object, which: str, kind: TargetKind | None) -> Any:
    """A class index, or a target as a tuple of arrays; None where it is not wanted."""
    if kind is None:
        return None
    if kind == "boxes":
        return boxes_of(value, f"the target of {which}")
    if kind != "class":
        (row,) = targets_of(as_numbers(value, f"the target of {which}")[None], kind, 1, f"the target of {which}").rows(
            [0]
        )
        return row
    label = as_numbers(value, f"the label of {which}")
    if label.ndim or label.dtype not in WHOLE:
        raise DataError(f"the label of {which} is {kind_of(label)}, one class index is expected")
    return int(class_indices(label))


def _read_by_workers(
    reader: _Reader, batches: Iterable[list[int]], workers: int
) -> Iterator[tuple[list[int], _Batch | _Failure]]:
    """Each batch of places and what is read there, in order; every worker reads one batch ahead."""
    batches = iter(batches)
    first = list(islice(batches, 2))
    batches = chain(first, batches)
    if not workers or len(first) < 2:  # to start processes for one batch takes longer than to read it
        for places in batches:
            with contained():
                found = reader.__getitems__(places)
            yield places, found
        return
    asked: deque[list[int]] = deque()

    def ask() -> Iterator[list[int]]:
        for places in batches:
            asked.append(places)
            yield places

    # a fork knows the modules that the user's dataset is made of, which have no name that could be imported
    context = "fork" if sys.platform == "linux" else None
    loader: DataLoader[Any] = DataLoader(
        reader,
        batch_sampler=ask(),  # iterated over once
        num_workers=workers,
        collate_fn=_as_it_is,  # type: ignore[arg-type]  # there is no list of items
        prefetch_factor=1,
        multiprocessing_context=context,
        generator=torch.Generator(),  # else it would draw from the process's own
    )
    results = None
    try:
        results = iter(loader)
        while True:
            try:
                found = next(results)
            except StopIteration:
                return
            yield asked.popleft(), found
    except DataError:
        raise
    except Exception as failure:
        for worker in getattr(results, "_workers", ()):  # the others may wait for what the dead one holds
            worker.terminate()
        span = f"items {asked[0][0]} to {asked[-1][-1]}" if asked else "the first items"
        raise DataError(
            f"a worker process failed while {span} of {reader.name} were read: {exception_text(failure)}",
            where="data.source",
            hint="`workers: 0` under `data` reads them in this process",
        ) from None
    finally:
        del results


def _as_it_is(found: _Batch | _Failure) -> _Batch | _Failure:
    return found
