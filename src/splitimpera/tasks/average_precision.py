"""Average precision of detections, as COCO defines it, as a quality that can be added, weighted and drawn anew.

It is no mean over images: the detections of all images are ranked together. So an image's numbers are its detections,
each with whether it matches a truth, and as a vector each image is an axis of its own. A weighted sum of such vectors
says how often each image occurs; weights may be fractions, and negative.

Sources: T.-Y. Lin et al., "Microsoft COCO: common objects in context", ECCV 2014; what its text leaves open (ties,
crowds, the precision between two recalls) is as in the authors' program, pycocotools.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from splitimpera.core.array_types import Array, FloatArray, IntArray, Row
from splitimpera.core.errors import DataError
from splitimpera.core.statistics import drawn, ends
from splitimpera.tasks.boxes import iou
from splitimpera.tasks.quality import Columns

AP50 = (0.5,)
COCO = tuple(np.linspace(0.5, 0.95, 10).tolist())
MOST_THRESHOLDS = 16
NEXT_TO_ONE, NEXT_AFTER_ONE = 1 - 1e-10, 1 + 1e-10
"""Boxes that are the same but for rounding match at a threshold of 1."""
NOISE = 1e-9
"""Weights below this share of the largest are what rounding left of nothing."""
LEVELS = np.linspace(0.0, 1.0, 101)
# a recall that is a level but for rounding: whether it reaches the level is as for whole images in pycocotools
REACHED = np.arange(101) + np.where(np.arange(101) / 100 < LEVELS, 1e-7, -1e-7)
WORK_ELEMENTS = 1 << 17
"""Elements of an array of true positives and draws, of which some ten are held at once; they fit into a cache."""


class AveragePrecision:
    """Mean over classes, and over thresholds, of the average precision; `map50` at 0.5 alone, otherwise `map`.

    Responses are boxes (n, 4), scores (n,), classes (n,); targets are boxes (m, 4), classes (m,), crowd (m,). Boxes are
    x1, y1, x2, y2. Detections that are not finite do not count.

    An object knows the images whose vectors it made, and `value` takes sums of those. Images with equal numbers share
    an axis. Where detections of two images score the same, their order follows from the images' numbers alone, so that
    a value does not depend on what was evaluated before.

    Args:
        classes: Number of classes.
        thresholds: Intersections over union at which a detection matches, ascending.
        most: detections of an image and class that count, those with the highest scores.
        kept: most detections of an image over all classes; those with the lowest scores are left out beyond.

    >>> ap = AveragePrecision(classes=2)
    >>> box, other = np.array([[0, 0, 9, 9]]), np.array([[40, 0, 50, 9]])
    >>> target = box, np.array([1]), np.array([False])
    >>> scored = (box, np.array([0.8]), np.array([1])), (other, np.array([0.7]), np.array([1]))
    >>> counts = np.stack([ap.count(answer, target) for answer in scored])
    >>> vectors = ap.vectors(counts)
    >>> ap.value(vectors), ap.value(vectors.sum(axis=0))
    (array([1., 0.]), array(0.50495...))
    """

    def __init__(self, classes: int, thresholds: Sequence[float] = AP50, most: int = 100, kept: int = 300) -> None:
        self.thresholds = tuple(thresholds)
        ascend = all(one < other for one, other in pairwise((0.0, *self.thresholds, NEXT_AFTER_ONE)))
        if not ascend or not 0 < len(self.thresholds) <= MOST_THRESHOLDS:
            raise ValueError(
                f"1 to {MOST_THRESHOLDS} ascending thresholds are expected, above 0 and up to 1, not {self.thresholds}"
            )
        self.classes, self.most, self.kept = classes, most, kept
        self.name = "map50" if self.thresholds == AP50 else "map"
        self._axes: dict[bytes, int] = {}
        self._ranked: tuple[IntArray, _Ranked] | None = None

    def count(self, answer: Row, target: Row) -> FloatArray:
        """What an image comes to: shape (classes + 1 + 2 `kept`,).

        First the number of truths in each class, crowds left out, and the number of detections; then the detections'
        scores, highest first; then for each one whole number: its class, at which thresholds it matches a truth, and at
        which it is ignored because it lies in a crowd.

        Raises:
            DataError: a class that there is not.
        """
        return self._filled(self._image(answer, target, self.kept))

    def count_lost(self, target: Row) -> FloatArray:
        return self._filled(np.append(self._truths(target), 0.0))

    def vectors(self, counts: FloatArray) -> Any:
        """One axis an image: a `scipy.sparse.csr_array` (n, axes) of ones.

        There are as many axes as there are different images so far; matrices of before have fewer columns (their
        `resize` adds what they lack).
        """
        from scipy.sparse import csr_array

        axes = np.array([self._axis(row) for row in counts], dtype=np.int64)
        shape = (len(axes), len(self._axes))
        return csr_array((np.ones(len(axes)), axes, np.arange(len(axes) + 1)), shape=shape)

    def signal(self, vectors: Any) -> FloatArray:
        """The scores of an image's true and of its false positives at the first threshold, summed up, (n, 2)."""
        used, contents = np.unique(vectors.indices), [*self._axes]
        signals = np.array([self._positives(np.frombuffer(contents[axis])) for axis in used.tolist()])
        found: FloatArray = vectors[:, used] @ signals.reshape(-1, 2)
        return found

    def value(self, total: Any) -> Any:
        """Average precision of weighted images, (..., axes) -> (...).

        `total` is dense, a sparse matrix, or `Columns`. Weights count true and false positives and truths; classes
        whose truths weigh nothing, or less, are left out; without any class the value is NaN.
        """
        if isinstance(total, Columns):
            return self._of(total.places).value(total.rows)
        weights = total.tocsr() if hasattr(total, "tocsr") else np.asarray(total, dtype=np.float64)
        shape = weights.shape
        if shape[-1] > len(self._axes):
            raise ValueError(f"vectors with {shape[-1]} axes, {len(self._axes)} are known; whose are they?")
        rows = weights.reshape(prod(shape[:-1]), shape[-1])
        used = np.unique(rows.indices) if hasattr(rows, "indices") else np.flatnonzero(rows.any(axis=0))
        found: FloatArray = self._of(used).value(rows[:, used]).reshape(shape[:-1])
        return found

    def _of(self, axes: IntArray) -> _Ranked:
        """The images of some axes, ranked; those of the last call are remembered."""
        if self._ranked is None or not np.array_equal(self._ranked[0], axes):
            contents = [*self._axes]
            some = [contents[axis] for axis in axes.tolist()]
            ranks = np.argsort(sorted(range(len(some)), key=some.__getitem__))
            images = [np.frombuffer(image) for image in some]
            self._ranked = axes, _Ranked(images, self.classes, len(self.thresholds), ranks)
        return self._ranked[1]

    def interval(self, vectors: Any) -> tuple[float, float]:
        """The 95 % interval of the value, images being drawn; `vectors` has shape (images, axes)."""
        used = np.unique(vectors.indices)
        return ends(self.value(Columns(used, drawn(vectors.shape[0], 1) @ vectors[:, used])))

    def _positives(self, image: FloatArray) -> tuple[float, float]:
        scores, codes = image[self.classes + 1 :].reshape(2, -1)
        bits = codes.astype(np.int64)
        matched, ignored = (bits >> len(self.thresholds)) & 1 > 0, bits & 1 > 0
        return float(scores[matched].sum()), float(scores[~matched & ~ignored].sum())

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_ranked": None}  # made again where it is asked for

    def _axis(self, row: FloatArray) -> int:
        detections, rest = int(row[self.classes]), row[self.classes + 1 :]
        image = np.concatenate([row[: self.classes + 1], rest[:detections], rest[self.kept :][:detections]])
        return self._axes.setdefault(image.tobytes(), len(self._axes))

    def _filled(self, image: FloatArray) -> FloatArray:
        numbers, (scores, codes) = image[: self.classes + 1], image[self.classes + 1 :].reshape(2, -1)
        gap = np.zeros(self.kept - len(scores))
        return np.concatenate([numbers, scores, gap, codes, gap])

    def _truths(self, target: Row) -> FloatArray:
        _, classes, crowd = target
        self._known(classes, "target")
        return np.bincount(classes[~crowd.astype(bool)], minlength=self.classes).astype(np.float64)

    def _known(self, classes: Array, whose: str) -> None:
        if classes.size and (classes.min() < 0 or classes.max() >= self.classes):
            wrong = next(int(each) for each in classes if not 0 <= each < self.classes)
            raise DataError(f"a {whose} of class {wrong}, classes from 0 to {self.classes - 1} are expected")

    def _image(self, answer: Row, target: Row, kept: int | None) -> FloatArray:
        """`count` without what fills it up."""
        boxes, scores, classes = (np.asarray(each) for each in answer)
        self._known(classes, "detection")
        finite = np.flatnonzero(np.isfinite(scores) & np.isfinite(boxes).all(axis=1))
        order = finite[np.argsort(-scores[finite], kind="stable")]
        if len(order) > self.most:
            order = order[_place_in_class(classes[order]) < self.most]
        order = order[:kept]
        boxes, scores, classes = boxes[order], scores[order], classes[order]
        matched, ignored = _matches(boxes, classes, target, np.minimum(self.thresholds, NEXT_TO_ONE))
        bits = len(self.thresholds)
        codes = (classes.astype(np.int64) << 2 * bits) | (matched << bits) | ignored
        return np.concatenate([self._truths(target), [len(order)], scores, codes])


