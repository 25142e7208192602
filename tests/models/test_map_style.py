"""Datasets that are read item by item: whatever they are, and whatever goes wrong in which process."""

from __future__ import annotations

import os
import random
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from splitimpera.core.errors import DataError
from splitimpera.models import datasets, items
from splitimpera.models.datasets import Dataset, Pixels, Samples, divide, load_data
from splitimpera.scenario import DataSection

N = 40
X = torch.randn(N, 3, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(N) % 4


class Listed:
    """The simplest of its kind; it counts what it is asked for."""

    def __init__(self, x=X, y=Y):
        self.x, self.y, self.asked = x, y, []

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        self.asked.append(index)
        return self.x[index], self.y[index]


class WithTargets(Listed):
    @property
    def targets(self):
        return self.y.tolist()


class Shifted(WithTargets):
    """As with a `target_transform`: items say something else than `targets`."""

    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x, int(y) + 1


class Augmented(Listed):
    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x + random.random() + float(np.random.rand()) + torch.rand(1), y  # noqa: NPY002


class Failing(WithTargets):
    """Does something at one index; its labels are known, so that nothing goes wrong before it is read."""

    def __init__(self, act, at=29):
        super().__init__()
        self.act, self.at = act, at

    def __getitem__(self, index):
        return self.act() if index == self.at else super().__getitem__(index)


@pytest.fixture
def loaded(monkeypatch, tmp_path):
    def load(made, **options):
        monkeypatch.setattr(datasets, "run_factory", lambda *_: made)
        return load_data(DataSection(source="mine.py:data", **options), tmp_path)

    return load


def rows(samples, size=None):
    return samples.read(slice(None)) if size is None else torch.cat(list(samples.batches(size)))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("make", [Listed, WithTargets, Shifted, lambda: TensorDataset(X, Y)])
def test_every_item_with_its_label_in_batches_or_at_once(loaded, make, workers):
    data = loaded(make(), workers=workers)
    reference = divide(Samples(X, Y + (make is Shifted)), validation=0.3, test=0.5)
    for part in ("train", "validation", "test"):
        found, expected = getattr(data, part), getattr(reference, part)
        assert torch.equal(found.labels, expected.labels)
        assert torch.equal(rows(found), expected.inputs)
        assert torch.equal(rows(found, 7), expected.inputs)
        assert found.read(slice(0)).shape == (0, 3, 4)
    assert torch.equal(rows(data.everything(), 16), reference.everything().inputs)


def test_labels_beside_the_items_spare_a_pass(loaded):
    known, unknown = WithTargets(), Listed()
    loaded(known, workers=0)
    loaded(unknown, workers=0)
    assert len(known.asked) < N / 2
    assert set(unknown.asked) == set(range(N))


def test_labels_of_subsets_and_joined_sets_spare_a_pass(loaded):
    inner = WithTargets()
    data = loaded(ConcatDataset([Subset(inner, range(0, N, 2)), Subset(inner, range(1, N, 2))]), workers=0)
    assert len(inner.asked) < N / 2
    order = [*range(0, N, 2), *range(1, N, 2)]
    assert torch.equal(data.test.labels, divide(Samples(X[order], Y[order]), validation=0.3, test=0.5).test.labels)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_random_transform_draws_the_same_whenever_an_item_is_read(loaded, workers):
    random.seed(5)
    before = random.getstate(), torch.get_rng_state()
    data = loaded(Augmented(), workers=workers)
    once = rows(data.test)
    for size in (3, 7, 20):
        assert torch.equal(rows(data.test, size), once)
    assert torch.equal(data.test.read(torch.tensor([5, 2])), once[[5, 2]])
    assert not torch.equal(once, X[:20])
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_a_loader_is_its_dataset_and_its_workers(loaded):
    for loader in (DataLoader(Listed(), 8, shuffle=True, num_workers=1), DataLoader(Listed(), batch_size=None)):
        data = loaded(loader)
        assert torch.equal(rows(data.test, 8), divide(Samples(X, Y), validation=0.3, test=0.5).test.inputs)
    chosen = loaded(DataLoader(Listed(), sampler=SubsetRandomSampler(range(5, 25))), test=0.5, validation=0.5)
    assert sorted(chosen.everything().labels.tolist()) == sorted(Y[5:25].tolist())
    assert sorted(rows(chosen.everything())[:, 0, 0].tolist()) == sorted(X[5:25, 0, 0].tolist())


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DataLoader(Listed(), collate_fn=list), "has a collate_fn of its own; let the dataset do"),
        (
            lambda: DataLoader(Listed(), sampler=WeightedRandomSampler([1.0] * N, N)),
            "by WeightedRandomSampler; .*Subset",
        ),
        (lambda: DataLoader(Stream()), "loads Stream, which has no items to be asked for by index"),
        (lambda: Stream(), "returns Stream, a pair"),
        (lambda: DataLoader(Listed(), sampler=SubsetRandomSampler([3, 99])), "asks for item 99 of 40"),
        (lambda: DataLoader(Listed(), sampler=SubsetRandomSampler([])), "asks for no item"),
    ],
)
def test_loaders_that_say_more_than_their_dataset(loaded, make, message):
    with pytest.raises(DataError, match=message) as caught:
        loaded(make())
    assert caught.value.where == "data.source"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_images_become_floats_as_they_are_read(loaded, dtype):
    images = np.random.default_rng(0).integers(0, 255, (N, 6, 5, 3)).astype(dtype)
    data = loaded(Listed(images, Y.numpy()), mean=(0.5,) * 3, std=(0.25,) * 3)
    array = loaded((images, Y.numpy()), mean=(0.5,) * 3, std=(0.25,) * 3)
    assert torch.equal(rows(data.test, 6), array.test.inputs)
    assert data.pixels == array.pixels == (Pixels((0.5,) * 3, (0.25,) * 3) if dtype == np.uint8 else None)
    pictures = loaded(Listed([Image.fromarray(image.astype(np.uint8)) for image in images], Y.numpy()))
    assert rows(pictures.test, 6).shape == (20, 3, 6, 5)


