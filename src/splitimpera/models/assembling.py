"""What all sources of data go through: shares, limit, parts that go together, images as inputs, names of classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from splitimpera.core.errors import DataError, listed, shown
from splitimpera.models.numbers import is_image
from splitimpera.models.overlap import check_disjoint
from splitimpera.models.parts import Dataset, divide, limited
from splitimpera.models.pixels import Normalised, NormalisedSeveral, Pixels
from splitimpera.models.samples import Samples, Source, layout_in
from splitimpera.models.targets import Targets

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


def refuse_shares(section: DataSection, whose: str) -> None:
    """Raise DataError where the section says how to divide data that are divided already; `seed` may say what is left
    of them."""
    refuse(section, f"{whose} comes with its own parts", "validation", "test", *(() if section.limit else ("seed",)))


def dataset_of(found: Found | Mapping[str, Found], section: DataSection, classes: Sequence[str] = ()) -> Dataset:
    """All samples, divided as the section says; or the parts as they are.

    Raises:
        DataError: a part is empty, or parts do not go together.
    """
    names = class_names(classes)
    if isinstance(found, Mapping):
        return apart(within_limit(of_parts(found, names), section))
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


def as_found(source: Source, targets: Targets, section: DataSection, name: str) -> Found:
    """Samples of a source that is read lazily; where it has images, as inputs."""
    layout = layout_in(source)
    if layout is not None and any(field.image for field in layout.fields):
        made = [pixels_of(field.shape[2], section) if field.image else None for field in layout.fields]
        return Samples(NormalisedSeveral(source, tuple(made)), targets), None
    if layout is not None:
        refuse(section, f"{name}: {layout}; none is an image (H, W, C) of 8 or 16 bits", *LOOKS)
        return Samples(source, targets), None
    first = source.read(slice(1))[0]
    if not is_image(first):
        shape = tuple(first.shape)
        refuse(section, f"{name}: a row has shape {shape}, it is no image (H, W, C) of 8 or 16 bits", *LOOKS)
        return Samples(source, targets), None
    pixels = pixels_of(first.shape[2], section)
    return Samples(Normalised(source, pixels), targets), pixels if first.dtype == torch.uint8 else None


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


def of_parts(parts: Mapping[str, Found], classes: tuple[str, ...] = ()) -> Dataset:
    validation, pixels = parts["validation"]
    kinds: dict[str, tuple[object, ...]] = {}
    for part, (samples, made) in parts.items():
        if not len(samples) and part != "train":
            raise DataError(
                f"the part '{part}' is empty", hint="put samples there, or give all samples undivided, to be divided"
            )
        if len(samples):
            first = samples.read(slice(1))
            dtype = "8-bit images" if made else str(first.dtype).removeprefix("torch.")
            kinds[part] = (samples.layout or f"{dtype} of shape {tuple(first.shape[1:])}", made)
    if len(set(kinds.values())) > 1:
        texts = [f"'{part}' has {text}" for part, (text, _) in kinds.items()]
        raise DataError(f"all parts have one shape and one type of inputs, here {listed(texts)}")
    train = parts["train"][0] if "train" in kinds else validation.take(slice(0))
    return Dataset(train, validation, parts["test"][0], classes, pixels)


def apart(data: Dataset) -> Dataset:
    check_disjoint({part: getattr(data, part) for part in PARTS})
    return data