def average_precision(
    answers: Sequence[Row], targets: Sequence[Row], classes: int, thresholds: Sequence[float] = COCO, most: int = 100
) -> float:
    """Average precision of detections in some images, the same as pycocotools' (area "all", `most` detections).

    Args:
        answers: boxes (n, 4), scores (n,), classes (n,) of each image.
        targets: boxes (m, 4), classes (m,), crowd (m,) of each image.
        classes: Number of classes.
        thresholds: Intersections over union at which a detection matches, ascending.

    >>> box = np.array([[0.0, 0.0, 9.0, 9.0]])
    >>> average_precision([(box, np.array([0.8]), np.array([0]))], [(box, np.array([0]), np.array([False]))], classes=1)
    1.0
    """
    quality = AveragePrecision(classes, thresholds, most)
    images = [quality._image(answer, target, None) for answer, target in zip(answers, targets, strict=True)]
    return float(_Ranked(images, classes, len(quality.thresholds)).value(np.ones((1, len(images))))[0])


def _place_in_class(classes: Array) -> IntArray:
    """How many of the same class come before each."""
    order = np.argsort(classes, kind="stable")
    grouped = classes[order]
    places = np.empty(len(classes), dtype=np.int64)
    places[order] = np.arange(len(classes)) - np.searchsorted(grouped, grouped)
    return places


