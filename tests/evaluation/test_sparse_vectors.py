"""Sparse vectors come to what dense ones do: the same plans judged by the same quality either way."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from beds import TIMES, known_bed, plan, run, trial_in
from scipy.sparse import csr_array

from splitimpera.core.statistics import DRAWS
from splitimpera.evaluation import vectors
from splitimpera.evaluation.chance import Draws
from splitimpera.evaluation.damage import IN_A_BIN, DamageCurve
from splitimpera.evaluation.replay import replay
from splitimpera.evaluation.run import evaluate_all
from splitimpera.evaluation.vectors import added, either, mean_of, means_of_samples, minus, plus
from splitimpera.records.traffic import Workload
from splitimpera.studies.loss_curve import curve_through, quality_against_loss
from splitimpera.tasks.classification import RightClass
from splitimpera.tasks.quality import Columns, total, value_of


@pytest.fixture(autouse=True)
def as_many_draws(monkeypatch):
    """As dense vectors have; else sparse ones have fewer, the first of these."""
    assert vectors.SPARSE_DRAWS < DRAWS
    monkeypatch.setattr(vectors, "SPARSE_DRAWS", DRAWS)


class Sparse:
    """Accuracy, a dimension for each different pair of numbers; there are more, the later a vector is made."""

    name = "accuracy"

    def __init__(self):
        self.inner, self.axes = RightClass(), {}

    def count(self, answer, target):
        return self.inner.count(answer, target)

    def count_lost(self, target):
        return self.inner.count_lost(target)

    def vectors(self, counts):
        axes = [self.axes.setdefault(tuple(row), len(self.axes)) for row in counts]
        return csr_array((np.ones(len(axes)), axes, np.arange(len(axes) + 1)), shape=(len(axes), len(self.axes)))

    def signal(self, vectors):
        return vectors @ np.array([*self.axes])[: vectors.shape[1]]

    def value(self, total):
        known = np.array([*self.axes])
        if isinstance(total, Columns):
            return self.inner.value(total.rows @ known[total.places])
        return self.inner.value(total @ known[: total.shape[-1]])

    def interval(self, vectors):
        return self.inner.interval(self.signal(vectors))


@pytest.fixture(scope="module")
def beds():
    bed = known_bed()
    return bed, bed.with_task(replace(bed.task, quality=Sparse()))


LOSSY = {"loss": 0.3, "mtu_bytes": 200, "rate_bps": 1e6}


@pytest.mark.parametrize("most", [None, 1000])
@pytest.mark.parametrize("deadline_s", [None, 0.012])
def test_evaluations_are_the_same(beds, most, deadline_s):
    found = []
    for bed in beds:
        bed = bed.with_workload(Workload(10.0, 1000, deadline_s or 0.1))
        rngs = {"p": np.random.default_rng(0)}
        (one,) = evaluate_all([plan(1, **LOSSY)], bed, TIMES, rngs, replications=3, most_patterns=most)
        better, rng = plan(1, **LOSSY | {"loss": 0.1}), np.random.default_rng(1)
        again = replay(better, bed, TIMES, one.known, rng, 3, intervals=True)
        found.append((one.evaluation, again))
    for dense, sparse in zip(*found, strict=True):
        assert sparse.quality == pytest.approx(dense.quality, abs=1e-12)
        assert sparse.on_time_quality == pytest.approx(dense.on_time_quality, abs=1e-12)
        for metric in ("accuracy", "on_time_accuracy"):
            np.testing.assert_allclose(Draws(sparse).of(metric), Draws(dense).of(metric), atol=1e-12)
            if Draws(dense).outcomes(metric) is None:  # else Wilson's interval, of what is right or wrong
                assert sparse.intervals[metric] == pytest.approx(dense.intervals[metric])
        assert sparse.loss_patterns == dense.loss_patterns
    assert found[0][0].quality < 1


def test_curves_over_loss_are_the_same(beds):
    curves = []
    for bed in beds:
        trial = trial_in(bed)
        curves.append(quality_against_loss(plan(1, **LOSSY), bed.workload, trial, (0.0, 0.5)))
        rows = np.arange(0, 20, 2)
        some = [run(bed, plan(1, **LOSSY | {"loss": loss}), intervals=False) for loss in (0.0, 0.5)]
        whole = run(bed, plan(1, transport="tcp"))
        taken = [
            replace(one, contributions=[run_[rows] for run_ in one.contributions])
            if isinstance(one.contributions, list)
            else replace(one, contributions=one.contributions[:, rows])
            for one in some
        ]
        curves.append(curve_through(plan(1), mean_of(whole.contributions), rows, taken, (0.0, 0.5)))
    for dense, sparse in zip(curves[:2], curves[2:], strict=True):
        for name in ("quality", "low", "high"):
            np.testing.assert_allclose(getattr(sparse, name), getattr(dense, name), atol=1e-12)


def test_operations_are_those_of_dense_vectors():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 3, (2, 8, 4)).astype(float)
    which, places = rng.random(8) < 0.5, np.array([1, 5])
    sparse, narrow = csr_array(one), csr_array(other[:, :4])
    np.testing.assert_allclose(either(which, sparse, narrow).toarray(), either(which, one, other))
    np.testing.assert_allclose(
        added(sparse, places, narrow[places]).toarray(), added(one.copy(), places, other[places])
    )
    np.testing.assert_allclose(mean_of([sparse, narrow]).toarray(), mean_of(np.stack([one, other])))
    np.testing.assert_allclose(total(sparse).toarray()[0], total(one))
    for found, expected in zip(means_of_samples([sparse, narrow], 3), means_of_samples([one, other], 3), strict=True):
        np.testing.assert_allclose(found.toarray(), expected)


def test_vectors_of_before_go_with_later_ones_of_more_dimensions():
    few, more = csr_array(np.eye(2)), csr_array(np.ones((2, 3)))
    np.testing.assert_allclose(plus(few, more).toarray(), [[2, 1, 1], [1, 2, 1]])
    np.testing.assert_allclose(minus(csr_array(np.eye(2)), more).toarray(), [[0, -1, -1], [-1, 0, -1]])


def test_value_of_all_rows():
    quality = Sparse()
    vectors = quality.vectors(np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0], [1.0, 1.0]]))
    assert value_of(quality, vectors) == 0.75


@pytest.mark.parametrize("frames", [0, 20, 500])
def test_curves_of_damage_are_those_of_dense_vectors(frames):
    rng = np.random.default_rng(0)
    shares, changes = rng.integers(0, 40, frames) / 50, rng.random((frames, 3))
    at = np.array([0.0, 0.01, *rng.random(50), shares.max(initial=0.0), 1.0])
    sparse = DamageCurve(shares, csr_array(changes)).at(at)
    np.testing.assert_allclose(sparse.toarray(), DamageCurve(shares, changes).at(at), atol=1e-12)


def test_a_curve_of_many_frames_needs_no_matrix_of_points_and_frames():
    rng, frames = np.random.default_rng(0), 20_000
    curve = DamageCurve(rng.random(frames), csr_array((np.ones(frames), (np.arange(frames), np.arange(frames) % 100))))
    tracemalloc.start()
    assert curve.at(rng.random(frames)).shape == (frames, 100)
    most_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most_bytes < frames * (frames / IN_A_BIN) * 8 / 4


def test_draws_are_remembered_but_not_all_of_them(monkeypatch):
    monkeypatch.setattr(vectors, "MOST_DRAWN", 2)
    quality = Sparse()
    of = [[quality.vectors(np.array([[right, 1.0], [1.0, 1.0], [0.0, 1.0]]))] for right in (0.0, 0.25, 0.5)]
    first = vectors.draws(of[0], quality.value)
    assert vectors.draws(of[1], quality.value) is not first
    assert vectors.draws(of[0], quality.value) is first
    vectors.draws(of[2], quality.value)
    assert vectors.draws(of[0], quality.value) is first
    assert len(vectors._drawn[quality]) == 2
