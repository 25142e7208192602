"""Average precision: as pycocotools has it, and linear in its weights."""

from __future__ import annotations

import doctest
import pickle
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO as Truths  # noqa: N811
from pycocotools.cocoeval import COCOeval
from scipy.sparse import csr_array

from splitimpera.core.errors import DataError
from splitimpera.tasks import average_precision as module
from splitimpera.tasks.average_precision import AP50, COCO, AveragePrecision, average_precision

CLASSES = 4


def boxes_of(rng, count, grid=4.0):
    """Boxes whose sides and corners are quarters of pixels, so that no way of writing them rounds."""
    corners = np.round(rng.uniform(0, 80, (count, 2)) * grid) / grid
    sides = np.ceil(rng.uniform(1, 40, (count, 2)) * grid) / grid
    return np.concatenate([corners, corners + sides], axis=1).astype(np.float32)


def near(rng, boxes):
    """Boxes that overlap with given ones more or less."""
    off = np.round(rng.normal(0, 2, boxes.shape) * 4) / 4
    moved = boxes + off.astype(np.float32)
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 0.25)
    return moved


def image(rng, most_truths=8, most_strays=12, levels=None, crowds=0.2, classes=CLASSES):
    """A response and a target; `levels`: how many different scores there are."""
    truths = int(rng.integers(0, most_truths + 1))
    true_boxes, true_classes = boxes_of(rng, truths), rng.integers(0, classes, truths)
    crowd = rng.uniform(size=truths) < crowds
    again = rng.integers(0, truths, int(rng.integers(0, 2 * truths))) if truths else np.empty(0, dtype=np.int64)
    strays = int(rng.integers(0, most_strays + 1))
    boxes = np.concatenate([near(rng, true_boxes[again]), boxes_of(rng, strays)])
    kinds = np.concatenate([true_classes[again], rng.integers(0, classes, strays)])
    scores = rng.uniform(0.01, 1, len(boxes))
    scores = scores if levels is None else np.ceil(scores * levels) / levels
    order = rng.permutation(len(boxes))
    answer = boxes[order], scores[order].astype(np.float32), kinds[order]
    return answer, (true_boxes, true_classes, crowd)


def image_set(seed):
    """Images of each sort: few and many, with ties, empty ones, classes that are missing, more than 100 detections."""
    rng = np.random.default_rng(seed)
    levels = (None, 3, 10, 1)[seed % 4]
    most_strays = 450 if seed % 7 == 0 else 12
    classes = 1 + seed % CLASSES  # those beyond are in no target
    pairs = [
        image(rng, levels=levels, most_strays=most_strays, crowds=0.3 * (seed % 3), classes=classes)
        for _ in range(int(rng.integers(1, 25)))
    ]
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    no_truth = nothing[0], nothing[2], np.zeros(0, bool)
    pairs += [(nothing, pairs[0][1]), (pairs[0][0], no_truth), (nothing, no_truth), pairs[0]]
    strays = int(rng.integers(0, 5))
    unknown = boxes_of(rng, strays), rng.uniform(size=strays).astype(np.float32), np.full(strays, CLASSES - 1)
    return [*pairs, (unknown, no_truth)]


def of_pycocotools(pairs, classes=CLASSES):
    """AP and AP50 over the area "all"."""

    def sides(box):
        x1, y1, x2, y2 = (float(side) for side in box)
        return [x1, y1, x2 - x1, y2 - y1]

    truths, results = [], []
    for number, ((boxes, scores, kinds), (true_boxes, true_kinds, crowd)) in enumerate(pairs):
        for box, kind, many in zip(true_boxes, true_kinds, crowd, strict=True):
            x, y, w, h = sides(box)
            truth = {"id": len(truths) + 1, "image_id": number, "category_id": int(kind), "iscrowd": int(many)}
            truths.append(truth | {"bbox": [x, y, w, h], "area": w * h})
        for box, score, kind in zip(boxes, scores, kinds, strict=True):
            result = {"image_id": number, "category_id": int(kind), "bbox": sides(box), "score": float(score)}
            results.append(result)
    with redirect_stdout(StringIO()):
        known = Truths()
        known.dataset = {
            "images": [{"id": number} for number in range(len(pairs))],
            "categories": [{"id": kind} for kind in range(classes)],
            "annotations": truths,
            "info": {},
        }
        known.createIndex()
        if not results:
            results = [{"image_id": 0, "category_id": classes + 1, "bbox": [0, 0, 1, 1], "score": 1.0}]
        run = COCOeval(known, known.loadRes(results), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats[0], run.stats[1]


def counted(quality, pairs):
    return np.stack([quality.count(*pair) for pair in pairs])


@pytest.mark.parametrize("seed", [*range(15), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(15, 50))])
def test_is_the_same_as_pycocotools(seed):
    pairs = image_set(seed)
    if not any((~crowd).any() for _, (_, _, crowd) in pairs):
        pairs.append(image(np.random.default_rng(1), crowds=0.0))
    answers, targets = zip(*pairs, strict=True)
    ap, ap50 = of_pycocotools(pairs)
    assert average_precision(answers, targets, CLASSES) == pytest.approx(ap, abs=1e-6)
    assert average_precision(answers, targets, CLASSES, AP50) == pytest.approx(ap50, abs=1e-6)


