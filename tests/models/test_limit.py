"""A part of the data: seeded, each class and each part in proportion."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splitimpera.core.errors import DataError
from splitimpera.models import datasets
from splitimpera.models.datasets import load_data
from splitimpera.models.parts import in_proportion, stratified
from splitimpera.scenario import DataSection

LABELS = torch.tensor([0] * 700 + [1] * 200 + [2] * 90 + [5] * 10)


@pytest.mark.parametrize(("count", "sizes"), [(100, [70, 20, 9, 1]), (10, [7, 2, 1, 0]), (1000, [700, 200, 90, 10])])
def test_each_class_in_proportion(count, sizes):
    rows = stratified(LABELS, count, 3)
    assert torch.equal(rows, rows.unique())
    assert [int((LABELS[rows] == label).sum()) for label in (0, 1, 2, 5)] == sizes


def test_every_sample_is_drawn_as_often_as_any_other():
    times = torch.zeros(len(LABELS))
    for seed in range(400):
        times[stratified(LABELS, 100, seed)] += 1
    # 400 draws at 10 %: mean 40, standard deviation 6
    assert times.min() > 12
    assert times.max() < 70
    assert torch.equal(stratified(LABELS, 100, 7), stratified(LABELS, 100, 7))


def test_shares_add_up():
    rng = np.random.default_rng(0)
    for _ in range(200):
        sizes = rng.integers(0, 50, rng.integers(1, 9)).tolist()
        count = int(rng.integers(0, sum(sizes) + 1))
        shares = in_proportion(sizes, count)
        assert sum(shares) == count
        assert all(
            abs(share - count * size / max(1, sum(sizes))) < 1 for share, size in zip(shares, sizes, strict=True)
        )
        assert all(share <= size for share, size in zip(shares, sizes, strict=True))


@pytest.fixture
def loaded(monkeypatch, tmp_path):
    def load(made, **options):
        monkeypatch.setattr(datasets, "run_factory", lambda *_: made)
        return load_data(DataSection(source="mine.py:data", **options), tmp_path)

    return load


def test_a_limit_for_what_is_divided_later(loaded):
    x = torch.arange(1000)[:, None] / 1
    data = loaded((x, LABELS), limit=100, test=0.5, validation=0.3)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [20, 30, 50]
    assert data.everything().labels.bincount().tolist() == [70, 20, 9, 0, 0, 1]
    assert torch.equal(LABELS[data.everything().inputs[:, 0].long()], data.everything().labels)
    assert len(loaded((x, LABELS), limit=5000).everything()) == 1000
    other = loaded((x, LABELS), limit=100, test=0.5, validation=0.3, seed=1)
    assert set(other.everything().inputs[:, 0].tolist()) != set(data.everything().inputs[:, 0].tolist())


def test_a_limit_for_parts(loaded):
    x = torch.arange(1000)[:, None] / 1
    order = torch.randperm(1000)
    parts = {
        name: (x[rows], LABELS[rows])
        for name, rows in zip(("train", "validation", "test"), torch.split(order, (500, 200, 300)), strict=True)
    }
    data = loaded(parts, limit=100, seed=5)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [50, 20, 30]
    assert set(data.test.inputs[:, 0].tolist()) < set(x[order[700:], 0].tolist())
    with pytest.raises(DataError, match=r"data.limit: 1 samples leave nothing of the part 'validation'"):
        loaded(parts, limit=1)


def test_a_limit_for_what_is_built_in():
    data = load_data(DataSection(source="digits", limit=180), None)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [90, 36, 54]
    assert data.pixels is not None
    with pytest.raises(DataError, match=r"data.seed: 'digits' comes with its own parts"):
        load_data(DataSection(source="digits", seed=1), None)
