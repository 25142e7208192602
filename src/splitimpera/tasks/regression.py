"""Regression: numbers of one shape, a vector or a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from splitimpera.core.array_types import FloatArray, Row
from splitimpera.tasks.quality import Sums
from splitimpera.tasks.task import Chosen, Output, Plain, Response, TargetKind, only, plain, real

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Error(Sums):
    """Root mean squared error ("rmse") or mean absolute error ("mae") over all numbers of all samples.

    A frame without a response counts as if `fallback` had been predicted.
    """

    name: str = "rmse"
    fallback: float = 0.0

    def count(self, answer: Row, target: Row) -> FloatArray:
        off = answer[0].astype(np.float64) - target[0].reshape(answer[0].shape)  # sides of 1 may differ
        return np.array([float(np.abs(off).sum() if self.name == "mae" else (off**2).sum()), float(off.size)])

    def count_lost(self, target: Row) -> FloatArray:
        return self.count((np.full_like(target[0], self.fallback, dtype=np.float64),), target)

    def value(self, total: Any) -> Any:
        mean = total[..., 0] / total[..., 1]
        return mean if self.name == "mae" else np.sqrt(np.maximum(mean, 0.0))


@dataclass(frozen=True)
class Regression(Plain):
    """Numbers; targets are as many, float (...).

    Attributes:
        output: Key or position of the prediction, where the network returns several tensors.
        fallback: What is assumed where no response comes.
    """

    output: str | int | None = None
    fallback: float = 0.0
    place: int = 0
    dtype: str = "float32"
    shape: tuple[int, ...] = ()
    quality: Error = Error()

    name = "regression"
    targets: TargetKind = "array"
    metrics = ("rmse", "mae")
    keys = ("output", "fallback")

    def fitted(
        self,
        outputs: Sequence[Output],
        metric: str = "rmse",
        inputs: Sequence[Output] = (),
        example: Row | None = None,
    ) -> Regression:
        place = only(outputs, self.output, range(9), "the prediction")
        real(outputs[place])
        return replace(
            self,
            place=place,
            dtype=plain(outputs[place].dtype),
            shape=outputs[place].shape,
            quality=Error(metric, self.fallback),
        )

    def check(self, target: Row) -> str:
        (wanted,) = target
        if _squeezed(wanted.shape) != _squeezed(self.shape):
            return f"a target of shape {wanted.shape}, the network predicts {self.shape}"
        return "" if np.isfinite(wanted).all() else "a target that is not finite"

    def answer(self, row: Row) -> Row:
        return (row[self.place].reshape(_squeezed(self.shape)),)

    def expected(self, answer: Row) -> Row:
        return answer

    def response(self) -> Response:
        return Response((("prediction", _squeezed(self.shape), self.dtype),))

    def scalar(self, outputs: Sequence[Tensor], targets: Sequence[Row] | None, chosen: Chosen) -> Tensor:
        """The norm of the prediction."""
        rows = outputs[self.place]
        norm: Tensor = rows.reshape(len(rows), -1).norm(dim=1)
        return norm

    def loss(
        self, outputs: Sequence[Tensor], wanted: Sequence[Tensor], targets: Sequence[Row] | None, distill: float
    ) -> Tensor:
        """Mean squared errors."""
        from torch.nn.functional import mse_loss

        given = outputs[self.place]
        distance = mse_loss(given, wanted[self.place])
        if targets is None:
            return distance
        expected = given.new_tensor(np.stack([numbers for (numbers,) in targets])).reshape(given.shape)
        return (1 - distill) * mse_loss(given, expected) + distill * distance


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without sides of one."""
    return tuple(side for side in shape if side != 1)
