"""Folders as classes: `class name/file`, in parts or not; without classes where nobody asks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from splitimpera.core.errors import DataError, listed, shown, shown_path
from splitimpera.core.files import reason
from splitimpera.models.file_sets import Listing, parts_of
from splitimpera.models.targets import Nothing, Stacked

PART_FOLDERS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
LEFT_OUT = (".", "__MACOSX", "_background_noise_")
"""Begins of names: of hidden files, of what a Mac adds to archives, of Google Speech Commands' long noises."""
FilesIn = Callable[[Path], Sequence[Path]]
"""The files of a kind right in a folder."""


def list_classes(folder: Path, files_in: FilesIn, what: str) -> Listing:
    """The files of a folder `class name/file`, or of parts `train/class name/file`, `val/...` and `test/...`.

    Args:
        what: What messages call the files.

    Raises:
        DataError: the folder cannot be read, or is not such a one.
    """
    places = folders(folder)
    parts = _class_parts(places, files_in)
    if not parts and len(places) < 2:
        raise DataError(f"the folder '{shown_path(folder)}' has {len(places)} sub-folders, one a class is expected")
    return class_listing(
        folder,
        {part: {name.name: files_in(name) for name in folders(place)} for part, place in parts.items()}
        or {"": {place.name: files_in(place) for place in places}},
        what,
    )


def list_unlabelled(folder: Path, files_in: FilesIn, what: str) -> Listing:
    """The files right in a folder and in its sub-folders, whatever these are called; or those of its parts."""

    def below(place: Path) -> list[Path]:
        return [*files_in(place), *(path for inner in folders(place) for path in files_in(inner))]

    places = folders(folder)
    named = [place for place in places if place.name in PART_FOLDERS]
    parts = check_parts_folders(places) if len(named) > 1 else {"": folder}
    return unlabelled_listing(folder, {part: below(place) for part, place in parts.items()}, what)


def class_listing(folder: Path, found: Mapping[str, Mapping[str, Sequence[Path]]], what: str) -> Listing:
    """What was found in a folder, by part and class."""
    _check_classes(found, what)
    names = sorted({name for classes in found.values() for name in classes})
    paths: list[Path] = []
    labels: list[int] = []
    owners: list[str] = []
    for part, classes in found.items():
        for label, name in enumerate(names):
            files = classes.get(name, [])
            paths += files
            labels += [label] * len(files)
            owners += [part] * len(files)
    if not paths:
        raise DataError(f"the folder '{shown_path(folder)}' has no {what}")
    safe = tuple(shown(name, 255) for name in names)
    return Listing(tuple(paths), Stacked(torch.tensor(labels)), safe, parts_of(owners, [*found]))


def unlabelled_listing(folder: Path, found: Mapping[str, Sequence[Path]], what: str) -> Listing:
    """What was found in a folder, by part; nobody knows what is expected of it."""
    paths = tuple(path for part in found.values() for path in part)
    if not paths:
        raise DataError(f"the folder '{shown_path(folder)}' has no {what}")
    owners = [name for name, part in found.items() for _ in part]
    return Listing(paths, Nothing(len(paths)), (), parts_of(owners, [*found]))


def check_parts_folders(places: Sequence[Path]) -> dict[str, Path]:
    """The folders of parts, by part.

    Raises:
        DataError: there are other folders beside them, or one is missing.
    """
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
        raise DataError(f"there is no folder '{missing[0]}' beside {listed(place.name for place in places)}")
    return parts


def entries(folder: Path) -> list[Path]:
    """What a folder holds, in order of names; what is hidden, or known to be no sample, is left out.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(LEFT_OUT))
    except (OSError, ValueError) as failure:
        raise DataError(f"the folder '{shown_path(folder)}' cannot be read: {reason(failure)}") from None


def folders(folder: Path) -> list[Path]:
    """The folders right in a folder."""
    return [place for place in entries(folder) if _is_folder(place)]


def _class_parts(places: Sequence[Path], files_in: FilesIn) -> dict[str, Path]:
    """The folders of parts; none where these names are those of classes, or there are no such folders."""
    named = [place for place in places if place.name in PART_FOLDERS]
    if len(named) < 2 or not any(map(folders, named)) or any(map(files_in, named)):
        return {}
    return check_parts_folders(places)


def _check_classes(found: Mapping[str, Mapping[str, Sequence[Path]]], what: str) -> None:
    """What is tested is to be a class that is trained."""
    for part in ("validation", "test") if "train" in found else ():
        strange = [name for name, files in found[part].items() if files and not found["train"].get(name)]
        if strange:
            raise DataError(
                f"'{part}' has {what} of classes of which 'train' has none: {listed(strange)}",
                hint="add some to 'train', or remove that folder: codecs are then calibrated on 'validation'",
            )


def _is_folder(place: Path) -> bool:
    try:
        if place.is_symlink() and not place.exists():
            raise DataError(f"'{shown_path(place)}' is a link that leads nowhere", hint="remove it, or mend it")
        return place.is_dir()
    except OSError as failure:
        raise DataError(f"'{shown_path(place)}' cannot be read: {reason(failure)}") from None
