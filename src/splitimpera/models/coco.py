"""COCO's JSON files of boxes, with their images."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

from splitimpera.core.bounds import check_pixels
from splitimpera.core.errors import DataError, listed, shown, shown_path
from splitimpera.core.files import read_file
from splitimpera.models.annotated import Annotated, Box, Size, annotated_listing
from splitimpera.models.class_folders import entries
from splitimpera.models.coco_masks import masked_listing
from splitimpera.models.file_sets import Listing
from splitimpera.models.targets import check_kind
from splitimpera.tasks.task import TargetKind

MOST_BYTES = 1_000_000_000
FOLDER = "annotations"
INSTANCES = "instances_"
"""What files of boxes are called where there are captions and key points beside them."""
PART_NAMES = {"train": "train", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Annotations:
    """A JSON file.

    Attributes:
        images: by their numbers; those without objects, too.
        categories: names by their numbers, ascending.
        objects: what the file says of each object, in its order, as far as it is sound: the number of its image, the
            class index, the box and, where masks are wanted, the outline.
    """

    path: Path
    images: dict[int | str, Annotated]
    categories: dict[int, str]
    objects: list[tuple[int | str, Box, Any]]


def is_coco(place: Path) -> bool:
    """Whether it is a `.json` file, or a folder with some in `annotations`."""
    try:
        if place.suffix.lower() == ".json":
            return place.is_file()
        return (place / FOLDER).is_dir() and any(_is_json(path) for path in (place / FOLDER).iterdir())
    except (OSError, ValueError):
        return False


def list_coco(place: Path, kind: TargetKind, size: Size | None, skip: bool) -> Listing:
    """The images of a folder with `annotations/*.json`, or of one such file, and what is expected of them.

    Args:
        size: Height and width that images are resized to; None: they are not.
        skip: Whether faulty boxes are left out.

    Raises:
        DataError: a file is malformed, or an image is missing.
    """
    check_kind(kind, f"'{shown_path(place)}'", "boxes", "mask")
    parts = {part: _read(path, kind) for part, path in _files(place).items()}
    first, *others = parts.values()
    for other in others:
        if other.categories != first.categories:
            raise DataError(f"'{shown_path(other.path)}' has other categories than '{shown_path(first.path)}'")
    names = [*first.categories.values()]
    if kind == "mask":
        outlined = {part: _outlined(file) for part, file in parts.items()}
        return masked_listing(outlined, names, size)
    boxed = {part: _boxed(file) for part, file in parts.items()}
    return annotated_listing(boxed, names, kind, size, skip)


def _files(place: Path) -> dict[str, Path]:
    """The JSON file of each part; '' where there is only one."""
    if place.suffix.lower() == ".json" and place.is_file():
        return {"": place}
    found = [path for path in entries(place / FOLDER) if _is_json(path)]
    found = [path for path in found if path.name.startswith(INSTANCES)] or found
    if len(found) == 1:
        return {"": found[0]}
    parts: dict[str, Path] = {}
    for path in found:
        part = next((part for begin, part in PART_NAMES.items() if _split(path).startswith(begin)), None)
        if part is None or part in parts:
            raise DataError(
                f"'{shown_path(path)}' is beside the files of parts, and none of them: {listed(p.name for p in found)}",
                hint="name one file as the source, or call them instances_train.json, instances_val.json and "
                "instances_test.json",
            )
        parts[part] = path
    return parts


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json" and not path.name.startswith(".")


def _split(path: Path) -> str:
    """What the name says of the part: "train2017"."""
    return path.stem.removeprefix(INSTANCES).lower()


def _boxed(file: Annotations) -> list[Annotated]:
    boxes: dict[int | str, list[Box]] = {}
    for image, box, _ in file.objects:
        boxes.setdefault(image, []).append(box)
    return [Annotated(one.path, one.size, tuple(boxes.get(number, ()))) for number, one in file.images.items()]


def _outlined(file: Annotations) -> list[tuple[Annotated, list[Any]]]:
    outlines: dict[int | str, list[Any]] = {}
    boxes: dict[int | str, list[Box]] = {}
    for image, box, outline in file.objects:
        boxes.setdefault(image, []).append(box)
        outlines.setdefault(image, []).append(outline)
    return [
        (Annotated(one.path, one.size, tuple(boxes.get(number, ()))), outlines.get(number, []))
        for number, one in file.images.items()
    ]


# The file -------------------------------------------------------------------------------------------------------------


def _read(path: Path, kind: TargetKind) -> Annotations:
    content = _parsed(path, kind == "mask")
    wanted = ("images",) if kind == "none" else ("images", "annotations", "categories")
    for key in wanted:
        if not isinstance(content, Mapping) or not isinstance(content.get(key), list):
            raise DataError(f"'{shown_path(path)}' has no list '{key}', which COCO's files have")
    assert isinstance(content, Mapping)
    images = _images(content["images"], path)
    if kind == "none":
        return Annotations(path, images, {}, [])
    categories = _categories(content["categories"], path)
    places = {number: place for place, number in enumerate(categories)}
    objects = []
    for place, record in enumerate(content["annotations"]):
        where = _where(path, "annotation", place, record)
        image, category = _key(record, "image_id", where), record.get("category_id")
        if image not in images:
            raise DataError(f"{where}: there is no image {shown(image)}")
        if not _whole(category) or category not in places:
            raise DataError(f"{where}: there is no category {shown(category)}", hint=f"known: {listed(categories)}")
        crowd = record.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise DataError(f"{where}: iscrowd is {shown(crowd)}, 0 or 1 is expected")
        box = Box(_corners(record.get("bbox"), where), places[category], bool(crowd), where)
        objects.append((image, box, record.get("segmentation")))
    return Annotations(path, images, categories, objects)


def _parsed(path: Path, outlines: bool) -> object:
    raw = read_file(path, MOST_BYTES, DataError, what="annotation file")
    try:
        # outlines are most of a file, and take ten times as much memory once they are read
        return json.loads(raw, parse_constant=_refuse, object_hook=None if outlines else _without_outline)
    except (ValueError, RecursionError) as failure:  # UnicodeDecodeError is a ValueError
        words = "it is nested too deeply" if isinstance(failure, RecursionError) else shown(failure, 200)
        raise DataError(f"'{shown_path(path)}' is not valid JSON: {words}") from None


def _without_outline(record: dict[str, Any]) -> dict[str, Any]:
    record.pop("segmentation", None)
    return record


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _images(records: list[Any], path: Path) -> dict[int | str, Annotated]:
    images: dict[int | str, Annotated] = {}
    files: set[str] = set()
    find: Callable[[str], Path] | None = None
    for place, record in enumerate(records):
        where = _where(path, "image", place, record)
        number, name = _key(record, "id", where), record.get("file_name")
        if not isinstance(name, str) or Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
            raise DataError(f"{where}: file_name is {shown(name)}, a file below the folder of images is expected")
        if number in images or name in files:
            raise DataError(f"{where}: the {'number' if number in images else 'file'} is there twice")
        files.add(name)
        find = find or _finder(path, name, where)
        images[number] = Annotated(_found(find(name), where), _size(record, where))
    if not images:
        raise DataError(f"'{shown_path(path)}' has no images")
    return images


def _finder(path: Path, name: str, where: str) -> Callable[[str], Path]:
    """Where the images of a file are, by its first one."""
    homes = [path.parent.parent, path.parent] if path.parent.name == FOLDER else [path.parent]
    folders = [
        folder
        for home in homes
        for split in (path.stem.removeprefix(INSTANCES), path.stem)
        for folder in (home / split, home / "images" / split, home / "images", home)
    ]
    for folder in folders:
        if _is_file(folder / name):
            return partial(Path.__truediv__, folder)
    places = listed(dict.fromkeys(shown_path(folder) for folder in folders))
    raise DataError(f"{where}: there is no file '{shown(name)}' in any of {places}")


def _found(path: Path, where: str) -> Path:
    if not _is_file(path):
        raise DataError(f"{where}: there is no file '{shown_path(path)}'")
    return path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _categories(records: list[Any], path: Path) -> dict[int, str]:
    names: dict[int, str] = {}
    for place, record in enumerate(records):
        where = _where(path, "category", place, record)
        number, name = record.get("id"), record.get("name")
        if not _whole(number) or number in names or not isinstance(name, str):
            raise DataError(f"{where}: an id of its own and a name are expected, given {shown(record)}")
        names[number] = name
    if not names:
        raise DataError(f"'{shown_path(path)}' has no categories")
    return dict(sorted(names.items()))


# Values of a record ---------------------------------------------------------------------------------------------------


def _where(path: Path, what: str, place: int, record: object) -> str:
    """File and record, for messages.

    Raises:
        DataError: the record is no object.
    """
    where = f"'{shown_path(path)}', {what} {place}"
    if not isinstance(record, Mapping):
        raise DataError(f"{where} (from 0): a JSON object is expected, given {shown(record)}")
    return f"{where} (id {shown(record['id'], 20)})" if "id" in record else where


def _key(record: Mapping[str, Any], key: str, where: str) -> int | str:
    value = record.get(key)
    if isinstance(value, str) or _whole(value):
        return value
    raise DataError(f"{where}: {key} is {shown(value)}, a whole number is expected")


def _whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _size(record: Mapping[str, Any], where: str) -> Size:
    height, width = record.get("height"), record.get("width")
    if not _whole(height) or not _whole(width) or min(height, width) < 1:
        raise DataError(f"{where}: height and width are {shown(height)} and {shown(width)}, pixels are expected")
    try:
        check_pixels(height, width)
    except ValueError as failure:
        raise DataError(f"{where}: {failure}") from None
    return height, width


def _corners(box: object, where: str) -> tuple[float, float, float, float]:
    """Left, top, right and bottom from COCO's left, top, width and height."""
    if isinstance(box, list) and len(box) == 4 and all(isinstance(side, float) or _whole(side) for side in box):
        left, top, width, height = box
        try:
            corners = tuple(float(corner) for corner in (left, top, left + width, top + height))
        except OverflowError:
            corners = (float("inf"),)
        if all(map(isfinite, corners)) and max(map(abs, corners)) < 1e9:
            return corners  # type: ignore[return-value]
    raise DataError(f"{where}: bbox is {shown(box)}, [left, top, width, height] in pixels is expected")
