"""Overlap of boxes, and non-maximum suppression against the plain way to write it."""

from __future__ import annotations

import doctest
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitimpera.tasks import boxes as module
from splitimpera.tasks.boxes import iou, nms


def random_boxes(rng, count, size=60):
    corners = rng.integers(0, size, (count, 2))
    return np.concatenate([corners, corners + rng.integers(1, 25, (count, 2))], axis=1).astype(np.float64)


def pixels(box):
    """The pixels that a box of whole numbers covers."""
    x1, y1, x2, y2 = box.astype(int)
    return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}


def plain_nms(boxes, scores, classes, limit, most):
    kept = []
    for index in sorted(range(len(boxes)), key=lambda index: (-scores[index], index)):
        same = [other for other in kept if classes[other] == classes[index]]
        if all(iou(boxes[[other]], boxes[[index]])[0, 0] <= limit for other in same):
            kept.append(index)
    return kept[:most]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 40), limit=st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_nms_is_the_plain_one(seed, count, limit):
    rng = np.random.default_rng(seed)
    boxes, classes = random_boxes(rng, count), rng.integers(0, 3, count)
    scores = rng.integers(1, 6, count) / 5  # many are equal
    for most in (3, 100):
        found = nms(boxes, scores, classes, limit, most)
        assert found.tolist() == plain_nms(boxes, scores, classes, limit, most)
        assert found.dtype == np.int64


def test_nms_keeps_all_that_do_not_overlap_and_one_of_what_is_the_same():
    row = np.array([[10 * place, 0, 10 * place + 10, 10] for place in range(5)])
    assert nms(row, np.ones(5), np.zeros(5), iou=0.0).tolist() == [0, 1, 2, 3, 4]
    same = np.repeat(row[:1], 5, axis=0)
    assert nms(same, np.ones(5), np.zeros(5)).tolist() == [0]
    assert nms(same, np.ones(5), np.arange(5)).tolist() == [0, 1, 2, 3, 4]
    assert nms(same, np.ones(5), np.zeros(5), iou=1.0, most=2).tolist() == [0, 1]


def test_nms_of_ten_thousand_boxes_takes_milliseconds():
    rng = np.random.default_rng(0)
    boxes, scores, classes = random_boxes(rng, 10_000, 640), rng.uniform(size=10_000), rng.integers(0, 80, 10_000)
    start = time.perf_counter()
    assert len(nms(boxes, scores, classes)) == 100
    assert time.perf_counter() - start < 2  # some 50 ms; all pairs would take gigabytes


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 12), others=st.integers(0, 12))
def test_overlap_is_symmetric_bounded_and_that_of_pixels(seed, count, others):
    rng = np.random.default_rng(seed)
    ours, theirs = random_boxes(rng, count), random_boxes(rng, others)
    found = iou(ours, theirs)
    assert found.shape == (count, others)
    assert ((found >= 0) & (found <= 1)).all()
    assert np.array_equal(found, iou(theirs, ours).T)
    assert np.array_equal(np.diag(iou(ours, ours)), np.ones(count))
    covered = [[pixels(box) for box in boxes] for boxes in (ours, theirs)]
    wanted = [len(one & other) / len(one | other) for one in covered[0] for other in covered[1]]
    assert found.ravel() == pytest.approx(wanted)
    shift = rng.integers(-5, 5, 2)
    assert np.array_equal(iou(ours + np.tile(shift, 2), theirs + np.tile(shift, 2)), found)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_crowds_divide_by_the_boxs_own_area(seed):
    rng = np.random.default_rng(seed)
    ours, theirs, crowd = random_boxes(rng, 8), random_boxes(rng, 9), rng.uniform(size=9) < 0.5
    found, plain = iou(ours, theirs, crowd), iou(ours, theirs)
    assert np.array_equal(found[:, ~crowd], plain[:, ~crowd])
    areas = ((ours[:, 2:] - ours[:, :2]).prod(axis=1)[:, None], (theirs[:, 2:] - theirs[:, :2]).prod(axis=1))
    shared = plain * (areas[0] + areas[1]) / (1 + plain)
    assert found[:, crowd] == pytest.approx((shared / areas[0])[:, crowd])


def test_boxes_without_an_area_overlap_with_nothing():
    flat, whole = np.array([[3, 3, 3, 9], [9, 9, 3, 3]]), np.array([[0, 0, 10, 10]])
    assert iou(flat, whole, np.array([True])).tolist() == [[0], [0]]
    assert iou(flat, flat).tolist() == [[0, 0], [0, 0]]
    assert iou(np.empty((0, 4)), whole).shape == (0, 1)


def test_examples():
    assert doctest.testmod(module) == (0, 5)
