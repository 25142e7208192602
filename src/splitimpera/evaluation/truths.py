"""What is expected of samples: targets held to the network, or made by it where nobody knows any."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from splitimpera.core.array_types import Row
from splitimpera.core.errors import DataError
from splitimpera.core.progress import Track, no_progress
from splitimpera.evaluation.batches import unstack
from splitimpera.evaluation.testbed import Testbed
from splitimpera.models.parts import Dataset
from splitimpera.models.samples import Samples
from splitimpera.models.targets import Listed
from splitimpera.tasks.task import Task

PARTS = ("train", "validation", "test")


def example_of(data: Dataset) -> Row | None:
    """A target, where there are any."""
    return data.validation.targets.rows([0])[0] if data.validation.known else None


def check_targets(task: Task, data: Dataset) -> None:
    """Hold every target to the network's outputs.

    Raises:
        DataError: one does not fit; its place is named.
    """
    for part in PARTS:
        samples: Samples = getattr(data, part)
        for place in range(len(samples)) if samples.known else ():
            if problem := task.check(samples.targets.rows([place])[0]):
                raise DataError(f"sample {place} of '{part}' has {problem}", where="data.source")


def with_truths(testbed: Testbed, track: Track[Any] = no_progress) -> Testbed:
    """The same testbed, whose samples are expected to get the answers of the network unsplit if they have no targets.

    Raises:
        ModelError: the network cannot be run.
    """
    task = testbed.task
    if task.targets != "none":
        return testbed
    answers = {
        part: list(track(answers_of(testbed, getattr(testbed.data, part)), "Asking the network", 0)) for part in PARTS
    }
    testbed.task = task.agreeing(answers["validation"])
    train, validation, test = (
        Samples(getattr(testbed.data, part).source, Listed(tuple(map(task.expected, of_part))))
        for part, of_part in answers.items()
    )
    testbed.data = replace(testbed.data, train=train, validation=validation, test=test)
    return testbed


def answers_of(testbed: Testbed, samples: Samples) -> Iterator[Row]:
    """The network's answer to each sample, nothing lost."""
    last, specs = testbed.last, testbed.specs(testbed.last, 0.0)
    if not len(samples):
        return
    for x in samples.batches(testbed.chunk([])):
        made = testbed.call((0, last, 0.0, 0.0), testbed.inputs(x))
        yield from (testbed.task.answer(row) for row in unstack(made, specs))


def response_bytes(testbed: Testbed) -> int:
    """How large an answer is, the mean of a few samples of the calibration data."""
    samples = testbed.data.calibration().take(torch.arange(min(8, len(testbed.data.calibration()))))
    sizes = [sum(part.nbytes for part in answer) for answer in answers_of(testbed, samples)]
    return round(sum(sizes) / len(sizes))
