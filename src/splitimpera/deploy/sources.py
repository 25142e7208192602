"""Where the device half's inputs come from, by one word: the bundle's samples, files, a camera, standard input."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZipFile

import numpy as np

from splitimpera.bundle.entries import TENSOR_BYTES
from splitimpera.bundle.manifest import InputEntry
from splitimpera.bundle.opened import Bundle
from splitimpera.bundle.stored_targets import KEYS, read_targets
from splitimpera.bundle.task_entry import Responding
from splitimpera.core.array_types import Array, Row
from splitimpera.core.errors import DataError, listed, shown, shown_path
from splitimpera.deploy.image_sources import VIDEO_SUFFIXES, images_of, video_of
from splitimpera.deploy.sample_stream import Sample, Source
from splitimpera.deploy.user_source import made_by

MOST_BYTES = 4 << 30
"""Arrays of an `.npz` file are read into memory, and are no larger than this together."""
INPUTS = tuple(f"x{place}" for place in range(16))
"""What the inputs of a network with several are called."""
MEMBERS = ("x", *INPUTS, "near", *KEYS)
KINDS = "`samples`, a folder of images, .npy, .npz, file.py:factory, camera:0, a video, a data set's name or -"


def open_source(text: str, bundle: Bundle) -> Source:
    """The inputs that a word stands for.

    Args:
        text: `samples`; a folder of images, those of a class in a sub-folder of its name; an `.npy` file, or an `.npz`
            with x (x0, x1 and so on where the network has several inputs) and, where classes are known, y;
            `file.py:factory`; `camera:0` or a video file; `-`, which is `.npy` arrays on standard input; or the name
            of a data set of the design, whose test part is taken.

    Raises:
        DataError: there is no such thing, or it is not what the network takes.
    """
    wanted, classes, path = bundle.manifest.input, bundle.manifest.classes, Path(text)
    responding = bundle.manifest.responding
    if text == "samples":
        return _own(bundle, responding)
    if text == "-":
        if len(wanted.tensors) > 1:
            raise DataError(
                f"the network takes {len(wanted.tensors)} inputs, standard input has one",
                hint="give an .npz file with x0, x1 and so on, or file.py:factory",
            )
        return Source("standard input", _piped(sys.stdin.buffer, wanted), live=True)
    if re.fullmatch(r".+\.py:\w+", text):
        return made_by(text)
    if text.startswith("camera:") or path.suffix.lower() in VIDEO_SUFFIXES:
        return video_of(text, wanted)
    if path.is_dir():
        return images_of(path, wanted, classes)
    if path.suffix.lower() in (".npy", ".npz"):
        return _stored(path, responding)
    return _data_set(text, classes, responding)


def _own(bundle: Bundle, responding: Responding) -> Source:
    """The samples that the bundle has with it."""
    name = bundle.manifest.samples
    if name is None:
        raise DataError(
            "the bundle has no samples", where="samples", hint="export it with '--samples 200', or name another source"
        )
    return _arrays(_members(BytesIO(bundle.read(name)), name), "samples", responding)


def _stored(path: Path, responding: Responding) -> Source:
    try:
        if path.suffix.lower() == ".npz":
            return _arrays(_members(path, path.name), shown_path(path), responding)
        return _arrays({"x": np.load(path, mmap_mode="r", allow_pickle=False)}, shown_path(path), responding)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"the file '{shown_path(path)}' does not exist") from None
    except Exception as failure:  # readers of hostile files fail with more kinds of errors than are documented
        raise DataError(f"'{shown_path(path)}' cannot be read: {shown(failure, 200)}") from None


def _members(file: Path | BytesIO, name: str) -> dict[str, Array]:
    """The array x of an `.npz` file, or x0, x1 and so on, and those of targets."""
    try:
        with ZipFile(file) as archive:
            wanted = [one for one in archive.infolist() if one.filename.removesuffix(".npy") in MEMBERS]
            if sum(one.file_size for one in wanted) > MOST_BYTES:
                raise DataError(f"'{shown(name)}' holds more than {MOST_BYTES} bytes", hint="write x as .npy")
            if not any(one.filename in ("x.npy", "x0.npy") for one in wanted):
                there = listed(one.filename.removesuffix(".npy") for one in archive.infolist())
                raise DataError(f"'{shown(name)}' has {there}; x, and y where classes are known, are expected")
        if isinstance(file, BytesIO):
            file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in (one.filename.removesuffix(".npy") for one in wanted)}
    except DataError:
        raise
    except FileNotFoundError:
        raise
    except Exception as failure:
        raise DataError(f"'{shown(name)}' cannot be read: {shown(failure, 200)}") from None


def _arrays(arrays: dict[str, Array], name: str, responding: Responding) -> Source:
    inputs = {key: arrays[key] for key in ("x", *INPUTS) if key in arrays}
    x, y = next(iter(inputs.values())), arrays.get("y")
    for key, one in inputs.items():
        if one.dtype.kind not in "fiu" or not one.ndim:
            raise DataError(
                f"{key} is {one.dtype} of shape {one.shape}, numbers with one row a sample are expected", where=name
            )
        if len(one) != len(x):
            raise DataError(f"{key} has {len(one)} rows, {next(iter(inputs))} {len(x)}", where=name)
    if responding.names_classes and y is not None and (y.dtype.kind not in "iu" or y.shape != (len(x),)):
        raise DataError(f"y is {y.dtype} of shape {y.shape}, {len(x)} class indices are expected", where=name)
    targets = None if responding.targets == "none" else read_targets(arrays, len(x), name)
    for row, target in enumerate(targets or ()):
        if problem := responding.mistarget(target):
            raise DataError(f"sample {row} has {problem}", where=name)
    near = arrays.get("near")
    expected = tuple(responding.response[0].shape)
    if near is not None and (near.dtype.kind != "f" or near.shape != expected):
        raise DataError(f"near is {near.dtype} of shape {near.shape}, numbers {expected} are expected", where=name)
    return Source(name, _Rows(tuple(inputs.values()), targets, responding.labelled), len(x), near=near)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows of one array, or of several side by side, read when they are asked for."""

    inputs: tuple[Array, ...]
    targets: list[Row] | None
    labels: bool

    def __iter__(self) -> Iterator[Sample]:
        for row, given in enumerate(zip(*self.inputs, strict=True)):
            x = [np.asarray(one) for one in given] if len(given) > 1 else np.asarray(given[0])
            target = None if self.targets is None else self.targets[row]
            label = int(target[0]) if target is not None and self.labels else None
            yield Sample(x, row, label, target)


