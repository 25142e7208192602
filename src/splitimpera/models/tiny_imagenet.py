"""Tiny-ImageNet as it is published: `train/CLASS/images`, and one folder of validation images with a list of theirs.

The published test images have no labels. So the validation images of each class, in the order of their names, are
ours in turn: one for validation, one for the test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from splitimpera.core.errors import DataError, shown, shown_path
from splitimpera.core.files import read_file

ANNOTATIONS = Path("val") / "val_annotations.txt"
WORDS = "words.txt"
MOST_BYTES = 1 << 26
FIELDS = 6
"""File, class, and a box that is not used."""

Found = dict[str, dict[str, list[Path]]]
"""Images by part and class."""


def is_tiny_imagenet(folder: Path) -> bool:
    """Whether a folder is laid out so."""
    try:
        return (folder / ANNOTATIONS).is_file() and (folder / "train").is_dir()
    except (OSError, ValueError):
        return False


def divided(folder: Path, trained: Mapping[str, Sequence[Path]]) -> Found:
    """The images of each part and class.

    Args:
        trained: Those of the training part, by class.

    Raises:
        DataError: the list of validation images is damaged, or does not go with the folders.
    """
    place = folder / ANNOTATIONS
    found: Found = {"train": {name: list(paths) for name, paths in trained.items()}, "validation": {}, "test": {}}
    seen: dict[str, list[str]] = {}
    files: set[str] = set()
    for number, fields in _table(place):
        where = f"'{shown_path(place)}', line {number}"
        if len(fields) != FIELDS:
            raise DataError(f"{FIELDS} fields between tabs are expected, given {len(fields)}", where=where)
        file, name = fields[:2]
        if name not in trained:
            raise DataError(f"'train' has no class '{shown(name, 50)}'", where=where)
        if Path(file).name != file or not (place.parent / "images" / file).is_file():
            raise DataError(f"there is no image '{shown(file, 50)}' in 'val/images'", where=where)
        if file in files:
            raise DataError(f"the image '{shown(file, 50)}' is there twice", where=where)
        files.add(file)
        seen.setdefault(name, []).append(file)
    for name, own in seen.items():
        for turn, file in enumerate(sorted(own)):
            found["test" if turn % 2 else "validation"].setdefault(name, []).append(place.parent / "images" / file)
    return found


def spoken_names(folder: Path, classes: Sequence[str]) -> tuple[str, ...]:
    """What `words.txt` calls the classes, as far as it is there and no two are called the same."""
    if not (folder / WORDS).is_file():
        return tuple(classes)
    words = {fields[0]: fields[1] for _, fields in _table(folder / WORDS) if len(fields) > 1}
    spoken = [words.get(name, name).partition(",")[0] for name in classes]
    return tuple(
        word if spoken.count(word) == 1 else f"{word} ({name})" for word, name in zip(spoken, classes, strict=True)
    )


def _table(path: Path) -> list[tuple[int, list[str]]]:
    """The lines that are not empty, with their numbers, in fields."""
    text = read_file(path, MOST_BYTES, DataError, what="table").decode(errors="replace")
    return [(number, line.split("\t")) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
