"""What a user's factory returns, as samples: arrays in memory, held to what a network can take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from splitimpera.core.errors import DataError, listed, shown, shown_path
from splitimpera.models.held import Held, check_made
from splitimpera.models.items import is_map_style, items_of
from splitimpera.models.numbers import as_numbers, check_amount, finite_inputs, is_image
from splitimpera.models.overlap import check_disjoint
from splitimpera.models.packed_images import read_packed
from splitimpera.models.parts import Dataset, divide, limited
from splitimpera.models.pixels import Normalised, Pixels
from splitimpera.models.samples import InMemory, Samples, Some, Source, joined, some
from splitimpera.models.stored_arrays import StoredArray, read_stored
from splitimpera.models.targets import Targets, targets_of
from splitimpera.tasks.task import TargetKind

if TYPE_CHECKING:
    from splitimpera.scenario import DataSection

PARTS = ("train", "validation", "test")
LOOKS = ("mean", "std")
LONGEST_NAME = 255
Found = tuple[Samples, Pixels | None]
"""Samples, and how their inputs are made of 8-bit images; None where they are not."""


def refuse(section: DataSection, why: str, *keys: str) -> None:
    """Raise DataError where one of the keys is given, which here would do nothing."""
    for key in keys:
        if key in section.model_fields_set and getattr(section, key) is not None:
            raise DataError(why, where=f"data.{key}", hint="leave this key out")


def dataset_of(found: Found | Mapping[str, Found], section: DataSection, classes: Sequence[str] = ()) -> Dataset:
    """All samples, divided as the section says; or the parts as they are.

    Raises:
        DataError: a part is empty, or parts do not go together.
    """
    names = class_names(classes)
    if isinstance(found, Mapping):
        return _apart(within_limit(_of_parts(found, names), section))
    samples, pixels = found
    rows = rows_within(section, {"": samples.strata})
    if rows:
        samples = samples.take(rows[""])
    return divide(
        samples,
        validation=section.validation,
        test=section.test,
        seed=section.seed,
        classes=names,
        pixels=pixels,
    )


def stored_data(place: Path, section: DataSection, kind: TargetKind = "class") -> Dataset:
    """The data in an `.npz` file or a folder of `.npy` files."""
    refuse(section, f"'{shown_path(place)}' is no folder of images", "size", "skip_broken")
    refuse(section, f"'{shown_path(place)}' is mapped into memory", "workers")
    stored = read_stored(place)
    found = {
        part: _found(pair, section, part, kind) for part, pair in stored.items() if part != "train" or len(pair[0])
    }
    if "" in found:
        return dataset_of(found[""], section)
    refuse_shares(section, f"'{shown_path(place)}'")
    check_parts(found, f"'{shown_path(place)}' has")
    check_classes({part: samples for part, (samples, _) in found.items()})
    return dataset_of(found, section)


def packed_data(place: Path, section: DataSection) -> Dataset:
    """The data in IDX files or CIFAR's binary batches; validation samples are taken from the training part."""
    whose = f"'{shown_path(place)}'"
    refuse(section, f"{whose} is no folder of images", "size", "skip_broken")
    refuse(section, f"{whose} is mapped into memory", "workers")
    packed = read_packed(place)
    found: dict[str, Found] = {
        part: as_found(
            joined(files),
            targets_of(labels, "class", sum(map(len, files)), f"the labels of '{part}'"),
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
    return dataset_of(found, section, packed.classes)


def check_parts(parts: Container[object], whose: str) -> None:
    """Raise DataError where there are no validation and test parts."""
    missing = [part for part in ("validation", "test") if part not in parts]
    if missing:
        raise DataError(f"{whose} no {' and no '.join(missing)} part")


def check_classes(parts: Mapping[str, Samples]) -> None:
    """Raise DataError where a part that is judged has a class of which the training part, if there is one, has none."""
    if not all(samples.labelled for samples in parts.values()):
        return
    known = parts["train"].labels if "train" in parts else torch.empty(0)
    for part in ("validation", "test") if len(known) else ():
        strange = sorted({*parts[part].labels.tolist()} - {*known.tolist()})
        if strange:
            raise DataError(
                f"'{part}' has samples of classes of which 'train' has none: {listed(strange)}",
                hint="add some to 'train', or leave 'train' out: codecs are then calibrated on 'validation'",
            )


def within_limit(data: Dataset, section: DataSection) -> Dataset:
    """The same data, or as many samples of each part as the section's limit leaves."""
    parts: dict[str, Samples] = {part: getattr(data, part) for part in PARTS}
    rows = rows_within(section, {part: samples.strata for part, samples in parts.items()})
    if not rows:
        return data
    train, validation, test = (samples.take(rows[part]) for part, samples in parts.items())
    return replace(data, train=train, validation=validation, test=test)


def rows_within(section: DataSection, labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Which rows of each part the section's limit leaves; empty where it leaves all."""
    if section.limit is None or section.limit >= sum(map(len, labels.values())):
        return {}
    return limited(labels, section.limit, section.seed)


def refuse_shares(section: DataSection, whose: str) -> None:
    """Raise DataError where the section says how to divide data that are divided already; `seed` may say what is left
    of them."""
    refuse(section, f"{whose} comes with its own parts", "validation", "test", *(() if section.limit else ("seed",)))


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
        return _checked(made, section)
    if not isinstance(made, Mapping):
        return dataset_of(_found(made, section, "", kind), section)
    refuse_shares(section, source)
    found = dict(made)
    classes = found.pop("classes", ())
    check_parts(found, f"{source} returns")
    unknown = [key for key in found if key not in PARTS]
    if unknown:
        raise DataError(f"{source} returns parts called {listed(unknown)}; {', '.join(PARTS)} are known")
    parts = {part: _found(found[part], section, part, kind) for part in PARTS if part in found}
    check_classes({part: samples for part, (samples, _) in parts.items()})
    return dataset_of(parts, section, classes)


def _checked(made: Dataset, section: DataSection) -> Dataset:
    """A Dataset that a factory returned may say anything; so may its parts."""
    pixels = made.pixels
    parts: dict[str, Found] = {}
    for part in PARTS:
        samples = getattr(made, part)
        if not isinstance(samples, Samples):
            raise DataError(f"the part '{part}' is {shown(type(samples).__name__)}, Samples are expected")
        if _in_memory(samples.source):
            name = f" of '{part}'"
            parts[part] = (_samples(samples.inputs, samples.targets, section, name, images=False)[0], None)
        else:
            held = Held(samples.source, f"the inputs of '{part}'", pixels if isinstance(pixels, Pixels) else None)
            parts[part] = (Samples(held, samples.targets), None)
    found = _of_parts(parts)
    if pixels is not None and not isinstance(pixels, Pixels):
        raise DataError(f"pixels are {shown(type(pixels).__name__)}, Pixels or None is expected")
    for samples in (found.train, found.validation, found.test):
        if pixels is not None and _in_memory(samples.source):
            check_made(pixels, samples.inputs)
    check_classes({part: getattr(found, part) for part in PARTS})
    whole = Dataset(found.train, found.validation, found.test, class_names(made.classes), pixels)
    return _apart(within_limit(whole, section))


def _apart(data: Dataset) -> Dataset:
    check_disjoint({part: getattr(data, part) for part in PARTS})
    return data


def _in_memory(source: Source) -> bool:
    return isinstance(source, InMemory) or (isinstance(source, Some) and _in_memory(source.source))


def _of_parts(parts: Mapping[str, Found], classes: tuple[str, ...] = ()) -> Dataset:
    validation, pixels = parts["validation"]
    kinds = {}
    for part, (samples, made) in parts.items():
        if not len(samples) and part != "train":
            raise DataError(
                f"the part '{part}' is empty", hint="put samples there, or give all samples undivided, to be divided"
            )
        if len(samples):
            first = samples.read(slice(1))
            kinds[part] = (tuple(first.shape[1:]), str(first.dtype).removeprefix("torch."), made)
    if len(set(kinds.values())) > 1:
        texts = [
            f"'{part}' has {'8-bit images' if made else dtype} of shape {shape}"
            for part, (shape, dtype, made) in kinds.items()
        ]
        raise DataError(f"all parts have one shape and one type of inputs, here {listed(texts)}")
    train = parts["train"][0] if "train" in kinds else validation.take(slice(0))
    return Dataset(train, validation, parts["test"][0], classes, pixels)


def _found(made: object, section: DataSection, part: str = "", kind: TargetKind = "class") -> Found:
    """A map-style dataset, a DataLoader, or a pair of inputs and targets; inputs alone have none."""
    what = f" of '{part}'" if part else ""
    if is_map_style(made):
        return _items(made, None, section, f"the data set{what}", kind)
    inputs, given = _pair(made, f" as '{part}'" if part else "", kind == "none")
    name = f"the labels{what}" if kind == "class" else f"the targets{what}"
    if is_map_style(inputs):
        return _items(inputs, partial(targets_of, given, kind, name=name), section, f"the inputs{what}", kind)
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


def as_found(source: Source, targets: Targets, section: DataSection, name: str) -> Found:
    """Samples of a source that is read lazily; where it has images, as inputs."""
    first = source.read(slice(1))[0]
    if not is_image(first):
        shape = tuple(first.shape)
        refuse(section, f"{name}: a row has shape {shape}, it is no image (H, W, C) of 8 or 16 bits", *LOOKS)
        return Samples(source, targets), None
    pixels = pixels_of(first.shape[2], section)
    return Samples(Normalised(source, pixels), targets), pixels if first.dtype == torch.uint8 else None


def _pair(made: object, what: str = "", targetless: bool = False) -> tuple[object, object]:
    if isinstance(made, (tuple, list)) and len(made) == 2:
        return made[0], made[1]
    if targetless:
        return made, None
    given = type(made).__name__ + (f" of {len(made)}" if isinstance(made, (tuple, list)) else "")
    raise DataError(f"the factory returns {shown(given)}{what}, a pair (inputs, labels) is expected")


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


def pixels_of(channels: int, section: DataSection) -> Pixels:
    """How images of so many channels become floats.

    Raises:
        DataError: `mean` or `std` has another number of values.
    """
    given = {"mean": section.mean or (0.0,) * channels, "std": section.std or (1.0,) * channels}
    for key, values in given.items():
        if len(values) != channels:
            raise DataError(f"{len(values)} values are given for {channels} channels", where=f"data.{key}")
    return Pixels(given["mean"], given["std"])


def class_names(names: object) -> tuple[str, ...]:
    """Class names that are safe to print, and different.

    Raises:
        DataError: they are no list of texts, or two are the same.
    """
    if not isinstance(names, (tuple, list)) or not all(isinstance(name, str) for name in names):
        raise DataError("class names are a list of texts")
    safe = tuple(shown(name, LONGEST_NAME) for name in names)
    twice = [name for name, times in Counter(safe).items() if times > 1]
    if twice:
        raise DataError(f"several classes are called {listed(twice)}", hint="give each a name of its own")
    return safe
