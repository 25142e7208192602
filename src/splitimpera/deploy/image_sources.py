"""Images as inputs: of a folder, a camera, a video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from splitimpera.bundle.manifest import InputEntry
from splitimpera.core.array_types import Array
from splitimpera.core.errors import DataError, shown, shown_path
from splitimpera.core.files import reason
from splitimpera.deploy.sample_stream import Sample, Source

VIDEO_SUFFIXES = frozenset(".avi .m4v .mkv .mov .mp4 .mpeg .mpg .webm".split())


def images_of(folder: Path, wanted: InputEntry, classes: Sequence[str]) -> Source:
    """The images of a folder; of those in a sub-folder that bears a class's name, the class is known.

    Raises:
        DataError: the network takes no images, or there are none.
    """
    from splitimpera.models.image_files import SUFFIXES  # it takes a while to import

    sides = _sides(wanted, shown_path(folder))
    try:
        places = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        found: list[tuple[Path, int | None]] = [(path, None) for path in places if path.suffix.lower() in SUFFIXES]
        known = {name: label for label, name in enumerate(classes)}
        for place in places:
            if place.is_dir():
                inner = sorted(path for path in place.iterdir() if path.suffix.lower() in SUFFIXES)
                found += [(path, known.get(place.name)) for path in inner if not path.name.startswith(".")]
    except OSError as failure:
        raise DataError(f"the folder '{shown_path(folder)}' cannot be read: {reason(failure)}") from None
    if not found:
        raise DataError(f"the folder '{shown_path(folder)}' has no images")
    return Source(shown_path(folder), _Images(found, sides), len(found))


@dataclass(frozen=True)
class _Images:
    found: list[tuple[Path, int | None]]
    sides: tuple[int, int, int]

    def __iter__(self) -> Iterator[Sample]:
        from splitimpera.models.image_files import read_image

        channels, height, width = self.sides
        for row, (path, label) in enumerate(self.found):
            image = read_image(path, (height, width))
            if image.shape[2] == 1 and channels == 3:
                image = np.repeat(image, 3, axis=2)
            yield Sample(image, row, label, None if label is None else (np.array(label),))


def video_of(text: str, wanted: InputEntry) -> Source:
    """The frames of a camera ("camera:0") or of a video file, through OpenCV.

    Raises:
        DataError: the network takes no images, OpenCV is missing, or it cannot open it.
    """
    sides, camera = _sides(wanted, text), text.startswith("camera:")
    number = text.removeprefix("camera:")
    if camera and not (number.isascii() and number.isdecimal() and len(number) < 4):
        raise DataError(f"'{shown(text)}' is no camera", hint="write camera:0 for the first one")
    if not camera and not Path(text).is_file():
        raise DataError(f"the file '{shown_path(text)}' does not exist")
    try:
        cv2: Any = import_module("cv2")
    except ImportError:
        raise DataError(
            "cameras and videos are read through OpenCV, which is not installed here",
            hint="pip install 'split-et-impera[video]'",
        ) from None
    capture = cv2.VideoCapture(int(number) if camera else text)
    if not capture.isOpened():
        raise DataError(f"'{shown_path(text)}' cannot be opened", hint="is it there, and may it be read?")
    return Source(shown_path(text), _captured(cv2, capture, sides), live=camera)


def _captured(cv2: Any, capture: Any, sides: tuple[int, int, int]) -> Iterator[Sample]:
    channels, height, width = sides
    colours = cv2.COLOR_BGR2GRAY if channels == 1 else cv2.COLOR_BGR2RGB
    with closing(_Released(capture)):
        for row in count():
            there, image = capture.read()
            if not there:
                return
            smaller = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            converted: Array = cv2.cvtColor(smaller, colours)
            yield Sample(converted.reshape(height, width, channels), row)


@dataclass(frozen=True)
class _Released:
    capture: Any

    def close(self) -> None:
        self.capture.release()


def _sides(wanted: InputEntry, where: str) -> tuple[int, int, int]:
    """Channels, height and width of the network's images."""
    shape = wanted.tensors[0].shape
    if wanted.pixels is None or len(wanted.tensors) != 1 or len(shape) != 3 or shape[0] not in (1, 3):
        raise DataError("this bundle's network does not take images", where=where, hint="give arrays, .npy or .npz")
    return shape[0], shape[1], shape[2]