def test_the_sets_have_what_is_hard():
    sets = [image_set(seed) for seed in range(50)]
    values = [of_pycocotools(pairs) for pairs in sets[:8]]
    assert len({round(value, 6) for value, _ in values}) > 6
    assert any(crowd.any() for pairs in sets for _, (_, _, crowd) in pairs)
    assert any(np.bincount(kinds).max(initial=0) > 100 for pairs in sets for (_, _, kinds), _ in pairs)
    assert any(len(scores) - len(set(scores)) > 5 for pairs in sets for (_, scores, _), _ in pairs)


@pytest.mark.parametrize("seed", [1, 2, 6, 11])
def test_vectors_of_ones_are_the_same_as_pycocotools(seed):
    """Without equal scores in different images, whose order here follows from the images' numbers."""
    rng = np.random.default_rng(seed)
    pairs = [image(rng) for _ in range(20)]
    quality = AveragePrecision(CLASSES, COCO)
    vectors = quality.vectors(counted(quality, pairs))
    assert vectors.shape[1] == len(pairs)
    assert quality.value(vectors.sum(axis=0)) == pytest.approx(of_pycocotools(pairs)[0], abs=1e-6)


def test_one_object_is_the_same_as_pycocotools_at_every_number_of_truths():
    """Recalls that are a level but for rounding fall on the side where pycocotools has them."""
    box = np.array([[0, 0, 8, 8]], np.float32)
    far = box + 50
    for truths in (3, 7, 20, 25, 29, 50, 100):
        one = np.array([0])
        hits = [((box, np.array([1 - 0.001 * place]), one), (box, one, one > 0)) for place in range(truths - 1)]
        misses = [
            ((far, np.array([1 - 0.001 * (place + 0.5)]), one), (box[:0], one[:0], one[:0] > 0)) for place in range(9)
        ]
        pairs = [*hits, *misses, ((box[:0], one[:0] * 1.0, one[:0]), (box, one, one > 0))]
        answers, targets = zip(*pairs, strict=True)
        assert average_precision(answers, targets, 1, AP50) == pytest.approx(of_pycocotools(pairs, 1)[1], abs=1e-9)


def test_of_truths_that_overlap_as_much_the_last_one_is_taken():
    """So a second detection, which overlaps with the first one alone, finds it left."""
    truths = np.array([[0, 0, 8, 8], [4, 0, 12, 8]], np.float32)
    boxes = np.array([[2, 0, 10, 8], [0, 0, 8, 7]], np.float32)
    kinds = np.zeros(2, np.int64)
    for order in ([0, 1], [1, 0]):
        pair = (boxes, np.array([0.9, 0.8]), kinds), (truths[order], kinds, kinds > 0)
        value = average_precision([pair[0]], [pair[1]], 1, AP50)
        assert value == pytest.approx(of_pycocotools([pair], 1)[1], abs=1e-9)
        assert value == pytest.approx(1.0 if order == [0, 1] else 51 / 101)


