"""Masks from COCO's outlines: what class each pixel has, 0 where there is no object, 255 in crowds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import isfinite
from typing import Any

import numpy as np
import torch

from splitimpera.core.array_types import Array, FloatArray, Row
from splitimpera.core.errors import DataError, shown, shown_path
from splitimpera.models.annotated import Annotated, Box, Size
from splitimpera.models.file_sets import Listing, held_out, parts_of
from splitimpera.models.image_files import SILENCE
from splitimpera.models.mask_files import IGNORED, check_size, resized
from splitimpera.models.targets import Read

BACKGROUND = "background"
MOST_CORNERS = 100_000
Outlined = tuple[Annotated, Sequence[Any]]
"""An image with its objects, and the outline of each."""


def masked_listing(given: Mapping[str, Sequence[Outlined]], names: Sequence[str], size: Size | None) -> Listing:
    """The images of a set, with masks as targets, drawn when they are asked for.

    Category i is class i + 1. Of objects that overlap the smaller ones lie on top; crowds do not count.

    Args:
        given: Those of each part that the set comes with.
        size: Height and width that images are resized to; None: they are not.

    Raises:
        DataError: an outline is malformed, or there are too many categories.
    """
    if len(names) >= IGNORED:
        raise DataError(f"there are {len(names)} categories, masks have at most {IGNORED - 1}")
    found = held_out(given)
    images = [image for part in found.values() for image in part]
    for image, outlines in images:
        for box, outline in zip(image.boxes, outlines, strict=True):
            _check(outline, image.size, box.where)
    parts = parts_of([part for part, own in found.items() for _ in own], [*found])
    return Listing(
        tuple(image.path for image, _ in images),
        Read(partial(_mask, images, size), torch.arange(len(images))),
        (BACKGROUND, *names),
        parts,
        {image.path: image.size for image, _ in images},
    )


def _mask(images: Sequence[Outlined], size: Size | None, number: int) -> Row:
    image, outlines = images[number]
    with SILENCE:
        check_size(image.size, image.path, f"the record of '{shown_path(image.path)}'")
    mask: Array = np.zeros(image.size, np.uint8)
    # crowds come first: an object in one may be outlined for itself
    for box, outline in sorted(
        zip(image.boxes, outlines, strict=True), key=lambda one: (not one[0].crowd, -_area(one[0]))
    ):
        mask[_filled(outline, image.size)] = IGNORED if box.crowd else box.label + 1
    return (resized(mask, size),)


def _area(box: Box) -> float:
    left, top, right, bottom = box.corners
    return (right - left) * (bottom - top)


def _filled(outline: Any, size: Size) -> Array:
    """Which pixels an object has, bool (H, W)."""
    if isinstance(outline, Mapping):
        counts = np.array(outline["counts"], np.int64)
        runs = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        return runs.reshape(size[1], size[0]).T  # column by column
    filled: Array = np.zeros(size, bool)
    for polygon in outline:
        filled |= _inside(np.array(polygon, float).reshape(-1, 2), size)
    return filled


def _inside(corners: FloatArray, size: Size) -> Array:
    """Which pixels have their middle inside a polygon, bool (H, W), by the even-odd rule.

    Args:
        corners: x and y of each, (n, 2).
    """
    height, width = size
    flips: Array = np.zeros((height, width + 1), bool)  # where in a row one gets in or out
    for (x, y), (next_x, next_y) in zip(corners, np.roll(corners, -1, 0), strict=True):
        begin, end = (int(np.clip(np.ceil(edge - 0.5), 0, height)) for edge in sorted((y, next_y)))
        rows = np.arange(begin, end)
        if len(rows):
            crossings = x + (rows + 0.5 - y) * (next_x - x) / (next_y - y)
            flips[rows, np.ceil(crossings - 0.5).clip(0, width).astype(int)] ^= True
    inside: Array = np.logical_xor.accumulate(flips[:, :width], axis=1)
    return inside


def _check(outline: object, size: Size, where: str) -> None:
    """Raise DataError where an outline is neither polygons nor run lengths of its image."""
    if isinstance(outline, Mapping):
        counts, claimed = outline.get("counts"), outline.get("size")
        if isinstance(counts, str):
            raise DataError(f"{where}: its run lengths are compressed", hint="write counts as a list of numbers")
        sound = isinstance(counts, list) and all(type(run) is int and run >= 0 for run in counts)
        if not sound or claimed != [*size] or sum(counts) != size[0] * size[1]:  # type: ignore[arg-type]
            raise DataError(
                f"{where}: its run lengths of size {shown(claimed)} are not those of an image of {size[0]} x {size[1]} "
                "pixels (height x width)"
            )
        return
    if not isinstance(outline, list) or not outline:
        raise DataError(f"{where}: segmentation is {shown(outline)}, polygons or run lengths are expected")
    for polygon in outline:
        right = isinstance(polygon, list) and 6 <= len(polygon) <= 2 * MOST_CORNERS and len(polygon) % 2 == 0
        if not right or not all(type(side) in (int, float) and abs(side) < 1e9 and isfinite(side) for side in polygon):
            raise DataError(f"{where}: a polygon is {shown(polygon)}, x and y of three or more corners are expected")
