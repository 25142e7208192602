"""Multilabel classification: a logit a class, and each says by itself whether the class is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from splitimpera.core.array_types import FloatArray, Row
from splitimpera.tasks.quality import Sums
from splitimpera.tasks.sameness import ComparedAnswers, Comparison
from splitimpera.tasks.task import Chosen, Output, Plain, Response, TargetKind, only, plain, real

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RightLabels(Sums):
    """Share of all labels, there or not, that are predicted right ("accuracy"); or the F1 score over all ("f1").

    Both are taken over all samples and classes together (micro averages).
    """

    name: str = "f1"

    def count(self, answer: Row, target: Row) -> FloatArray:
        given, wanted = answer[0] > 0, target[0] > 0
        return self._count(given, wanted)

    def count_lost(self, target: Row) -> FloatArray:
        """Nothing is predicted; a label that is not there is not right either."""
        wanted = target[0] > 0
        return np.array([0.0, 0.0, float(wanted.sum()), 0.0, float(wanted.size)])

    def _count(self, given: Any, wanted: Any) -> FloatArray:
        both, only_given, only_wanted = (given & wanted).sum(), (given & ~wanted).sum(), (~given & wanted).sum()
        return np.array([both, only_given, only_wanted, (given == wanted).sum(), wanted.size], dtype=np.float64)

    def value(self, total: Any) -> Any:
        both, only_given, only_wanted, right, labels = np.moveaxis(np.asarray(total), -1, 0)
        if self.name == "accuracy":
            return right / labels
        all_named = 2 * both + only_given + only_wanted
        return np.where(all_named > 0, 2 * both / np.where(all_named > 0, all_named, 1), 1.0)


@dataclass(frozen=True)
class Multilabel(Plain):
    """Which of some classes are there; targets are 0 or 1 for each, (classes,).

    Attributes:
        output: Key or position of the logits (classes,), where the network returns several tensors; what is above 0 is
            there.
    """

    output: str | int | None = None
    place: int = 0
    dtype: str = "float32"
    classes: int = 0
    quality: RightLabels = RightLabels()

    name = "multilabel"
    targets: TargetKind = "array"
    metrics = ("f1", "accuracy")
    keys = ("output",)

    def fitted(
        self,
        outputs: Sequence[Output],
        metric: str = "f1",
        inputs: Sequence[Output] = (),
        example: Row | None = None,
    ) -> Multilabel:
        place = only(outputs, self.output, (1,), "one logit a class")
        real(outputs[place])
        return replace(
            self,
            place=place,
            dtype=plain(outputs[place].dtype),
            classes=outputs[place].shape[0],
            quality=RightLabels(metric),
        )

    def check(self, target: Row) -> str:
        (labels,) = target
        if labels.shape != (self.classes,):
            return f"labels of shape {labels.shape}, the network tells {self.classes} classes apart"
        return "" if np.isin(labels, (0, 1)).all() else "a label that is neither 0 nor 1"

    def answer(self, row: Row) -> Row:
        return (row[self.place],)

    def expected(self, answer: Row) -> Row:
        return ((answer[0] > 0).astype(np.uint8),)

    def response(self) -> Response:
        return Response((("labels", (self.classes,), self.dtype),))

    def sameness(self) -> Comparison:
        same = RightLabels("accuracy")
        return ComparedAnswers("equal labels", lambda row: self.expected(self.answer(row)), same)

    def scalar(self, outputs: Sequence[Tensor], targets: Sequence[Row] | None, chosen: Chosen) -> Tensor:
        """The sum of the logits of all classes that are predicted, or labelled; of the largest where there is none."""
        logits = outputs[self.place]
        there = logits > 0 if chosen == "predicted" else self._labels(logits, targets) > 0
        none = ~there.any(1, keepdim=True)
        there = there | (none & (logits == logits.amax(1, keepdim=True)))
        return (logits * there).sum(1)

    def loss(
        self, outputs: Sequence[Tensor], wanted: Sequence[Tensor], targets: Sequence[Row] | None, distill: float
    ) -> Tensor:
        """Binary cross-entropy, and the Kullback-Leibler divergence of the unsplit network's probabilities, summed over
        the classes."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        logits, before = outputs[self.place], wanted[self.place]
        p = before.sigmoid()
        own = binary_cross_entropy_with_logits(before, p, reduction="sum")
        distance = (binary_cross_entropy_with_logits(logits, p, reduction="sum") - own) / len(logits)
        if targets is None:
            return distance
        labels = self._labels(logits, targets)
        on_targets = binary_cross_entropy_with_logits(logits, labels, reduction="sum") / len(logits)
        return (1 - distill) * on_targets + distill * distance

    def _labels(self, logits: Tensor, targets: Sequence[Row] | None) -> Tensor:
        return logits.new_tensor(np.stack([labels for (labels,) in targets or ()]))