def _matches(boxes: Array, classes: Array, target: Row, thresholds: FloatArray) -> tuple[IntArray, IntArray]:
    """At which thresholds each detection matches a truth, or else a crowd: bits, the first threshold's the lowest.

    The detections choose in their order: each, at each threshold, the truth with which it overlaps most of those that
    are left, the last one of equals. Crowds are never used up.
    """
    true_boxes, true_classes, crowd = target
    crowd = np.asarray(crowd, dtype=bool)
    matched, ignored = np.zeros((2, len(boxes)), dtype=np.int64)
    if not len(boxes) or not len(true_boxes):
        return matched, ignored
    overlap = np.where(classes[:, None] == true_classes, iou(boxes, true_boxes, crowd), -1.0)
    if crowd.any():
        ignored = _bits(overlap[:, crowd].max(axis=1), thresholds)
    detections, truths = np.nonzero((overlap >= thresholds[0]) & ~crowd)
    overlaps = overlap[detections, truths]
    order = np.lexsort((-truths, -overlaps, detections))
    taken = [0] * len(true_boxes)
    found = [0] * len(boxes)
    reached = _bits(overlaps[order], thresholds).tolist()
    for one, other, bits in zip(detections[order].tolist(), truths[order].tolist(), reached, strict=True):
        both = bits & ~taken[other] & ~found[one]
        taken[other] |= both
        found[one] |= both
    matched = np.array(found, dtype=np.int64)
    return matched, ignored & ~matched


def _bits(overlaps: FloatArray, thresholds: FloatArray) -> IntArray:
    """Which thresholds are reached."""
    return (1 << np.searchsorted(thresholds, overlaps, side="right")) - 1


