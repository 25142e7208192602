"""Sets of image files: looked at first, decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from splitimpera.core.array_types import Array
from splitimpera.core.errors import DataError, shown_path
from splitimpera.models.file_sets import in_threads
from splitimpera.models.image_files import SILENCE, read_header, read_image
from splitimpera.models.numbers import check_amount
from splitimpera.models.samples import indices, read_ahead
from splitimpera.models.targets import Rows

HEADERS = 1000
"""How many images' headers are read before any pixels: all of a small set, of a large one as many, spread evenly."""


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
        claimed: Height and width that records give for some of the files, which must be true.
    """

    paths: Sequence[Path]
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    size: tuple[int, int] | None
    threads: int
    claimed: Mapping[Path, tuple[int, int]] = field(default_factory=dict)

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
                for _ in in_threads(decode, range(len(places)), self.threads):
                    pass
        except DataError as error:
            raise error.at(error.where or "data.source") from None
        return torch.from_numpy(images)

    def stream(self, batches: Iterable[Rows]) -> Iterator[Tensor]:
        return read_ahead(self.read, batches) if self.threads else map(self.read, batches)

    def _fitting(self, path: Path) -> Array:
        image = read_image(path, self.size, self.claimed.get(path))
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


def look(
    paths: Sequence[Path],
    size: tuple[int, int] | None,
    threads: int,
    claimed: Mapping[Path, tuple[int, int]] | None = None,
) -> ImageFiles:
    """The images of some files, of which one is decoded, and the headers of up to HEADERS are read.

    Args:
        size: Height and width that they get; None: all must have the same.
        threads: as many decode images later.
        claimed: Height and width that records give for some of them.

    Raises:
        DataError: a file is seen to be damaged, or to differ from the first.
    """
    if any(path.suffix.lower() in (".tif", ".tiff") for path in paths):
        threads = 0  # their reader is silenced by silencing the whole process, which then should do nothing else
    places = np.linspace(0, len(paths) - 1, min(len(paths), HEADERS)).round().astype(int).tolist()
    with SILENCE:
        headers = list(in_threads(read_header, [paths[place] for place in places], threads))
        first = read_image(paths[0], size, (claimed or {}).get(paths[0]))
    height, width, _ = first.shape
    channels = max(header.channels for header in headers)
    files = ImageFiles(paths, (height, width, channels), first.dtype, size, threads, claimed or {})
    for place, header in zip(places, headers, strict=True):
        wanted = [files.claimed.get(paths[place]), first.shape[:2] if size is None else None]
        untrue = any(sides is not None and header.sides != tuple(sorted(sides)) for sides in wanted)
        if untrue or header.bits != 8 * first.itemsize:
            files.read(torch.tensor([place]))  # which says how it differs
    return files
