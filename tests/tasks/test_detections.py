"""Detections from what networks return, in each layout."""

from __future__ import annotations

import doctest
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from splitimpera.core.errors import ModelError
from splitimpera.tasks import detections as module
from splitimpera.tasks.detections import Detector

SIZE = (48, 64)
CLASSES = 3


def corners_of(rng, count):
    first = rng.uniform(0, 30, (count, 2))
    return np.concatenate([first, first + rng.uniform(2, 18, (count, 2))], axis=1)


def centred(corners):
    return np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)


def log_odds(shares):
    return np.log(shares / (1 - shares))


def made(rng, count=40):
    return corners_of(rng, count), rng.uniform(0.01, 0.99, (count, CLASSES))


def equal(one, other):
    assert [each.dtype for each in one] == [np.float32, np.float32, np.int64]
    for ours, theirs in zip(one, other, strict=True):
        assert ours.shape == theirs.shape
        assert ours == pytest.approx(theirs, abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_one_and_the_same_in_every_layout(seed):
    corners, shares = made(np.random.default_rng(seed))
    wanted = Detector("boxes_scores", CLASSES, SIZE, activation="none")((corners, shares))
    assert len(wanted[0]) > 5
    usual = Detector("boxes_scores", CLASSES, SIZE)
    equal(usual((corners, log_odds(shares))), wanted)
    equal(usual((log_odds(shares), corners)), wanted)
    rows = np.concatenate([centred(corners), shares], axis=1)
    yolo = Detector("yolo", CLASSES, SIZE)
    equal(yolo((rows.T,)), wanted)
    equal(yolo((rows,)), wanted)


@pytest.mark.parametrize("background", ["first", "last"])
def test_softmax_leaves_the_background_out(background):
    corners = corners_of(np.random.default_rng(0), 2)
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]])) + 5
    detector = Detector("boxes_scores", 2, SIZE, 0.5, activation="softmax", background=background)
    boxes, scores, classes = detector((corners, logits))
    place, kind = (1, 1) if background == "first" else (0, 0)
    assert classes.tolist() == [kind]
    assert scores == pytest.approx([0.7])
    assert boxes == pytest.approx(corners[[place]])


def test_a_query_of_detr_is_one_object_and_suppresses_none():
    shares = np.array([[0.5, 0.3, 0.2], [0.35, 0.05, 0.6], [0.1, 0.1, 0.8], [0.1, 0.6, 0.3]])
    relative = np.array([[0.5, 0.5, 0.5, 0.25]] * 4)
    row = np.log(shares), relative
    boxes, scores, classes = Detector("detr", 2, SIZE, 0.3)(row)
    assert classes.tolist() == [1, 0, 0]
    assert scores == pytest.approx([0.6, 0.5, 0.35])
    assert boxes == pytest.approx(np.tile([16.0, 18.0, 48.0, 30.0], (3, 1)))
    assert Detector("detr", 2, SIZE, 0.3).kept(row[::-1])[0].tolist() == [3, 0, 1]
    assert Detector("detr", 2, SIZE, 0.3, most=2)(row)[2].tolist() == [1, 0]


def test_outputs_of_one_shape_are_taken_in_the_formats_order():
    rng = np.random.default_rng(1)
    corners, scores = corners_of(rng, 5), rng.uniform(0.2, 0.9, (5, 4))
    boxes, _, _ = Detector("boxes_scores", 4, SIZE, activation="none")((corners, scores))
    assert all(box in corners.astype(np.float32) for box in boxes)
    relative = np.tile([0.5, 0.5, 0.5, 0.5], (5, 1))
    assert Detector("detr", 3, SIZE)((scores, relative))[0] == pytest.approx(np.tile([16, 12, 48, 36], (5, 1)))
    square = np.concatenate([centred(corners[:1]), [[0.9]]], axis=1).T
    square = np.concatenate([square, np.zeros((5, 4))], axis=1)
    assert Detector("yolo", 1, SIZE)((square,))[0] == pytest.approx(corners[:1], abs=1e-5)


