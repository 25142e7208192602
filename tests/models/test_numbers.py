"""What factories return: each make of an array is the plain one, or is refused by name."""

from __future__ import annotations

import array
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from splitimpera.core.errors import DataError
from splitimpera.models import datasets, numbers
from splitimpera.models.datasets import Dataset, Pixels, Samples, load_data
from splitimpera.scenario import DataSection

N = 12
X = np.random.default_rng(0).standard_normal((N, 6)).astype(np.float32)
Y = np.arange(N, dtype=np.int64) * 7 % 5
LEVELS = np.arange(N * 2 * 2 * 3).reshape(N, 2, 2, 3)


class Subclass(torch.Tensor):
    def __len__(self):
        return 10**9


class Endless:
    def __len__(self):
        return 10**9

    def __getitem__(self, index):
        return 1.0


class Broken:
    def __array__(self, *arguments, **options):
        raise RuntimeError("no\x1b[2J values")


@pytest.fixture
def loaded(monkeypatch, tmp_path):
    """load_data of what a factory returns."""

    def load(made, **options):
        monkeypatch.setattr(datasets, "run_factory", lambda *_: made)
        return load_data(DataSection(source="mine.py:data", **options), tmp_path)

    return load


def in_inference_mode(values):
    with torch.inference_mode():
        return torch.from_numpy(values) * 1


def behind_a_field(values):
    records = np.zeros(len(values), dtype=[("other", "i1"), ("value", values.dtype, values.shape[1:])])
    records["value"] = values
    return records["value"]


def read_only(values):
    copy = values.copy()
    copy.flags.writeable = False
    return copy


ALIKE = {
    "lists": lambda x: x.tolist(),
    "tuples": lambda x: tuple(map(tuple, x.tolist())) if x.ndim > 1 else tuple(x.tolist()),
    "list-of-arrays": list,
    "list-of-tensors": lambda x: [torch.from_numpy(np.array(row)) for row in x],
    "negative-strides": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "other-order": lambda x: np.asfortranarray(x),
    "every-second": lambda x: np.repeat(x, 2, axis=0)[::2],
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "little-endian": lambda x: x.astype(x.dtype.newbyteorder("<")),
    "read-only": read_only,
    "unaligned": behind_a_field,
    "matrix-of-no-mask": np.ma.array,
    "frame-or-series": lambda x: pd.DataFrame(x) if x.ndim > 1 else pd.Series(x, index=range(len(x))[::-1]),
    "tensor": torch.from_numpy,
    "strided-tensor": lambda x: torch.from_numpy(np.repeat(x, 2, axis=0))[::2],
    "parameter": lambda x: torch.nn.Parameter(torch.from_numpy(x), requires_grad=x.dtype.kind == "f"),
    "subclass": lambda x: torch.from_numpy(x).as_subclass(Subclass),
    "inference": in_inference_mode,
    "negated": lambda x: (
        torch.complex(torch.from_numpy(-x) * 0.0, torch.from_numpy(-x) * 1.0).conj().imag
        if x.dtype.kind == "f"
        else torch.from_numpy(x)
    ),
}


@pytest.mark.parametrize("make", ALIKE)
def test_every_make_of_an_array_is_the_plain_one(loaded, make):
    plain = loaded((X, Y)).everything()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = loaded((ALIKE[make](X), ALIKE[make](Y))).everything()
    assert type(found.inputs) is type(found.labels) is torch.Tensor
    assert found.inputs.dtype == torch.float32
    assert torch.equal(found.inputs, plain.inputs)
    assert torch.equal(found.labels, plain.labels)
    assert not found.inputs.requires_grad
    (found.inputs.requires_grad_() ** 2).sum().backward()  # what saliency does


@pytest.mark.parametrize("name", "int8 int16 int32 int64 uint8 uint16 uint32 uint64 >i2 >u8".split())
def test_whole_numbers_of_every_width(loaded, name):
    found = loaded((np.arange(N * 2).reshape(N, 2).astype(name), Y.astype(name))).everything()
    assert sorted(found.inputs.flatten().tolist()) == list(range(N * 2))
    assert sorted(found.labels.tolist()) == sorted(Y.tolist())
    assert found.labels.dtype == torch.int64
    assert array.array("q", Y.tolist()).tolist() == numbers.as_numbers(array.array("q", Y), "x").tolist()