def test_the_same_box_but_for_rounding_matches_at_a_threshold_of_one():
    box, one = np.array([[0.0, 0, 9, 9]]), np.array([0])
    for off, wanted in ((1e-12, 1.0), (1e-6, 0.0)):
        answer = box + np.array([0, 0, 0, off]), np.array([0.5]), one
        assert average_precision([answer], [(box, one, one > 0)], 1, (1.0,)) == wanted


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), times=st.lists(st.integers(0, 3), min_size=6, max_size=6), share=st.floats(0.01, 9))
def test_weights_are_so_many_images(seed, times, share):
    """Scores of different images differ here; equal images are neighbours, as equal axes are."""
    rng = np.random.default_rng(seed)
    pairs = [image(rng) for _ in times]
    repeated = [pair for pair, count in zip(pairs, times, strict=True) for _ in range(count)]
    quality = AveragePrecision(CLASSES, COCO)
    weights = np.array(times) @ quality.vectors(counted(quality, pairs))
    answers, targets = zip(*repeated, strict=True) if repeated else ((), ())
    wanted = average_precision(answers, targets, CLASSES)
    assert quality.value(weights) == pytest.approx(wanted, abs=1e-9, nan_ok=True)
    assert quality.value(share * weights) == pytest.approx(wanted, abs=1e-9, nan_ok=True)
    assert quality.value(csr_array(weights[None])) == pytest.approx([wanted], abs=1e-9, nan_ok=True)


def test_what_is_added_and_taken_away_again_leaves_nothing():
    rng = np.random.default_rng(4)
    pairs, others = [image(rng) for _ in range(20)], [image(rng) for _ in range(20)]
    quality = AveragePrecision(CLASSES, COCO)
    before, after = counted(quality, pairs), counted(quality, others)
    both = quality.vectors(np.concatenate([before, after]))
    ours, theirs = both[:20].sum(axis=0), both[20:].sum(axis=0)
    third = 0.1 * ours + 0.1 * ours + 0.1 * ours - 0.3 * ours  # rounding leaves 1e-17 of each
    assert np.abs(third).max() > 0
    assert quality.value(theirs + third) == pytest.approx(quality.value(theirs), abs=1e-12)
    assert quality.value(ours + (theirs - ours)) == quality.value(theirs)


def test_negative_weights_stay_within_bounds():
    rng = np.random.default_rng(5)
    quality = AveragePrecision(CLASSES, COCO)
    quality.vectors(counted(quality, [image(rng) for _ in range(30)]))
    values = quality.value(rng.normal(0.5, 1.0, (300, 30)))
    known = values[~np.isnan(values)]
    assert len(known) > 250
    assert known.min() >= 0
    assert known.max() <= 1


def hit(score, kind=0):
    """An image with one object, which is found."""
    box, kinds = np.array([[0.0, 0, 8, 8]]), np.array([kind])
    return (box, np.array([score]), kinds), (box, kinds, kinds < 0)


def test_a_recall_that_was_reached_stays_reached():
    """Recall is 1, then 0.5, then 1 again, at precisions of 1, 1, and 0.5."""
    miss = hit(0.75)[0], (np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, bool))
    quality = AveragePrecision(1)
    quality.vectors(counted(quality, [hit(0.9), hit(0.8), miss, hit(0.7)]))
    assert quality.value([1.0, -0.5, 1.0, 0.5]) == 1


def test_a_class_of_which_rounding_alone_is_left_is_left_out():
    quality = AveragePrecision(2)
    (box, _, kinds), target = hit(0.5, kind=1)
    missed = [((box + 50, np.array([score]), kinds), target) for score in (0.8, 0.7, 0.6)]
    quality.vectors(counted(quality, [hit(0.9), *missed]))
    assert 0.1 + 0.2 - 0.3 > 0
    assert quality.value([1.0, 0.1, 0.2, -0.3]) == 1
    assert quality.value([1.0, 0.1, 0.2, -0.2]) == 0.5


def test_draws_in_parts_are_draws_at_once(monkeypatch):
    rng = np.random.default_rng(6)
    quality = AveragePrecision(CLASSES, COCO)
    vectors = quality.vectors(counted(quality, [image(rng) for _ in range(12)]))
    weights = rng.multinomial(12, np.full(12, 1 / 12), 50) @ vectors
    at_once = quality.value(weights)
    monkeypatch.setattr(module, "WORK_ELEMENTS", 100)
    assert np.array_equal(quality.value(weights), at_once)
    assert np.array_equal([quality.value(row) for row in weights], at_once)
    low, high = quality.interval(vectors)
    assert low < quality.value(vectors.sum(axis=0)) < high


def test_a_lost_frame_has_truths_alone():
    rng = np.random.default_rng(7)
    (_, target), other = (image(rng, crowds=0.0) for _ in range(2))
    quality = AveragePrecision(CLASSES, AP50)
    nothing = np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64)
    assert np.array_equal(quality.count_lost(target), quality.count(nothing, target))
    assert quality.count_lost(target)[:CLASSES].sum() == len(target[0])
    assert quality.count_lost(target).shape == quality.count(*other).shape == (CLASSES + 1 + 2 * 300,)


