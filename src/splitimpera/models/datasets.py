"""Labelled data: built-in sets, the user's own arrays and factories, folders of images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from splitimpera.core.array_types import Array
from splitimpera.core.errors import DataError, listed, shown
from splitimpera.core.registry import Registry, nearest
from splitimpera.models.image_folders import read_images
from splitimpera.models.imports import contained, is_factory, run_factory, telling
from splitimpera.models.numbers import as_numbers, check_amount, class_indices, finite_inputs

if TYPE_CHECKING:
    from splitimpera.scenario import DataSection

PARTS = ("train", "validation", "test")
SHARES = ("validation", "test", "seed")
LOOKS = ("mean", "std")
LONGEST_NAME = 255
LEVEL_ERROR = 0.1
"""How far, in 8-bit levels, inputs may be from those of 8-bit images: more than float32 rounds, less than matters."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs and labels.

    Attributes:
        inputs: what the network takes, (N, ...), one row per sample.
        labels: class indices, int64 (N,).
    """

    inputs: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        for name, tensor in (("inputs", self.inputs), ("labels", self.labels)):
            if not isinstance(tensor, Tensor) or not tensor.ndim:
                given = "a single number" if isinstance(tensor, Tensor) else type(tensor).__name__
                raise DataError(f"{name} are {shown(given)}, a tensor with one row per sample is expected")
        if self.labels.ndim != 1 or len(self.labels) != len(self.inputs):
            raise DataError(
                f"{len(self.inputs)} inputs need as many labels in one dimension, "
                f"the labels have shape {tuple(self.labels.shape)}"
            )
        object.__setattr__(self, "labels", class_indices(self.labels))

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Tensor | slice) -> Samples:
        return Samples(self.inputs[rows], self.labels[rows])

    def read(self, rows: Tensor | slice) -> Tensor:
        """The inputs of some samples, (n, ...)."""
        return self.inputs[rows]

    def batches(self, size: int) -> Iterator[Tensor]:
        """All inputs in order, at most `size` at a time."""
        for first in range(0, len(self), size):
            yield self.read(slice(first, first + size))


@dataclass(frozen=True)
class Pixels:
    """How inputs follow from images: input = (image / white - mean) / std, one value per channel.

    White is 255, or 65535 for images of 16 bits.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def inputs(self, images: Array) -> Tensor:
        """uint8 or uint16 (N, H, W, C) -> float32 (N, C, H, W)."""
        x = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32, order="C"))
        mean, std = self._columns()
        # in place: this may be most of the memory there is
        return x.div_(float(np.iinfo(images.dtype).max)).sub_(mean).div_(std)

    def made(self, inputs: Tensor) -> bool:
        """Whether inputs (N, C, H, W) are those of some 8-bit images."""
        if inputs.ndim != 4 or inputs.shape[1] != len(self.mean) or not inputs.is_floating_point():
            return False
        mean, std = self._columns()
        for some in torch.split(inputs, 256):
            levels = (some.to(torch.float32) * std + mean) * 255
            if not bool(((levels - levels.round().clamp(0, 255)).abs() < LEVEL_ERROR).all()):
                return False
        return True

    def _columns(self) -> tuple[Tensor, Tensor]:
        mean, std = (torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return mean, std


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three disjoint parts of one set of data.

    `train` is for training and calibration (it may be empty), `validation` for choosing a plan, `test` for the accuracy
    that is quoted for the chosen one. `pixels` is None where the inputs were not made from 8-bit images.

    Example:
        >>> part = Samples(torch.rand(10, 3, 8, 8), torch.arange(10))
        >>> data = Dataset(train=part, validation=part, test=part, classes=tuple("abcdefghij"))
        >>> len(data.everything()), len(data.calibration())
        (30, 10)
    """

    train: Samples
    validation: Samples
    test: Samples
    classes: tuple[str, ...] = ()
    pixels: Pixels | None = None

    def everything(self) -> Samples:
        """All parts together."""
        parts = [part for part in (self.train, self.validation, self.test) if len(part)]
        return Samples(torch.cat([part.inputs for part in parts]), torch.cat([part.labels for part in parts]))

    def calibration(self) -> Samples:
        """What codecs are calibrated on: never the test part."""
        return self.train if len(self.train) else self.validation


DATASETS: Registry[Callable[[], Dataset]] = Registry("data set")


@DATASETS.register("digits")
def digits() -> Dataset:
    """scikit-learn's handwritten digits: 1797 images of 8 x 8 pixels, enlarged to 32 x 32.

    897 images for training, 360 for validation, 540 for the test; shuffled once, with a fixed seed.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = torch.from_numpy(bunch.images * (255 / 16)).to(torch.float32)[:, None]
    large = torch.nn.functional.interpolate(small, size=(32, 32), mode="bilinear", align_corners=False)
    images = large.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    pixels = Pixels((0.3,), (0.35,))
    samples = Samples(pixels.inputs(images), torch.from_numpy(bunch.target))
    rows = torch.from_numpy(np.random.default_rng(0).permutation(len(samples)))
    return Dataset(
        train=samples.take(rows[900:]),
        validation=samples.take(rows[540:900]),
        test=samples.take(rows[:540]),
        classes=tuple(str(digit) for digit in range(10)),
        pixels=pixels,
    )


def divide(
    samples: Samples,
    *,
    validation: float,
    test: float,
    seed: int = 0,
    classes: Sequence[str] = (),
    pixels: Pixels | None = None,
) -> Dataset:
    """Shuffle once and divide; data that come sorted by class are thus never sliced in class order.

    Args:
        samples: All samples.
        validation, test: Shares of all samples; what remains is for training and calibration.
        seed: Seed of the shuffle.
        classes: Names of the classes, in the order of the labels.
        pixels: How the inputs were made of 8-bit images; None where they were not.

    Raises:
        DataError: a part would be empty.

    Example:
        >>> samples = Samples(torch.rand(100, 3, 8, 8), torch.arange(100) % 10)
        >>> data = divide(samples, validation=0.3, test=0.5)
        >>> len(data.train), len(data.validation), len(data.test)
        (20, 30, 50)
    """
    n_test, n_validation = round(test * len(samples)), round(validation * len(samples))
    if min(n_test, n_validation) < 1:
        raise DataError(
            f"{len(samples)} samples are too few for {validation:.0%} validation and {test:.0%} test",
            hint="give more data or larger shares",
        )
    rows = torch.from_numpy(np.random.default_rng(seed).permutation(len(samples)))
    return Dataset(
        train=samples.take(rows[n_test + n_validation :]),
        validation=samples.take(rows[n_test : n_test + n_validation]),
        test=samples.take(rows[:n_test]),
        classes=tuple(classes),
        pixels=pixels,
    )


def is_source(source: str, folder: Path) -> bool:
    """Whether `load_data` knows what a source means, without loading anything."""
    return source in DATASETS or is_factory(source) or _is_folder(source, folder)


def load_data(section: DataSection, folder: Path) -> Dataset:
    """The data that a scenario names.

    Args:
        section: `source` is a built-in name, a folder `class name/image`, `package.module:factory` or
            `file.py:factory`. A factory returns (inputs, labels), or a mapping with "train", "validation" and "test",
            each such a pair, or a Dataset. uint8 and uint16 inputs (N, H, W, C) are images and become float by
            `mean` and `std`.
        folder: what relative paths start from.

    Raises:
        DataError: nothing is found there, or it is not labelled data.
    """
    try:
        return _loaded(section, folder)
    except DataError as error:
        raise error.at(error.where or "data.source") from error.__cause__


def _loaded(section: DataSection, folder: Path) -> Dataset:
    source = section.source
    if source in DATASETS:
        _refuse(section, f"'{source}' comes with its own parts", *SHARES)
        _refuse(section, f"'{source}' comes as a network takes it", "size", *LOOKS)
        return DATASETS[source]()
    if is_factory(source):
        made = run_factory(source, folder, DataError)
        # what a factory returns may run its user's code when it is read
        with contained(), telling(DataError, f"what '{shown(source)}' returns cannot be used"):
            return _from_factory(made, section)
    if _is_folder(source, folder):
        images, labels, classes = read_images(folder / source, section.size)
        return _divided(*_samples(images, labels, section), section, classes)
    raise DataError(
        f"'{shown(source)}' is no built-in data set, no 'package.module:factory' and no folder",
        hint=nearest(source, DATASETS.names()),
    )


def _is_folder(source: str, folder: Path) -> bool:
    try:
        return bool(source.strip()) and (folder / source).is_dir()
    except (OSError, ValueError):  # a name that is too long, or a place that may not be looked at
        return False


def _refuse(section: DataSection, why: str, *keys: str) -> None:
    for key in keys:
        if key in section.model_fields_set and getattr(section, key) is not None:
            raise DataError(why, where=f"data.{key}", hint="leave this key out")


def _from_factory(made: object, section: DataSection) -> Dataset:
    source = f"'{shown(section.source)}'"
    _refuse(section, f"{source} is no folder of images", "size")
    if isinstance(made, Dataset):
        _refuse(section, f"{source} comes with its own parts", *SHARES)
        _refuse(section, f"{source} comes as a network takes it", *LOOKS)
        return _checked(made, section)
    if not isinstance(made, Mapping):
        return _divided(*_samples(*_pair(made), section), section)
    _refuse(section, f"{source} comes with its own parts", *SHARES)
    found = dict(made)
    missing = [part for part in ("validation", "test") if part not in found]
    if missing:
        raise DataError(f"{source} returns no {' and no '.join(missing)} part")
    unknown = [key for key in found if key not in PARTS]
    if unknown:
        raise DataError(f"{source} returns parts called {listed(unknown)}; {', '.join(PARTS)} are known")
    pairs = {part: _pair(found[part], f" as '{part}'") for part in PARTS if part in found}
    return _of_parts({part: _samples(*pair, section, f" of '{part}'") for part, pair in pairs.items()})


def _checked(made: Dataset, section: DataSection) -> Dataset:
    """A Dataset that a factory returned may say anything; so may its parts."""
    parts = {}
    for part in PARTS:
        samples = getattr(made, part)
        if not isinstance(samples, Samples):
            raise DataError(f"the part '{part}' is {shown(type(samples).__name__)}, Samples are expected")
        parts[part] = (_samples(samples.inputs, samples.labels, section, f" of '{part}'", images=False)[0], None)
    found = _of_parts(parts)
    pixels = made.pixels
    if pixels is not None and not isinstance(pixels, Pixels):
        raise DataError(f"pixels are {shown(type(pixels).__name__)}, Pixels or None is expected")
    every = (found.train, found.validation, found.test)
    if pixels is not None and not all(pixels.made(samples.inputs) for samples in every):
        raise DataError(
            f"the inputs are not those that pixels (mean {shown(pixels.mean)}, std {shown(pixels.std)}) make of "
            "8-bit images",
            hint="give the mean and std that were used, or None",
        )
    return Dataset(found.train, found.validation, found.test, class_names(made.classes), pixels)


def _of_parts(parts: Mapping[str, tuple[Samples, Pixels | None]]) -> Dataset:
    validation, pixels = parts["validation"]
    kinds = {}
    for part, (samples, made) in parts.items():
        if not len(samples) and part != "train":
            raise DataError(f"the part '{part}' is empty")
        if len(samples):
            kinds[part] = (tuple(samples.inputs.shape[1:]), str(samples.inputs.dtype).removeprefix("torch."), made)
    if len(set(kinds.values())) > 1:
        texts = [
            f"'{part}' has {'8-bit images' if made else dtype} of shape {shape}"
            for part, (shape, dtype, made) in kinds.items()
        ]
        raise DataError(f"all parts have one shape and one type of inputs, here {listed(texts)}")
    train = parts["train"][0] if "train" in kinds else validation.take(slice(0))
    return Dataset(train, validation, parts["test"][0], pixels=pixels)


def _pair(made: object, what: str = "") -> tuple[object, object]:
    if isinstance(made, (tuple, list)) and len(made) == 2:
        return made[0], made[1]
    given = type(made).__name__ + (f" of {len(made)}" if isinstance(made, (tuple, list)) else "")
    raise DataError(f"the factory returns {shown(given)}{what}, a pair (inputs, labels) is expected")


def _divided(samples: Samples, pixels: Pixels | None, section: DataSection, classes: Sequence[str] = ()) -> Dataset:
    return divide(
        samples,
        validation=section.validation,
        test=section.test,
        seed=section.seed,
        classes=class_names(classes),
        pixels=pixels,
    )


def _samples(
    inputs: object, labels: object, section: DataSection, what: str = "", images: bool = True
) -> tuple[Samples, Pixels | None]:
    """What is given as inputs and labels, and how the inputs were made of 8-bit images (None where they were not).

    Args:
        what: which part, in messages.
        images: whether inputs may be images, which `mean` and `std` turn into what the network takes.
    """
    name = f"the inputs{what}"
    x, y = as_numbers(inputs, name), as_numbers(labels, f"the labels{what}")
    if not x.ndim:
        raise DataError(f"{name} are a single number, one row per sample is expected")
    if not len(x) and not what:
        raise DataError("the data set is empty")
    if len(x) and not x[0].numel():
        raise DataError(f"{name} have shape {tuple(x.shape)}: there is nothing in a row")
    pixels = None
    if images and x.dtype in (torch.uint8, torch.uint16) and x.ndim == 4:
        check_amount(len(x), x.shape[1:])
        eight_bits, pixels = x.dtype == torch.uint8, _pixels(x.shape[3], section)
        x = pixels.inputs(x.numpy())
        pixels = pixels if eight_bits else None
    elif images:
        shape = tuple(x.shape)
        _refuse(section, f"{name} of shape {shape} are no images (N, H, W, C) of 8 or 16 bits", *LOOKS)
    x = finite_inputs(x, name)
    try:
        return Samples(x, y), pixels
    except DataError as error:
        raise DataError(f"{error.problem}{f' (the part{what})' if what else ''}", hint=error.hint) from None


def _pixels(channels: int, section: DataSection) -> Pixels:
    """How to make floats of images."""
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
