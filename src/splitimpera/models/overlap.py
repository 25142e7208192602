"""Whether parts of a data set share samples: what is tested must not have been seen."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from splitimpera.core.array_types import Array
from splitimpera.core.errors import DataError, SplitImperaWarning, shown_path
from splitimpera.core.files import open_file, reason
from splitimpera.models.image_files import MOST_FILE_BYTES
from splitimpera.models.image_sets import ImageFiles
from splitimpera.models.items import Items, identity
from splitimpera.models.pixels import Normalised, NormalisedSeveral
from splitimpera.models.samples import Beside, InMemory, Samples, Some, Source
from splitimpera.models.stored_arrays import StoredArray
from splitimpera.models.wave_folders import WaveFiles

MOST_SHARED = 0.01
"""Share of a part that may be identical to samples of others: duplicates happen, what leaks is more."""
MIDDLE_ELEMENTS = 64
BEGIN_BYTES = 4096

FILES = (ImageFiles, WaveFiles)
Key = Callable[[int], bytes]
"""A row -> what is equal where another row is; at most 48 bytes."""


def check_disjoint(parts: Mapping[str, Samples]) -> None:
    """Refuse parts that share a file, an item of one dataset, or more than 1 % of a part's inputs.

    Inputs are compared in memory, in mapped arrays and as files; items of map-style datasets by their indices alone.

    Raises:
        DataError: they overlap; fewer identical inputs are a warning.
    """
    sizes = {part: len(samples) for part, samples in parts.items()}
    sources = {part: _base(samples.source) for part, samples in parts.items() if sizes[part]}

    def counted(shared: Mapping[str, int]) -> str:
        return ", ".join(f"{count} of {sizes[part]} samples of '{part}'" for part, count in shared.items() if count)

    for kind in (Items, *FILES):
        shared = _shared({part: base for part, base in sources.items() if isinstance(base[0], kind)}, _identity)
        if any(shared.values()):
            raise DataError(
                f"the parts overlap: {counted(shared)} are the same {'item' if kind is Items else 'file'} as one of "
                "another part",
                hint="leave each sample in one part",
            )
    alike: dict[str, int] = {}
    for compared in (_is_files, _is_array):
        alike |= _shared({part: base for part, base in sources.items() if compared(base[0])}, _contents)
    text = f"{counted(alike)} are identical to samples of another part"
    if any(count > MOST_SHARED * sizes[part] for part, count in alike.items()):
        raise DataError(f"the parts overlap: {text}", hint="leave each sample in one part")
    if any(alike.values()):
        warnings.warn(f"the parts of the data overlap: {text}", SplitImperaWarning, stacklevel=2)


def _base(source: Source) -> tuple[Source, Array]:
    """What inputs are read from in the end, and which rows there."""
    rows = torch.arange(len(source))
    while isinstance(source, (Some, Normalised, NormalisedSeveral)):
        if isinstance(source, Some):
            rows, source = source.rows[rows], source.source
        else:
            source = source.images
    return source, rows.numpy()


def _shared(bases: Mapping[str, tuple[Source, Array]], looks: Callable[[Source], Sequence[Key]]) -> dict[str, int]:
    """How many samples of each part are in another, too. What one key does not tell apart the next one looks at."""
    if len(bases) < 2:
        return {}
    keys = {part: looks(source) for part, (source, _) in bases.items()}
    left = {part: rows for part, (_, rows) in bases.items()}
    for stage in range(len(next(iter(keys.values())))):
        found = {part: np.array([*map(keys[part][stage], rows.tolist())], "S48") for part, rows in left.items()}
        values, owners = np.unique(np.concatenate([np.unique(some) for some in found.values()]), return_counts=True)
        shared = values[owners > 1]
        left = {part: rows[np.isin(found[part], shared)] for part, rows in left.items()}
    return {part: len(rows) for part, rows in left.items()}


def _identity(source: Source) -> list[Key]:
    if isinstance(source, Items):
        return [partial(identity, source.dataset)]
    assert isinstance(source, FILES)
    return [lambda row: _of_file(source.paths[row], "%d %d", "st_dev", "st_ino")]


def _contents(source: Source) -> list[Key]:
    if isinstance(source, FILES):
        return [
            lambda row: _of_file(source.paths[row], "%d", "st_size"),
            lambda row: _of_content(source.paths[row], BEGIN_BYTES),
            lambda row: _of_content(source.paths[row], MOST_FILE_BYTES),
        ]
    if isinstance(source, Beside):
        of_inputs = [_contents(each) for each in source.sources]
        return [partial(_of_all, stage) for stage in zip(*of_inputs, strict=True)]
    if isinstance(source, InMemory):
        # NumPy does not know bfloat16, whose bytes are all that counts
        tensor = source.tensor.view(torch.int16) if source.tensor.dtype == torch.bfloat16 else source.tensor
        array = tensor.numpy()
    else:
        assert isinstance(source, StoredArray)
        array = source.array
    return [lambda row: _digest(_middle(array[row])), lambda row: _digest(array[row])]


def _of_all(looks: Sequence[Key], row: int) -> bytes:
    """What is equal where several inputs are."""
    return hashlib.blake2b(b"".join(look(row) for look in looks), digest_size=16).hexdigest().encode()


def _is_files(source: Source) -> bool:
    return isinstance(source, FILES)


def _is_array(source: Source) -> bool:
    if isinstance(source, Beside):
        return all(isinstance(each, (InMemory, StoredArray)) for each in source.sources)
    return isinstance(source, (InMemory, StoredArray))


def _of_file(path: Path, text: str, *fields: str) -> bytes:
    try:
        found = path.stat()
    except OSError as failure:
        raise DataError(f"the file '{shown_path(path)}' cannot be read: {reason(failure)}") from None
    return (text % tuple(getattr(found, field) for field in fields)).encode()


def _of_content(path: Path, most_bytes: int) -> bytes:
    with open_file(path, DataError, what="file", most_bytes=MOST_FILE_BYTES) as file:
        return hashlib.blake2b(file.read(most_bytes), digest_size=16).hexdigest().encode()


def _middle(values: Array) -> Array:
    """A few values in the middle, which are read fast."""
    while values.ndim > 1 and values[0].size >= MIDDLE_ELEMENTS:
        values = values[len(values) // 2]
    begin = max(0, (len(values) - MIDDLE_ELEMENTS) // 2) if values.ndim else 0
    return values[begin : begin + MIDDLE_ELEMENTS] if values.ndim else values


def _digest(values: Array) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(values).tobytes(), digest_size=16).hexdigest().encode()