def test_further_outputs_are_left_alone():
    corners, shares = made(np.random.default_rng(2))
    detector = Detector("boxes_scores", CLASSES, SIZE, activation="none")
    equal(detector((np.zeros((40, 256)), shares, np.zeros((8, 6, 6)), corners)), detector((corners, shares)))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("format_", ["boxes_scores", "yolo", "detr"])
def test_what_is_no_number_is_dropped(format_, number):
    rng = np.random.default_rng(3)
    corners, shares = corners_of(rng, 6) * 0.01, np.full((6, CLASSES), 0.01)
    shares[:, 1] = np.linspace(0.4, 0.9, 6)
    whole = {
        "boxes_scores": (corners, shares),
        "yolo": (np.concatenate([centred(corners), shares], axis=1).T,),
        "detr": (np.log(np.concatenate([shares, np.full((6, 1), 0.1)], axis=1)), centred(corners)),
    }[format_]
    detector = Detector(format_, CLASSES, SIZE, nms_iou=1.0, activation="none")
    assert sorted(detector.kept(whole)[0]) == [0, 1, 2, 3, 4, 5]
    damaged = [each.copy() for each in whole]
    if format_ == "yolo":
        damaged[0][4:, 2], damaged[0][:4, 4] = number, np.nan
    else:
        at_scores, at_boxes = (1, 0) if format_ == "boxes_scores" else (0, 1)
        damaged[at_scores][2], damaged[at_boxes][4] = number, np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        boxes, scores, _ = detector(tuple(damaged))
        assert sorted(detector.kept(tuple(damaged))[0]) == [0, 1, 3, 5]
    assert np.isfinite(boxes).all()
    assert np.isfinite(scores).all()


def test_boxes_end_at_the_borders_and_those_beyond_are_dropped():
    corners = np.array([[-5, -5, 10, 10], [60, 40, 90, 90], [70, 0, 80, 10], [20, 20, 10, 30], [5, 5, 5, 9]])
    boxes, _, _ = Detector("boxes_scores", 1, SIZE, activation="none")((corners, np.full((5, 1), 0.5)))
    assert boxes.tolist() == [[0, 0, 10, 10], [60, 40, 64, 48]]


def test_thresholds_and_limits_hold():
    corners, shares = made(np.random.default_rng(4), 400)

    def found(**options):
        return Detector("boxes_scores", CLASSES, SIZE, activation="none", **options)((corners, shares))

    assert found(score_threshold=0.6)[1].min() >= 0.6
    assert len(found(score_threshold=1.0)[1]) == 0
    assert len(found(nms_iou=1.0, most=7)[1]) == 7
    best = np.sort(shares.ravel())[::-1]
    assert found(nms_iou=1.0, candidates=20)[1] == pytest.approx(best[:20])
    assert len(found(nms_iou=0.3, most=1000)[1]) < len(found(nms_iou=0.7, most=1000)[1])


def test_of_equal_candidates_the_first_are_kept():
    corners = np.tile([0.0, 0.0, 8.0, 8.0], (50, 1))
    detector = Detector("boxes_scores", 2, SIZE, activation="none", nms_iou=1.0, candidates=10, most=5)
    candidates, classes = detector.kept((corners, np.full((50, 2), 0.5)))
    assert candidates.tolist() == [0, 0, 1, 1, 2]
    assert classes.tolist() == [0, 1, 0, 1, 0]
    few = Detector("boxes_scores", 2, SIZE, activation="none", nms_iou=1.0, candidates=3)
    assert few.kept((corners, np.full((50, 2), 0.5)))[0].tolist() == [0, 0, 1]


