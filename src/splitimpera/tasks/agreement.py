"""Agreement: without labels, the network's own answers, unsplit and nothing lost, are what is expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from splitimpera.core.array_types import Array, FloatArray, Row
from splitimpera.core.errors import ScenarioError, shown
from splitimpera.core.registry import nearest
from splitimpera.tasks.classification import Classification
from splitimpera.tasks.detection import Detection
from splitimpera.tasks.language import Language
from splitimpera.tasks.multilabel import Multilabel
from splitimpera.tasks.painting import Drawing
from splitimpera.tasks.quality import Quality, Sums, mean_and_sum
from splitimpera.tasks.regression import Regression
from splitimpera.tasks.sameness import Comparison
from splitimpera.tasks.segmentation import Segmentation
from splitimpera.tasks.task import Chosen, Output, Plain, Response, TargetKind

if TYPE_CHECKING:
    from torch import Tensor

WITHIN = 0.05
"""How near numbers agree, as a share of their standard deviation over the samples."""


@dataclass(frozen=True, eq=False)
class SameNumbers(Sums):
    """Share of numbers within `WITHIN` of the standard deviation that the unsplit network's have.

    Attributes:
        near: how near that is for each number, the answer's shape.
    """

    near: Any = 0.0
    name: str = "agreement"

    def count(self, answer: Row, target: Row) -> FloatArray:
        return mean_and_sum(float((np.abs(answer[0].astype(np.float64) - target[0]) <= self.near).mean()))

    def count_lost(self, target: Row) -> FloatArray:
        return mean_and_sum(0.0)

    def value(self, total: Any) -> Any:
        return total[..., 0] / total[..., 1]


INNER: dict[str, type[Any]] = {
    "classification": Classification,
    "multilabel": Multilabel,
    "regression": Regression,
    "segmentation": Segmentation,
    "detection": Detection,
    "language": Language,
}
JUDGED_BY = {"detection": "map50", "language": "agreement"}
"""By which metric answers agree, where it is not the first of their task."""


@dataclass(frozen=True)
class Agreement(Plain):
    """How far a plan's answers are those of the network unsplit: a share, 1 where nothing is lost or rounded.

    Equal class; F1 of the labels; mean intersection over union of the masks; average precision of the boxes at 0.5;
    equal next tokens; numbers within 5 % of their standard deviation over the samples. No labels are needed.

    Attributes:
        of: the task of the answers; None: what the output's shape says: one logit a class (classes,), a logit a class
            and pixel (classes, H, W), or else numbers. Boxes and tokens are to be named.
        given: the other keys of that task.
        within: how near numbers agree, of each the answer has; known when the network was run.
    """

    of: str | None = None
    given: tuple[tuple[str, Any], ...] = ()
    inner: Any = None
    within: Any = None

    name = "agreement"
    targets: TargetKind = "none"
    metrics = ("agreement",)

    def __post_init__(self) -> None:
        if self.of is not None and self.of not in INNER:
            hint = nearest(self.of, INNER)
            raise ScenarioError(f"there is no agreement of '{shown(self.of)}'", where="task.of", hint=hint)

    @cached_property
    def quality(self) -> Quality:
        if self.inner is None or self.inner.name == "regression":
            return SameNumbers(0.0 if self.within is None else self.within)
        found: Quality = copy(self.inner.quality)
        object.__setattr__(found, "name", "agreement")
        return found

    @classmethod
    def known_keys(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Its own, and those of the task that is named; of one that follows from the output's shape, what all have."""
        inner = INNER.get(str(options.get("of")))
        return {"of": str | None} | ({"output": str | int | None} if inner is None else inner.known_keys({}))

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Agreement:
        given = {key: value for key, value in options.items() if key != "of"}
        return cls(options.get("of"), tuple(sorted(given.items())))

    def options(self) -> dict[str, Any]:
        return ({} if self.of is None else {"of": self.of}) | dict(self.given)

    def fitted(
        self,
        outputs: Sequence[Output],
        metric: str = "agreement",
        inputs: Sequence[Output] = (),
        example: Row | None = None,
    ) -> Agreement:
        given = dict(self.given)
        made = (INNER[self.of] if self.of is not None else _by_shape(outputs, given.get("output")))(**given)
        of_inner = JUDGED_BY.get(made.name, made.metrics[0])
        return replace(self, inner=made.fitted(outputs, of_inner, inputs))

    def agreeing(self, answers: Sequence[Row]) -> Agreement:
        """The task once the answers of the network unsplit are known: how near numbers agree follows from them."""
        if self.inner.name != "regression":
            return self
        mean = sum(answer.astype(np.float64) for (answer,) in answers) / len(answers)
        spread = np.sqrt(sum((answer - mean) ** 2 for (answer,) in answers) / len(answers))
        return replace(self, within=np.maximum(WITHIN * spread, 1e-12))

    def check(self, target: Row) -> str:
        return ""

    def answer(self, row: Row) -> Row:
        answer: Row = self.inner.answer(row)
        return answer

    def expected(self, answer: Row) -> Row:
        """An answer of the network unsplit as a target."""
        expected: Row = self.inner.expected(answer)
        return expected

    @property
    def answering(self) -> Any:
        return self.inner

    @property
    def target_shape(self) -> tuple[int, ...] | None:
        shape: tuple[int, ...] | None = self.inner.target_shape
        return shape

    def response(self) -> Response:
        response: Response = self.inner.response()
        return response

    def judging(self, near: Array | None) -> Quality | None:
        if not isinstance(self.inner, Regression):
            return self.quality
        return None if near is None else replace(self, within=near).quality

    def problem(self, answer: Row) -> str:
        return str(self.inner.problem(answer))

    def sameness(self) -> Comparison:
        comparison: Comparison = self.inner.sameness()
        return comparison

    def scalar(self, outputs: Sequence[Tensor], targets: Sequence[Row] | None, chosen: Chosen) -> Tensor:
        """That of the answers' task, for what is predicted."""
        scalar: Tensor = self.inner.scalar(outputs, None, "predicted")
        return scalar

    def loss(
        self, outputs: Sequence[Tensor], wanted: Sequence[Tensor], targets: Sequence[Row] | None, distill: float
    ) -> Tensor:
        loss: Tensor = self.inner.loss(outputs, wanted, targets, distill)
        return loss

    def group(self, target: Row) -> int:
        return int(self.inner.group(target)) if target else -1

    def draw(self, image: Array, row: Row, names: Sequence[str] = (), expected: bool = False) -> Drawing | None:
        drawing: Drawing | None = self.inner.draw(image, row, names, expected)
        return drawing


def _by_shape(outputs: Sequence[Output], wanted: str | int | None) -> type[Any]:
    """The task that an output looks like: the one that is named, "logits", or the first."""
    name = "logits" if wanted is None else str(wanted)
    shape = next((each.shape for each in outputs if each.name == name), outputs[0].shape)
    if len(shape) == 3 and shape[0] > 1:
        return Segmentation
    return Classification if len(shape) == 1 else Regression