class _Ranked:
    """The detections of some images, the highest score first.

    Args:
        images: as `AveragePrecision.count` has them, without what fills them up.
        ranks: of detections that score the same those of the image with the smallest rank come first; None: in order.
    """

    def __init__(
        self, images: Sequence[FloatArray], classes: int, thresholds: int, ranks: IntArray | None = None
    ) -> None:
        from scipy.sparse import csr_array

        self.images, self.thresholds = len(images), thresholds
        self.ranks = np.arange(len(images)) if ranks is None else ranks
        self.truths = csr_array(np.array([image[:classes] for image in images]).reshape(len(images), classes).T)
        self.found = [*self._found(images, classes)]
        self.largest = max([self.images, 1, *(len(hits) for _, hits, _ in self.found)])

    def _found(self, images: Sequence[FloatArray], classes: int) -> Iterator[tuple[int, IntArray, Any]]:
        """Class; images of its true positives at a threshold, in order; what sums up all positives between these.

        Precision is best at true positives. The sums, (true positives, images), are each of all positives after the
        one before.
        """
        from scipy.sparse import csr_array

        counts = [int(image[classes]) for image in images]
        tails = [image[classes + 1 :].reshape(2, -1) for image in images]
        scores, codes = np.concatenate([*tails, np.empty((2, 0))], axis=1)
        image, code = np.repeat(np.arange(len(images), dtype=np.int32), counts), codes.astype(np.int64)
        kinds = code >> 2 * self.thresholds
        order = np.lexsort((self.ranks[image], -scores, kinds))  # stable: within an image in their order
        ends = np.searchsorted(kinds[order], np.arange(classes + 1))
        ones = np.ones(len(order))
        for kind, (start, end) in enumerate(pairwise(ends)):
            of_class, its_code = image[order[start:end]], code[order[start:end]]
            for bit in range(self.thresholds):
                hit = (its_code >> self.thresholds + bit) & 1 > 0
                hits, after = of_class[hit], np.cumsum(hit) - hit
                counted = ((its_code >> bit) & 1 == 0) & (after < len(hits))
                starts = np.searchsorted(after[counted], np.arange(len(hits) + 1))
                sums = ones[: starts[-1]], of_class[counted], starts.astype(np.int32)
                if len(hits):
                    yield kind, hits, csr_array(sums, shape=(len(hits), self.images))

    def value(self, weights: Any) -> FloatArray:
        """(n, axes) -> (n,); axes may be fewer than images, which then do not occur."""
        size = max(1, WORK_ELEMENTS // self.largest)
        parts = [weights[start : start + size] for start in range(0, weights.shape[0], size)]
        dense = (part.toarray() if hasattr(part, "toarray") else part for part in parts)
        return np.concatenate([*map(self._value, dense), np.empty(0)])

    def _value(self, weights: FloatArray) -> FloatArray:
        largest = np.abs(weights).max(axis=1, initial=0.0)
        occurs = np.zeros((self.images, len(weights)))
        occurs[: weights.shape[1]] = np.where(np.abs(weights) > NOISE * largest[:, None], weights, 0.0).T
        truths = self.truths @ occurs
        known = truths > NOISE * largest
        signed = bool((occurs < 0).any())
        total = np.zeros(len(weights))
        for kind, hits, sums in self.found:
            area = _area(occurs[hits], sums @ occurs, np.where(known[kind], truths[kind], 1.0), signed)
            total += np.where(known[kind], area, 0.0)
        areas = self.thresholds * known.sum(axis=0)
        value: FloatArray = np.divide(total, areas, out=np.full(len(weights), np.nan), where=areas > 0)
        return value


def _area(hits: FloatArray, positives: FloatArray, truths: FloatArray, signed: bool) -> FloatArray:
    """Average precision of one class at one threshold, (d,); works in the arrays that it is given.

    Args:
        hits: Weights of the true positives, (n, d).
        positives: Weights of all positives since the true positive before, (n, d).
        truths: (d,).
        signed: Whether there are negative weights.
    """
    found, precision = (np.cumsum(each, axis=0, out=each) for each in (hits, positives))
    np.divide(found, precision, out=precision, where=precision > 0)
    recall = np.divide(found, truths / 100, out=found)
    if signed:
        np.clip(precision, 0, 1, out=precision)
        np.maximum.accumulate(recall, axis=0, out=recall)
        np.clip(recall, 0, 100, out=recall)
    # the precision at a recall is the best one at this or a higher recall
    backwards = precision[::-1]
    np.maximum.accumulate(backwards, axis=0, out=backwards)
    precision *= np.diff(_levels(recall), axis=0, prepend=0)
    # a plain sum would add up one draw in another order than many
    result: FloatArray = np.cumsum(precision, axis=0, out=precision)[-1] / len(LEVELS)
    return result


def _levels(recall: FloatArray) -> FloatArray:
    """How many of the levels of recall are reached, by recalls in percent."""
    nearest = np.rint(recall)
    reached = recall >= REACHED[nearest.astype(np.int64)]
    return nearest + reached
