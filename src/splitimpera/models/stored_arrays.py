"""Arrays in `.npz` files and folders of `.npy` files, mapped into memory where they can be.

The files are hostile until they are read: nothing is unpickled, and what a header claims is compared with what there is
before anything is made of it.
"""

from __future__ import annotations

import mmap
import os
import struct
import warnings
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from splitimpera.core.array_types import Array, Row
from splitimpera.core.errors import DataError, SplitImperaWarning, listed, shown, shown_path
from splitimpera.core.files import open_file
from splitimpera.models.numbers import KINDS, as_numbers, check_amount, check_elements, finite_inputs
from splitimpera.models.samples import indices
from splitimpera.models.targets import Read, Rows, check_masks, targets_of
from splitimpera.tasks.task import TargetKind

MOST_INPUTS = 16
"""How many inputs a network may have whose arrays are known by their names: x0 to x15."""
ROLES = {"x": "inputs", "inputs": "inputs", "y": "labels", "labels": "labels", "targets": "labels"}
ROLES |= {f"{name}{place}": f"inputs {place}" for place in range(MOST_INPUTS) for name in ("x", "inputs")}
PART_NAMES = {"": "", "train": "train", "validation": "validation", "val": "validation", "test": "test"}
NAMES = {
    name: (PART_NAMES[part], ROLES[role])
    for part, role in product(PART_NAMES, ROLES)
    for name in ((f"{role}_{part}", f"{part}_{role}") if part else (role,))
}
"""What an array is, by its name: "x", "labels", "x_train", "val_y"; "x0" and "train_x1" of a network with several
inputs."""
HEADER_BYTES = 10_000
CHUNK_BYTES = 1 << 24


@dataclass(frozen=True, eq=False)
class StoredArray:
    """Inputs from an array (N, ...) in a file; images (N, H, W, C) of 8 or 16 bits as they are.

    Attributes:
        mapped: what the array is mapped from, where we have mapped it ourselves.
    """

    array: Array
    name: str
    mapped: mmap.mmap | None = None

    def __len__(self) -> int:
        return len(self.array)

    def read(self, rows: Rows) -> Tensor:
        """Read some rows.

        Raises:
            DataError: they contain NaN or infinite values, or are too many.
        """
        which = rows if isinstance(rows, slice) else indices(rows, len(self)).numpy()
        check_amount(len(indices(rows, len(self))), self.array.shape[1:])
        x = as_numbers(self.array[which], self.name)
        if self.mapped is not None:
            with suppress(AttributeError, OSError):  # what was read need not stay in this process's memory
                self.mapped.madvise(mmap.MADV_DONTNEED)
        image = x.ndim == 4 and self.array.dtype.kind == "u" and self.array.itemsize <= 2
        return x if image else finite_inputs(x, self.name)


Stored = StoredArray | Array
"""An array in a file; in memory where it cannot be mapped."""


def is_stored(place: Path) -> bool:
    """Whether it is an `.npz` file, or a folder with `.npy` files of such names right in it."""
    try:
        if place.suffix.lower() == ".npz":
            return place.is_file()
        return place.is_dir() and any(map(_is_known, place.iterdir()))
    except (OSError, ValueError):
        return False


def read_stored(place: Path, labels: bool = True) -> dict[str, tuple[Stored | tuple[Stored, ...], Stored | None]]:
    """Inputs and labels of each part; of '' where there are no parts. What cannot be mapped is read.

    The inputs of a network with several, called x0, x1 and so on, are a tuple.

    Args:
        labels: Whether they are wanted; if not they are left alone, and None stands for them.

    Raises:
        DataError: the file is damaged, or arrays are missing, or are no numbers.
    """
    wanted = {name for name, (_, role) in NAMES.items() if labels or role != "labels"}
    found: dict[str, dict[str, Stored]] = {}
    for name, array in (_npz if place.suffix.lower() == ".npz" else _folder)(place, wanted):
        part, role = NAMES[name]
        if role in found.setdefault(part, {}):
            raise DataError(f"'{shown_path(place)}' has two arrays of {role}{f' of {part!r}' if part else ''}")
        found[part][role] = array
    if not found:
        raise DataError(
            f"'{shown_path(place)}' has no arrays that are known by their names",
            hint="call them x and y, or x_train, y_train, x_validation, y_validation, x_test and y_test; of a network "
            "with several inputs x0, x1 and so on in place of x",
        )
    if "" in found and len(found) > 1:
        raise DataError(f"'{shown_path(place)}' has arrays of parts, and others besides: {listed(found[''])}")
    several = sorted({role for arrays in found.values() for role in arrays} - {"inputs", "labels"}, key=_place)
    roles = [f"inputs {place}" for place in range(_place(several[-1]) + 1)] if several else ["inputs"]
    for part, arrays in found.items():
        whose = f" of {part!r}" if part else ""
        if several and "inputs" in arrays:
            raise DataError(
                f"'{shown_path(place)}' has inputs{whose}, and {several[0]} besides",
                hint="call them x where the network has one input, else x0, x1 and so on",
            )
        missing = [role for role in (*roles, *(["labels"] if labels else [])) if role not in arrays]
        if missing:
            raise DataError(f"'{shown_path(place)}' has no {missing[0]}{whose}")
    return {
        part: (tuple(arrays[role] for role in roles) if several else arrays["inputs"], arrays.get("labels"))
        for part, arrays in found.items()
    }


