"""Folders of images, `class name/image`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from splitimpera.core.errors import DataError, shown, shown_path
from splitimpera.models.class_folders import class_listing, entries, folders, list_classes, list_unlabelled
from splitimpera.models.file_sets import Listing
from splitimpera.models.image_files import FOREIGN_SUFFIXES, SUFFIXES
from splitimpera.models.targets import Nothing
from splitimpera.models.tiny_imagenet import divided, is_tiny_imagenet, spoken_names
from splitimpera.tasks.task import TargetKind


def list_images(folder: Path, kind: TargetKind = "class") -> Listing:
    """The images of a folder `class name/image`, or of parts `train/class name/image`, `val/...` and `test/...`; or
    Tiny-ImageNet.

    Args:
        kind: "class"; or "none", for which a folder needs no classes.

    Raises:
        DataError: the folder cannot be read, or is not such a one.
    """
    if is_tiny_imagenet(folder):
        trained = {place.name: images_in(place / "images") for place in folders(folder / "train")}
        listing = class_listing(folder, divided(folder, trained), "images")
        if kind == "none":
            return replace(listing, targets=Nothing(len(listing.paths)), classes=())
        return replace(listing, classes=tuple(shown(name, 255) for name in spoken_names(folder, listing.classes)))
    return (list_unlabelled if kind == "none" else list_classes)(folder, images_in, "images")


def images_in(folder: Path) -> list[Path]:
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
