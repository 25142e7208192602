"""What a user's factory returns, as samples: arrays in memory, held to what a network can take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from splitimpera.core.errors import DataError, listed, shown, shown_path
from splitimpera.models.assembling import (
    LOOKS,
    PARTS,
    Found,
    apart,
    as_found,
    check_classes,
    check_parts,
    class_names,
    dataset_of,
    of_parts,
    pixels_of,
    refuse,
    refuse_shares,
    within_limit,
)
from splitimpera.models.held import Held, check_made
from splitimpera.models.items import is_map_style, items_of
from splitimpera.models.numbers import as_numbers, check_amount, finite_inputs
from splitimpera.models.packed_images import read_packed
from splitimpera.models.parts import Dataset
from splitimpera.models.pixels import Normalised, Pixels
from splitimpera.models.samples import InMemory, Samples, Some, Source, beside, joined, some
from splitimpera.models.several import named
from splitimpera.models.stored_arrays import StoredArray, read_stored, stored_targets
from splitimpera.models.targets import Targets, check_kind, held_to, targets_of
from splitimpera.tasks.task import TargetKind

if TYPE_CHECKING:
    from splitimpera.scenario import DataSection


def stored_data(place: Path, section: DataSection, kind: TargetKind = "class") -> Dataset:
    """The data in an `.npz` file or a folder of `.npy` files."""
    refuse(section, f"'{shown_path(place)}' is no folder of images", "size", "skip_broken")
    refuse(section, f"'{shown_path(place)}' is mapped into memory", "workers")
    check_kind(kind, f"'{shown_path(place)}'", "class", "mask", "array")
    found = {}
    for part, (inputs, labels) in read_stored(place, kind != "none").items():
        if part != "train" or len(inputs[0] if isinstance(inputs, tuple) else inputs):
            name = f"the targets{f' of {part!r}' if part else ''} in '{shown_path(place)}'"
            found[part] = _found((inputs, stored_targets(labels, kind, name)), section, part, kind)
    if "" in found:
        return dataset_of(found[""], section)
    refuse_shares(section, f"'{shown_path(place)}'")
    check_parts(found, f"'{shown_path(place)}' has")
    check_classes({part: samples for part, (samples, _) in found.items()})
    return dataset_of(found, section)


def packed_data(place: Path, section: DataSection, kind: TargetKind = "class") -> Dataset:
    """The data in IDX files or CIFAR's binary batches; validation samples are taken from the training part."""
    whose = f"'{shown_path(place)}'"
    refuse(section, f"{whose} is no folder of images", "size", "skip_broken")
    refuse(section, f"{whose} is mapped into memory", "workers")
    check_kind(kind, whose, "class")
    packed = read_packed(place, kind != "none")
    found: dict[str, Found] = {
        part: as_found(
            joined(files),
            targets_of(labels, kind, sum(map(len, files)), f"the labels of '{part}'"),
            section,
            files[0].name,
        )
        for part, (files, labels) in packed.parts.items()
    }
    if "validation" in found:
        refuse_shares(section, whose)
    else:
        refuse(section, f"{whose} comes with its own test part", "test")
        check_parts({*found, "validation"}, f"{whose} has")
        if "train" not in found:
            raise DataError(f"{whose} has no train part, from which validation samples could be taken")
        train, pixels = found["train"]
        count = round(section.validation * len(train))
        if not 0 < count < len(train):
            raise DataError(f"{len(train)} samples are too few for {section.validation:.0%} validation")
        rows = torch.from_numpy(np.random.default_rng(section.seed).permutation(len(train)))
        found |= {"validation": (train.take(rows[:count]), pixels), "train": (train.take(rows[count:]), pixels)}
    check_parts(found, f"{whose} has")
    if "validation" in packed.parts:
        check_classes({part: samples for part, (samples, _) in found.items()})
    return dataset_of(found, section, packed.classes if kind == "class" else ())


