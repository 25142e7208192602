"""What a training is to reach: its task's loss, distance and quality on some samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from splitimpera.core.array_types import FloatArray, Row
from splitimpera.core.errors import DataError
from splitimpera.models.samples import Samples
from splitimpera.models.targets import one_by_one
from splitimpera.tasks.quality import value_of
from splitimpera.tasks.task import Task, numbers_of

Results = tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Aims:
    """A task on the samples of a training; results are the network's output tensors, samples in front."""

    task: Task
    samples: Samples

    def check(self) -> None:
        """Raise DataError where a target does not fit the network."""
        for place, target in enumerate(one_by_one(self.samples.targets) if self.samples.known else ()):
            if problem := self.task.check(target):
                raise DataError(f"sample {place} has {problem}")

    def loss(self, made: Results, wanted: Results, rows: Tensor, distill: float) -> Tensor:
        """The loss of some samples, of which `distill` is the distance to what is wanted; all of it without targets."""
        targets = self._targets(rows) if self.samples.known and distill < 1 else None
        return self.task.loss(made, wanted, targets, distill)

    def counts(self, made: Results, wanted: Results, rows: Tensor) -> list[FloatArray]:
        """The quality's numbers of some samples; without targets the answers that are wanted are expected."""
        expected = self.expected(wanted, rows)
        return [numbers_of(self.task, row, target) for row, target in zip(_rows(made), expected, strict=True)]

    def expected(self, wanted: Results, rows: Tensor) -> list[Row]:
        """The targets of some samples; without any, the answers that are wanted."""
        known = self.samples.known
        return self._targets(rows) if known else [*map(self.task.expected, self.answers(wanted))]

    def quality(self, counts: Sequence[FloatArray]) -> float:
        """What such numbers come to; NaN without any."""
        return value_of(self.task.quality, self.task.quality.vectors(np.array(counts))) if counts else np.nan

    def answers(self, made: Results) -> Iterator[Row]:
        """What the task makes of each sample's results."""
        return map(self.task.answer, _rows(made))

    def _targets(self, rows: Tensor) -> list[Row]:
        return self.samples.targets.rows(rows.tolist())


def _rows(made: Results) -> Iterator[Row]:
    """The results of each sample as arrays."""
    return zip(*(tensor.detach().cpu().float().numpy() for tensor in made), strict=True)
