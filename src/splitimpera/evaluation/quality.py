"""What makes a prediction good: a small interface, and classification, segmentation and regression.

A quality turns each prediction into a few numbers that add up over frames, and the sums into one value.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from splitimpera.core.array_types import Array, FloatArray
from splitimpera.core.statistics import contribution_draws, ends, wilson_interval


class Quality(Protocol):
    """Numbers of one frame that add up, shape (k,), and what they come to.

    Attributes:
        name: how the value is called.
    """

    name: str

    def count(self, prediction: Array, target: Array) -> FloatArray:
        """The numbers of a frame with a response; `prediction` is the network's output for it."""
        ...

    def count_lost(self, target: Array) -> FloatArray:
        """The numbers of a frame that was not, or not in time."""
        ...

    def value(self, total: FloatArray) -> Any:
        """What sums of these numbers come to, (..., k) -> (...)."""
        ...

    def interval(self, counts: FloatArray) -> tuple[float, float]:
        """The 95 % interval of the value over samples; `counts` has shape (samples, k)."""
        ...


class Classification:
    """Share of samples whose largest logit is the right class's; predictions (classes,), targets whole numbers."""

    name = "accuracy"

    def count(self, prediction: Array, target: Array) -> FloatArray:
        return np.array([float(prediction.argmax() == target), 1.0])

    def count_lost(self, target: Array) -> FloatArray:
        return np.array([0.0, 1.0])

    def value(self, total: FloatArray) -> Any:
        return total[..., 0] / total[..., 1]

    def interval(self, counts: FloatArray) -> tuple[float, float]:
        return wilson_interval(float(counts[:, 0].sum() / counts[:, 1].sum()), len(counts))


class Segmentation:
    """Mean intersection over union; predictions (classes, H, W), targets whole numbers (H, W).

    Classes that occur neither in targets nor in predictions are left out of the mean. A frame without a response has no
    class anywhere. Pixels whose target is `ignore` do not count.
    """

    name = "miou"

    def __init__(self, classes: int, ignore: int = 255) -> None:
        self.classes = classes
        self.ignore = ignore

    def count(self, prediction: Array, target: Array) -> FloatArray:
        seen = target != self.ignore
        given, wanted = prediction.argmax(0)[seen], target[seen]
        return self._count(given, wanted)

    def count_lost(self, target: Array) -> FloatArray:
        wanted = target[target != self.ignore]
        return self._count(np.full_like(wanted, self.classes), wanted)

    def _count(self, given: Array, wanted: Array) -> FloatArray:
        one_more = self.classes + 1
        both = np.bincount(wanted[given == wanted], minlength=one_more)[: self.classes]
        either = np.bincount(given, minlength=one_more) + np.bincount(wanted, minlength=one_more)
        return np.concatenate([both, either[: self.classes] - both]).astype(np.float64)

    def value(self, total: FloatArray) -> Any:
        both, either = total[..., : self.classes], total[..., self.classes :]
        known = either > 0
        return (both / np.where(known, either, 1)).sum(-1) / known.sum(-1)

    def interval(self, counts: FloatArray) -> tuple[float, float]:
        return ends(contribution_draws(counts[None], self.value))


class Regression:
    """Root mean squared error; predictions and targets of one shape. Without a response it is `fallback`."""

    name = "rmse"

    def __init__(self, fallback: float = 0.0) -> None:
        self.fallback = fallback

    def count(self, prediction: Array, target: Array) -> FloatArray:
        return np.array([float(((prediction - target) ** 2).sum()), float(np.size(target))])

    def count_lost(self, target: Array) -> FloatArray:
        return self.count(np.full_like(target, self.fallback, dtype=np.float64), target)

    def value(self, total: FloatArray) -> Any:
        return np.sqrt(total[..., 0] / total[..., 1])

    def interval(self, counts: FloatArray) -> tuple[float, float]:
        return ends(contribution_draws(counts[None], self.value))
