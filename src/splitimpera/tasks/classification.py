"""Classification: one logit a class, and the largest one says which it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from splitimpera.core.array_types import FloatArray, Row
from splitimpera.core.statistics import wilson_interval
from splitimpera.tasks.quality import Matrix, Sums, mean_and_sum
from splitimpera.tasks.sameness import ComparedClasses, Comparison
from splitimpera.tasks.task import Chosen, Output, Plain, Response, TargetKind, only, plain, real

if TYPE_CHECKING:
    from torch import Tensor

TOP = 5


@dataclass(frozen=True)
class RightClass(Sums):
    """Share of samples whose class is among the largest logits, `top` of them.

    >>> RightClass().count((np.array([0.1, 0.7, 0.2]),), (np.array(1),))
    array([1., 1.])
    """

    name: str = "accuracy"
    top: int = 1

    def count(self, answer: Row, target: Row) -> FloatArray:
        logits, label = answer[0], int(target[0])
        if self.top == 1:
            return mean_and_sum(float(logits.argmax() == label))
        # of equal logits those of the smaller class come first, as argmax has it
        before = (logits > logits[label]) | ((logits == logits[label]) & (np.arange(len(logits)) < label))
        return mean_and_sum(float(before.sum() < self.top and logits[label] == logits[label]))

    def count_lost(self, target: Row) -> FloatArray:
        return mean_and_sum(0.0)

    def value(self, total: Any) -> Any:
        return total[..., 0] / total[..., 1]

    def interval(self, vectors: Matrix) -> tuple[float, float]:
        return wilson_interval(float(vectors[:, 0].sum() / vectors[:, 1].sum()), len(vectors))


@dataclass(frozen=True)
class Classification(Plain):
    """Which of some classes a sample belongs to.

    Attributes:
        output: Key or position of the logits (classes,), where the network returns several tensors.
    """

    output: str | int | None = None
    place: int = 0
    dtype: str = "float32"
    classes: int = 0
    quality: RightClass = RightClass()

    name = "classification"
    targets: TargetKind = "class"
    metrics = ("accuracy", "top5_accuracy")
    keys = ("output",)

    def fitted(
        self,
        outputs: Sequence[Output],
        metric: str = "accuracy",
        inputs: Sequence[Output] = (),
        example: Row | None = None,
    ) -> Classification:
        place = only(outputs, self.output, (1,), "one logit a class")
        real(outputs[place])
        dtype = plain(outputs[place].dtype)
        quality = RightClass(metric, 1 if metric == "accuracy" else TOP)
        return replace(self, place=place, dtype=dtype, classes=outputs[place].shape[0], quality=quality)

    def check(self, target: Row) -> str:
        if 0 <= int(target[0]) < self.classes:
            return ""
        return f"the label {int(target[0])}, the network tells {self.classes} classes apart"

    def answer(self, row: Row) -> Row:
        return (row[self.place],)

    def expected(self, answer: Row) -> Row:
        return (np.array(answer[0].argmax()),)

    def response(self) -> Response:
        return Response((("logits", (self.classes,), self.dtype),))

    def sameness(self) -> Comparison:
        return ComparedClasses(place=self.place)

    def scalar(self, outputs: Sequence[Tensor], targets: Sequence[Row] | None, chosen: Chosen) -> Tensor:
        """The logit of the class that is predicted (as in I-SPLIT's released code) or labelled (as in its abstract)."""
        logits = outputs[self.place]
        if chosen == "predicted":
            return logits.gather(1, logits.argmax(1, keepdim=True))[:, 0]
        return logits.gather(1, self._labels(logits, targets)[:, None])[:, 0]

    def loss(
        self, outputs: Sequence[Tensor], wanted: Sequence[Tensor], targets: Sequence[Row] | None, distill: float
    ) -> Tensor:
        """Cross-entropy, and the Kullback-Leibler divergence of the unsplit network's probabilities."""
        from torch.nn.functional import kl_div, nll_loss

        given, before = (some[self.place].log_softmax(1) for some in (outputs, wanted))
        distance = kl_div(given, before, reduction="batchmean", log_target=True)
        if targets is None:
            return distance
        return (1 - distill) * nll_loss(given, self._labels(given, targets)) + distill * distance

    def group(self, target: Row) -> int:
        return int(target[0])

    def _labels(self, logits: Tensor, targets: Sequence[Row] | None) -> Tensor:
        return logits.new_tensor([int(label) for (label,) in targets or ()]).long()
