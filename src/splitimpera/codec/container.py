"""Files that say by themselves how to read them: the codec's constants, then the payloads of any number of frames.

Little endian: the magic number, the version (2 bytes), the header's length (4 bytes), the header as JSON, the values of
the constants, the payloads. Over a link none of this is sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from splitimpera.codec.constants import Constants
from splitimpera.codec.given import checked_bytes, checked_specs
from splitimpera.core.array_types import Array
from splitimpera.core.errors import CodecError, shown
from splitimpera.records.graph import TensorSpec

MAGIC = b"SEIfile\0"
VERSION = 1
START_BYTES = len(MAGIC) + 6
HEADER_LIMIT_BYTES = 1 << 20
SIDE_LIMIT = 1 << 32
DTYPES = ("<f4", "<f8", "<u4", "|u1")


@dataclass(frozen=True, eq=False)
class Container:
    """Frames, and what is needed to read them: `registry.codec_from(constants, expected)` decodes each payload."""

    constants: Constants
    payloads: tuple[bytes, ...]


def write_container(container: Container) -> bytes:
    """Raises CodecError for so many frames that the header is too long; put them into several files."""
    header = container.constants.described() | {"frames": [len(payload) for payload in container.payloads]}
    text = json.dumps(header, separators=(",", ":")).encode()
    if len(text) > HEADER_LIMIT_BYTES:
        raise CodecError(f"{len(container.payloads)} frames need a header of {len(text)} bytes", where="container")
    start = MAGIC + VERSION.to_bytes(2, "little") + len(text).to_bytes(4, "little")
    return b"".join([start, text, container.constants.values(), *container.payloads])


def read_container(data: bytes, expected: Sequence[TensorSpec] | None = None) -> Container:
    """The inverse of `write_container`, for files from anywhere. Allocates as much as the file is long.

    Args:
        expected: the tensors whose shapes and types the file's frames must have. A few bytes may rightly stand for
            millions of elements, so that without them no frame may have more than 4 MB.

    Raises:
        CodecError: no such file, a newer version, one cut short, a header that makes no sense, or tensors that are not
            expected.
    """
    data = checked_bytes(data)
    if data[: len(MAGIC)] != MAGIC or len(data) < START_BYTES:
        raise CodecError("this is no file of coded tensors", where="container")
    version = int.from_bytes(data[len(MAGIC) : len(MAGIC) + 2], "little")
    if version != VERSION:
        raise CodecError(f"the file has version {version}, {VERSION} can be read", where="container")
    length = int.from_bytes(data[len(MAGIC) + 2 : START_BYTES], "little")
    if length > HEADER_LIMIT_BYTES or START_BYTES + length > len(data):
        raise CodecError(f"a header of {length} bytes is claimed in a file of {len(data)}", where="container")
    try:
        header = json.loads(data[START_BYTES : START_BYTES + length])
        specs = tuple(_spec(described) for described in header["tensors"])
        described_arrays = [
            (_text(one["key"]), np.dtype(_one_of(one["dtype"], DTYPES)), _shape(one["shape"]))
            for one in header["arrays"]
        ]
        name, packet_bytes = _text(header["codec"]), _whole(header["packet_bytes"], 1, 1 << 24)
        sizes = [_whole(size, 0, len(data)) for size in header["frames"]]
    except (KeyError, TypeError, ValueError, RecursionError) as failure:
        reason = f"{type(failure).__name__}: {shown(failure)}"
        raise CodecError(f"the header is damaged: {reason}", where="container") from None
    checked_specs(specs, expected)
    lengths = [dtype.itemsize * prod(shape) for _, dtype, shape in described_arrays] + sizes
    if START_BYTES + length + sum(lengths) != len(data):
        raise CodecError(
            f"the header speaks of {START_BYTES + length + sum(lengths)} bytes, the file has {len(data)}",
            where="container",
        )
    pieces = _pieces(data, START_BYTES + length, lengths)
    arrays: dict[str, Array] = {
        key: np.frombuffer(next(pieces), dtype).reshape(shape) for key, dtype, shape in described_arrays
    }
    if len(arrays) < len(described_arrays):
        raise CodecError("two of the constants have the same key", where="container")
    return Container(Constants(name, specs, packet_bytes, arrays), tuple(pieces))


def _pieces(data: bytes, start: int, lengths: Sequence[int]) -> Iterator[bytes]:
    for length in lengths:
        yield data[start : start + length]
        start += length


def _spec(described: dict[str, Any]) -> TensorSpec:
    batch = described["batch_dim"]
    return TensorSpec(
        _text(described["name"]),
        _shape(described["shape"]),
        _text(described["dtype"]),
        None if batch is None else _whole(batch, 0, 64),
        _whole(described["channel_dim"], 0, 64),
    )


def _shape(given: object) -> tuple[int, ...]:
    if not isinstance(given, list) or len(given) > 16:
        raise ValueError(f"{shown(given)} is no shape")
    shape = tuple(_whole(side, 0, SIDE_LIMIT) for side in given)
    if prod(max(side, 1) for side in shape) > SIDE_LIMIT:
        raise ValueError(f"{shape} is larger than anything that can be written")
    return shape


def _whole(given: object, least: int, most: int) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or not least <= given <= most:
        raise ValueError(f"{shown(given)} is no whole number from {least} to {most}")
    return given


def _text(given: object) -> str:
    if not isinstance(given, str):
        raise ValueError(f"{shown(given)} is no text")
    return given


def _one_of(given: object, known: Sequence[str]) -> str:
    if given not in known:
        raise ValueError(f"{shown(given)} is none of {', '.join(known)}")
    return str(given)
