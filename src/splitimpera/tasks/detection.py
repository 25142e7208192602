"""Object detection: boxes with classes and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from splitimpera.core.array_types import Array, Row
from splitimpera.core.errors import ModelError
from splitimpera.tasks.average_precision import AP50, COCO, AveragePrecision
from splitimpera.tasks.boxes import box_problem, iou
from splitimpera.tasks.detections import Activation, Background, Detector, Format
from splitimpera.tasks.painting import Drawing, draw_boxes
from splitimpera.tasks.sameness import ComparedAnswers, Comparison
from splitimpera.tasks.task import Chosen, Output, Plain, Response, TargetKind, real

if TYPE_CHECKING:
    from torch import Tensor

KEYS = ("format", "score_threshold", "nms_iou", "most", "activation", "background")
CONFIDENT = 0.3
"""From which score on a detection of the network unsplit is a truth, where there are no labels; and is drawn."""


@dataclass(frozen=True)
class Detection(Plain):
    """Where objects are, and of which class.

    The network returns candidates; what `Detector` makes of them, and drops, runs after it, outside its graph.

    Attributes:
        format: How the network returns boxes and scores, as `Detector` lists them.
        score_threshold: From which score on a candidate counts.
        nms_iou: From which intersection over union on the better box of a class suppresses the other.
        most: Detections of an image that are kept.
        activation: What makes scores of the raw ones, in "boxes_scores".
        background: Which column is the background, with "softmax" in "boxes_scores".
    """

    format: Format = "boxes_scores"
    score_threshold: float = 0.05
    nms_iou: float = 0.5
    most: int = 100
    activation: Activation = "sigmoid"
    background: Background = "last"
    detector: Detector | None = None
    metric: str = "map50"

    def __post_init__(self) -> None:
        if self.detector is None:  # whatever is wrong with the keys is known before there is a network
            keys = {key: getattr(self, key) for key in KEYS}
            Detector(**keys, classes=1, image_size=(1, 1))

    name = "detection"
    targets: TargetKind = "boxes"
    metrics = ("map50", "map")
    keys = KEYS

    def fitted(
        self,
        outputs: Sequence[Output],
        metric: str = "map50",
        inputs: Sequence[Output] = (),
        example: Row | None = None,
    ) -> Detection:
        shapes = [output.shape for output in outputs]
        images = [each.shape for each in inputs if len(each.shape) == 3]
        if not images:
            raise ModelError("the network takes no image (channels, height, width)", where="task")
        keys = {key: getattr(self, key) for key in KEYS}
        detector = Detector.for_shapes(shapes, image_size=images[0][1:], **keys)
        for output in outputs:
            real(output)
        return replace(self, detector=detector, metric=metric)

    @cached_property
    def quality(self) -> AveragePrecision:
        assert self.detector is not None
        return AveragePrecision(self.detector.classes, AP50 if self.metric == "map50" else COCO)

    @property
    def known(self) -> Detector:
        assert self.detector is not None
        return self.detector

    def check(self, target: Row) -> str:
        boxes, classes, _ = target
        if len(classes) and not 0 <= int(classes.min()) <= int(classes.max()) < self.known.classes:
            return f"a box of class {int(classes.max())}, the network tells {self.known.classes} classes apart"
        return box_problem(boxes, self.known.image_size)

    def answer(self, row: Row) -> Row:
        """Boxes float32 (n, 4) from corner to corner in pixels, scores float32 (n,), classes int64 (n,)."""
        return self.known(row)

    def expected(self, answer: Row) -> Row:
        boxes, scores, classes = answer
        sure = scores >= CONFIDENT
        return boxes[sure], classes[sure], np.zeros(int(sure.sum()), dtype=bool)

    def response(self) -> Response:
        boxes, scores, classes = (
            ("boxes", (None, 4), "float32"),
            ("scores", (None,), "float32"),
            ("classes", (None,), "int64"),
        )
        return Response((boxes, scores, classes), self.most)

    def problem(self, answer: Row) -> str:
        boxes, scores, classes = answer
        height, width = self.known.image_size
        if not np.isfinite(boxes).all() or not np.isfinite(scores).all():
            return "a box or score that is not finite"
        if len(boxes) and (boxes.min() < -1 or (boxes.max(0) > np.array([width, height] * 2) + 1).any()):
            return f"a box outside the image of {height} x {width} pixels (height x width)"
        if len(classes) and not 0 <= int(classes.min()) <= int(classes.max()) < self.known.classes:
            return f"a box of class {int(classes.max())}, there are {self.known.classes}"
        return ""

    def sameness(self) -> Comparison:
        def every(row: Row) -> Row:  # however sure the network is
            boxes, _, classes = self.answer(row)
            return boxes, classes, np.zeros(len(boxes), dtype=bool)

        return ComparedAnswers("equal detections (AP50)", every, AveragePrecision(self.known.classes))

    def scalar(self, outputs: Sequence[Tensor], targets: Sequence[Row] | None, chosen: Chosen) -> Tensor:
        """The sum of the scores of the detections that are kept; labelled, of the best box at each labelled object.

        Source: C. Zhao and A. B. Chan, "ODAM: gradient-based instance-specific visual explanations for object
        detection", ICLR 2023, takes the gradient of each detection's score.
        """
        import torch

        found = []
        for place in range(len(outputs[0])):
            own = [output[place] for output in outputs]
            row = tuple(tensor.detach().cpu().float().numpy() for tensor in own)
            scores = self.known.scores(own)
            if chosen == "label" and targets is not None:
                candidates, classes = self._at(row, targets[place])
            else:
                candidates, classes = self.known.kept(row)
            if len(candidates):
                found.append(scores[torch.from_numpy(candidates), torch.from_numpy(classes)].sum())
            else:  # nothing is seen: what comes nearest to it
                found.append(scores.max())
        return torch.stack(found)

    def loss(
        self, outputs: Sequence[Tensor], wanted: Sequence[Tensor], targets: Sequence[Row] | None, distill: float
    ) -> Tensor:
        """Distillation alone: every detector assigns truths to candidates in a way of its own.

        Binary cross-entropy of the scores beyond that of the unsplit network with itself, and the boxes' mean distance
        in shares of the image, weighted by how sure the unsplit network is; summed over an image.
        """
        import torch
        from torch.nn.functional import binary_cross_entropy as cross_entropy

        total = outputs[0].new_zeros(())
        size = max(self.known.image_size)
        for place in range(len(outputs[0])):
            given, before = [each[place] for each in outputs], [each[place] for each in wanted]
            q, p = (self.known.scores(some).clamp(1e-6, 1 - 1e-6) for some in (given, before))
            p = p.detach()
            sure = p.amax(1)
            total = total + cross_entropy(q, p, reduction="sum") - cross_entropy(p, p, reduction="sum")
            boxes, others = self.known.raw_boxes(given), self.known.raw_boxes(before).detach()
            scale = 1.0 if self.format == "detr" else 1.0 / size
            total = total + (sure * torch.abs(boxes - others).mean(1) * scale).sum() * BOX_WEIGHT
        return total / len(outputs[0])

    def group(self, target: Row) -> int:
        """The class of most boxes."""
        return int(np.bincount(target[1]).argmax()) if len(target[1]) else -1

    def draw(self, image: Array, row: Row, names: Sequence[str] = (), expected: bool = False) -> Drawing:
        """The boxes, those of a response from a score of `CONFIDENT` on."""
        if expected:
            boxes, classes, _ = row
            return draw_boxes(image, boxes, classes, None, self.known.image_size, names)
        boxes, scores, classes = row
        sure = scores >= CONFIDENT
        note = f"Boxes of responses are drawn from a score of {CONFIDENT:g} on."
        return draw_boxes(image, boxes[sure], classes[sure], scores[sure], self.known.image_size, names, note)

    def _at(self, row: Row, target: Row) -> tuple[Array, Array]:
        """The candidate that overlaps most with each labelled box, and the box's class."""
        boxes, classes, _ = target
        if not len(boxes):
            nothing = np.zeros(0, dtype=np.int64)
            return nothing, nothing
        return iou(self.known.boxes(row), boxes).argmax(0), classes


BOX_WEIGHT = 5.0
"""How much the distance of boxes counts beside that of scores, as in DETR's loss (N. Carion et al., ECCV 2020)."""
