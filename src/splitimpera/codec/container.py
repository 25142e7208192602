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
from splitimpera.errors import CodecError
from splitimpera.records import Array, TensorSpec

MAGIC = b"SEIfile\0"
VERSION = 1
START_BYTES = len(MAGIC) + 6
HEADER_LIMIT_BYTES = 1 << 20
ELEMENTS_LIMIT = 1 << 24
DTYPES = ("<f4", "<f8", "<u4", "|u1")


@dataclass(frozen=True, eq=False)
class Container:
    """Frames with what is needed to read them: `registry.codec_from(constants)` decodes each of the payloads."""

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


def read_container(data: bytes) -> Container:
    """The inverse of `write_container`, for files from anywhere. Allocates as much as the file is long.

    Raises:
        CodecError: no such file, a newer version, one cut short, or a header that makes no sense, among them tensors of
            more than 2**24 elements.
    """
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
        raise CodecError(f"the header is damaged: {failure!r}", where="container") from None
    if sum(spec.elements for spec in specs) > ELEMENTS_LIMIT:
        raise CodecError(f"tensors of more than {ELEMENTS_LIMIT} elements are claimed", where="container")
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
        raise ValueError(f"{given!r} is no shape")
    return tuple(_whole(side, 0, ELEMENTS_LIMIT) for side in given)


def _whole(given: object, least: int, most: int) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or not least <= given <= most:
        raise ValueError(f"{given!r} is no whole number from {least} to {most}")
    return given


def _text(given: object) -> str:
    if not isinstance(given, str):
        raise ValueError(f"{given!r} is no text")
    return given


def _one_of(given: object, known: Sequence[str]) -> str:
    if given not in known:
        raise ValueError(f"{given!r} is none of {', '.join(known)}")
    return str(given)