@pytest.mark.parametrize("options", [{}, {"activation": "softmax"}, {"activation": "softmax", "background": "first"}])
@pytest.mark.parametrize("format_", ["boxes_scores", "yolo", "detr"])
def test_scores_of_kept_detections_can_be_differentiated(format_, options):
    rng = np.random.default_rng(5)
    corners, shares = (each.astype(np.float32) for each in made(rng))
    detector = Detector(format_, CLASSES, SIZE, **options)
    if format_ == "yolo":
        row = (np.concatenate([centred(corners), shares], axis=1).T,)
    else:
        columns = CLASSES + (format_ == "detr" or "activation" in options)
        scores = rng.normal(size=(40, columns)).astype(np.float32)
        row = (corners, scores) if format_ == "boxes_scores" else (scores, centred(corners) / 64)
    tensors = tuple(torch.from_numpy(each).requires_grad_() for each in row)
    candidates, classes = detector.kept(row)
    assert len(candidates) > 3
    chosen = detector.scores(tensors)[candidates, classes]
    _, scores, kinds = detector(row)
    assert chosen.detach().numpy() == pytest.approx(scores, abs=1e-6)
    assert kinds.tolist() == classes.tolist()
    chosen.sum().backward()
    touched = tensors[0 if format_ == "detr" else -1].grad.abs() > 0
    rows = touched.any(0) if format_ == "yolo" else touched.any(1)
    assert set(torch.nonzero(rows)[:, 0].tolist()) == set(candidates.tolist())


@pytest.mark.parametrize(
    ("format_", "shapes", "words"),
    [
        ("boxes_scores", [(100, 4), (100, 9)], r"\(100, 4\), \(100, 9\).* boxes \(K, 4\) and scores \(K, 3\)"),
        ("boxes_scores", [(100, 4)], r"returns \(100, 4\) for an image"),
        ("boxes_scores", [(100, 4), (90, 3)], "boxes_scores"),
        ("boxes_scores", [], "returns nothing"),
        ("yolo", [(84, 8400)], r"\(84, 8400\).* one tensor \(4 \+ 3, K\)"),
        ("yolo", [(3, 7, 7)], "yolo"),
        ("detr", [(100, 3), (100, 4)], r"scores \(Q, 4\), the last for no object, and boxes \(Q, 4\)"),
    ],
)
def test_other_shapes_are_refused(format_, shapes, words):
    detector = Detector(format_, CLASSES, SIZE)
    with pytest.raises(ModelError, match=words):
        detector.check(shapes)
    with pytest.raises(ModelError, match=words):
        detector(tuple(np.zeros(shape) for shape in shapes))


def test_shapes_of_the_format_are_let_pass():
    Detector("boxes_scores", CLASSES, SIZE).check([(100, 3), (100, 4)])
    Detector("boxes_scores", CLASSES, SIZE, activation="softmax").check([(100, 4), (100, 4)])
    Detector("yolo", CLASSES, SIZE).check([torch.Size((7, 8400)), torch.Size((3, 8, 8))])
    Detector("detr", CLASSES, SIZE).check([(100, 4), (100, 4), (100, 256)])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"format": "yolov8"}, "format: no format is called 'yolov8'; did you mean 'yolo'"),
        ({"activation": "relu"}, "activation: no activation is called 'relu'; known: none, sigmoid, softmax"),
        ({"background": "middle"}, "background: no background is called 'middle'"),
        ({"classes": 0}, "classes: a number from 1 to 1000000 is expected, not 0"),
        ({"most": 0}, "most: a number from 1"),
        ({"image_size": (64,)}, r"image_size: a height and a width in pixels are expected, not \(64,\)"),
        ({"nms_iou": 50}, "nms_iou: a number from 0 to 1 is expected, not 50"),
        ({"score_threshold": -0.1}, "score_threshold: a number from 0 to 1"),
    ],
)
def test_options_that_there_are_not_are_refused(options, words):
    usual = {"format": "boxes_scores", "classes": CLASSES, "image_size": SIZE}
    with pytest.raises(ModelError, match=words):
        Detector(**usual | options)


def test_examples():
    assert doctest.testmod(module) == (0, 3)