def test_floats_of_64_bits_are_those_of_32(loaded):
    data = loaded(Listed(X.double().numpy(), Y.numpy()))
    assert rows(data.test).dtype == torch.float32


def test_inputs_item_by_item_and_labels_beside_them(loaded):
    class Inputs(Listed):
        def __getitem__(self, index):
            return self.x[index]

    data = loaded((Inputs(), Y))
    assert torch.equal(rows(data.test, 8), divide(Samples(X, Y), validation=0.3, test=0.5).test.inputs)
    with pytest.raises(DataError, match="40 inputs need as many labels"):
        loaded((Inputs(), Y[:30]))
    with pytest.raises(DataError, match=r"the inputs of item 0 .* are arrays of several kinds"):
        loaded((Listed(), Y))


def test_parts_of_any_make_go_together(loaded):
    parts = {"train": DataLoader(Listed(X[:20], Y[:20])), "validation": (X[20:30], Y[20:30])}
    data = loaded(parts | {"test": Subset(Listed(), range(30, 40))})
    assert [len(part) for part in (data.train, data.validation, data.test)] == [20, 10, 10]
    assert torch.equal(rows(data.everything(), 7), X)
    with pytest.raises(DataError, match=r"'test' has float32 of shape \(3, 3\)"):
        loaded(parts | {"test": Listed(X[30:, :, :3], Y[30:])})


def raising(error):
    def act():
        raise error

    return act


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("act", "message"),
    [
        (raising(ValueError("no\x1b[2J file")), r"item 29 of .*cannot be read: ValueError: no\\x1b\[2J file"),
        (raising(IndexError("out")), "item 29 of .* says that it has 40, cannot be read: IndexError"),
        (lambda: sys.exit(3), "item 29 of .*SystemExit: 3"),
        (lambda: (X[0, :2], 1), r"item 29 of .* is float32 of shape \(2, 4\), item \d+ float32 of shape \(3, 4\)"),
        (lambda: (X[0].long(), 1), r"item 29 of .* is int64 of shape"),
        (lambda: (X[0] * torch.nan, 1), "item 29 of .* contain NaN"),
        (lambda: (X[0], 3), "item 29 of .* has label 3, and had 1 before"),
        (lambda: (X[0], 1.5), "label of item 29 of .* is float64 of shape"),
        (lambda: (X[0], torch.ones(4)), "label of item 29"),
        (lambda: X[0], r"item 29 of .* is Tensor, a pair \(input, label\) is expected"),
        (lambda: {"image": X[0]}, "item 29 of .* is dict, a pair"),
        (lambda: (None, 1), "inputs of item 29 of .* are NoneType"),
        (lambda: (X[0, :0], 1), "nothing in them"),
    ],
)
def test_a_broken_item_is_named_in_whichever_process_it_is_read(loaded, act, message, workers):
    data = loaded(Failing(act), workers=workers)
    with pytest.raises(DataError, match=message) as caught:
        rows(data.everything(), 8)
    assert caught.value.where == "data.source"
    assert len(str(caught.value).splitlines()) == 1