@pytest.mark.parametrize("name", "float16 float32 float64 longdouble".split())
def test_floating_point_of_every_width(loaded, name):
    found = loaded((X.astype(np.float16).astype(name), Y)).everything()
    expected = loaded((X.astype(np.float16).astype(np.float32), Y)).everything()
    assert found.inputs.dtype == (torch.float16 if name == "float16" else torch.float32)
    assert torch.equal(found.inputs.float(), expected.inputs)


@pytest.mark.parametrize(("dtype", "white"), [("uint8", 255), ("uint16", 65535), (">u2", 65535)])
def test_images_of_8_and_16_bits(loaded, dtype, white):
    levels = (LEVELS * (white // LEVELS.max())).astype(dtype)
    data = loaded((levels, Y), mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), validation=0.5, test=0.5)
    rows = np.random.default_rng(0).permutation(N)
    mean, std = np.float32([0.1, 0.2, 0.3]), np.float32([0.5, 0.6, 0.7])
    expected = (levels[rows].astype(np.float32) / np.float32(white) - mean) / std
    assert np.array_equal(data.everything().inputs, torch.cat([data.validation.inputs, data.test.inputs]))
    assert np.array_equal(data.test.inputs, expected[: N // 2].transpose(0, 3, 1, 2))
    assert data.pixels == (Pixels((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)) if white == 255 else None)


def meta():
    return torch.empty(N, 6, device="meta")


def fake():
    with FakeTensorMode():
        return torch.ones(N, 6)


def masked_tensor():
    from torch.masked import masked_tensor

    return masked_tensor(torch.ones(N, 6), torch.ones(N, 6) > 0)


REFUSED = {
    "objects": (lambda: X.astype(object), r"are objects \(ndarray of shape \(12, 6\)\)"),
    "text": (lambda: X.astype(str), "are text"),
    "ragged": (lambda: [[1.0, 2.0], [3.0]] * 6, "are no array of numbers but list"),
    "ragged-arrays": (
        lambda: [np.ones(2), np.ones(3)] * 6,
        r"several kinds, .* float64 of shape \(2,\), float64 of shape \(3,\)",
    ),
    "mixed-arrays": (lambda: [np.ones(2), np.ones(2, int)] * 6, "several kinds"),
    "none": (lambda: None, "are NoneType"),
    "list-of-none": (lambda: [None] * N, r"are objects \(list of shape \(12,\)\)"),
    "single-number": (lambda: np.float32(3), "a single number"),
    "generator": (lambda: (row for row in X), "are generator"),
    "set": (lambda: {1, 2}, "are set"),
    "unbounded": (Endless, r"are Endless|length of the inputs.* \(Endless\) is 1000000000"),
    "broken": (Broken, r"no array of numbers but Broken: no\\x1b\[2J values"),
    "bytes": (lambda: b"abc", "are bytes"),
    "dates": (lambda: np.zeros((N, 2), "M8[s]"), "are dates"),
    "spans": (lambda: np.zeros((N, 2), "m8[s]"), "are spans of time"),
    "records": (lambda: np.zeros(N, "i4,f4"), "are records"),
    "complex": (lambda: X.astype(complex), "are complex numbers"),
    "truth": (lambda: X > 0, "are truth values"),
    "huge-whole": (lambda: [2**70] * N, "are objects"),
    "mixed-frame": (lambda: pd.DataFrame({"a": range(N), "b": ["x"] * N}), r"objects \(DataFrame of shape \(12, 2\)\)"),
    "masked": (lambda: np.ma.array(X, mask=X > 1), "masked values"),
    "sparse": (lambda: torch.from_numpy(X).to_sparse(), r"a sparse tensor of shape \(12, 6\)"),
    "meta": (meta, r"a meta tensor without values of shape \(12, 6\)"),
    "quantised": (lambda: torch.quantize_per_tensor(torch.ones(N, 6), 0.1, 0, torch.quint8), "a quantised tensor"),
    "nested": (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "a nested tensor"),
    "fake": (fake, "FakeTensor, a tensor of a type of its own"),
    "masked-tensor": (masked_tensor, "MaskedTensor, a tensor of a type of its own"),
    "complex-tensor": (lambda: torch.from_numpy(X).to(torch.complex64), "a tensor of complex64"),
    "truth-tensor": (lambda: torch.from_numpy(X) > 0, "a tensor of bool"),
    "float8": (lambda: torch.from_numpy(X).to(torch.float8_e4m3fn), "a tensor of float8_e4m3fn"),
    "stretched": (
        lambda: np.broadcast_to(np.float32(1), (N, 10**5, 10**5)),
        "which is 480 GB as float32; at most 4 GB",
    ),
    "stretched-tensor": (lambda: torch.zeros(1, 1).expand(N, 10**10), "which is 480 GB as float32"),
}
INPUTS = {
    "nan": (lambda: np.full((N, 2), np.nan), "contain NaN or infinite"),
    "infinite": (lambda: torch.tensor([[1.0, -torch.inf]] * N), "contain NaN or infinite"),
    "infinite-half": (lambda: torch.tensor([[1.0, torch.inf]] * N).bfloat16(), "contain NaN or infinite"),
    "beyond-float32": (lambda: np.full((N, 2), 1e300), "that float32 cannot hold"),
    "beyond-float64": (lambda: np.full((N, 2), np.longdouble(10) ** 4000), "that float32 cannot hold"),
    "beyond-int64": (lambda: np.full((N, 2), 2**64 - 1, "u8"), "go up to 18446744073709551615"),
    "nothing-in-a-row": (lambda: np.ones((N, 0, 3)), r"shape \(12, 0, 3\): there is nothing in a row"),
    "empty": (lambda: np.ones((0, 3)), "the data set is empty"),
}
LABELS = {
    "uint64": (lambda: Y.astype("u8") + np.uint64(2**63), "labels go up to 922337203685477581"),
    "uint64-tensor": (lambda: torch.from_numpy(Y.astype("u8") + np.uint64(2**63)), "labels go up to 9223372036854"),
    "whole-floats": (lambda: Y.astype(float), "labels are class indices, these are float64"),
    "one-hot": (lambda: np.eye(5, dtype=int)[Y], r"the labels have shape \(12, 5\)"),
    "column": (lambda: Y[:, None], r"the labels have shape \(12, 1\)"),
    "names": (lambda: pd.Series(list("abc") * 4, dtype="category"), "objects|text"),
    "missing": (lambda: pd.Series([1, None] * 6, dtype="Int64"), "objects|float64"),
    "fewer": (lambda: Y[:5], "12 inputs need as many labels"),
}


@pytest.mark.parametrize("name", REFUSED | INPUTS)
@pytest.mark.filterwarnings("ignore")
def test_other_inputs_are_refused_by_name(loaded, name):
    make, message = (REFUSED | INPUTS)[name]
    with pytest.raises(DataError, match=message) as caught:
        loaded((make(), Y))
    assert caught.value.where == "data.source"
    assert "inputs" in caught.value.problem or name == "empty"
    with pytest.raises(DataError, match="'test'" if name != "empty" else "the part 'test' is empty"):
        loaded({"validation": (X, Y), "test": (make(), Y[:0] if name == "empty" else Y)})


@pytest.mark.parametrize("name", REFUSED | LABELS)
@pytest.mark.filterwarnings("ignore")
def test_other_labels_are_refused_by_name(loaded, name):
    make, message = (REFUSED | LABELS)[name]
    with pytest.raises(DataError, match=message) as caught:
        loaded((X, make()))
    assert caught.value.where == "data.source"
    assert "labels" in caught.value.problem
    with pytest.raises(DataError, match="'test'"):
        loaded({"validation": (X, Y), "test": (X, make())})


def test_labels_of_python_too():
    x = torch.ones(2, 3)
    with pytest.raises(DataError, match="labels go up to 18446744073709551615, at most 9223372036854775807"):
        Samples(x, torch.from_numpy(np.array([1, 2**64 - 1], "u8")))
    assert Samples(x, torch.from_numpy(np.array([1, 2**63 - 1], "u8"))).labels.tolist() == [1, 2**63 - 1]
    with pytest.raises(DataError, match="these are bool; write 0 and 1"):
        Samples(x, torch.tensor([True, False]))
    with pytest.raises(DataError, match="labels are ndarray, a tensor with one row per sample is expected"):
        Samples(x, Y[:2])
    with pytest.raises(DataError, match="inputs are a single number"):
        Samples(torch.tensor(1.0), torch.tensor([1]))


def part(x=X, y=Y):
    return Samples(torch.as_tensor(x), torch.as_tensor(y))


class Lying(Dataset):
    @property
    def train(self):
        raise RuntimeError("not today")


EIGHT = Pixels((0.5,), (0.25,))
IMAGES = EIGHT.inputs(np.arange(N * 4, dtype=np.uint8).reshape(N, 2, 2, 1))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ((1, 2, 3), r"returns tuple of 3, a pair \(inputs, labels\) is expected"),
        ("ab", "returns str"),
        ((entry for entry in (X, Y)), "returns generator"),
        ({"validation": None, "test": (X, Y)}, "returns NoneType as 'validation'"),
        ({"train": None, "validation": (X, Y), "test": (X, Y)}, "returns NoneType as 'train'"),
        ({"trian": (X, Y), "validation": (X, Y), "test": (X, Y)}, "parts called trian; train, validation, test are"),
        ({"test": (X, Y)}, "no validation part"),
        ({"validation": (X[:0], Y[:0]), "test": (X, Y)}, "the part 'validation' is empty"),
        (
            {"validation": (X, Y), "test": (X[:, :5], Y)},
            r"one shape .* 'validation' has float32 of shape \(6,\), 'test' has float32 of shape \(5,\)",
        ),
        (
            {"validation": (LEVELS.astype("u1"), Y), "test": (LEVELS.transpose(0, 3, 1, 2) / 255, Y)},
            r"'validation' has 8-bit images of shape \(3, 2, 2\), 'test' has float32",
        ),
        (Dataset(None, part(), part()), "the part 'train' is NoneType, Samples are expected"),
        (Dataset(part(), part(), part(), classes=3), "class names are a list of texts"),
        (Dataset(part(), part(), part(), classes=("a", "a")), "several classes are called a"),
        (Dataset(part(), part(), part(), pixels="8 bits"), "pixels are str, Pixels or None is expected"),
        (Dataset(part(), part(), part(X * np.nan)), "the inputs of 'test' contain NaN"),
        (Dataset(part(), part(), part(), pixels=EIGHT), "are not those that pixels .* make of 8-bit images"),
        (Dataset(*[part(IMAGES * 0.99)] * 3, pixels=EIGHT), "are not those that pixels"),
        (Dataset(*[part(IMAGES + 9)] * 3, pixels=EIGHT), "are not those that pixels"),
    ],
)
def test_parts_that_do_not_go_together(loaded, made, message):
    with pytest.raises(DataError, match=message) as caught:
        loaded(made)
    assert caught.value.where == "data.source"


def test_parts_that_raise_when_they_are_read(loaded):
    lying = object.__new__(Lying)
    with pytest.raises(DataError, match="RuntimeError: not today"):
        loaded(lying)


def test_parts_that_go_together(loaded):
    made = loaded({"train": (X[:0], Y[:0]), "validation": (X[3:], Y[3:]), "test": (X[:3], Y[:3])})
    assert [len(part) for part in (made.train, made.validation, made.test)] == [0, 9, 3]
    assert made.train.inputs.shape == (0, 6)
    whole = Dataset(part(IMAGES[:0], Y[:0]), part(IMAGES[6:], Y[6:]), part(IMAGES[:6], Y[:6]), ("a\x1b", "b"), EIGHT)
    found = loaded(whole)
    assert found.pixels == EIGHT
    assert found.classes == ("a\\x1b", "b")
    assert torch.equal(found.test.inputs, IMAGES[:6])


@pytest.mark.parametrize(
    ("made", "options", "message"),
    [
        ((X, Y), {"mean": (0.5,)}, r"data.mean: the inputs of shape \(12, 6\) are no images"),
        ((X, Y), {"size": (2, 2)}, "data.size: .* is no folder of images"),
        (Dataset(part(), part(), part()), {"std": (2.0,)}, "data.std: .* comes as a network takes it"),
        ({"validation": (X, Y), "test": (X, Y)}, {"std": (2.0,)}, "data.std: the inputs of 'test' of shape|of 'valid"),
    ],
)
def test_keys_that_would_do_nothing_are_refused(loaded, made, options, message):
    with pytest.raises(DataError, match=message):
        loaded(made, **options)


def test_images_of_a_factory_are_bounded_as_floats(loaded, monkeypatch):
    monkeypatch.setattr(numbers, "MOST_BYTES", 4 * LEVELS.size - 1)
    with pytest.raises(DataError, match=r"as float32; at most 575 B are loaded"):
        loaded((LEVELS.astype("u1"), Y))


@pytest.mark.parametrize("source", ["", " ", "x" * 300, "y/" * 5000, "nul\0", "\x1b[2J"])
def test_sources_that_name_nothing(source, tmp_path):
    """What a scenario could not even say is refused by its section, and by the loader where that is left out."""
    with pytest.raises(DataError, match="is no built-in data set") as caught:
        load_data(DataSection.model_construct(source=source), tmp_path)
    assert len(str(caught.value)) < 250
