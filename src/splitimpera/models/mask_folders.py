"""Folders of images and masks: `images/NAME.jpg` and `masks/NAME.png`, in parts or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from splitimpera.core.array_types import Row
from splitimpera.core.errors import DataError, listed, shown, shown_path
from splitimpera.models.annotated import Size
from splitimpera.models.class_folders import PART_FOLDERS, check_parts_folders, folders, unlabelled_listing
from splitimpera.models.file_sets import Listing, parts_of
from splitimpera.models.image_files import SILENCE, upright_size
from splitimpera.models.image_folders import images_in
from splitimpera.models.mask_files import ClassNames, check_size, class_names_in, read_mask, resized
from splitimpera.models.targets import Read, check_kind
from splitimpera.tasks.task import TargetKind

IMAGES, MASKS = "images", "masks"
LOSSY = (".jpg", ".jpeg", ".webp")
LOOKED_AT = 1000
"""How many masks' sizes are compared with their images' before any is read, spread evenly."""

Pairs = Sequence[tuple[Path, Path]]
"""Images and their masks."""


def is_mask_folder(place: Path) -> bool:
    """Whether a folder, or each of its parts, has folders of images and of masks."""
    try:
        if _has_both(place):
            return True
        named = [place / name for name in PART_FOLDERS if (place / name).is_dir()]
        return len(named) > 1 and all(map(_has_both, named))
    except (OSError, ValueError):
        return False


def list_masked(place: Path, kind: TargetKind, size: Size | None) -> Listing:
    """The images of a folder, and the masks of the same names.

    Args:
        size: Height and width that images are resized to; None: they are not.

    Raises:
        DataError: an image has no mask, or a mask no image, or their sizes differ.
    """
    check_kind(kind, f"the folder '{shown_path(place)}'", "mask")
    parts = {"": place} if _has_both(place) else check_parts_folders(folders(place))
    if kind == "none":
        return unlabelled_listing(place, {part: images_in(own / IMAGES) for part, own in parts.items()}, "images")
    return masked({part: _pairs(own) for part, own in parts.items()}, class_names_in(place), size)


def masked(pairs: Mapping[str, Pairs], classes: ClassNames, size: Size | None) -> Listing:
    """Images with their masks as targets, which are read when they are asked for.

    Args:
        pairs: Those of each part.
        size: Height and width that images are resized to; None: they are not.

    Raises:
        DataError: a mask has another size than its image.
    """
    every = [pair for part in pairs.values() for pair in part]
    places = np.linspace(0, len(every) - 1, min(len(every), LOOKED_AT)).round().astype(int).tolist()
    with SILENCE:
        for place in places:
            image, mask = every[place]
            check_size(upright_size(mask), image, f"the mask '{shown_path(mask)}'")
    return Listing(
        tuple(image for image, _ in every),
        Read(partial(_read, every, classes, size), torch.arange(len(every))),
        classes.names,
        parts_of([part for part, own in pairs.items() for _ in own], [*pairs]),
    )


def _read(pairs: Pairs, classes: ClassNames, size: Size | None, number: int) -> Row:
    image, path = pairs[number]
    mask = read_mask(path, classes)
    with SILENCE:
        check_size((mask.shape[0], mask.shape[1]), image, f"the mask '{shown_path(path)}'")
    return (resized(mask, size),)


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    images, masks = (by_stem(folder / name) for name in (IMAGES, MASKS))
    for own, others, what in ((images, masks, "mask"), (masks, images, "image")):
        alone = sorted(own.keys() - others.keys())
        if alone:
            raise DataError(
                f"'{shown_path(own[alone[0]])}' has no {what} of the same name"
                + (f", nor have {listed(alone[1:], 3)}" if len(alone) > 1 else "")
            )
    for path in masks.values():
        if path.suffix.lower() in LOSSY:
            raise DataError(
                f"the mask '{shown_path(path)}' may have lost what its pixels were when it was compressed",
                hint="store masks as PNG",
            )
    if not images:
        raise DataError(f"the folder '{shown_path(folder / IMAGES)}' has no images")
    return [(path, masks[stem]) for stem, path in images.items()]


def by_stem(folder: Path) -> dict[str, Path]:
    """The images right in a folder, by their names without suffixes.

    Raises:
        DataError: two have the same.
    """
    found: dict[str, Path] = {}
    for path in images_in(folder):
        if path.stem in found:
            raise DataError(f"'{shown_path(folder)}' has two files called '{shown(path.stem)}'")
        found[path.stem] = path
    return found


def _has_both(place: Path) -> bool:
    return (place / IMAGES).is_dir() and (place / MASKS).is_dir()