def test_a_worker_that_dies_is_told_with_what_it_read(loaded):
    data = loaded(Failing(lambda: os._exit(1)))
    with pytest.raises(DataError, match=r"a worker process failed while items \d+ to \d+ of .* were read") as caught:
        rows(data.everything(), 8)
    assert "workers: 0" in caught.value.hint


class Lying(Listed):
    def __init__(self, length):
        super().__init__()
        self.length = length

    def __len__(self):
        if isinstance(self.length, Exception):
            raise self.length
        return self.length

    def __getitem__(self, index):
        if index >= N:
            raise IndexError(index)
        return super().__getitem__(index)


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (N + 3, "item 40 of .*, which says that it has 43, cannot be read: IndexError"),
        (0, r"length of the data set \(Lying\) is 0, 1 to"),
        (-1, "length of .* cannot be asked for: ValueError"),
        (2.5, "length of .* cannot be asked for: TypeError"),
        (10**30, "length of .* cannot be asked for: OverflowError"),
        (10**12, "length of .* is 1000000000000, 1 to 50000000 is expected"),
        (RuntimeError("later"), "length of .* cannot be asked for: RuntimeError: later"),
    ],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_lengths_that_lie(loaded, length, message, workers):
    with pytest.raises(DataError, match=message):
        loaded(Lying(length), workers=workers)


def test_targets_of_the_wrong_length_are_not_believed(loaded):
    class Short(Listed):
        targets = (0, 1, 2)

    assert torch.equal(loaded(Short()).test.labels, divide(Samples(X, Y), validation=0.3, test=0.5).test.labels)


class Own:
    """A source of a user's own."""

    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def read(self, rows):
        return self.x[rows]


def test_sources_of_a_users_own_are_held_to_what_they_say(loaded):
    def whole(x, pixels=None):
        samples = Samples(Own(x), Y)
        return Dataset(samples.take(slice(20)), samples.take(slice(20, 30)), samples.take(slice(30, 40)), pixels=pixels)

    assert torch.equal(rows(loaded(whole(X.double())).everything(), 7), X)
    broken = X.clone()
    broken[35, 1, 1] = torch.nan
    data = loaded(whole(broken))
    with pytest.raises(DataError, match="the inputs of 'test' contain NaN"):
        rows(data.test, 4)
    pixels = Pixels((0.5,), (0.25,))
    images = pixels.inputs(np.random.default_rng(0).integers(0, 255, (N, 4, 4, 1)).astype(np.uint8))
    assert torch.equal(rows(loaded(whole(images, pixels)).test), images[30:])
    images[33] *= 0.9
    data = loaded(whole(images, pixels))
    with pytest.raises(DataError, match="are not those that pixels"):
        rows(data.test, 4)


CODE = """
import torch
from neighbour import SIDE

class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, index):
        assert index != 35, "no such file"
        return torch.full((SIDE,), float(index)), index % 4

def data():
    return Numbers()

def subset():
    return torch.utils.data.Subset(Numbers(), range(30))
"""


def test_a_dataset_of_a_file_is_known_in_other_processes(tmp_path):
    """Its class has no name by which another process could import it."""
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "neighbour.py").write_text("SIDE = 3")
    data = load_data(DataSection(source="mine.py:subset", workers=2), tmp_path)
    assert sorted(rows(data.everything(), 4)[:, 2].tolist()) == list(range(30))
    with pytest.raises(DataError, match=r"item 35 of .* no such file \(mine\.py, line 10, in __getitem__"):
        load_data(DataSection(source="mine.py:data", workers=2), tmp_path)


def test_a_batch_alone_starts_no_process(loaded, monkeypatch):
    data = loaded(WithTargets(), workers=2)
    monkeypatch.setattr(items, "DataLoader", None)
    assert len(rows(data.test, 100)) == 20
