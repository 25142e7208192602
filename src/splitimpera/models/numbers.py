"""What a user's arrays must be before they are taken: plain numbers, dense, in memory, of a known type, and finite."""

from __future__ import annotations

import array
import warnings
from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

from splitimpera.core.array_types import Array
from splitimpera.core.errors import DataError, listed, shown
from splitimpera.core.units import format_bytes

MOST_BYTES = 4_000_000_000
"""What inputs in memory may take as float32: all of a tensor or an array, and what is read of others at a time."""

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64)
UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)
"""Types that torch stores but hardly computes with."""
READ = (list, tuple, range, int, float, array.array, memoryview)
HINT = "return a tensor or an array, all of whose rows have one shape"
KINDS = {
    **{"b": "truth values", "c": "complex numbers", "m": "spans of time", "M": "dates", "O": "objects"},
    **{"S": "bytes", "T": "text", "U": "text", "V": "records"},
}


def check_amount(count: int, shape: Sequence[int]) -> None:
    """Refuse inputs that would not fit into memory, before anything is made of them.

    Args:
        shape: The shape of one frame, as the network takes it.

    Raises:
        DataError: all frames together take more than MOST_BYTES as float32.
    """
    wanted = 4 * count * prod(shape)
    if wanted > MOST_BYTES:
        sides = " x ".join(map(str, shape))
        raise DataError(
            f"{count} inputs of {sides} take {format_bytes(wanted)} as float32, at most {format_bytes(MOST_BYTES)} "
            "are loaded",
            hint="give fewer of them, or smaller ones",
        )


def as_numbers(value: object, what: str) -> Tensor:
    """A user's array as a dense tensor of whole or floating-point numbers on the CPU, without gradient.

    NumPy arrays of any strides and byte order, tensors, pandas frames and series, nested lists, and lists of arrays of
    one shape are taken; the values are the same in each of them.

    Args:
        what: what messages call it.

    Raises:
        DataError: it is something else; the message names `what`, the type and the shape.
    """
    if isinstance(value, Tensor):
        return _plain_tensor(value, what)
    if isinstance(value, (list, tuple)) and any(isinstance(entry, (Tensor, np.ndarray)) for entry in value):
        entries = [as_numbers(entry, what) for entry in value]
        found = list(dict.fromkeys(f"{_type_name(entry)} of shape {tuple(entry.shape)}" for entry in entries))
        if len(found) > 1:
            raise DataError(f"{what} are arrays of several kinds, one is expected: {listed(found)}")
        check_amount(len(entries), entries[0].shape)
        return torch.stack(entries)
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.is_masked(value):
            raise DataError(f"{what} are an array with masked values", hint="fill them, or leave these rows out")
        value = value.data
    return torch.from_numpy(_plain_array(value, what))


def finite_inputs(x: Tensor, what: str) -> Tensor:
    """Inputs as the network takes them: float64 becomes float32, unsigned numbers of 16 bits and more int64.

    Raises:
        DataError: there are NaN or infinite values, or some that the type cannot hold.
    """
    if x.dtype in UNSIGNED:
        return _signed(x, what)
    if x.dtype == torch.float64:
        x = x.to(torch.float32)
    # the extremes are NaN where any value is, and nothing as large as the inputs is made
    if x.is_floating_point() and x.numel() and not all(bool(torch.isfinite(end)) for end in torch.aminmax(x)):
        raise DataError(f"{what} contain NaN or infinite values, or some that float32 cannot hold")
    return x


def is_image(x: Tensor) -> bool:
    """Whether it is an image (H, W, C) of 8 or 16 bits, which mean and standard deviation make an input of."""
    return x.ndim == 3 and x.dtype in (torch.uint8, torch.uint16)


def kind_of(x: Tensor) -> str:
    """Type and shape, for messages."""
    return f"{str(x.dtype).removeprefix('torch.')} of shape {tuple(x.shape)}"


def class_indices(labels: Tensor, name: str = "the labels") -> Tensor:
    """Labels as int64.

    Raises:
        DataError: they are no whole numbers, or too large.
    """
    if labels.dtype not in WHOLE:
        hint = "write 0 and 1 for no and yes" if labels.dtype == torch.bool else "convert them to whole numbers"
        raise DataError(f"{name} are class indices, these are {_type_name(labels)}", hint=hint)
    return _signed(labels, name)


def _signed(x: Tensor, what: str) -> Tensor:
    if x.dtype == torch.uint64 and x.numel():
        highest = int(x.numpy().max())
        if highest >= 2**63:
            raise DataError(f"{what} go up to {highest}, at most {2**63 - 1} is expected")
    return x.to(torch.int64)


def _plain_tensor(tensor: Tensor, what: str) -> Tensor:
    shape, problem = "", ""
    kind = type(tensor)
    if kind.__torch_dispatch__ is not Tensor.__torch_dispatch__:
        problem = f"{kind.__name__}, a tensor of a type of its own"
    elif tensor.is_nested:
        problem = "a nested tensor"
    else:
        shape = f" of shape {tuple(tensor.shape)}"
        if tensor.is_meta:
            problem = "a meta tensor without values"
        elif tensor.is_quantized:
            problem = "a quantised tensor"
        elif tensor.layout != torch.strided:
            problem = "a sparse tensor"
        elif tensor.dtype not in (*FLOATS, *WHOLE):
            problem = f"a tensor of {_type_name(tensor)}"
    if problem:
        raise DataError(
            f"{what} are {shown(problem)}{shape}, a dense tensor of numbers is expected",
            hint="convert it in the factory",
        )
    check_elements(tensor.numel(), tuple(tensor.shape), what)
    plain = tensor.detach().as_subclass(Tensor).cpu().resolve_neg()
    # what was made in inference mode cannot be differentiated through
    return plain.clone() if plain.is_inference() else plain


def _plain_array(value: object, what: str) -> Array:
    given = type(value).__name__
    # what else behaves like a sequence may have any length, and run code of its own for every entry
    if not isinstance(value, READ) and not any(
        hasattr(type(value), way) for way in ("__array__", "__array_interface__")
    ):
        raise DataError(f"{what} are {shown(given)}, an array of numbers is expected", hint=HINT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = np.asarray(value)
    except Exception as failure:  # whatever the object's own code raises, and ragged lists
        words = (str(failure).splitlines() or [type(failure).__name__])[0]
        raise DataError(f"{what} are no array of numbers but {shown(given)}: {shown(words)}", hint=HINT) from None
    if found.dtype.kind not in "fiu":
        kind = KINDS.get(found.dtype.kind, str(found.dtype))
        raise DataError(
            f"{what} are {kind} ({shown(given)} of shape {found.shape}), an array of numbers is expected",
            hint=HINT,
        )
    check_elements(found.size, found.shape, what)
    known = found.dtype.newbyteorder("=")
    if known.kind == "f" and known.itemsize > 8:
        known = np.dtype(np.float64)
    with np.errstate(over="ignore"):  # infinite values are refused later
        return np.require(found, known, ["C", "W", "A"])


def check_elements(count: int, shape: Sequence[int], what: str) -> None:
    """Refuse an array that would not fit into memory.

    Raises:
        DataError: its elements take more than MOST_BYTES as float32.
    """
    # a few bytes may claim any shape, with strides of 0
    if 4 * count > MOST_BYTES:
        raise DataError(
            f"{what} have shape {tuple(shape)}, which is {format_bytes(4 * count)} as float32; at most "
            f"{format_bytes(MOST_BYTES)} are loaded",
            hint="give fewer of them, or smaller ones",
        )


def _type_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
