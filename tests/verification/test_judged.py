"""Qualities of a run from what its log says that each response counts for."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from splitimpera.bundle.entries import TensorEntry
from splitimpera.bundle.task_entry import task_entry
from splitimpera.core.errors import DataError
from splitimpera.deploy.frame_log import FrameLine, JudgedBy
from splitimpera.deploy.judging import sparse
from splitimpera.tasks.making import make_task
from splitimpera.tasks.task import Output
from splitimpera.verification.judged import _same, on_time_quality, run_quality

SIDE = 4


def tensor(name, *shape):
    return TensorEntry(name=name, shape=list(shape), dtype="float32", batch_dim=0, channel_dim=0)


def task_of(kind, metric, *shapes):
    outputs = [Output(str(place), shape) for place, shape in enumerate(shapes)]
    result, inputs = [tensor(each.name, *each.shape) for each in outputs], [tensor("input", 3, 16, 16)]
    task = make_task(kind, {}).fitted(outputs, metric, [Output("input", (3, 16, 16))])
    return task, JudgedBy(task=task_entry(task, kind, outputs, result, 16), result=result, inputs=inputs)


def line(frame, sample, quality, answer, target, outcome="ok"):
    return FrameLine(
        frame=frame,
        sample=sample,
        outcome=outcome,
        due_s=frame / 10,
        counts=None if answer is None else sparse(quality.count((answer,), (target,))),
        counts_lost=sparse(quality.count_lost((target,))),
    )


def compared(by, lines, metric="miou", predicted=0.5, ci=(0.4, 0.6), on_time=None):
    results = SimpleNamespace(quality=metric, samples=SimpleNamespace(validation=100))
    entry = SimpleNamespace(metrics={metric: predicted}, quality_ci=ci)
    found = SimpleNamespace(lines=lines)
    if on_time is not None:
        return on_time_quality(results, by, found, np.array(on_time))
    return run_quality(results, entry, by, found)


@pytest.fixture
def masks(rng):
    task, by = task_of("segmentation", "miou", (3, SIDE, SIDE))
    targets = rng.integers(0, 3, (4, SIDE, SIDE)).astype(np.uint8)
    answers = np.where(rng.random(targets.shape) < 0.3, 1, targets).astype(np.uint8)
    return task.quality, by, answers, targets


def value(quality, pairs):
    counts = [quality.count_lost((y,)) if x is None else quality.count((x,), (y,)) for x, y in pairs]
    return quality.value(np.sum(counts, axis=0))


def test_frames_without_a_response_count_as_the_design_counts_them(masks):
    quality, by, answers, targets = masks
    lines = [line(i, i, quality, x, y) for i, (x, y) in enumerate(zip(answers, targets, strict=True))]
    assert compared(by, lines).measured == value(quality, zip(answers, targets, strict=True))
    lines[2] = line(2, 2, quality, None, targets[2], "lost")
    with_a_gap = [(None if i == 2 else x, y) for i, (x, y) in enumerate(zip(answers, targets, strict=True))]
    assert compared(by, lines).measured == value(quality, with_a_gap)
    late = [(None if i in (1, 2) else x, y) for i, (x, y) in enumerate(zip(answers, targets, strict=True))]
    assert compared(by, lines, on_time=[True, False, True, True]) == value(quality, late)


def test_a_sample_that_was_sent_often_counts_once(masks):
    quality, by, answers, targets = masks
    once = [line(i, i, quality, answers[i], targets[i]) for i in range(4)]
    often = [*once, *(line(4 + i, 0, quality, answers[0], targets[0]) for i in range(20))]
    first, second = compared(by, once), compared(by, often)
    assert second.measured == pytest.approx(first.measured)
    assert second.interval == pytest.approx(first.interval)
    assert first.note == second.note
    assert first.note.startswith("on the 4 samples")


def test_frames_of_which_nobody_knows_the_target_are_left_out(masks):
    quality, by, answers, targets = masks
    unknown = FrameLine(frame=9, sample=9, outcome="ok", due_s=0.9)
    known = [line(i, i, quality, answers[i], targets[i]) for i in range(4)]
    assert compared(by, [*known, unknown]) == compared(by, known)
    assert compared(by, [unknown]) is None
    assert compared(by, [unknown], on_time=[True]) is None


def test_boxes_of_frames_without_a_response_are_missed():
    task, by = task_of("detection", "map50", (5, 4), (5, 2))
    box, other = np.array([[1, 1, 5, 5]], np.float32), np.array([[8, 8, 12, 12]], np.float32)
    target = box, np.array([0]), np.array([False])
    right, wrong = ((one, np.array([0.9], np.float32), np.array([0])) for one in (box, other))
    nothing = box[:0], np.zeros(0, np.int64), np.zeros(0, bool)

    def frame(number, answer, target=target, outcome="ok"):
        counts = None if answer is None else sparse(task.quality.count(answer, target))
        lost = sparse(task.quality.count_lost(target))
        return FrameLine(frame=number, sample=number, outcome=outcome, due_s=0, counts=counts, counts_lost=lost)

    lines = [frame(0, right), frame(1, right), frame(2, None, outcome="lost"), frame(3, None, nothing, "dropped")]
    found = compared(by, lines, "map50")
    assert found.measured == pytest.approx(67 / 101)  # recall 2 of 3
    assert compared(by, [*lines, frame(4, wrong, nothing)], "map50").measured <= found.measured
    assert compared(by, lines[2:], "map50").measured == 0
    unknown = compared(by, lines[3:], "map50")
    assert (unknown.measured, unknown.interval, unknown.agrees) == (None, None, None)
    assert compared(by, lines, "map50", on_time=[True, False, True, True]) == pytest.approx(34 / 101)


def test_an_error_is_no_share_and_agrees_within_its_interval():
    task, by = task_of("regression", "rmse", (2,))
    rng = np.random.default_rng(4)
    targets = rng.normal(size=(200, 2))
    lines = [line(i, i, task.quality, y + 0.5 * rng.normal(size=2), y) for i, y in enumerate(targets)]
    found = compared(by, lines, "rmse", 0.5, (0.45, 0.55))
    assert (found.kind, found.agrees, found.level) == ("count", True, 0.95)
    assert found.measured == pytest.approx(0.5, abs=0.05)
    assert compared(by, lines, "rmse", 0.8, (0.75, 0.85)).agrees is False
    assert compared(by, lines, "rmse", 0.8, None).agrees is None
    with pytest.raises(DataError, match="judged by rmse, the design's by mae"):
        compared(by, lines, "mae")


def test_differences_are_held_to_both_intervals():
    assert _same(0.5, (0.4, 0.6), 0.62, (0.5, 0.7))
    assert not _same(0.5, (0.48, 0.52), 0.62, (0.6, 0.64))
    # sqrt(0.1 ** 2 + 0.1 ** 2) at 95 %, 1.314 times that at 99 %
    assert _same(0.5, (0.4, 0.6), 0.685, (0.585, 0.785))
    assert not _same(0.5, (0.4, 0.6), 0.687, (0.587, 0.787))
    assert _same(0.687, (0.587, 0.787), 0.5, (0.4, 0.6)) is _same(0.5, (0.4, 0.6), 0.687, (0.587, 0.787))