def returned_data(made: object, section: DataSection, kind: TargetKind = "class") -> Dataset:
    """The data that a factory returned.

    Args:
        kind: how targets are read.

    Raises:
        DataError: it is no labelled data.
    """
    source = f"'{shown(section.source)}'"
    refuse(section, f"{source} is no folder of images", "size")
    if isinstance(made, Dataset):
        refuse_shares(section, source)
        refuse(section, f"{source} comes as a network takes it", *LOOKS)
        return _checked(made, section, kind)
    if not isinstance(made, Mapping):
        return dataset_of(_found(made, section, "", kind), section)
    refuse_shares(section, source)
    found = dict(made)
    classes = found.pop("classes", ())
    check_parts(found, f"{source} returns")
    unknown = [key for key in found if key not in PARTS]
    if unknown:
        raise DataError(
            f"{source} returns parts called {listed(unknown)}; {', '.join(PARTS)} are known",
            hint="of a network with several inputs return ({name: inputs, ...}, labels)",
        )
    parts = {part: _found(found[part], section, part, kind) for part in PARTS if part in found}
    check_classes({part: samples for part, (samples, _) in parts.items()})
    return dataset_of(parts, section, classes)


def _checked(made: Dataset, section: DataSection, kind: TargetKind) -> Dataset:
    """A Dataset that a factory returned may say anything; so may its parts."""
    pixels = made.pixels
    parts: dict[str, Found] = {}
    for part in PARTS:
        samples = getattr(made, part)
        if not isinstance(samples, Samples):
            raise DataError(f"the part '{part}' is {shown(type(samples).__name__)}, Samples are expected")
        targets = held_to(samples.targets, kind, f"the part '{part}'")
        if _in_memory(samples.source):
            name = f" of '{part}'"
            parts[part] = (_samples(samples.inputs, targets, section, name, images=False, kind=kind)[0], None)
        else:
            held = Held(samples.source, f"the inputs of '{part}'", pixels if isinstance(pixels, Pixels) else None)
            parts[part] = (Samples(held, targets), None)
    found = of_parts(parts)
    if pixels is not None and not isinstance(pixels, Pixels):
        raise DataError(f"pixels are {shown(type(pixels).__name__)}, Pixels or None is expected")
    for samples in (found.train, found.validation, found.test):
        if pixels is not None and _in_memory(samples.source):
            check_made(pixels, samples.inputs)
    check_classes({part: getattr(found, part) for part in PARTS})
    whole = Dataset(found.train, found.validation, found.test, class_names(made.classes), pixels)
    return apart(within_limit(whole, section))


def _in_memory(source: Source) -> bool:
    return isinstance(source, InMemory) or (isinstance(source, Some) and _in_memory(source.source))


def _found(made: object, section: DataSection, part: str = "", kind: TargetKind = "class") -> Found:
    """A map-style dataset, a DataLoader, or a pair of inputs and targets; inputs alone have none."""
    what = f" of '{part}'" if part else ""
    if is_map_style(made):
        return _items(made, None, section, f"the data set{what}", kind)
    inputs, given = _pair(made, f" as '{part}'" if part else "", kind == "none")
    name = f"the labels{what}" if kind == "class" else f"the targets{what}"
    if is_map_style(inputs):
        return _items(inputs, partial(targets_of, given, kind, name=name), section, f"the inputs{what}", kind)
    if _are_several(inputs, given):
        return _several(inputs, given, section, what, kind)
    if isinstance(inputs, np.memmap):
        inputs = StoredArray(np.asarray(inputs), f"the inputs{what}")
    if isinstance(inputs, StoredArray):
        if not len(inputs):
            return _samples(inputs.array, given, section, what, kind=kind)
        return as_found(inputs, targets_of(given, kind, len(inputs), name), section, inputs.name)
    return _samples(inputs, given, section, what, kind=kind)


def _items(
    dataset: object, given: Callable[..., Targets] | None, section: DataSection, name: str, kind: TargetKind = "class"
) -> Found:
    name = f"{name} ({shown(type(dataset).__name__)})"
    workers = section.workers if "workers" in section.model_fields_set else None
    items, rows, targets = items_of(dataset, workers, name, given, kind)
    return as_found(some(items, rows), targets, section, name)


