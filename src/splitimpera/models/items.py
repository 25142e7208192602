"""Map-style datasets: anything with `__len__` and `__getitem__`, read item by item, by worker processes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, RandomSampler, SequentialSampler, Subset, SubsetRandomSampler
from torch.utils.data.dataloader import default_collate

from splitimpera.core.array_types import Row
from splitimpera.core.errors import DataError, shown
from splitimpera.models.imports import contained, telling
from splitimpera.models.item_reading import Batch, Failure, Input, Reader, checked, read_by_workers
from splitimpera.models.numbers import WHOLE, as_numbers, check_amount, class_indices
from splitimpera.models.samples import indices
from splitimpera.models.several import Layout
from splitimpera.models.targets import Listed, Nothing, Rows, Stacked, Targets
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
        paired: whether an item is (input, target), or an input alone; None: either.
    """

    dataset: Any
    count: int
    workers: int
    name: str
    labels: Tensor | None
    like: tuple[int, Input]
    paired: bool | None = False

    def __len__(self) -> int:
        return self.count

    @property
    def layout(self) -> Layout | None:
        """How the inputs of an item that has several lie in what is read; None where it has one."""
        return self.like[1].layout

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
        for places, found in read_by_workers(self._reader(), wanted, self.workers):
            yield self._taken(places, found)

    def _reader(self) -> Reader:
        kind: TargetKind = "class" if self.labels is not None else "none"
        return Reader(self.dataset, self.count, self.name, kind, self.like, paired=self.paired)

    def _taken(self, places: list[int], found: Batch | Failure) -> Tensor:
        batch = checked(found)
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
        paired = False if given is not None else None if kind == "none" else True
        reader = Reader(dataset, count, name, kind if given is None else "none", paired=paired)
        first = checked(reader.__getitems__(rows[:1].tolist()))
    like = int(rows[0]), Input(first.inputs[0], first.layout)
    if given is not None:
        return Items(dataset, count, workers, name, None, like), rows, given(len(rows))
    if kind == "none":
        return Items(dataset, count, workers, name, None, like, None), rows, Nothing(len(rows))
    if kind != "class":
        reader = Reader(dataset, count, name, kind, like, inputs=False)
        return Items(dataset, count, workers, name, None, like, True), rows, _targets(reader, rows, workers)
    known = _labels_beside(dataset, count)
    if known is None or not _agree(dataset, known, rows, name):
        reader = Reader(dataset, count, name, kind, like, inputs=False)
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
        batch = checked(Reader(dataset, len(labels), name, "class").__getitems__(places.tolist()))
    return batch.targets == labels[places].tolist()


def _labels_of_items(reader: Reader, rows: Tensor, workers: int) -> Tensor:
    return torch.tensor([target for batch in _all_read(reader, rows, workers) for target in batch.targets])


def _targets(reader: Reader, rows: Tensor, workers: int) -> Listed:
    """The targets of items, which are kept in memory."""
    found: list[Row] = []
    for batch in _all_read(reader, rows, workers):
        found += batch.targets
        check_amount(len(rows), (sum(part.nbytes for row in found for part in row) // (4 * len(found)),))
    return Listed(tuple(found))


def _all_read(reader: Reader, rows: Tensor, workers: int) -> Iterator[Batch]:
    for _, batch in read_by_workers(reader, (part.tolist() for part in torch.split(rows, CHUNK)), workers):
        yield checked(batch)
