"""Memory that does not grow with the data, and batches that are not computed twice."""

from __future__ import annotations

import gc
import json
import weakref

import numpy as np
import pytest
import torch
from networks import inputs, make

import splitimpera as sei
from splitimpera.core.errors import DataError
from splitimpera.models.datasets import Samples
from splitimpera.saliency.running_sums import RunningSums

LABELS = torch.arange(10) % 3


class Counted(Samples):
    """Samples that note which inputs are read, and refuse to hand out all."""

    def __init__(self, x, labels):
        super().__init__(x, labels)
        object.__setattr__(self, "reads", [])

    def batches(self, size):
        for x in super().batches(size):
            self.reads.append(len(x))
            yield x

    def take(self, rows):
        part = super().take(rows)
        counted = Counted(part.inputs, part.labels)
        object.__setattr__(counted, "reads", self.reads)
        return counted


@pytest.fixture(scope="module")
def graph():
    return sei.trace(make("Chain"), inputs("Chain", 2))


@pytest.fixture(scope="module")
def x():
    return inputs("Chain", 10)[0]


def same(first, second):
    """Bit for bit, of the classes as well."""
    assert first.scores.keys() == second.scores.keys()
    for name in first.scores:
        np.testing.assert_array_equal(first.scores[name], second.scores[name])
    assert first.class_counts == second.class_counts
    for label in first.class_counts:
        np.testing.assert_array_equal(first.per_class[label], second.per_class[label])
    assert first.samples == second.samples


def interrupting(after):
    """A `Track` that ends as by Ctrl-C once so many batches have begun."""

    def track(batches, _what, _total):
        for number, batch in enumerate(batches):
            if number == after:
                raise KeyboardInterrupt
            yield batch

    return track


def test_sums_by_hand():
    sums = RunningSums((1, 2))
    sums.add(np.array([[[1.0, 10.0]], [[2.0, 20.0]], [[6.0, 60.0]]]), torch.tensor([4, 4, 7]))
    sums.add(np.array([[[3.0, 30.0]]]), torch.tensor([4]))
    assert sums.counts == {4: 3, 7: 1}
    np.testing.assert_array_equal(sums.mean([4]), [[2.0, 20.0]])
    np.testing.assert_array_equal(sums.mean(), [[3.0, 30.0]])
    assert sums.samples([7, 8]) == 1


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("after", [0, 2, 4])
def test_an_interrupted_curve_goes_on_where_it_was(graph, x, labelled, after):
    samples = Counted(x, LABELS)
    data = samples if labelled else x
    scores = ["fisher"]
    whole = sei.cumulative_saliency(graph, data, batch=3, scores=scores)
    samples.reads.clear()
    kept = {}
    if after < 4:
        with pytest.raises(KeyboardInterrupt):
            sei.cumulative_saliency(graph, data, batch=3, scores=scores, kept=kept, track=interrupting(after))
    else:
        sei.cumulative_saliency(graph, data, batch=3, scores=scores, kept=kept)
    assert list(kept) == [str(number) for number in range(after)]
    before = dict(kept)
    kept = json.loads(json.dumps(kept))
    samples.reads.clear()
    same(sei.cumulative_saliency(graph, data, batch=3, scores=scores, kept=kept), whole)
    assert {number: kept[number] for number in before} == before
    if labelled:
        assert samples.reads == [3, 3, 3, 1][after:]  # what is done is not even read


def test_a_batch_that_is_noted_is_not_computed(graph, x):
    """Wherever it stands: a curve of other sums shows that these were taken."""
    kept = {}
    whole = sei.cumulative_saliency(graph, x, batch=5, kept=kept)
    kept["1"] = kept["0"]
    again = sei.cumulative_saliency(graph, iter([x[:5], x[5:]]), kept={"1": kept["1"]})
    np.testing.assert_array_equal(again.cs, sei.cumulative_saliency(graph, x[:5]).cs)
    assert not np.array_equal(again.cs, whole.cs)


def test_numbers_that_are_not_finite_come_back():
    sums = RunningSums((1, 3))
    sums.add(np.array([[[np.nan, np.inf, -0.0]]]), None)
    plain = json.loads(json.dumps(sums.plain(), allow_nan=False))
    found = RunningSums.of_batch(plain, (1, 3), 1, None)
    assert found.mean().tobytes() == sums.mean().tobytes()


def test_a_network_without_points_can_be_resumed():
    graph, kept = sei.trace(torch.nn.Sequential(torch.nn.Linear(3, 2)), torch.rand(2, 3)), {}
    for _ in range(2):
        curve = sei.cumulative_saliency(graph, torch.rand(4, 3), batch=2, kept=kept)
        assert curve.cs.shape == (0,)
        assert curve.samples == 4


@pytest.mark.parametrize(
    "change",
    [
        {"sums": "AAAA"},
        {"sums": 3},
        {"labels": None},
        {"counts": [1, 1]},
        {"labels": [0, 1, 5]},
        {"shape": [2, 4]},
        None,
    ],
)
def test_sums_that_do_not_fit_are_refused(graph, x, change):
    kept = {}
    sei.cumulative_saliency(graph, (x, LABELS), batch=5, kept=kept)
    kept["1"] = None if change is None else kept["1"] | change
    with pytest.raises(DataError, match=r"sums of a batch (are damaged|belong to other).*leave them out"):
        sei.cumulative_saliency(graph, (x, LABELS), batch=5, kept=kept)


def test_scores_of_all_samples_together_cannot_be_kept(graph, x):
    with pytest.raises(DataError, match="kept: gradient_agreement cannot be summed up batch by batch"):
        sei.cumulative_saliency(graph, x, scores=["cs", "gradient_agreement"], kept={})


def test_no_more_than_two_batches_are_alive(graph):
    """The one that is used, and the next one that its generator may have made."""
    alive = weakref.WeakSet()
    most = 0

    def batches():
        nonlocal most
        for _ in range(12):
            x = torch.rand(4, *graph.cuts[0].tensors[0].shape)
            alive.add(x)
            gc.collect()
            most = max(most, len(alive))
            yield x, torch.zeros(4, dtype=torch.int64)

    assert sei.cumulative_saliency(graph, batches()).samples == 48
    assert most == 2
