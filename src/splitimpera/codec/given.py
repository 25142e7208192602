"""What callers hand to codecs: taken as it is meant, or refused with a CodecError."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from operator import index
from typing import Protocol

import numpy as np

from splitimpera.core.array_types import Array
from splitimpera.core.errors import CodecError, shown
from splitimpera.core.units import format_bytes
from splitimpera.records.graph import DTYPE_BYTES, TensorSpec
from splitimpera.records.traffic import ByteRange

UNEXPECTED_BYTES = 1 << 22
"""The most that tensors may have whose shapes nobody expects but who sent them."""
UNEXPECTED_MODELS = 1 << 12
"""The most statistical models of an entropy code of such tensors; each is some kilobytes."""
TENSORS_AT_MOST = 1 << 10
SIDE_AT_MOST = 1 << 32


class Described(Protocol):
    """What says of a tensor how its elements are stored; a side that is None may be any."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> Sequence[int | None]: ...

    @property
    def dtype(self) -> str: ...


def array_dtype(spec: Described) -> np.dtype[np.generic]:
    """The type of the arrays that stand for a tensor; NumPy has no bfloat16, whose values come as float32.

    Raises:
        CodecError: elements of a type that is not known.
    """
    if spec.dtype not in DTYPE_BYTES:
        raise CodecError(f"elements of type '{shown(spec.dtype)}' cannot be written", where=shown(spec.name))
    return np.dtype("float32" if spec.dtype == "bfloat16" else spec.dtype)


def checked_specs(specs: Sequence[TensorSpec], expected: Sequence[TensorSpec] | None) -> None:
    """Refuse what would not be the tensors that are expected, before anything is made for them.

    Args:
        expected: whose shapes and types they must have; None: nobody knows, so that they may only be small.

    Raises:
        CodecError: they are others, or larger than `UNEXPECTED_BYTES`, or no tensors at all.
    """
    if len(specs) > TENSORS_AT_MOST:
        raise CodecError(f"{len(specs)} tensors are claimed, {TENSORS_AT_MOST} are the most")
    size = 0
    for spec in specs:
        itemsize = DTYPE_BYTES[spec.dtype] if array_dtype(spec) else 0
        if not all(isinstance(side, int) and 0 <= side < SIDE_AT_MOST for side in spec.shape):
            raise CodecError(f"{shown(spec.shape)} is no shape", where=shown(spec.name))
        # an empty tensor must not have sides that NumPy cannot take, either
        size += itemsize * prod(max(side, 1) for side in spec.shape)
    if expected is not None:
        ours, theirs = ([(spec.shape, spec.dtype) for spec in some] for some in (specs, expected))
        if ours != theirs:
            raise CodecError(f"the tensors are {_described(specs)}, {_described(expected)} are expected")
    elif size > UNEXPECTED_BYTES:
        raise CodecError(
            f"tensors of {format_bytes(size)} are claimed, and {format_bytes(UNEXPECTED_BYTES)} are the most where "
            "nobody expects them",
            hint="say with expected=... which tensors you expect",
        )


def _described(specs: Sequence[TensorSpec]) -> str:
    return shown(", ".join(f"{spec.dtype} {'x'.join(map(str, spec.shape))}" for spec in specs) or "none")


def checked_bytes(data: object) -> bytes:
    """A payload, from whatever holds bytes: bytes, bytearray, memoryview, an array of uint8.

    Raises:
        CodecError: it holds none.
    """
    if type(data) is bytes:
        return data
    try:
        view = memoryview(data)  # type: ignore[arg-type]
        if view.itemsize == 1:
            return view.tobytes()
    except (TypeError, ValueError, BufferError):
        pass
    raise CodecError(f"a payload is bytes, what is given is of type {type(data).__name__}")


def checked_gaps(erased: Iterable[Sequence[int]], size: int) -> list[ByteRange]:
    """The ranges that are not empty, as pairs of Python's integers.

    Raises:
        CodecError: one is no pair of whole numbers, or lies outside a payload of `size` bytes.
    """
    if type(erased) is tuple and not erased:
        return []
    try:
        gaps = [(index(start), index(end)) for start, end in erased]
    except (TypeError, ValueError):
        raise CodecError("an erased range is a pair of whole numbers (start, end)") from None
    if any(not 0 <= start <= end <= size for start, end in gaps):
        raise CodecError(f"an erased range lies outside the payload's {size} bytes")
    return [(start, end) for start, end in gaps if start < end]


def checked_whole(name: str, data: object, erased: Iterable[Sequence[int]], most_bytes: int) -> bytes:
    """A payload of which nothing is missing, for the codec `name`, which writes `most_bytes` at most.

    Raises:
        CodecError: something is missing, it is longer, or it is no bytes.
    """
    data = checked_bytes(data)
    if checked_gaps(erased, len(data)):
        raise CodecError(f"{name} cannot be read with parts missing")
    if len(data) > most_bytes:
        raise CodecError(f"a payload of {len(data)} bytes is given, {name} writes {most_bytes} at most here")
    return data


def arrays_of(tensors: Iterable[object]) -> tuple[Array, ...]:
    """Some tensors as arrays: NumPy's, torch's, lists of numbers.

    Raises:
        CodecError: these are no tensors.
    """
    try:
        given = tuple(tensors)
    except TypeError:
        raise CodecError(f"a sequence of tensors is expected, what is given is {type(tensors).__name__}") from None
    return tuple(tensor if type(tensor) is np.ndarray else _array(tensor) for tensor in given)


def checked_tensors(tensors: Iterable[object], specs: Sequence[TensorSpec]) -> tuple[Array, ...]:
    """The tensors of one frame as arrays, if they are those of the plan.

    Raises:
        CodecError: another number of them, another shape, or elements that this type cannot hold.
    """
    arrays = arrays_of(tensors)
    if len(arrays) != len(specs):
        raise CodecError(f"{len(arrays)} tensors are given, {len(specs)} are expected")
    for tensor, spec in zip(arrays, specs, strict=True):
        if tensor.shape != spec.shape:
            raise CodecError(f"{spec.name}: a tensor of shape {tensor.shape} is given, {spec.shape} is expected")
        if not np.can_cast(tensor.dtype, array_dtype(spec), "same_kind"):
            raise CodecError(f"{spec.name}: a tensor of {tensor.dtype} is given, {spec.dtype} is expected")
    return arrays


def _array(tensor: object) -> Array:
    if isinstance(tensor, np.ma.MaskedArray):
        raise CodecError("a masked array is given, whose missing values no codec knows", hint="fill them in before")
    try:
        return np.asarray(tensor)
    except Exception as failure:  # another library's tensors refuse in its own ways
        raise CodecError(f"what is given as a tensor, {type(tensor).__name__}, is none: {shown(failure)}") from None
