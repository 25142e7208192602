"""Images of one size packed into files: IDX (MNIST and its like, gzipped too) and CIFAR's binary batches.

The files are hostile until they are read: what a header claims, or a file's size, is compared with what there is before
anything is made of it. Files that are not compressed are mapped into memory.
"""

from __future__ import annotations

import gzip
import mmap
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from splitimpera.core.array_types import Array
from splitimpera.core.errors import DataError, listed, shown, shown_path
from splitimpera.core.files import open_file, read_file
from splitimpera.models.numbers import check_elements
from splitimpera.models.stored_arrays import CHUNK_BYTES, StoredArray

IDX_NAME = re.compile(r"(?:.*[-_.])?(train|t10k|test|val|validation)[-_.](images|labels)[-_.]idx\d[-_.]ubyte(?:\.gz)?")
IDX_PARTS = {"t10k": "test", "val": "validation"}
UNSIGNED_BYTES = 0x08
MOST_DIMENSIONS = 4
SIDE, COLOURS = 32, 3
LONGEST_NAMES = 1 << 16


@dataclass(frozen=True)
class Batches:
    """How one of the two sets of CIFAR lies in its files (A. Krizhevsky, 2009; the binary version).

    Attributes:
        files: Name of each part's files.
        label_bytes: How many bytes of labels each image begins with; the last one counts.
        names: The file with the classes' names.
    """

    files: Mapping[str, re.Pattern[str]]
    label_bytes: int
    classes: int
    names: str

    @property
    def record_bytes(self) -> int:
        return self.label_bytes + COLOURS * SIDE * SIDE


CIFAR = {
    "CIFAR-10": Batches(
        {"train": re.compile(r"data_batch_\d+\.bin"), "test": re.compile(r"test_batch\.bin")},
        1,
        10,
        "batches.meta.txt",
    ),
    "CIFAR-100": Batches(
        {"train": re.compile(r"train\.bin"), "test": re.compile(r"test\.bin")}, 2, 100, "fine_label_names.txt"
    ),
}


@dataclass(frozen=True, eq=False)
class Packed:
    """What was found in a folder.

    Attributes:
        parts: Images (N, H, W, C) of 8 bits in one or several files, and their labels (N,) where these are wanted, by
            "train", "validation" and "test".
        classes: Their names; empty where the files have none.
    """

    parts: dict[str, tuple[list[StoredArray], Array | None]]
    classes: tuple[str, ...]


def is_packed(place: Path) -> bool:
    """Whether a folder has such files right in it."""
    try:
        names = {path.name for path in place.iterdir()} if place.is_dir() else set()
    except (OSError, ValueError):
        return False
    return any(map(IDX_NAME.fullmatch, names)) or _cifar(names) is not None


def read_packed(place: Path, labels: bool = True) -> Packed:
    """The images and labels of a folder; images of files that are not compressed are not read yet.

    Args:
        labels: Whether they are wanted; IDX files of labels may be missing then.

    Raises:
        DataError: a file is damaged, or one is missing.
    """
    names = sorted(path.name for path in place.iterdir())
    batches = _cifar(names)
    return _idx(place, names, labels) if batches is None else _of_cifar(place, names, batches)


# IDX ------------------------------------------------------------------------------------------------------------------


def _idx(place: Path, names: Sequence[str], labelled: bool) -> Packed:
    found: dict[str, dict[str, Path]] = {}
    for name in names:
        match = IDX_NAME.fullmatch(name)
        if match is None:
            continue
        part, role = IDX_PARTS.get(match[1], match[1]), match[2]
        other = found.setdefault(part, {}).setdefault(role, place / name)
        if other.name != name:
            raise DataError(f"'{shown_path(place)}' has two files of {role} of '{part}': {listed([other.name, name])}")
    parts: dict[str, tuple[list[StoredArray], Array | None]] = {}
    for part, files in found.items():
        missing = [role for role in ("images", "labels") if role not in files]
        if missing and (labelled or "images" in missing):
            raise DataError(f"'{shown_path(place)}' has no {missing[0]} of '{part}'")
        if not labelled:
            parts[part] = [_images(_idx_array(files["images"]), files["images"])], None
            continue
        images, labels = (_idx_array(files[role]) for role in ("images", "labels"))
        if images.array.ndim not in (3, 4) or labels.array.ndim != 1 or len(images) != len(labels):
            raise DataError(
                f"'{shown_path(files['images'])}' has the shape {images.array.shape} and "
                f"'{files['labels'].name}' {labels.array.shape}; (N, height, width) and (N,) are expected"
            )
        parts[part] = [_images(images, files["images"])], np.array(labels.array)
    return Packed(parts, ())