def _piped(stream: BinaryIO, wanted: InputEntry) -> Iterator[Sample]:
    """`.npy` arrays one after the other, each a frame, or frames along its first dimension."""
    numbers = count()
    while first := stream.read(1):
        shape, dtype = _header(stream, first)
        rows, frame = (1, shape) if _is_frame(shape, dtype, wanted) else (shape[0], shape[1:]) if shape else (1, shape)
        size = int(np.prod(frame, dtype=np.float64)) * dtype.itemsize
        if size > TENSOR_BYTES:
            raise DataError(f"a frame of shape {frame} is announced, which is larger than any", where="standard input")
        for _ in range(rows):
            data = stream.read(size)
            if len(data) < size:
                raise DataError("it ended in the middle of a frame", where="standard input")
            yield Sample(np.frombuffer(data, dtype).reshape(frame), next(numbers), None)


def _header(stream: BinaryIO, first: bytes) -> tuple[tuple[int, ...], np.dtype[Any]]:
    form = np.lib.format
    try:
        version = form.read_magic(BytesIO(first + stream.read(form.MAGIC_LEN - 1)))
        read = form.read_array_header_1_0 if version == (1, 0) else form.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except Exception as failure:
        raise DataError(f"no .npy array: {shown(failure, 200)}", where="standard input") from None
    if dtype.kind not in "fiu" or (fortran and len(shape) > 1):
        raise DataError(f"it has {dtype} in Fortran's order or of another kind", where="standard input")
    return shape, dtype


def _is_frame(shape: tuple[int, ...], dtype: np.dtype[Any], wanted: InputEntry) -> bool:
    """Whether an array is one frame: what the network takes, or an image of the same size."""
    spec = wanted.tensors[0]
    image = tuple(spec.shape[1:]) + tuple(spec.shape[:1])
    return shape == tuple(spec.shape) or (
        wanted.pixels is not None and dtype.kind == "u" and shape in (image, image[:2] if image[2:] == (1,) else image)
    )


def _data_set(name: str, classes: list[str], responding: Responding) -> Source:
    """The test part of a data set that a design knows by name."""
    if find_spec("torch") is None or find_spec("sklearn") is None:
        raise DataError(
            f"'{shown(name)}' is no file or folder; data sets by name need more than this machine has installed",
            hint=f"pip install 'split-et-impera[design]', or give {KINDS}",
        )
    # by name, so that no import contract and no installer takes them for something that a device needs
    datasets: Any = import_module("splitimpera.models.datasets")
    scenario: Any = import_module("splitimpera.scenario")
    if not datasets.is_source(name, Path()):
        raise DataError(f"'{shown(name)}' is no source", hint=f"give {KINDS}")
    data = datasets.load_data(scenario.DataSection(source=name), Path(), responding.given_targets)
    names = {known: place for place, known in enumerate(classes)}
    places = [names.get(known) for known in data.classes] if classes and data.classes else None

    def samples() -> Iterable[Sample]:
        row = 0
        for batch in data.test.batches(32):
            for given in zip(*data.test.tensors(batch), strict=True):
                x = [one.numpy() for one in given] if len(given) > 1 else given[0].numpy()
                yield _of_data_set(x, row, data.test, places, responding)
                row += 1

    return Source(name, _Again(samples), len(data.test))


def _of_data_set(
    x: Array | list[Array], row: int, part: Any, places: list[int | None] | None, responding: Responding
) -> Sample:
    """A sample; of a class that the bundle calls by another number that one, none where it has no such class."""
    if not part.labelled:
        target: Row | None = part.targets.rows([row])[0] or None
        if target is not None and (problem := responding.mistarget(target)):
            raise DataError(f"sample {row} of the data set has {problem}")
        return Sample(x, row, None, target)
    label = int(part.labels[row])
    known = label if places is None else places[label]
    return Sample(x, row, known, None if known is None else (np.array(known),))


@dataclass(frozen=True)
class _Again:
    """Samples that are made anew whenever somebody goes through them."""

    samples: Any

    def __iter__(self) -> Iterator[Sample]:
        yield from self.samples()
