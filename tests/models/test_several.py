"""Several inputs of a sample: as bytes and back, from whatever data they come."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splitimpera.core.errors import DataError
from splitimpera.models import datasets
from splitimpera.models.datasets import Dataset, Samples, load_data
from splitimpera.models.samples import InMemory, together
from splitimpera.models.several import layout_of
from splitimpera.scenario import DataSection

N = 40
PICTURES = torch.randint(0, 256, (N, 5, 4, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
VECTORS = torch.randn(N, 6, generator=torch.Generator().manual_seed(1))
Y = torch.arange(N) % 4


@pytest.fixture
def loaded(monkeypatch, tmp_path):
    def load(made, kind="class", **options):
        monkeypatch.setattr(datasets, "run_factory", lambda *_: made)
        return load_data(DataSection(source="any.py:thing", **options), tmp_path, kind)

    return load


class Listed:
    """A map-style dataset."""

    def __init__(self, make):
        self.make = make

    def __len__(self):
        return N

    def __getitem__(self, index):
        return self.make(index)


def in_order(data, first=PICTURES, images=True):
    """The inputs of all parts, each sample found again by its vector; whether these are those that were given."""
    samples = data.everything()
    pictures, vectors = samples.tensors(torch.cat(list(samples.batches(7))))
    rows = torch.tensor([int((vector == VECTORS).all(1).nonzero()) for vector in vectors])
    assert sorted(rows.tolist()) == [*range(N)]
    wanted = first[rows].permute(0, 3, 1, 2) / 255 if images else first[rows]
    return torch.allclose(pictures, wanted) and torch.equal(samples.labels, Y[rows])


def test_what_is_packed_comes_back():
    inputs = (
        VECTORS.half(),
        torch.arange(N),
        PICTURES,
        VECTORS.to(torch.bfloat16)[:, ::2],
        VECTORS.double().T.contiguous().T,
    )
    layout = layout_of(inputs)
    rows = layout.packed(inputs)
    assert rows.dtype == torch.uint8
    assert rows.shape == (N, 12 + 8 + 60 + 6 + 24)
    for some in (rows, rows[3:4], rows[:0], rows[torch.tensor([5, 2])]):
        for x, back in zip(inputs, layout.tensors(some), strict=True):
            assert back.shape == (len(some), *x.shape[1:])
    for x, back in zip(inputs, layout.tensors(rows), strict=True):
        assert torch.equal(back.double(), x.float().double())


def test_samples_know_their_inputs_however_they_are_divided():
    samples = Samples({"picture": InMemory(PICTURES), "vector": VECTORS}, Y)
    some = together([samples.take(slice(30, None)), samples.take(Y == 0).take(slice(2))])
    pictures, vectors = some.tensors(some.read(slice(8, 12)))
    assert torch.equal(pictures, PICTURES[[38, 39, 0, 4]])
    assert torch.equal(vectors, VECTORS[[38, 39, 0, 4]])
    assert list(some.example(some.read(slice(2)))) == ["picture", "vector"]
    assert torch.equal(torch.cat(list(some.batches(3))), some.inputs)


@pytest.mark.parametrize(
    "made",
    [
        ((PICTURES, VECTORS), Y),
        ((PICTURES.numpy(), VECTORS.double()), Y.tolist()),
        ({"picture": PICTURES, "vector": VECTORS.tolist()}, Y),
        Listed(lambda index: ((PICTURES[index], VECTORS[index]), Y[index])),
        Listed(lambda index: ({"picture": PICTURES[index], "vector": VECTORS[index]}, int(Y[index]))),
        (Listed(lambda index: (PICTURES[index], VECTORS[index])), Y),
    ],
)
def test_what_a_factory_may_return(loaded, made):
    assert in_order(loaded(made, workers=0) if not isinstance(made, tuple) else loaded(made))


def test_parts_of_a_factory(loaded):
    rows = {"train": slice(0, 20), "validation": slice(20, 30), "test": slice(30, N)}
    data = loaded({part: ((PICTURES[some], VECTORS[some]), Y[some]) for part, some in rows.items()}, mean=[0] * 3)
    assert in_order(data)
    floats = PICTURES / 255
    parts = [Samples((floats[some], VECTORS[some]), Y[some]) for some in rows.values()]
    assert in_order(loaded(Dataset(*parts)), floats, images=False)


def test_as_many_arrays_as_targets_are_a_sample_each(loaded):
    data = loaded((tuple(VECTORS), Y))
    assert data.test.layout is None
    assert data.test.read(slice(1)).shape == (1, 6)


@pytest.mark.parametrize("save", ["npz", "npy"])
def test_files_of_arrays(tmp_path, save):
    arrays = {"x0": PICTURES.numpy(), "x1": VECTORS.numpy(), "y": Y.numpy()}
    parts = {f"{name}_{part}": array[rows] for name, array in arrays.items() for part, rows in
             {"train": slice(0, 20), "val": slice(20, 30), "test": slice(30, N)}.items()}  # fmt: skip
    for number, some in enumerate((arrays, parts)):
        source = f"data{number}" + (".npz" if save == "npz" else "")
        if save == "npz":
            np.savez(tmp_path / source, **some)
        else:
            (tmp_path / source).mkdir()
            for name, array in some.items():
                np.save(tmp_path / source / f"{name}.npy", array)
        assert in_order(load_data(DataSection(source=source), tmp_path))
        without = load_data(DataSection(source=source), tmp_path, "none")
        assert not without.test.known
        assert without.test.layout is not None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": VECTORS, "x1": VECTORS}, "has inputs, and inputs 1 besides"),
        ({"x1": VECTORS}, "has no inputs 0"),
        ({"x0": VECTORS, "x2": VECTORS}, "has no inputs 1"),
        ({"x0": VECTORS, "x1": PICTURES[:30]}, "input 1 of the inputs has 30 rows, input 0 40"),
    ],
)
def test_files_that_lack_something(tmp_path, arrays, message):
    np.savez(tmp_path / "data.npz", y=Y.numpy(), **{name: array.numpy() for name, array in arrays.items()})
    with pytest.raises(DataError, match=message):
        load_data(DataSection(source="data.npz"), tmp_path)


@pytest.mark.parametrize(
    ("made", "options", "message"),
    [
        (((VECTORS, PICTURES[:30]), Y), {}, "input 1 of the inputs has 30 rows, input 0 40"),
        (({"a": VECTORS, "b": VECTORS * torch.nan}, Y), {}, "input 'b' contain NaN"),
        (({"a": VECTORS, "b": "text"}, Y), {}, "input 'b' are str"),
        (({}, Y), {}, "the inputs are none"),
        (((VECTORS, VECTORS), Y), {"mean": [0.5]}, "data.mean: the inputs: input 0: .* none is an image"),
        (((PICTURES, VECTORS), Y), {"mean": [0.5]}, "data.mean: 1 values are given for 3 channels"),
        ({"picture": PICTURES, "vector": VECTORS}, {}, r"no validation and no test part"),
        (
            {"train": ((VECTORS, Y), Y), **dict.fromkeys(("validation", "test"), ((VECTORS, VECTORS), Y))},
            {},
            r"one shape and one type .*'train' has input 0: float32 of shape \(6,\), input 1: int64 of shape \(\)",
        ),
        (
            Listed(lambda index: ((VECTORS[index], PICTURES[index][: 4 + (index == 0)]), 1)),
            {"workers": 0},
            r"is \(input 0: float32 of shape \(6,\), input 1: uint8 of shape \(4, 4, 3\)\), item 0 \(input 0",
        ),
    ],
)  # fmt: skip
def test_inputs_that_do_not_go_together(loaded, made, options, message):
    with pytest.raises(DataError, match=message):
        in_order(loaded(made, **options))


def test_parts_that_share_samples(loaded):
    shared = ((PICTURES, VECTORS), Y)
    with pytest.raises(DataError, match="the parts overlap: 40 of 40 samples of 'validation', 40 of 40"):
        loaded({"validation": shared, "test": shared})
    # as long as one of the inputs differs, samples do
    other = ((PICTURES, VECTORS + 1), Y)
    assert len(loaded({"validation": shared, "test": other}).test) == N
