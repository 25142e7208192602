"""Labelled data: built-in sets, the user's own arrays and factories, folders of pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from splitimpera.errors import DataError, shown
from splitimpera.models.imports import contained, is_factory, run_factory, telling
from splitimpera.plugins import Registry, nearest
from splitimpera.records import Array

if TYPE_CHECKING:
    from splitimpera.scenario import DataSection


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs and labels.

    Attributes:
        inputs: what the network takes, (N, ...), a picture a row.
        labels: class indices, int64 (N,).
    """

    inputs: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.labels.ndim != 1 or len(self.labels) != len(self.inputs):
            raise DataError(
                f"{len(self.inputs)} inputs need as many labels in one dimension, "
                f"the labels have shape {tuple(self.labels.shape)}"
            )
        if self.labels.is_floating_point() or self.labels.is_complex():
            raise DataError(f"labels are class indices, these are {self.labels.dtype}".replace("torch.", ""))
        object.__setattr__(self, "labels", self.labels.to(torch.int64))

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Tensor | slice) -> Samples:
        return Samples(self.inputs[rows], self.labels[rows])


@dataclass(frozen=True)
class Pixels:
    """How inputs follow from 8-bit pictures: input = (picture / 255 - mean) / std, a value a channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def inputs(self, pictures: Array) -> Tensor:
        """uint8 (N, H, W, C) -> float32 (N, C, H, W)."""
        x = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))).to(torch.float32) / 255
        mean, std = (torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return (x - mean) / std


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three disjoint parts of one set of data.

    `train` is for training and calibration (it may be empty), `validation` for choosing a plan, `test` for the accuracy
    that is quoted for the chosen one. `pixels` is None where the inputs were not made from pictures.
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
    """scikit-learn's handwritten digits: 1797 pictures of 8 x 8 pixels, enlarged to 32 x 32.

    897 pictures for training, 360 for validation, 540 for the test; shuffled once, with a fixed seed.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = torch.from_numpy(bunch.images * (255 / 16)).to(torch.float32)[:, None]
    large = torch.nn.functional.interpolate(small, size=(32, 32), mode="bilinear", align_corners=False)
    pictures = large.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    pixels = Pixels((0.3,), (0.35,))
    samples = Samples(pixels.inputs(pictures), torch.from_numpy(bunch.target))
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
        validation, test: shares of all pictures; what remains is for training and calibration.

    Raises:
        DataError: a part would be empty.
    """
    n_test, n_validation = round(test * len(samples)), round(validation * len(samples))
    if min(n_test, n_validation) < 1:
        raise DataError(
            f"{len(samples)} pictures are too few for {validation:.0%} validation and {test:.0%} test",
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


def load_data(section: DataSection, folder: Path) -> Dataset:
    """The data that a scenario names.

    Args:
        section: `source` is a built-in name, a folder `class name/picture`, `package.module:factory` or
            `file.py:factory`. A factory returns (inputs, labels), or a mapping with "train", "validation" and "test",
            each such a pair. uint8 inputs (N, H, W, C) are pictures and become float by `mean` and `std`.
        folder: what relative paths start from.

    Raises:
        DataError: nothing is found there, or it is not labelled data.
    """
    source = section.source
    if source in DATASETS:
        _refuse_shares(section, f"'{source}'")
        return DATASETS[source]()
    if is_factory(source):
        made = run_factory(source, folder, DataError)
        with contained(), telling(DataError, f"what '{shown(source)}' returns cannot be used"):
            return _from_factory(made, section)
    if (folder / source).is_dir():
        pictures, labels, classes = _read_pictures(folder / source, section.size)
        return _from_arrays(pictures, labels, section, classes)
    raise DataError(
        f"'{source}' is no built-in data set, no 'package.module:factory' and no folder",
        where="data.source",
        hint=nearest(source, DATASETS.names()),
    )


def _refuse_shares(section: DataSection, source: str) -> None:
    for key in ("validation", "test", "seed"):
        if key in section.model_fields_set:
            raise DataError(f"{source} comes with its own parts", where=f"data.{key}", hint="leave this key out")


def _from_factory(made: object, section: DataSection) -> Dataset:
    source = f"'{section.source}'"
    if isinstance(made, Dataset):
        _refuse_shares(section, source)
        return made
    if isinstance(made, Mapping):
        _refuse_shares(section, source)
        missing = {"validation", "test"} - made.keys()
        if missing:
            raise DataError(f"{source} returns no {' and no '.join(sorted(missing))} part", where="data.source")
        parts = {}
        for part in ("train", "validation", "test"):
            pair = made.get(part, made["validation"])
            rows = slice(None) if part in made else slice(0)
            parts[part] = _samples(*_pair(pair, source), section).take(rows)
        pixels = _pixels(_pair(made["test"], source)[0], section)
        return Dataset(parts["train"], parts["validation"], parts["test"], pixels=pixels)
    return _from_arrays(*_pair(made, source), section)


def _pair(made: object, source: str) -> tuple[object, object]:
    if isinstance(made, (tuple, list)) and len(made) == 2:
        return made[0], made[1]
    raise DataError(f"{source} returns {type(made).__name__}, a pair (inputs, labels) is expected", where="data.source")


def _from_arrays(inputs: object, labels: object, section: DataSection, classes: Sequence[str] = ()) -> Dataset:
    return divide(
        _samples(inputs, labels, section),
        validation=section.validation,
        test=section.test,
        seed=section.seed,
        classes=classes,
        pixels=_pixels(inputs, section),
    )


def _samples(inputs: object, labels: object, section: DataSection) -> Samples:
    x, y = torch.as_tensor(inputs), torch.as_tensor(labels)
    if not len(x):
        raise DataError("the data set is empty", where="data.source")
    pixels = _pixels(x, section)
    if pixels is not None:
        x = pixels.inputs(x.numpy())
    elif x.dtype == torch.float64:
        x = x.to(torch.float32)
    if x.is_floating_point() and not bool(torch.isfinite(x).all()):
        raise DataError("the inputs contain NaN or infinite values", where="data.source")
    return Samples(x, y)


def _pixels(inputs: object, section: DataSection) -> Pixels | None:
    """How to make floats of 8-bit pictures; None for other inputs."""
    x = torch.as_tensor(inputs)
    if x.dtype != torch.uint8 or x.ndim != 4:
        return None
    channels = x.shape[3]
    given = {"mean": section.mean or (0.0,) * channels, "std": section.std or (1.0,) * channels}
    for key, values in given.items():
        if len(values) != channels:
            raise DataError(f"{len(values)} values are given for {channels} channels", where=f"data.{key}")
    return Pixels(given["mean"], given["std"])


def _read_pictures(folder: Path, size: tuple[int, int] | None) -> tuple[Array, Array, list[str]]:
    """Pictures (N, H, W, C) uint8, labels (N,) and class names of a folder `class name/picture`."""
    from PIL import Image

    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    if len(classes) < 2:
        raise DataError(
            f"the folder '{folder}' has {len(classes)} sub-folders, one a class is expected", where="data.source"
        )
    pictures, labels = [], []
    for label, name in enumerate(classes):
        for path in sorted((folder / name).iterdir()):
            if path.suffix.lower() not in {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm", ".tif", ".tiff"}:
                continue
            try:
                with Image.open(path) as image:
                    picture = image if image.mode in ("L", "RGB") else image.convert("RGB")
                    if size is not None:
                        picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
                    pictures.append(np.asarray(picture).reshape(picture.height, picture.width, -1))
            except (OSError, Image.DecompressionBombError) as error:
                raise DataError(f"the picture '{path}' cannot be read: {error}", where="data.source") from None
            labels.append(label)
    shapes = {picture.shape for picture in pictures}
    if not pictures:
        raise DataError(f"the folder '{folder}' has no pictures", where="data.source")
    if len({shape[:2] for shape in shapes}) > 1:
        raise DataError("the pictures differ in size", where="data.size", hint="give the size [height, width] they get")
    if len(shapes) > 1:
        pictures = [np.broadcast_to(picture, (*picture.shape[:2], 3)) for picture in pictures]
    return np.stack(pictures), np.array(labels), classes
