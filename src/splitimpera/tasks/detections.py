"""Detections from what a network returns: candidates in one of a few layouts, of which the best are kept.

A candidate is a box with a score for each class. What scores too little is dropped, then what overlaps with a better
one of its class. Runs after the network, outside its graph, and without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from splitimpera.core.array_types import Array, IntArray, Row
from splitimpera.core.errors import ModelError, shown
from splitimpera.core.registry import nearest
from splitimpera.tasks.boxes import nms

Format = Literal["boxes_scores", "yolo", "detr"]
Activation = Literal["sigmoid", "softmax", "none"]
Background = Literal["first", "last"]
Shape = tuple[int, ...]
MOST = 1_000_000
"""Classes, detections or candidates of an image."""


@dataclass(frozen=True)
class Detector:
    """What makes detections of a network's outputs for one image.

    Formats (K or Q candidates; a network may return more tensors, which are left alone):

    - "boxes_scores": boxes (K, 4) as x1, y1, x2, y2 in pixels, and scores (K, classes); with "softmax" there is one
      more column, the background. They are told apart by their shapes; where these are the same, boxes come first.
    - "yolo": one tensor (4 + classes, K), or (K, 4 + classes) where that is another shape: centre and size in pixels,
      then the classes' probabilities, as Ultralytics' networks return them since version 8.
    - "detr": scores (Q, classes + 1), the last column of which means "no object", and boxes (Q, 4): centre and size as
      shares of the image's width and height. Softmax; a query is one object at most, and none suppresses another. Where
      the shapes are the same, scores come first.

    Attributes:
        format: How the network returns boxes and scores.
        classes: Number of classes.
        image_size: Height and width of the input in pixels; boxes end at its borders.
        score_threshold: From which score on a candidate counts.
        nms_iou: From which intersection over union on the better box of a class suppresses the other.
        most: Detections of an image that are kept.
        activation: What makes scores of the raw ones, in "boxes_scores".
        background: Which column is the background, with "softmax" in "boxes_scores".
        candidates: How many pairs of candidate and class take part in the suppression, those with the highest scores.

    Raises:
        ModelError: an option that there is not.

    >>> detector = Detector("boxes_scores", classes=2, image_size=(32, 32), activation="none")
    >>> boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 40, 40]])
    >>> detector((boxes, np.array([[0.9, 0.0], [0.8, 0.0], [0.0, 0.7]])))[0]
    array([[ 0.,  0., 10., 10.],
           [20., 20., 32., 32.]], dtype=float32)
    """

    format: Format
    classes: int
    image_size: tuple[int, int]
    score_threshold: float = 0.05
    nms_iou: float = 0.5
    most: int = 100
    activation: Activation = "sigmoid"
    background: Background = "last"
    candidates: int = 1000

    def __post_init__(self) -> None:
        for key, value, known in (
            ("format", self.format, get_args(Format)),
            ("activation", self.activation, get_args(Activation)),
            ("background", self.background, get_args(Background)),
        ):
            if value not in known:
                raise ModelError(f"no {key} is called '{shown(value)}'", where=key, hint=nearest(str(value), known))
        for key, number in (("classes", self.classes), ("most", self.most), ("candidates", self.candidates)):
            if not 1 <= number <= MOST:
                raise ModelError(f"a number from 1 to {MOST} is expected, not {shown(number)}", where=key)
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise ModelError(f"a height and a width in pixels are expected, not {self.image_size}", where="image_size")
        for key, share in (("score_threshold", self.score_threshold), ("nms_iou", self.nms_iou)):
            if not 0 <= share <= 1:
                raise ModelError(f"a number from 0 to 1 is expected, not {share}", where=key)

    @classmethod
    def for_shapes(cls, shapes: Sequence[Shape], image_size: Sequence[int], **keys: Any) -> Detector:
        """The detector of outputs of these shapes, whose number of classes follows from them.

        Raises:
            ModelError: there is none.
        """
        tried = [side for shape in shapes if len(shape) == 2 for side in shape]
        for classes in dict.fromkeys(number for side in sorted(tried) for number in (side, side - 1, side - 4)):
            if classes < 1:
                continue
            detector = cls(**keys, classes=classes, image_size=(int(image_size[0]), int(image_size[1])))
            with suppress(ModelError):
                detector.check(shapes)
                return detector
        detector = cls(**keys, classes=1, image_size=(int(image_size[0]), int(image_size[1])))
        detector.check(shapes)  # which says what is expected
        return detector

    def check(self, shapes: Sequence[Shape]) -> None:
        """Make sure that these are shapes of the format, one for each output, without the batch dimension.

        Raises:
            ModelError: they are not.
        """
        self._places(shapes)

    def __call__(self, row: Row) -> Row:
        """Boxes float32 (n, 4), scores float32 (n,), classes int64 (n,), the highest score first.

        Candidates that are not numbers, or have no area inside the image, are dropped.

        Raises:
            ModelError: outputs that are not of the format.
        """
        boxes, scores = self.boxes(row), self.scores(row)
        candidates, classes = self._chosen(boxes, scores)
        return boxes[candidates].astype(np.float32), scores[candidates, classes].astype(np.float32), classes

    def kept(self, row: Row) -> tuple[IntArray, IntArray]:
        """Which candidate each detection is, (n,), and its class, (n,), in the order of the detections.

        With these `scores(tensors)[candidates, classes]` are their scores, by torch where `tensors` are its tensors.
        """
        return self._chosen(self.boxes(row), self.scores(row))

    def scores(self, row: Sequence[Any]) -> Any:
        """The score of each candidate for each class, (K, classes), background left out.

        Takes torch tensors as well, through which gradients flow, and NumPy arrays.
        """
        raw = row[self._places([each.shape for each in row])[1]]
        if self.format == "yolo":
            return (raw if self._is_wide(raw.shape) else raw.T)[:, 4:]
        if self.format == "detr":
            return _softmax(raw)[:, :-1]
        if self.activation == "softmax":
            return _softmax(raw)[:, 1:] if self.background == "first" else _softmax(raw)[:, :-1]
        return _sigmoid(raw) if self.activation == "sigmoid" else raw

    def raw_boxes(self, row: Sequence[Any]) -> Any:
        """The boxes as the network returns them, (K, 4), by torch where `row` are its tensors."""
        raw = row[self._places([each.shape for each in row])[0]]
        if self.format == "yolo":
            return (raw if self._is_wide(raw.shape) else raw.T)[:, :4]
        return raw

    def boxes(self, row: Row) -> Array:
        """Corners in pixels, cut off at the image's borders, (K, 4)."""
        height, width = self.image_size
        corners = self.raw_boxes(row).astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            if self.format != "boxes_scores":
                centre, half = corners[:, :2], corners[:, 2:] / 2
                corners = np.concatenate([centre - half, centre + half], axis=1)
            if self.format == "detr":
                corners *= (width, height, width, height)
            clipped: Array = np.clip(corners, 0, (width, height, width, height))
            return clipped

    def _chosen(self, boxes: Array, scores: Array) -> tuple[IntArray, IntArray]:
        """Candidates and their classes, by corners in pixels and scores."""
        there = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])  # NaN is larger than nothing
        good = (scores >= self.score_threshold) & np.isfinite(scores) & there[:, None]
        if self.format == "detr":
            best = np.where(good, scores, -1.0).argmax(axis=1)
            candidates = np.flatnonzero(good[np.arange(len(best)), best])
            classes = best[candidates]
        else:
            candidates, classes = np.nonzero(good)
        found = scores[candidates, classes]
        if len(found) > self.candidates:
            least = np.partition(found, -self.candidates)[-self.candidates]
            candidates, classes, found = (each[found >= least] for each in (candidates, classes, found))
        order = np.argsort(-found, kind="stable")[: self.candidates]
        if self.format == "detr":
            order = order[: self.most]
        else:
            order = order[nms(boxes[candidates[order]], found[order], classes[order], self.nms_iou, self.most)]
        return candidates[order], classes[order]

    def _is_wide(self, shape: Shape) -> bool:
        """Whether it is a row a candidate: (K, 4 + classes); (4 + classes, K) is the usual one."""
        return shape[0] != 4 + self.classes

    def _places(self, shapes: Sequence[Shape]) -> tuple[int, int]:
        """Which outputs hold the boxes and the scores."""
        shapes = [tuple(shape) for shape in shapes]
        pairs = [(one, other) for one in range(len(shapes)) for other in range(len(shapes)) if one != other]
        if self.format == "yolo":
            pairs = [(place, place) for place in range(len(shapes))]
        if self.format == "detr":
            pairs.sort(key=lambda pair: pair[1])
        fitting = [pair for pair in pairs if self._fit(shapes[pair[0]], shapes[pair[1]])]
        if fitting:
            return fitting[0]
        came = ", ".join(str(shape) for shape in shapes[:10]) or "nothing"
        raise ModelError(
            f"the network returns {came} for an image; the format '{self.format}' with classes: {self.classes} is "
            f"{self._expected()}",
            where="task",
            hint="set 'classes' and 'format' to what the network returns, or let it return this",
        )

    def _fit(self, boxes: Shape, scores: Shape) -> bool:
        if len(boxes) != 2 or len(scores) != 2:
            return False
        if self.format == "yolo":
            return 4 + self.classes in boxes
        return boxes[1] == 4 and scores == (boxes[0], self._columns())

    def _columns(self) -> int:
        more = self.format == "detr" or self.activation == "softmax"
        return self.classes + more

    def _expected(self) -> str:
        columns = self._columns()
        if self.format == "yolo":
            return f"one tensor (4 + {self.classes}, K) or (K, 4 + {self.classes}): centre, size, probabilities"
        if self.format == "detr":
            return f"scores (Q, {columns}), the last for no object, and boxes (Q, 4)"
        background = f", the {self.background} for the background" if columns > self.classes else ""
        return f"boxes (K, 4) and scores (K, {columns}){background}"


def _sigmoid(raw: Any) -> Any:
    if hasattr(raw, "sigmoid"):  # of torch
        return raw.sigmoid()
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-raw))


def _softmax(raw: Any) -> Any:
    if hasattr(raw, "softmax"):
        return raw.softmax(-1)
    with np.errstate(invalid="ignore"):
        powers = np.exp(raw - raw.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)
