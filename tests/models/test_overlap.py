"""Parts that share samples are found, by whatever way the samples are reached."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset

from splitimpera.core.errors import DataError, SplitImperaWarning
from splitimpera.models import datasets
from splitimpera.models.datasets import Dataset, Samples, load_data
from splitimpera.scenario import DataSection

N = 600
X = np.random.default_rng(0).standard_normal((N, 2, 10, 9)).astype(np.float32)
Y = np.arange(N) % 4


@pytest.fixture
def loaded(monkeypatch, tmp_path):
    def load(made, **options):
        monkeypatch.setattr(datasets, "run_factory", lambda *_: made)
        return load_data(DataSection(source="mine.py:data", workers=0, **options), tmp_path)

    return load


def pairs(x, shared):
    """Parts of 200, 200 and 200; the first `shared` of test are also in train."""
    x = x.copy()
    x[400 : 400 + shared] = x[:shared]
    return {
        name: (x[begin : begin + 200], Y[begin : begin + 200])
        for begin, name in ((0, "train"), (200, "validation"), (400, "test"))
    }


@pytest.mark.parametrize("make", ["arrays", "images", "bfloat16", "Dataset", "npz"])
def test_identical_inputs(loaded, tmp_path, make):
    def load(shared):
        parts = pairs(np.clip(X * 99 + 128, 0, 255).astype(np.uint8) if make == "images" else X, shared)
        if make == "npz":
            arrays = {}
            for name, (x, y) in parts.items():
                arrays |= {f"x_{name}": x, f"y_{name}": y}
            np.savez(tmp_path / "data.npz", **arrays)
            return load_data(DataSection(source="data.npz"), tmp_path)
        if make == "bfloat16":
            parts = {name: (torch.from_numpy(x).bfloat16(), y) for name, (x, y) in parts.items()}
        if make == "Dataset":
            return loaded(Dataset(**{name: Samples(*map(torch.from_numpy, pair)) for name, pair in parts.items()}))
        return loaded(parts)

    with warnings.catch_warnings():
        warnings.simplefilter("error", SplitImperaWarning)
        load(0)
    for few in (1, 2):
        with pytest.warns(SplitImperaWarning, match=f"{few} of 200 samples of 'train', {few} of 200 .* of 'test'"):
            load(few)
    with pytest.raises(DataError, match=r"overlap: 3 of 200 samples of 'train', 3 of 200 .* of 'test' are identical"):
        load(3)


def test_inputs_that_are_alike_in_the_middle_alone_do_not_overlap(loaded):
    parts = pairs(X, 0)
    for x, _ in parts.values():
        x[:, :, 1:] = 0
    loaded(parts)


def test_what_the_limit_leaves_out_is_not_compared(loaded):
    loaded(pairs(X, 0), limit=60)
    with pytest.raises(DataError, match="are identical"):
        loaded(pairs(X, 200), limit=590)


def test_items_of_the_same_dataset(loaded):
    whole = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    apart = {"validation": Subset(whole, range(0, 300)), "test": Subset(whole, range(300, N))}
    loaded(apart)
    loaded(apart | {"test": Subset(Subset(whole, range(200, N)), range(100, 400))})
    with pytest.raises(DataError, match=r"1 of 300 samples of 'validation', 1 of 301 .* are the same item"):
        loaded(apart | {"test": Subset(whole, range(299, N))})
    with pytest.raises(DataError, match=r"100 of 300 samples of 'validation', 100 of 400 .* are the same item"):
        loaded(apart | {"test": Subset(Subset(whole, range(100, N)), range(100, 500))})
    joined = ConcatDataset([Subset(whole, range(500, 510)), Subset(whole, range(10))])
    with pytest.raises(DataError, match=r"10 of 300 samples of 'validation', 10 of 20 .* are the same item"):
        loaded(apart | {"test": joined})
    with pytest.raises(DataError, match="600 of 600 samples of 'validation'"):
        loaded({"validation": DataLoader(whole), "test": DataLoader(whole, shuffle=True)})


@pytest.fixture
def folder(tmp_path):
    for part, begin in (("train", 0), ("val", 10), ("test", 20)):
        for name in ("cat", "dog"):
            (tmp_path / "pets" / part / name).mkdir(parents=True)
            for index in range(5):
                place = begin + index + 5 * (name == "dog")
                image = Image.fromarray(np.clip(X[place] * 99 + 128, 0, 255).astype(np.uint8)[0])
                image.save(tmp_path / "pets" / part / name / f"{index}.bmp")  # all of one length
    return tmp_path / "pets"


def test_the_same_file(folder):
    load_data(DataSection(source="pets"), folder.parent)
    for link in (os.link, os.symlink):
        place = folder / "test" / "cat" / "9.bmp"
        link(folder / "train" / "cat" / "0.bmp", place)
        with pytest.raises(DataError, match="1 of 10 samples of 'train', 1 of 11 samples of 'test' are the same file"):
            load_data(DataSection(source="pets"), folder.parent)
        place.unlink()


def test_files_of_the_same_content(folder):
    content = (folder / "train" / "cat" / "0.bmp").read_bytes()
    place = folder / "val" / "cat" / "9.bmp"
    place.write_bytes(content)
    with pytest.raises(DataError, match="1 of 10 samples of 'train', 1 of 11 samples of 'validation' are identical"):
        load_data(DataSection(source="pets"), folder.parent)
    place.write_bytes(content[:-1] + b"\7")
    load_data(DataSection(source="pets"), folder.parent)
