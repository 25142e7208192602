"""Items of a map-style dataset, read one by one, in this process or by others."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from splitimpera.core.errors import DataError, shown
from splitimpera.models.imports import contained, exception_text, telling
from splitimpera.models.numbers import WHOLE, as_numbers, check_amount, class_indices, finite_inputs, is_image, kind_of
from splitimpera.models.several import Layout, layout_of, named
from splitimpera.models.targets import boxes_of, check_kind, targets_of
from splitimpera.tasks.task import TargetKind


class Input(NamedTuple):
    """What an item has for the network: one tensor, or several inputs as bytes in a layout."""

    x: Tensor
    layout: Layout | None = None

    @property
    def kind(self) -> tuple[object, ...]:
        return self.x.shape, self.x.dtype, self.layout

    def __str__(self) -> str:
        return kind_of(self.x) if self.layout is None else f"({self.layout})"


class Batch(NamedTuple):
    inputs: Tensor
    targets: list[Any]
    layout: Layout | None = None


class Failure(NamedTuple):
    """Why items could not be read; exceptions of a user's code may not survive the way between processes."""

    problem: str
    hint: str = ""


def checked(found: Batch | Failure) -> Batch:
    if isinstance(found, Failure):
        raise DataError(found.problem, where="data.source", hint=found.hint)
    return found


class Reader(TorchDataset[Any]):
    """Reads items, in whatever process, and returns what went wrong as a value.

    Args:
        kind: how an item's target is read; "none": it is not.
        like: an item's index and its input, which all others have the shape and the type of; None: the first that is
            read.
        inputs: whether inputs are wanted, or targets alone; inputs are looked at in any case.
        paired: whether an item is (input, target), or an input alone; None: either, of a tuple the first is meant.
    """

    def __init__(
        self,
        dataset: Any,
        count: int,
        name: str,
        kind: TargetKind,
        like: tuple[int, Input] | None = None,
        inputs: bool = True,
        paired: bool | None = True,
    ) -> None:
        self.dataset, self.count, self.name, self.kind, self.inputs = dataset, count, name, kind, inputs
        self.like, self.paired = like, paired

    def __getitems__(self, places: list[int]) -> Batch | Failure:
        try:
            return self._batch(places)
        except DataError as error:
            ended = isinstance(error.__cause__, IndexError)
            return Failure(error.problem, "let __len__ say how many items there are" if ended else error.hint)

    def _batch(self, places: list[int]) -> Batch:
        inputs, targets = [], []
        for place in places:
            given, target = self._item(place)
            other, like = self.like = self.like or (place, given)
            if given.kind != like.kind:
                raise DataError(
                    f"item {place} of {self.name} is {given}, item {other} {like}",
                    hint="let all items have one shape and one type; a transform may resize them",
                )
            if self.inputs:
                check_amount(len(places), given.x.shape)
                inputs.append(given.x)
            targets += [] if target is None else [target]
        layout = self.like[1].layout if self.like else None
        return Batch(torch.stack(inputs) if inputs else torch.empty(0), targets, layout)

    def _item(self, place: int) -> tuple[Input, Any]:
        random.seed(place)
        np.random.seed(place)  # noqa: NPY002  (what a user's transform draws from)
        torch.default_generator.manual_seed(place)  # not those of accelerators, which takes a hundred times as long
        which = f"item {place} of {self.name}"
        with telling(DataError, f"{which}, which says that it has {self.count}, cannot be read"):
            entry = self.dataset[place]
            if self.paired is None:
                return _input(entry[0] if isinstance(entry, tuple) and entry else entry, which), None
            if not self.paired:
                return _input(entry, which), None
            if not isinstance(entry, (tuple, list)) or len(entry) != 2:
                given = type(entry).__name__ + (f" of {len(entry)}" if isinstance(entry, (tuple, list)) else "")
                raise DataError(f"{which} is {shown(given)}, a pair (input, label) is expected")
            return _input(entry[0], which), _target(entry[1], which, self.kind)


def _input(value: object, which: str) -> Input:
    """One array, or several of a network with several inputs: a mapping by their names, or a tuple of arrays."""
    name = f"the inputs of {which}"
    several = named(value)
    if not several or not several[1] or not (isinstance(value, Mapping) or all(map(_is_array, several[1]))):
        return Input(_plain(value, name))
    names, values = several
    rows = [_plain(each, f"input {place} of {which}")[None] for place, each in enumerate(values)]
    layout = layout_of(rows, names, which)
    return Input(layout.packed(rows, which)[0], layout)


def _is_array(value: object) -> bool:
    """Whether it has dimensions: a tuple of mere numbers is one input, and one with a number in it may be a pair."""
    known = isinstance(value, Tensor) or any(hasattr(type(value), way) for way in ("__array__", "__array_interface__"))
    return known and getattr(value, "ndim", 1) > 0


def _plain(value: object, name: str) -> Tensor:
    x = as_numbers(value, name)
    if not x.numel():
        raise DataError(f"{name} have shape {tuple(x.shape)}: there is nothing in them")
    return x if is_image(x) else finite_inputs(x, name)


def _target(value: object, which: str, kind: TargetKind) -> Any:
    """A class index, or a target as a tuple of arrays; None where it is not wanted."""
    if kind == "none":
        return None
    if kind == "boxes":
        return boxes_of(value, f"the target of {which}")
    if isinstance(value, Mapping):
        check_kind(kind, f"the target of {which}, which is a mapping,", "boxes")
    if kind != "class":
        name = f"the target of {which}"
        (row,) = targets_of(as_numbers(value, name)[None], kind, 1, name).rows([0])
        return row
    label = as_numbers(value, f"the label of {which}")
    if label.ndim or label.dtype not in WHOLE:
        raise DataError(f"the label of {which} is {kind_of(label)}, one class index is expected")
    return int(class_indices(label))


def read_by_workers(
    reader: Reader, batches: Iterable[list[int]], workers: int
) -> Iterator[tuple[list[int], Batch | Failure]]:
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


def _as_it_is(found: Batch | Failure) -> Batch | Failure:
    return found