def test_equal_images_share_an_axis_and_later_ones_get_new_ones():
    rng = np.random.default_rng(8)
    one, other = counted(quality := AveragePrecision(CLASSES), [image(rng), image(rng)])
    assert quality.vectors(np.stack([one, other, one])).toarray().tolist() == [[1, 0], [0, 1], [1, 0]]
    fresh = AveragePrecision(CLASSES)
    assert fresh.vectors(other[None]).shape == (1, 1)
    assert fresh.vectors(one[None]).toarray().tolist() == [[0, 1]]
    assert fresh.value(np.ones(1)) == quality.value([0, 1])  # the other one alone, in both
    with pytest.raises(ValueError, match="3 axes, 2 are known"):
        fresh.value(np.ones(3))


def test_a_value_does_not_depend_on_what_an_object_saw_before():
    rng = np.random.default_rng(9)
    pairs = [image(rng, levels=2) for _ in range(12)]
    values = []
    for order in (np.arange(12), rng.permutation(12)):
        quality = AveragePrecision(CLASSES)
        quality.vectors(counted(quality, [pairs[place] for place in order]))
        values.append(float(quality.value(quality.vectors(counted(quality, pairs)).sum(axis=0))))
    assert values[0] == values[1]


def test_only_the_best_detections_are_kept():
    box, one = np.array([[0.0, 0, 8, 8]]), np.array([0])
    strays = np.tile(box + 40, (6, 1)), np.linspace(0.5, 0.9, 6), np.zeros(6, np.int64)
    answer = np.concatenate([strays[0], box]), np.append(strays[1], 0.4), np.append(strays[2], 0)
    target = box, one, one > 0
    worth = [
        float(quality.value(quality.vectors(quality.count(answer, target)[None]))[0])
        for quality in (AveragePrecision(1, kept=6), AveragePrecision(1, kept=7), AveragePrecision(1, most=6))
    ]
    assert worth == pytest.approx([0, 1 / 7, 0])


def test_what_is_not_finite_does_not_count():
    box, one = np.array([[0.0, 0, 8, 8]]), np.array([0])
    target = box, one, one > 0
    answer = np.concatenate([box, box * np.nan, box]), np.array([np.nan, 0.9, 0.5]), np.zeros(3, np.int64)
    for quality in (AveragePrecision(1), AveragePrecision(1, most=1), AveragePrecision(1, kept=1)):
        assert np.array_equal(quality.count(answer, target), quality.count((box, np.array([0.5]), one), target))


def test_without_truths_there_is_no_value():
    quality = AveragePrecision(2)
    assert np.isnan(quality.value(np.zeros(0)))
    assert np.isnan(average_precision([], [], 2))
    target = np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, bool)
    vectors = quality.vectors(quality.count_lost(target)[None])
    assert np.isnan(quality.value(vectors)).all()


def test_names_say_which_it_is():
    assert (AveragePrecision(1).name, AveragePrecision(1, COCO).name) == ("map50", "map")


def test_a_class_that_there_is_not_is_refused():
    box, one = np.array([[0.0, 0, 8, 8]]), np.array([0])
    quality = AveragePrecision(2)
    with pytest.raises(DataError, match="a target of class 2, classes from 0 to 1 are expected"):
        quality.count((box, np.array([0.5]), one), (box, one + 2, one > 0))
    with pytest.raises(DataError, match="a detection of class -1"):
        quality.count((box, np.array([0.5]), one - 1), (box, one, one > 0))


@pytest.mark.parametrize(
    "thresholds", [(), (0.5, 0.5), (0.6, 0.5), (0.0, 0.5), (0.5, 50), tuple(np.linspace(0.1, 0.9, 17))]
)
def test_thresholds_ascend_and_are_few(thresholds):
    with pytest.raises(ValueError, match="1 to 16 ascending thresholds"):
        AveragePrecision(1, thresholds)


def test_travels_between_processes_with_what_it_knows():
    rng = np.random.default_rng(9)
    quality = AveragePrecision(CLASSES, COCO)
    total = quality.vectors(counted(quality, [image(rng) for _ in range(5)])).sum(axis=0)
    assert pickle.loads(pickle.dumps(quality)).value(total) == quality.value(total)


def test_is_there_without_torch_and_at_once():
    names = "torch scipy numba pydantic".split()
    code = f"""
import sys
import splitimpera.tasks.average_precision, splitimpera.tasks.boxes, splitimpera.tasks.detections
print([name for name in {names} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_examples():
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS) == (0, 9)