def _images(stored: StoredArray, path: Path) -> StoredArray:
    """With a dimension of channels, if they come without."""
    if stored.array.ndim not in (3, 4):
        raise DataError(f"'{shown_path(path)}' has the shape {stored.array.shape}; (N, height, width) is expected")
    return StoredArray(stored.array if stored.array.ndim == 4 else stored.array[..., None], stored.name, stored.mapped)


def _idx_array(path: Path) -> StoredArray:
    name = f"the inputs in '{shown_path(path)}'"
    with open_file(path, DataError, what="IDX file") as file:
        if path.suffix != ".gz":
            shape, begin = _idx_header(file.read, path)
            size = os.fstat(file.fileno()).st_size
            _check_size(size - begin, shape, path)
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return StoredArray(np.ndarray(shape, np.uint8, mapped, begin), name, mapped)
        with _telling(path), gzip.open(file) as content:
            shape, _ = _idx_header(content.read, path)
            check_elements(prod(shape), shape, f"'{shown_path(path)}'")
            data = _at_most(content.read, prod(shape) + 1)
            _check_size(len(data), shape, path)
            return StoredArray(np.frombuffer(data, np.uint8).reshape(shape), name)


def _idx_header(read: Callable[[int], bytes], path: Path) -> tuple[tuple[int, ...], int]:
    """The shape of an IDX file's array, and where it begins."""
    magic = read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != UNSIGNED_BYTES or not 1 <= magic[3] <= MOST_DIMENSIONS:
        raise DataError(
            f"'{shown_path(path)}' is no IDX file of bytes: it begins with {magic.hex(' ') or 'nothing'}",
            hint="00 00 08 and the number of dimensions are expected",
        )
    sizes = read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"'{shown_path(path)}' ends in its header")
    shape = struct.unpack(f">{magic[3]}I", sizes)
    if not prod(shape):  # the other sides may then be any
        raise DataError(f"'{shown_path(path)}' has the shape {shape}: there is nothing in it")
    return shape, 4 + len(sizes)


def _check_size(found: int, shape: Sequence[int], path: Path) -> None:
    if found != prod(shape):
        raise DataError(
            f"'{shown_path(path)}' claims the shape {tuple(shape)}, for which it is too "
            f"{'small' if found < prod(shape) else 'large'}"
        )


def _at_most(read: Callable[[int], bytes], count: int) -> bytearray:
    """So many bytes, or as many as there are: no more memory than there is content."""
    content = bytearray()
    while len(content) < count and (some := read(min(CHUNK_BYTES, count - len(content)))):
        content += some
    return content


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as failure:  # what gzip says of damaged files
        raise DataError(f"'{shown_path(path)}' cannot be unpacked: {shown(str(failure), 200)}") from None


# CIFAR ----------------------------------------------------------------------------------------------------------------


def _cifar(names: Sequence[str] | set[str]) -> Batches | None:
    for batches in CIFAR.values():
        if all(any(map(pattern.fullmatch, names)) for pattern in batches.files.values()):
            return batches
    return None


def _of_cifar(place: Path, names: Sequence[str], batches: Batches) -> Packed:
    parts: dict[str, tuple[list[StoredArray], Array | None]] = {}
    for part, pattern in batches.files.items():
        read = [_batch(place / name, batches) for name in names if pattern.fullmatch(name)]
        parts[part] = [images for images, _ in read], np.concatenate([labels for _, labels in read])
    classes = _class_names(place / batches.names, batches.classes) if batches.names in names else ()
    return Packed(parts, classes)


def _batch(path: Path, batches: Batches) -> tuple[StoredArray, Array]:
    with open_file(path, DataError, what="batch of images") as file:
        size, record = os.fstat(file.fileno()).st_size, batches.record_bytes
        if not size or size % record:
            raise DataError(
                f"'{shown_path(path)}' ends in its record {size // record} (from 0), "
                f"after {size % record} of {record} bytes"
            )
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    records: Array = np.ndarray((size // record, record), np.uint8, mapped)
    labels = np.array(records[:, batches.label_bytes - 1])
    if labels.max() >= batches.classes:
        at = int(np.argmax(labels >= batches.classes))
        raise DataError(
            f"record {at} (from 0) of '{shown_path(path)}' has the label {labels[at]}, there are "
            f"{batches.classes} classes"
        )
    planes = np.lib.stride_tricks.as_strided(
        records[:, batches.label_bytes :],
        (len(records), SIDE, SIDE, COLOURS),
        (record, SIDE, 1, SIDE * SIDE),
        writeable=False,
    )
    return StoredArray(planes, f"the inputs in '{shown_path(path)}'", mapped), labels


def _class_names(path: Path, count: int) -> tuple[str, ...]:
    text = read_file(path, LONGEST_NAMES, DataError, what="file of class names").decode(errors="replace")
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(names) != count:
        raise DataError(f"'{shown_path(path)}' has {len(names)} names, there are {count} classes")
    return names
