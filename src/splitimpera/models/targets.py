"""What is expected of each sample: class indices, numbers, masks or boxes, in memory or elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from splitimpera.core.array_types import Array, Row
from splitimpera.core.errors import DataError, shown
from splitimpera.models.numbers import WHOLE, as_numbers, check_amount, class_indices, finite_inputs, kind_of
from splitimpera.tasks.boxes import box_problem
from splitimpera.tasks.task import TargetKind

Rows = Tensor | slice
"""Which samples: int64 (n,), bool (N,), or a slice."""
COCO_KEYS = ("bbox", "category_id")
MOST_BOXES = 100_000
"""More than any image has."""
KINDS: dict[TargetKind, str] = {
    **{"class": "class labels", "array": "arrays of numbers", "mask": "masks", "boxes": "boxes", "none": "no targets"}
}
"""What messages call kinds of targets."""


@runtime_checkable
class Targets(Protocol):
    """The targets of N samples."""

    def __len__(self) -> int: ...

    def take(self, rows: Rows) -> Targets:
        """Those of some samples."""
        ...

    def rows(self, places: Iterable[int]) -> list[Row]:
        """Those of some samples as NumPy arrays, a tuple each."""
        ...


@dataclass(frozen=True, eq=False)
class Stacked:
    """Targets of one shape in one tensor: class indices int64 (N,), numbers (N, ...), masks (N, H, W)."""

    tensor: Tensor

    def __len__(self) -> int:
        return len(self.tensor)

    def take(self, rows: Rows) -> Stacked:
        return Stacked(self.tensor[rows])

    def rows(self, places: Iterable[int]) -> list[Row]:
        array = self.tensor.numpy()
        return [(array[place, ...],) for place in places]


@dataclass(frozen=True, eq=False)
class Listed:
    """Targets of any shape, a tuple of arrays a sample."""

    entries: tuple[Row, ...]

    def __len__(self) -> int:
        return len(self.entries)

    def take(self, rows: Rows) -> Listed:
        index = torch.arange(len(self))[rows].tolist()
        return Listed(tuple(self.entries[place] for place in index))

    def rows(self, places: Iterable[int]) -> list[Row]:
        return [self.entries[place] for place in places]


@dataclass(frozen=True, eq=False)
class Read:
    """Targets that are read when they are asked for.

    Attributes:
        read: Function from the number of a sample to its target.
        index: int64 (N,), the number of each.
    """

    read: Callable[[int], Row]
    index: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def take(self, rows: Rows) -> Read:
        return Read(self.read, self.index[rows])

    def rows(self, places: Iterable[int]) -> list[Row]:
        return [self.read(int(self.index[place])) for place in places]


@dataclass(frozen=True, eq=False)
class NextOnes:
    """What comes next at every position of windows (N, T): targets (T,), or (2, T) with bytes as `tasks.language` says.

    Attributes:
        windows: The windows' own tokens, int64 (N, T).
        behind: The token behind each window, int64 (N,); -1 where its text ends.
        sizes: The bytes of the token behind each position, int32 (N, T); None: one each.
        index: int64 (n,), which of the windows these are.
    """

    windows: Tensor
    behind: Tensor
    sizes: Tensor | None
    index: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def take(self, rows: Rows) -> NextOnes:
        return NextOnes(self.windows, self.behind, self.sizes, self.index[rows])

    def rows(self, places: Iterable[int]) -> list[Row]:
        return [(self._row(int(self.index[place])),) for place in places]

    def _row(self, window: int) -> Array:
        wanted: Array = torch.cat([self.windows[window, 1:], self.behind[window, None]]).numpy()
        return wanted if self.sizes is None else np.stack([wanted, self.sizes[window].numpy()]).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Nothing:
    """No targets: nobody knows what is expected."""

    count: int

    def __len__(self) -> int:
        return self.count

    def take(self, rows: Rows) -> Nothing:
        return Nothing(len(torch.arange(self.count)[rows]))

    def rows(self, places: Iterable[int]) -> list[Row]:
        return [() for _ in places]


def one_by_one(targets: Targets) -> Iterator[Row]:
    """All targets in order, each read when it is its turn; none is kept."""
    for place in range(len(targets)):
        yield from targets.rows([place])


def joined_targets(parts: Sequence[Targets]) -> Targets:
    """Targets one after the other."""
    if all(isinstance(part, Stacked) for part in parts):
        return Stacked(torch.cat([part.tensor for part in parts if isinstance(part, Stacked)]))
    if all(isinstance(part, Nothing) for part in parts):
        return Nothing(sum(map(len, parts)))
    owners = [(part, place) for part in parts for place in range(len(part))]

    def read(number: int) -> Row:
        part, place = owners[number]
        return part.rows([place])[0]

    return Read(read, torch.arange(len(owners)))


def check_kind(wanted: TargetKind, whose: str, *has: TargetKind) -> None:
    """Refuse data whose targets are of other kinds than a task needs; "none" is never refused.

    Raises:
        DataError: it says what there is, and what is needed.
    """
    if wanted not in (*has, "none"):
        raise DataError(
            f"{whose} has {' and '.join(KINDS[kind] for kind in has)}; the task needs {KINDS[wanted]}",
            where="data.source",
            hint=f"name data with {KINDS[wanted]}, or another task",
        )


def held_to(targets: Targets, kind: TargetKind, whose: str) -> Targets:
    """Targets of a Dataset that a user has made, which are to be of a kind; the first of them is looked at.

    Raises:
        DataError: they are of another.
    """
    if kind == "none" or not len(targets):
        return Nothing(len(targets)) if kind == "none" else targets
    check_kind(kind, whose, _kind_of_row(targets.rows([0])[0], targets))
    return targets


def _kind_of_row(row: Row, targets: Targets) -> TargetKind:
    if isinstance(targets, Nothing):
        return "none"
    if len(row) == 3 and row[0].shape[1:] == (4,):
        return "boxes"
    whole = row[0].dtype.kind in "iu"
    if whole and not row[0].ndim:
        return "class"
    return "mask" if whole and row[0].ndim == 2 else "array"


# Reading what users give ----------------------------------------------------------------------------------------------


def targets_of(given: object, kind: TargetKind, count: int, name: str = "labels") -> Targets:
    """A user's targets, as a task reads them.

    Args:
        given: a tensor or an array with one row a sample; for boxes a list of mappings with `boxes` (n, 4), from
            corner to corner in pixels, `labels` (n,) and perhaps `iscrowd` (n,), as torchvision has them.
        count: how many samples there are.

    Raises:
        DataError: they are something else, or not one a sample.
    """
    if kind == "none":
        return Nothing(count)
    if isinstance(given, (Stacked, Listed, Read, NextOnes, Nothing)):
        return _counted(given, count, name)
    if kind == "boxes":
        return _counted(
            Listed(tuple(boxes_of(entry, f"{name}, entry {i}") for i, entry in _entries(given, name))), count, name
        )
    if isinstance(given, (list, tuple)) and given and isinstance(given[0], Mapping):
        check_kind(kind, f"the factory's list of {name}", "boxes")
    numbers = as_numbers(given, name)
    if kind == "class":
        return labels_of(numbers, count, name)
    if kind == "mask":
        check_masks(numbers.ndim == 3 and numbers.dtype in WHOLE, name, kind_of(numbers))
        return _counted(Stacked(_small(numbers, name)), count, name)
    if not numbers.ndim:
        raise DataError(f"{name} are a single number, one row per sample is expected")
    check_amount(len(numbers), numbers.shape[1:])
    return _counted(Stacked(finite_inputs(numbers.float(), name)), count, name)


def check_masks(right: bool, name: str, given: str) -> None:
    """Raise DataError where masks are something else."""
    if not right:
        raise DataError(f"{name} are {given}, masks of class indices (samples, height, width) are expected")


def labels_of(labels: Tensor, count: int, name: str = "the labels") -> Stacked:
    """Class indices, one a sample.

    Raises:
        DataError: there are more or fewer, or they are no class indices.
    """
    if not labels.ndim:
        raise DataError(f"{name} are a single number, a tensor with one row per sample is expected")
    if labels.ndim != 1 or len(labels) != count:
        raise DataError(
            f"{count} inputs need as many labels in one dimension, {name} have shape {tuple(labels.shape)}",
            hint="name the task that they are for, such as segmentation" if labels.ndim > 1 else "",
        )
    return Stacked(class_indices(labels, name))


def boxes_of(entry: object, name: str) -> Row:
    """Boxes float32 (n, 4), their classes int64 (n,), and whether each is a crowd, bool (n,).

    Args:
        entry: a mapping, or a list of COCO's annotations, whose category numbers are then the classes.

    Raises:
        DataError: they are something else, empty boxes, or not finite.
    """
    if isinstance(entry, (list, tuple)) and all(isinstance(one, Mapping) and {*COCO_KEYS} <= {*one} for one in entry):
        entry = _of_annotations(entry)
    if isinstance(entry, Mapping) and {*entry} <= {"image_id"}:  # an image without annotations, as torchvision wraps it
        entry = {"boxes": (), "labels": ()}
    if not isinstance(entry, Mapping) or not {"boxes", "labels"} <= {*entry}:
        given = f"keys {', '.join(map(str, entry))}" if isinstance(entry, Mapping) else type(entry).__name__
        raise DataError(f"{name} has {shown(given)}, a mapping with 'boxes' and 'labels' is expected")
    boxes = _numbers(entry["boxes"], f"the boxes of {name}", torch.zeros(0, 4)).float()
    labels = _numbers(entry["labels"], f"the labels of {name}", torch.zeros(0, dtype=torch.int64))
    crowd = _numbers(entry.get("iscrowd", ()), f"'iscrowd' of {name}", torch.zeros(len(boxes) if boxes.ndim else 0))
    count = len(boxes) if boxes.ndim == 2 and boxes.shape[1] == 4 else None
    if count is None or count > MOST_BOXES or not tuple(labels.shape) == tuple(crowd.shape) == (count,):
        shapes = ", ".join(str(tuple(each.shape)) for each in (boxes, labels, crowd))
        raise DataError(
            f"{name} has boxes, labels and iscrowd of shapes {shapes}; (n, 4), (n,) and (n,) are expected, n up to "
            f"{MOST_BOXES}"
        )
    made = boxes.numpy(), class_indices(labels).numpy(), crowd.numpy().astype(bool)
    if problem := box_problem(made[0]):
        raise DataError(f"{name} has {problem}")
    return made


def _of_annotations(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """COCO's annotations of an image, as torchvision's CocoDetection has them, as one mapping."""
    corners = [[x, y, x + width, y + height] for x, y, width, height in (one["bbox"] for one in entries)]
    crowd = [int(one.get("iscrowd", 0)) for one in entries]
    return {"boxes": corners, "labels": [one["category_id"] for one in entries], "iscrowd": crowd}


def _entries(given: object, name: str) -> Iterable[tuple[int, object]]:
    if not isinstance(given, (list, tuple)):
        raise DataError(
            f"{name} are {shown(type(given).__name__)}, a list with one mapping of 'boxes' and 'labels' a sample is "
            "expected"
        )
    return enumerate(given)


def _counted(targets: Targets, count: int, name: str) -> Targets:
    if len(targets) != count:
        raise DataError(f"{count} inputs need as many targets, {name} are {len(targets)}")
    return targets


def _small(numbers: Tensor, name: str) -> Tensor:
    """Masks as uint8 where their classes allow it.

    Raises:
        DataError: a class index is negative.
    """
    lowest = int(numbers.min()) if numbers.numel() else 0
    if lowest < 0:
        raise DataError(
            f"{name} have the class index {lowest}", hint="write a label for pixels that do not count, such as 255"
        )
    numbers = class_indices(numbers.flatten()).reshape(numbers.shape)
    return numbers.to(torch.uint8) if not numbers.numel() or int(numbers.max()) < 256 else numbers.to(torch.int32)


def _numbers(value: object, name: str, nothing: Tensor) -> Tensor:
    """`nothing` where the value has nothing in it, of whatever shape and type."""
    numbers = nothing if isinstance(value, (list, tuple)) and not value else as_numbers(value, name)
    return numbers if numbers.numel() else nothing
