"""Pascal VOC's folders: an XML file of boxes an image, and masks by palette index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers.expat import ExpatError, ParserCreate

from splitimpera.core.bounds import check_pixels
from splitimpera.core.errors import DataError, listed, shown, shown_path
from splitimpera.core.files import read_file
from splitimpera.models.annotated import Annotated, Box, Size, annotated_listing
from splitimpera.models.class_folders import entries, unlabelled_listing
from splitimpera.models.file_sets import Listing, held_out
from splitimpera.models.mask_files import class_names_in
from splitimpera.models.mask_folders import by_stem, masked
from splitimpera.models.targets import check_kind
from splitimpera.tasks.task import TargetKind

IMAGES, BOXES, MASKS, LISTS = "JPEGImages", "Annotations", "SegmentationClass", "ImageSets"
MOST_BYTES = 10_000_000
MOST_LIST_BYTES = 100_000_000
MOST_LEVELS = 20
CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class _Object:
    name: str
    corners: tuple[float, float, float, float]
    difficult: bool
    where: str


def is_voc(place: Path) -> bool:
    """Whether a folder is laid out so."""
    try:
        return (place / IMAGES).is_dir() and ((place / BOXES).is_dir() or (place / MASKS).is_dir())
    except (OSError, ValueError):
        return False


def list_voc(place: Path, kind: TargetKind, size: Size | None, skip: bool) -> Listing:
    """The images of a folder with `JPEGImages`, and what `Annotations` or `SegmentationClass` expects of them.

    Which belong to which part `ImageSets/Main` says, or `ImageSets/Segmentation` for masks, if there are such lists.
    Coordinates are pixels that count from 1, both ends inside: a box covers `xmin - 1` to `xmax`, `ymin - 1` to `ymax`.
    Objects that are `difficult` do not count. Classes are those that `classes.txt` lists, or all names in alphabetical
    order.

    Args:
        size: Height and width that images are resized to; None: they are not.
        skip: Whether faulty boxes are left out.

    Raises:
        DataError: a file is malformed, or an image is missing.
    """
    has: dict[TargetKind, str] = {"boxes": BOXES, "mask": MASKS}
    check_kind(kind, f"'{shown_path(place)}'", *(known for known, name in has.items() if (place / name).is_dir()))
    images = by_stem(place / IMAGES)
    lists = _lists(place / LISTS / ("Segmentation" if kind == "mask" else "Main"))
    if kind == "none":
        parts = held_out(lists or {"": [*images]})
        return unlabelled_listing(
            place, {part: [_image(images, name, place) for name in names] for part, names in parts.items()}, "images"
        )
    folder, suffix = (place / MASKS, ".png") if kind == "mask" else (place / BOXES, ".xml")
    lists = lists or {"": [path.stem for path in entries(folder) if path.suffix.lower() == suffix]}
    if not any(lists.values()):
        raise DataError(f"the folder '{shown_path(folder)}' has no {suffix} files")
    if kind == "mask":
        pairs = {
            part: [(_image(images, name, place), folder / f"{name}.png") for name in names]
            for part, names in held_out(lists).items()
        }
        return masked(pairs, class_names_in(place), size)
    found = {part: [_record(folder / f"{name}.xml") for name in names] for part, names in lists.items()}
    names = class_names_in(place, ["classes.txt"]).names or tuple(
        sorted({one.name for records in found.values() for _, objects in records for one in objects})
    )
    labels = {name: label for label, name in enumerate(names)}
    given = {
        part: [
            Annotated(_image(images, name, place), size, _boxes(objects, labels))
            for name, (size, objects) in zip(lists[part], records, strict=True)
        ]
        for part, records in found.items()
    }
    return annotated_listing(given, names, kind, size, skip)


def _lists(folder: Path) -> dict[str, list[str]]:
    """The names of each part's images; empty where there are no lists."""
    files = {"train": "train", "validation": "val", "test": "test"}
    if not (folder / "train.txt").is_file():
        files["train"] = "trainval"
    if not (folder / "val.txt").is_file() and (folder / "trainval.txt").is_file():
        files["train"] = "trainval"
    return {part: _names(folder / f"{name}.txt") for part, name in files.items() if (folder / f"{name}.txt").is_file()}