def _place(role: str) -> int:
    """Which of several inputs an array is."""
    return int(role.removeprefix("inputs "))


def stored_targets(stored: Stored | None, kind: TargetKind, name: str) -> object:
    """Targets as `targets_of` takes them: class labels in memory, others read when they are asked for.

    Raises:
        DataError: they are seen to be no targets of this kind.
    """
    if not isinstance(stored, StoredArray):
        return stored
    array = stored.array
    if kind == "class":
        check_elements(array.size, array.shape, "the labels")
        return np.array(array)
    if kind == "mask":
        check_masks(array.ndim == 3 and array.dtype.kind in "iu", name, f"{array.dtype} of shape {array.shape}")

    def read(number: int) -> Row:
        row = targets_of(np.array(array[number : number + 1]), kind, 1, f"{name}, row {number},")
        return row.rows([0])[0]

    return Read(read, torch.arange(len(array)))


def _folder(folder: Path, wanted: Collection[str]) -> Iterator[tuple[str, StoredArray]]:
    for path in sorted(folder.iterdir()):
        if _is_known(path) and path.stem.lower() in wanted:
            with open_file(path, DataError, what="array") as file, _telling(path):
                yield path.stem.lower(), _mapped(file, 0, os.fstat(file.fileno()).st_size, path)


def _is_known(path: Path) -> bool:
    return path.suffix.lower() == ".npy" and path.stem.lower() in NAMES


def _npz(path: Path, wanted: Collection[str]) -> Iterator[tuple[str, Stored]]:
    with open_file(path, DataError, what="file of arrays") as file, _telling(path):
        archive = zipfile.ZipFile(file)
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy").lower()
            if name not in wanted:
                continue
            if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
                begin = _begin(file, info)
                yield name, _mapped(file, begin, begin + info.file_size, path, name)
                continue
            warnings.warn(
                f"'{name}' in '{shown_path(path)}' is compressed and is read into memory as a whole; "
                "`numpy.savez` writes files that need not be",
                SplitImperaWarning,
                stacklevel=2,
            )
            with archive.open(info) as member:
                yield name, _read(member, path, name)


def _begin(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Where the content of a stored member begins."""
    file.seek(info.header_offset)
    header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\3\4":
        raise ValueError(f"the member '{info.filename}' is not where the directory says")
    name, extra = struct.unpack("<HH", header[26:])
    return info.header_offset + 30 + int(name) + int(extra)


def _mapped(file: BinaryIO, begin: int, end: int, path: Path, name: str = "") -> StoredArray:
    file.seek(begin)
    shape, fortran, dtype = _header(file)
    start = file.tell()
    size = os.fstat(file.fileno()).st_size
    if start + prod(shape) * dtype.itemsize > min(end, size):
        raise ValueError(f"it claims the shape {shown(shape)} of {dtype}, for which it is too small")
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    array: Array = np.ndarray(shape, dtype, mapped, start, order="F" if fortran else "C")
    place = f"'{shown_path(path)}'"
    return StoredArray(array, f"the inputs '{name}' in {place}" if name else f"the inputs in {place}", mapped)


def _read(member: Any, path: Path, name: str) -> Array:
    shape, fortran, dtype = _header(member)
    check_elements(prod(shape), shape, f"'{name}' in '{shown_path(path)}'")
    wanted, content = prod(shape) * dtype.itemsize, bytearray()
    while len(content) < wanted:  # no more memory than there is content, whatever the header claims
        some = member.read(min(CHUNK_BYTES, wanted - len(content)))
        if not some:
            raise ValueError(f"it claims the shape {shown(shape)} of {dtype}, for which it is too small")
        content += some
    member.read(1)  # the checksum is compared at the end
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"version {version[0]}.{version[1]} of the format is for records, an array is expected")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=HEADER_BYTES)
    if dtype.kind not in "fiu":
        raise ValueError(f"it has {KINDS.get(dtype.kind, str(dtype))}, numbers are expected")
    if not shape or min(shape) < 0:
        raise ValueError(f"it has the shape {shown(shape)}, one row a sample is expected")
    return shape, fortran, dtype


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as failure:  # readers of hostile files fail with more kinds of errors than are documented
        words = (str(failure).splitlines() or [type(failure).__name__])[0]
        raise DataError(f"'{shown_path(path)}' cannot be read: {shown(words, 200)}") from None