def _pair(made: object, what: str = "", targetless: bool = False) -> tuple[object, object]:
    if isinstance(made, (tuple, list)) and len(made) == 2:
        return made[0], made[1]
    if targetless:
        return list(made) if isinstance(made, tuple) else made, None
    given = type(made).__name__ + (f" of {len(made)}" if isinstance(made, (tuple, list)) else "")
    raise DataError(
        f"the factory returns {shown(given)}{what}, a pair (inputs, labels) is expected",
        hint="without labels, `task: agreement` holds plans to the network's own answers",
    )


def _are_several(inputs: object, given: object) -> bool:
    """Whether these are the inputs of a network with several, by name or in order; as many arrays as there are targets
    are one sample each."""
    if not isinstance(inputs, tuple):
        return isinstance(inputs, Mapping)
    arrays = all(isinstance(each, (Tensor, np.ndarray, StoredArray)) for each in inputs)
    return arrays and len(inputs) > 1 and not (isinstance(given, Sized) and len(given) == len(inputs))


def _several(inputs: object, given: object, section: DataSection, what: str, kind: TargetKind) -> Found:
    """Inputs side by side, each an array with one row a sample."""
    found = named(inputs)
    assert found is not None
    names, values = found
    if not values:
        raise DataError(f"the inputs{what} are none, arrays by their names are expected")
    sources: list[Source] = []
    for place, value in enumerate(values):
        name = f"input '{shown(names[place])}'{what}" if names else f"input {place}{what}"
        sources.append(_source(value, name))
    name = f"the inputs{what}"
    source = beside(sources, names, name)
    if not len(source) and not what:
        raise DataError("the data set is empty")
    targets = targets_of(given, kind, len(source), f"the {'labels' if kind == 'class' else 'targets'}{what}")
    return as_found(source, targets, section, name)


def _source(value: object, name: str) -> Source:
    """One of several inputs; images as they are."""
    if isinstance(value, StoredArray):
        return value
    if isinstance(value, np.memmap):
        return StoredArray(np.asarray(value), name)
    x = as_numbers(value, name)
    if not x.ndim:
        raise DataError(f"{name} is a single number, one row per sample is expected")
    return InMemory(x if x.ndim == 4 and x.dtype in (torch.uint8, torch.uint16) else finite_inputs(x, name))


def _samples(
    inputs: object,
    given: object,
    section: DataSection,
    what: str = "",
    images: bool = True,
    kind: TargetKind = "class",
) -> Found:
    """What is given as inputs and targets, and how the inputs were made of 8-bit images (None where they were not).

    Args:
        what: which part, in messages.
        images: whether inputs may be images, which `mean` and `std` turn into what the network takes.
    """
    name = f"the inputs{what}"
    x = as_numbers(inputs, name)
    if not x.ndim:
        raise DataError(f"{name} are a single number, one row per sample is expected")
    if not len(x) and not what:
        raise DataError("the data set is empty")
    if len(x) and not x[0].numel():
        raise DataError(f"{name} have shape {tuple(x.shape)}: there is nothing in a row")
    pixels = None
    if images and x.dtype in (torch.uint8, torch.uint16) and x.ndim == 4:
        check_amount(len(x), x.shape[1:])
        pixels = pixels_of(x.shape[3], section)
        source: Source = Normalised(InMemory(x), pixels)
        pixels = pixels if x.dtype == torch.uint8 else None
    else:
        shape = tuple(x.shape)
        if images:
            refuse(section, f"{name} of shape {shape} are no images (N, H, W, C) of 8 or 16 bits", *LOOKS)
        source = InMemory(finite_inputs(x, name))
    targets = targets_of(given, kind, len(source), f"the {'labels' if kind == 'class' else 'targets'}{what}")
    return Samples(source, targets), pixels
