"""A task: classes in an order (grades, stages, sizes), where the neighbour of the right one is nearly right."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from splitimpera.tasks.classification import Classification
from splitimpera.tasks.making import TASKS
from splitimpera.tasks.quality import Sums


@dataclass(frozen=True)
class Within(Sums):
    """Share of the samples whose class is at most `steps` away from the right one."""

    steps: int = 1
    name: str = "score"

    def count(self, answer, target):
        away = abs(int(answer[0].argmax()) - int(target[0]))
        return np.array([float(away <= self.steps), 1.0])

    def count_lost(self, target):
        """A frame without an answer is wrong."""
        return np.array([0.0, 1.0])

    def value(self, total):
        return total[..., 0] / total[..., 1]


@TASKS.register("ordered")
@dataclass(frozen=True)
class OrderedClasses(Classification):
    """As a classification, with a key `steps` of its own, and judged by `Within`."""

    steps: int = 1

    name = "ordered"
    metrics = ("score",)
    keys = ("output", "steps")

    def fitted(self, outputs, metric="score", inputs=(), example=None):
        return replace(super().fitted(outputs, "accuracy", inputs, example), quality=Within(self.steps))
