"""What a training is to reach: its task's loss, distance and quality on some samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from splitimpera.core.array_types import FloatArray, Row
from splitimpera.core.errors import DataError
from splitimpera.models.samples import Samples
from splitimpera.tasks.quality import value_of
from splitimpera.tasks.task import Task

Results = tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Aims:
    """A task on the samples of a training; results are the network's output tensors, samples in front."""

    task: Task
    samples: Samples

    def check(self) -> None:
        """Raise DataError where a target does not fit the network."""
        targets = self.samples.targets.rows(range(len(self.samples))) if self.samples.known else ()
        for place, target in enumerate(targets):
            if problem := self.task.check(target):
                raise DataError(f"sample {place} has {problem}")

    def loss(self, made: Results, wanted: Results, rows: Tensor, distill: float) -> Tensor:
        """The loss of some samples, of which `distill` is the distance to what is wanted; all of it without targets."""
        targets = self._targets(rows) if self.samples.known and distill < 1 else None
        return self.task.loss(made, wanted, targets, distill)

    def counts(self, made: Results, rows: Tensor) -> list[FloatArray]:
        """The quality's numbers of some samples."""
        arrays = [tensor.detach().cpu().float().numpy() for tensor in made]
        answers = (self.task.answer(tuple(array[place] for array in arrays)) for place in range(len(rows)))
        return [
            self.task.quality.count(answer, target) for answer, target in zip(answers, self._targets(rows), strict=True)
        ]

    def quality(self, counts: Sequence[FloatArray]) -> float:
        """What such numbers come to; NaN without targets."""
        return value_of(self.task.quality, self.task.quality.vectors(np.array(counts))) if counts else np.nan

    def _targets(self, rows: Tensor) -> list[Row]:
        return self.samples.targets.rows(rows.tolist())
