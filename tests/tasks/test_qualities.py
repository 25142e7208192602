"""Qualities by hand: what frames add up to, and what a frame without a response costs."""

from __future__ import annotations

import numpy as np
import pytest

from splitimpera.tasks.classification import RightClass
from splitimpera.tasks.multilabel import RightLabels
from splitimpera.tasks.regression import Error
from splitimpera.tasks.segmentation import Overlap

MASK, TRUTH = (np.array([[0, 0], [1, 1]], dtype=np.uint8),), (np.array([[0, 1], [1, 255]], dtype=np.uint8),)


def test_mean_intersection_over_union():
    miou = Overlap(classes=3)
    # class 0: 1 of 2; class 1: 1 of 2; class 2 occurs nowhere; one pixel does not count
    assert miou.value(miou.count(MASK, TRUTH)) == pytest.approx(0.5)
    assert miou.value(miou.count_lost(TRUTH)) == 0.0
    both = miou.count(MASK, TRUTH) + miou.count_lost(TRUTH)
    assert miou.value(both) == pytest.approx((1 / 3 + 1 / 4) / 2)
    low, high = miou.interval(np.stack([miou.count(MASK, TRUTH), miou.count_lost(TRUTH)] * 20))
    assert low < miou.value(both) < high


def test_pixel_accuracy_counts_the_pixels_that_count():
    accuracy = Overlap("pixel_accuracy", classes=3)
    assert accuracy.value(accuracy.count(MASK, TRUTH)) == pytest.approx(2 / 3)
    assert accuracy.value(accuracy.count(MASK, TRUTH) + accuracy.count_lost(TRUTH)) == pytest.approx(1 / 3)


def test_regression_errors():
    rmse, mae = Error(fallback=1.0), Error("mae", fallback=1.0)
    for error, expected in ((rmse, np.sqrt((1 + 0 + 0 + 4) / 4)), (mae, (1 + 0 + 0 + 2) / 4)):
        total = error.count((np.array([1.0, 2.0]),), (np.array([0.0, 2.0]),)) + error.count_lost(
            (np.array([1.0, 3.0]),)
        )
        assert error.value(total) == pytest.approx(expected)


def test_the_right_class_is_among_the_largest_logits():
    logits = (np.array([0.1, 0.9, 0.3, 0.8, 0.3, 0.2]),)
    for top in (1, 2, 5):
        quality = RightClass("top5_accuracy", top)
        among = [quality.count(logits, (np.array(label),))[0] for label in (1, 3, 2, 4, 5, 0)]
        assert among == [float(place < top) for place in range(6)]
    assert RightClass("top5_accuracy", 5).count((np.full(6, np.nan),), (np.array(0),))[0] == 0.0


def test_labels_that_are_there_and_not():
    given, wanted = (np.array([2.0, -1.0, 0.5, -3.0]),), (np.array([1, 1, 0, 0]),)
    f1, accuracy = RightLabels(), RightLabels("accuracy")
    assert f1.value(f1.count(given, wanted)) == pytest.approx(0.5)
    assert accuracy.value(accuracy.count(given, wanted)) == pytest.approx(0.5)
    assert f1.value(f1.count_lost(wanted)) == 0.0
    assert accuracy.value(accuracy.count_lost(wanted)) == 0.0
    nothing = (np.zeros(4),)
    assert f1.value(f1.count((np.full(4, -1.0),), nothing)) == 1.0


def test_sides_of_one_do_not_spread_an_error():
    error = Error("rmse")
    assert error.count((np.zeros(6, np.float32),), (np.arange(6.0).reshape(6, 1),)).tolist() == [55.0, 6.0]
