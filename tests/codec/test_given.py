"""What callers of the codecs may hand over, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splitimpera.codec.codecs import Calibration, make_codec
from splitimpera.codec.given import checked_bytes, checked_gaps, checked_tensors
from splitimpera.core.errors import CodecError
from splitimpera.records.graph import TensorSpec

SPEC = TensorSpec("t", (2, 3))
X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize(
    "erased",
    [[(0, 4)], [[np.int64(0), np.uint8(4)]], ((start, 4) for start in (0, 4)), np.array([[0, 4]]), [(4, 4), (0, 4)]],
)
def test_ranges_of_whole_numbers_of_any_kind(erased):
    assert checked_gaps(erased, 10) == [(0, 4)]


@pytest.mark.parametrize(
    "erased",
    [None, 3, "12", [None], ["ab"], [(0.0, 4.0)], [(0, None)], [(0, 1, 2)], [[(0, 1), (2, 3)]], [("0", "4")]],
)
def test_what_is_no_range(erased):
    with pytest.raises(CodecError, match="an erased range is a pair of whole numbers"):
        checked_gaps(erased, 10)


@pytest.mark.parametrize("gap", [(4, 0), (-1, 4), (0, 11), (0, 10**30), (-(10**30), 0)])
def test_ranges_outside(gap):
    with pytest.raises(CodecError, match="outside the payload's 10 bytes"):
        checked_gaps([gap], 10)


@pytest.mark.parametrize("hold", [bytes, bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8)])
@pytest.mark.parametrize("name", ["float32", "uint8+rans", "uint8+rans-packets", "uint8+zstd", "uint8+fec:50", "png"])
def test_whatever_holds_bytes_is_a_payload(name, hold):
    spec = TensorSpec("t", (1, 8, 8)) if name == "png" else SPEC
    x = np.linspace(0, 1, spec.elements, dtype=np.float32).reshape(spec.shape)
    codec = make_codec(name, Calibration((spec,), (x[None],)))
    data = codec.encode([x]).data
    np.testing.assert_array_equal(codec.decode(hold(data)), codec.decode(data))
    for wrong in (None, "text", 3, [1, 2], np.zeros(3), memoryview(bytes(8)).cast("d")):
        with pytest.raises(CodecError, match="a payload is bytes, what is given is of type"):
            codec.decode(wrong)
        with pytest.raises(CodecError, match="a pair of whole numbers"):
            codec.decode(data, [(0.5, 1)])


def test_slices_of_memory():
    assert checked_bytes(memoryview(b"abcdef")[1:5:2]) == b"bd"


@pytest.mark.parametrize(
    "tensor",
    [
        X,
        X.tolist(),
        torch.from_numpy(X),
        X.astype(">f4"),
        X.astype(">f8"),
        np.asfortranarray(X),
        X.astype(int),
        X.T.copy().T,
    ],
)
@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16", "uint8", "uint4+rans", "uint8+rans-packets"])
def test_tensors_of_other_kinds_are_written_as_the_same_numbers(name, tensor):
    codec = make_codec(name, Calibration((SPEC,), (X[None],)))
    assert codec.encode([tensor]).data == codec.encode(row for row in [tensor]).data == codec.encode([X]).data
    assert make_codec(name, Calibration((SPEC,), ([tensor],))).encode([X]).data == codec.encode([X]).data


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (None, "a sequence of tensors is expected, what is given is NoneType"),
        (3, "what is given is int"),
        ([None], "a tensor of shape"),
        ([[[1, 2], [3]]], "what is given as a tensor, list, is none"),
        ([torch.from_numpy(X).requires_grad_()], "what is given as a tensor, Tensor, is none"),
        ([np.ma.masked_less(X, 2)], "a masked array"),
        ([X.astype(object)], "a tensor of object is given"),
        ([X.astype(str)], "a tensor of <U32 is given"),
        ([X.astype(complex)], "a tensor of complex128"),
        ([X, X], "2 tensors are given, 1 are expected"),
    ],
)
def test_what_is_no_tensor(tensors, message):
    with pytest.raises(CodecError, match=message):
        checked_tensors(tensors, [SPEC])


def test_numbers_that_are_too_large_become_the_largest():
    codec = make_codec("float32", Calibration((SPEC,), (X[None],)))
    (found,) = codec.decode(codec.encode([X.astype(np.float64) * 1e300]).data)
    assert found.max() == np.finfo(np.float32).max
