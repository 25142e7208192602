"""Folders of images, `class name/image`: listed at first, read when they are asked for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from splitimpera.core.array_types import Array
from splitimpera.core.errors import DataError, SplitImperaWarning, listed, shown, shown_path
from splitimpera.core.files import reason
from splitimpera.models.image_files import (
    FOREIGN_SUFFIXES,
    SILENCE,
    SUFFIXES,
    BrokenImageError,
    read_header,
    read_image,
)
from splitimpera.models.numbers import check_amount
from splitimpera.models.samples import indices, read_ahead
from splitimpera.models.targets import Rows
from splitimpera.models.tiny_imagenet import divided, is_tiny_imagenet, spoken_names

T = TypeVar("T")
R = TypeVar("R")
HEADERS = 1000
"""How many images' headers are read before any pixels: all of a small set, of a large one as many, spread evenly."""
NAMED = 5


PART_FOLDERS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Listing:
    """The images of a folder.

    Attributes:
        paths: the files, those of a class one after the other.
        labels: the place of each one's class in `classes`.
        classes: names of the classes, safe to print.
        parts: which rows belong to which part; to '' where the folder does not say.
    """

    paths: tuple[Path, ...]
    labels: Tensor
    classes: tuple[str, ...]
    parts: dict[str, Tensor]

    def take(self, rows: Tensor) -> Listing:
        """Some of the images, ascending."""
        place = torch.full((len(self.paths),), -1)
        place[rows] = torch.arange(len(rows))
        parts = {name: place[part][place[part] >= 0] for name, part in self.parts.items()}
        return replace(
            self, paths=tuple(self.paths[row] for row in rows.tolist()), labels=self.labels[rows], parts=parts
        )

    def decoded(self, threads: int) -> Listing:
        """Those that can be decoded; every image is decoded once to find out, and none is kept."""
        with SILENCE:
            failures = list(_in_threads(_failure, self.paths, threads))
        broken = [path for path, failure in zip(self.paths, failures, strict=True) if failure]
        if not broken:
            return self
        names = listed(("/".join(path.parts[-2:]) for path in broken), NAMED)
        warnings.warn(
            f"{len(broken)} of {len(self.paths)} images cannot be decoded and are left out: {names}",
            SplitImperaWarning,
            stacklevel=2,
        )
        if len(broken) == len(self.paths):
            raise DataError("none of the images can be decoded")
        return self.take(torch.tensor([not failure for failure in failures]).nonzero()[:, 0])


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Images from files, uint8 or uint16 (n, H, W, C): all of one size, one depth and as many channels.

    A set in which no image is found to be in color is grayscale; in one with both, grayscale images get three equal
    channels. Which it is the headers tell (`look`).

    Attributes:
        shape: height, width and channels.
        dtype: uint8 or uint16.
        size: height and width that images are resized to; None: all must have the same.
        threads: how many decode at the same time; 0: the caller's alone, and nothing is read ahead.
    """

    paths: Sequence[Path]
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    size: tuple[int, int] | None
    threads: int

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, rows: Rows) -> Tensor:
        """Decode some images.

        Raises:
            DataError: a file cannot be read, or not truly; an image differs from the others; they are too many.
        """
        places = indices(rows, len(self)).tolist()
        height, width, channels = self.shape
        check_amount(len(places), (channels, height, width))
        images = np.empty((len(places), *self.shape), self.dtype)

        def decode(place: int) -> None:
            images[place] = self._fitting(self.paths[places[place]])

        try:
            with SILENCE:
                for _ in _in_threads(decode, range(len(places)), self.threads):
                    pass
        except DataError as error:
            raise error.at(error.where or "data.source") from None
        return torch.from_numpy(images)

    def stream(self, batches: Iterable[Rows]) -> Iterator[Tensor]:
        return read_ahead(self.read, batches) if self.threads else map(self.read, batches)

    def _fitting(self, path: Path) -> Array:
        image = read_image(path, self.size)
        if image.shape[:2] != self.shape[:2]:
            (height, width), (first_height, first_width) = image.shape[:2], self.shape[:2]
            raise DataError(
                f"the images differ in size: '{shown_path(path)}' has {height} x {width} pixels, "
                f"'{shown_path(self.paths[0])}' {first_height} x {first_width}",
                where="data.size",
                hint="give the size [height, width] they get",
            )
        if image.dtype != self.dtype:
            raise DataError(
                f"the images differ in depth: '{shown_path(path)}' has {8 * image.itemsize} bits, "
                f"'{shown_path(self.paths[0])}' {8 * self.dtype.itemsize}",
                hint="convert all of them to 8 or to 16 bits",
            )
        if image.shape[2] > self.shape[2]:
            raise DataError(
                f"the images differ in color: '{shown_path(path)}' is in color, the {HEADERS} that were looked at "
                "first are grayscale",
                hint="convert all of them to grayscale, or to color",
            )
        return image


def look(paths: Sequence[Path], size: tuple[int, int] | None, threads: int) -> ImageFiles:
    """The images of some files, of which one is decoded, and the headers of up to HEADERS are read.

    Args:
        size: Height and width that they get; None: all must have the same.
        threads: as many decode images later.

    Raises:
        DataError: a file is seen to be damaged, or to differ from the first.
    """
    if any(path.suffix.lower() in (".tif", ".tiff") for path in paths):
        threads = 0  # their reader is silenced by silencing the whole process, which then should do nothing else
    places = np.linspace(0, len(paths) - 1, min(len(paths), HEADERS)).round().astype(int).tolist()
    with SILENCE:
        headers = list(_in_threads(read_header, [paths[place] for place in places], threads))
        first = read_image(paths[0], size)
    height, width, _ = first.shape
    channels = max(header.channels for header in headers)
    files = ImageFiles(paths, (height, width, channels), first.dtype, size, threads)
    for place, header in zip(places, headers, strict=True):
        if header.bits != 8 * first.itemsize or (size is None and header.sides != tuple(sorted(first.shape[:2]))):
            files.read(torch.tensor([place]))  # which says how it differs
    return files


def list_images(folder: Path) -> Listing:
    """The images of a folder `class name/image`, or of parts `train/class name/image`, `val/...` and `test/...`; or
    Tiny-ImageNet.

    Raises:
        DataError: the folder cannot be read, or is not such a one.
    """
    if is_tiny_imagenet(folder):
        trained = {place.name: _images(place / "images") for place in _folders(folder / "train")}
        listing = _listing(folder, divided(folder, trained))
        return replace(listing, classes=tuple(shown(name, 255) for name in spoken_names(folder, listing.classes)))
    places = _folders(folder)
    parts = _part_folders(places)
    if not parts and len(places) < 2:
        raise DataError(f"the folder '{shown_path(folder)}' has {len(places)} sub-folders, one a class is expected")
    found = {part: {name.name: _images(name) for name in _folders(place)} for part, place in parts.items()} or {
        "": {place.name: _images(place) for place in places}
    }
    return _listing(folder, found)


def _listing(folder: Path, found: Mapping[str, Mapping[str, Sequence[Path]]]) -> Listing:
    """What was found in a folder, by part and class."""
    _check_classes(found)
    names = sorted({name for classes in found.values() for name in classes})
    paths: list[Path] = []
    labels: list[int] = []
    owners: list[str] = []
    for part, classes in found.items():
        for label, name in enumerate(names):
            images = classes.get(name, [])
            paths += images
            labels += [label] * len(images)
            owners += [part] * len(images)
    if not paths:
        raise DataError(f"the folder '{shown_path(folder)}' has no images")
    rows = {part: torch.tensor([owner == part for owner in owners]).nonzero()[:, 0] for part in found}
    return Listing(tuple(paths), torch.tensor(labels), tuple(shown(name, 255) for name in names), rows)


def entries(folder: Path) -> list[Path]:
    """What a folder holds, in order of names; what begins with a dot is left out.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except (OSError, ValueError) as failure:
        raise DataError(f"the folder '{shown_path(folder)}' cannot be read: {reason(failure)}") from None