def _names(path: Path) -> list[str]:
    text = read_file(path, MOST_LIST_BYTES, DataError, what="list of images").decode(errors="replace")
    names = {}
    for number, line in enumerate(text.splitlines(), 1):
        name = line.split()[0] if line.split() else ""
        if name in names or "\0" in name or (name and Path(name).name != name):
            why = "is there twice" if name in names else "is no name of a file"
            raise DataError(f"'{shown_path(path)}', line {number}: '{shown(name)}' {why}")
        if name:
            names[name] = number
    return [*names]


def _image(images: Mapping[str, Path], name: str, place: Path) -> Path:
    if name not in images:
        raise DataError(f"there is no image '{shown(name)}' in '{shown_path(place / IMAGES)}', which the others name")
    return images[name]


def _boxes(objects: Sequence[_Object], labels: Mapping[str, int]) -> tuple[Box, ...]:
    for one in objects:
        if one.name not in labels:
            raise DataError(f"{one.where}: there is no class '{shown(one.name)}'", hint=f"known: {listed(labels)}")
    return tuple(Box(one.corners, labels[one.name], one.difficult, one.where) for one in objects)


# The XML file ---------------------------------------------------------------------------------------------------------


def _record(path: Path) -> tuple[Size, list[_Object]]:
    """The size of an image, and its objects."""
    root = _parsed(path)
    where = f"'{shown_path(path)}'"
    size = root.find("size")
    height, width = (_number(None if size is None else size.find(key), key, where) for key in ("height", "width"))
    if min(height, width) < 1 or height % 1 or width % 1:
        raise DataError(f"{where}: height and width are {height:g} and {width:g}, pixels are expected")
    try:
        check_pixels(int(height), int(width))
    except ValueError as failure:
        raise DataError(f"{where}: {failure}") from None
    objects = [_object(one, f"{where}, object {place} (from 0)") for place, one in enumerate(root.findall("object"))]
    return (int(height), int(width)), objects


def _object(element: Element, where: str) -> _Object:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise DataError(f"{where}: it has no name")
    box = element.find("bndbox")
    left, top, right, bottom = (_number(None if box is None else box.find(key), key, where) for key in CORNERS)
    difficult = (element.findtext("difficult") or "0").strip()
    if difficult not in ("0", "1"):
        raise DataError(f"{where}: difficult is '{shown(difficult)}', 0 or 1 is expected")
    return _Object(name, (left - 1, top - 1, right, bottom), difficult == "1", where)


def _number(element: Element | None, key: str, where: str) -> float:
    text = "" if element is None else (element.text or "").strip()
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e9:
        given = f"is '{shown(text)}'" if text else "is missing"
        raise DataError(f"{where}: {key} {given}, a number of pixels is expected")
    return value


def _parsed(path: Path) -> Element:
    """The root of an XML file. Document types are refused, and with them entities, which may grow without bounds.

    Raises:
        DataError: it is malformed, or no annotation.
    """
    content = read_file(path, MOST_BYTES, DataError, what="annotation file")
    builder, parser, level = TreeBuilder(), ParserCreate(), 0

    def begin(tag: str, attributes: dict[str, str]) -> None:
        nonlocal level
        level += 1
        if level > MOST_LEVELS:
            raise DataError(f"'{shown_path(path)}' is nested more than {MOST_LEVELS} levels deep")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal level
        level -= 1
        builder.end(tag)

    def refuse(*declaration: object) -> None:
        raise DataError(f"'{shown_path(path)}' declares a document type, which annotations do not need")

    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except (ExpatError, ValueError, LookupError) as failure:  # encodings that are not known, or not true
        raise DataError(f"'{shown_path(path)}' is not valid XML: {shown(str(failure), 200)}") from None
    root = builder.close()
    if root.tag != "annotation":
        raise DataError(f"'{shown_path(path)}' begins with <{shown(root.tag)}>, <annotation> is expected")
    return root
