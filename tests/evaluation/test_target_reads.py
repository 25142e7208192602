"""Targets may be files: how often they are read, and how many of them are in memory at once."""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from beds import TIMES, plan

import splitimpera as sei
from splitimpera.core.errors import DataError
from splitimpera.evaluation.run import evaluate_all
from splitimpera.evaluation.truths import check_targets, with_truths
from splitimpera.models.datasets import Dataset, Samples
from splitimpera.models.targets import Nothing, Read
from splitimpera.records.traffic import Workload
from splitimpera.tasks.agreement import Agreement
from splitimpera.tasks.segmentation import Segmentation
from splitimpera.training.aims import Aims
from splitimpera.training.checksum import target_parts
from splitimpera.training.weight_files import digest

N = 40


class Masks:
    """Masks that are made when they are read; knows how often that was, and the most that were there at once."""

    def __init__(self):
        self.reads, self.now, self.most = 0, 0, 0

    def __call__(self, number):
        mask = np.full((8, 8), number % 3, np.uint8)
        weakref.finalize(mask, self._gone)
        self.reads, self.now = self.reads + 1, self.now + 1
        self.most = max(self.most, self.now)
        return (mask,)

    def _gone(self):
        self.now -= 1


@pytest.fixture
def masks():
    return Masks()


@pytest.fixture
def bed(masks):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 3, 1)).eval()
    samples = Samples(torch.rand(N, 3, 8, 8), Read(masks, torch.arange(N)))
    graph = sei.trace(network, samples.inputs[:2])
    data = Dataset(*(samples.take(slice(first, last)) for first, last in ((30, N), (0, 20), (20, 30))))
    return sei.Testbed(graph, data, Workload(10.0, 1000), task=Segmentation().fitted(graph.outputs))


class Nowhere(dict):
    """Keeps nothing."""

    def put(self, entries):
        pass


@pytest.mark.parametrize("codec", ["float32", "uint8+last"])
@pytest.mark.parametrize("kept", [None, Nowhere()])
def test_all_plans_together_read_a_target_once_to_count_and_once_a_pass(bed, masks, monkeypatch, codec, kept):
    monkeypatch.setattr(sei.Testbed, "chunk", lambda *_: 7)
    plans = [replace(plan(cut, codec, loss=0.3, mtu_bytes=200), id=f"at {cut}") for cut in (1, 2)]
    rngs = {one.id: np.random.default_rng(0) for one in plans}
    found = evaluate_all(plans, bed, TIMES, rngs, kept=kept)
    assert all(one.evaluation.quality < found[0].known.intact.max() for one in found)
    assert masks.reads == 2 * 20
    assert masks.most <= 2 * 7 + 2, "a chunk and the one before"
    assert bed.lost_counts("validation") is bed.with_workload(Workload(20.0)).lost_counts("validation")
    assert len(bed.of_samples(torch.arange(5)).lost_counts("validation")) == 5


def test_checks_and_checksums_have_one_target_in_memory(bed, masks):
    samples = bed.data.train
    Aims(bed.task, samples).check()
    check_targets(bed.task, bed.data)
    parts = list(target_parts(samples, bed.task))
    assert masks.reads == 10 + N + 10
    assert masks.most <= 2
    assert all(isinstance(part, str) for part in parts)
    assert digest(*parts) != digest(*target_parts(samples.take(torch.arange(10).flip(0)), bed.task))
    broken = Samples(samples.source, Read(lambda number: (np.full((8, 8), 1 + number % 3),), torch.arange(10)))
    with pytest.raises(DataError, match="sample 2 has a mask with class 3"):
        Aims(bed.task, broken).check()


def test_training_samples_are_not_asked_for_answers(bed, masks, monkeypatch):
    seen, call = [], sei.Testbed.call

    def counted(self, segment, batch):
        seen.append(len(batch[0]))
        return call(self, segment, batch)

    monkeypatch.setattr(sei.Testbed, "call", counted)
    judged = with_truths(bed.with_task(Agreement().fitted(bed.graph.outputs)))
    assert sum(seen) == len(judged.data.validation) + len(judged.data.test) == 30
    assert isinstance(judged.data.train.targets, Nothing)
    assert judged.data.validation.known
    assert bed.data.train.known, "the testbed that was given stays as it is"
    assert judged.lost_counts("validation").shape[0] == 20
    assert masks.reads == 0