def _part_folders(places: Sequence[Path]) -> dict[str, Path]:
    """The folders of parts; none where these names are those of classes, or there are no such folders."""
    named = [place for place in places if place.name in PART_FOLDERS]
    if len(named) < 2 or not any(map(_folders, named)) or any(map(_images, named)):
        return {}
    parts: dict[str, Path] = {}
    for place in places:
        part = PART_FOLDERS.get(place.name)
        if part is None or part in parts:
            raise DataError(
                f"'{shown_path(place)}' is beside the folders of parts, and none of them",
                hint="leave train, validation (or val) and test alone there",
            )
        parts[part] = place
    missing = [part for part in ("validation", "test") if part not in parts]
    if missing:
        raise DataError(f"there is no folder '{missing[0]}' beside {listed(place.name for place in named)}")
    return parts


def _check_classes(found: Mapping[str, Mapping[str, Sequence[Path]]]) -> None:
    """What is tested is to be a class that is trained."""
    for part in ("validation", "test") if "train" in found else ():
        strange = [name for name, images in found[part].items() if images and not found["train"].get(name)]
        if strange:
            raise DataError(
                f"'{part}' has images of classes of which 'train' has none: {listed(strange)}",
                hint="add some to 'train', or remove that folder: codecs are then calibrated on 'validation'",
            )


def _folders(folder: Path) -> list[Path]:
    return [place for place in entries(folder) if _is_folder(place)]


def _is_folder(place: Path) -> bool:
    try:
        if place.is_symlink() and not place.exists():
            raise DataError(f"'{shown_path(place)}' is a link that leads nowhere", hint="remove it, or mend it")
        return place.is_dir()
    except OSError as failure:
        raise DataError(f"'{shown_path(place)}' cannot be read: {reason(failure)}") from None


def _images(folder: Path) -> list[Path]:
    """The images right in a folder."""
    found = []
    for path in entries(folder):
        if path.suffix.lower() in FOREIGN_SUFFIXES:
            raise DataError(
                f"'{shown_path(path)}' is an image in a format that is not read",
                hint="convert it to PNG, or move it elsewhere",
            )
        if path.suffix.lower() in SUFFIXES:
            found.append(path)
    return found


def _failure(path: Path) -> bool:
    """Whether an image cannot be decoded."""
    try:
        read_image(path)
    except BrokenImageError:
        return True
    except DataError as error:
        raise error.at("data.source") from None
    return False


def _in_threads(call: Callable[[T], R], values: Sequence[T], threads: int) -> Iterator[R]:
    """`call` of each value, in order; the first failure is raised, and what has not begun then is left undone."""
    if not threads:
        yield from map(call, values)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="splitimpera-decode")
    try:
        for first in range(0, len(values), HEADERS):  # a million calls that wait take memory, too
            yield from pool.map(call, values[first : first + HEADERS])
    finally:
        pool.shutdown(cancel_futures=True)
