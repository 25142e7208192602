"""One mask file: a class index a pixel, or a color that a file gives a class."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np

from splitimpera.core.array_types import Array
from splitimpera.core.errors import DataError, listed, shown, shown_path
from splitimpera.core.files import read_file
from splitimpera.models.image_files import (
    MOST_FILE_BYTES,
    SILENCE,
    WIDE,
    opened_image,
    refused,
    stretched,
    transparent,
    upright,
    upright_size,
)

IGNORED = 255
"""What does not count."""
NAME_FILES = ("labelmap.txt", "label_colors.txt", "classes.txt")
MOST_NAME_BYTES = 1 << 20
CVAT = re.compile(r"(?P<name>[^:]*):(?P<color>\d+,\d+,\d+)?:.*")
CAMVID = re.compile(r"(?P<color>\d+\s+\d+\s+\d+)\s+(?P<name>\S.*)")

Color = tuple[int, int, int]


@dataclass(frozen=True)
class ClassNames:
    """What a file says of the classes.

    Attributes:
        names: in the order of the class indices.
        colors: class index by color; empty where the file has names alone.
        path: the file; None where there is none.
    """

    names: tuple[str, ...] = ()
    colors: Mapping[Color, int] = field(default_factory=dict)
    path: Path | None = None


def class_names_in(folder: Path, files: Sequence[str] = NAME_FILES) -> ClassNames:
    """The classes that a folder's `labelmap.txt`, `label_colors.txt` or `classes.txt` lists, one a line.

    A line is "name:r,g,b::" as CVAT has it, "r g b name" as CamVid has it, or a name alone.

    Raises:
        DataError: the file is malformed.
    """
    path = next((folder / name for name in files if (folder / name).is_file()), None)
    if path is None:
        return ClassNames()
    text = read_file(path, MOST_NAME_BYTES, DataError, what="list of classes").decode(errors="replace")
    names: list[str] = []
    colors: dict[Color, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        where = f"'{shown_path(path)}', line {number}"
        match = CVAT.fullmatch(line) or CAMVID.fullmatch(line)
        name = match["name"].strip() if match else line
        if name in names:
            raise DataError(f"{where}: the class '{shown(name)}' is there twice")
        if match and match["color"]:
            color = tuple(int(value) for value in re.split(r"[,\s]+", match["color"]))
            if max(color) > 255 or color in colors:
                raise DataError(f"{where}: the color {color} is {'no color' if max(color) > 255 else 'there twice'}")
            colors[color] = len(names)  # type: ignore[index]
        names.append(name)
    if not 0 < len(names) <= IGNORED:
        raise DataError(f"'{shown_path(path)}' has {len(names)} classes, 1 to {IGNORED} are expected")
    if colors and len(colors) < len(names):
        raise DataError(f"'{shown_path(path)}' gives colors to {len(colors)} of its {len(names)} classes")
    return ClassNames(tuple(names), colors, path)


def read_mask(path: Path, classes: ClassNames) -> Array:
    """The class index of each pixel, uint8 (H, W); 255 does not count.

    Grayscale values are class indices, those of 16 bits up to 255. Colors, of a palette or not, are looked up where
    `classes` has colors; else a palette's own indices count. A mask is turned as its file says, as images are.

    Raises:
        DataError: the file cannot be read, or a value or a color is no class.
    """
    content = read_file(path, MOST_FILE_BYTES, DataError, what="mask")
    with SILENCE, opened_image(path, BytesIO(content), content[:30]) as image:
        most, full = stretched(image)
        image.load()
        mask, mode = upright(image, image), image.mode
        if mode in ("P", "RGB", "RGBA") and classes.colors:
            if mode == "RGBA" and transparent(mask):
                raise refused(path, f"is transparent in places (mode {mode})")
            return _by_color(np.asarray(mask.convert("RGB")), np.asarray(mask) if mode == "P" else None, path, classes)
        values = np.asarray(mask)
    if mode not in ("1", "L", "P", *WIDE):
        raise DataError(
            f"the mask '{shown_path(path)}' has colors (mode {mode}), and no file says which class each is",
            hint=f"put one beside the folder, such as '{NAME_FILES[0]}' with lines \"name:r,g,b::\", or convert it to "
            "class indices",
        )
    if most < full and mode != "P":  # Pillow makes white of the largest value
        values = (values.astype(np.int64) * most + full // 2) // full
    highest = int(values.max()) if values.size else 0
    if highest > IGNORED:
        raise DataError(f"the mask '{shown_path(path)}' has the class index {highest}, at most {IGNORED} is read")
    beyond = (values >= len(classes.names)) & (values != IGNORED) if classes.names else np.zeros(0, bool)
    if beyond.any():
        raise DataError(
            f"the mask '{shown_path(path)}' has the class index {int(values[beyond][0])}, "
            f"'{classes.path.name if classes.path else ''}' names {len(classes.names)} classes"
        )
    return values.astype(np.uint8)


def resized(mask: Array, size: tuple[int, int] | None) -> Array:
    """A mask of another height and width, each pixel with the class of the nearest one."""
    if size is None:
        return mask
    from PIL import Image

    return np.asarray(Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.NEAREST))


def check_size(found: tuple[int, int], image: Path, what: str) -> None:
    """Raise DataError where something of an image has another height and width; the image's header is read."""
    wanted = upright_size(image)
    if found != wanted:
        raise DataError(
            f"{what} has {found[0]} x {found[1]} pixels, its image {wanted[0]} x {wanted[1]} (height x width)"
        )


def _by_color(values: Array, indices: Array | None, path: Path, classes: ClassNames) -> Array:
    red, green, blue = (values[..., band].astype(np.int32) for band in range(3))
    codes = (red << 16) + (green << 8) + blue
    known = np.array([(red << 16) + (green << 8) + blue for red, green, blue in classes.colors], np.int32)
    labels: Array = np.array([*classes.colors.values()], np.uint8)
    order = np.argsort(known)
    places = np.searchsorted(known[order], codes).clip(max=len(known) - 1)
    mask: Array = labels[order][places]
    strange = known[order][places] != codes
    if indices is not None:
        strange &= indices != IGNORED
        mask[indices == IGNORED] = IGNORED
    if strange.any():
        row, column = (int(place) for place in np.unravel_index(strange.argmax(), strange.shape))
        raise DataError(
            f"the mask '{shown_path(path)}' has the color {tuple(values[row, column].tolist())} in row {row}, column "
            f"{column} (from 0), which '{classes.path.name if classes.path else ''}' gives no class",
            hint=f"known: {listed(classes.names)}",
        )
    return mask
