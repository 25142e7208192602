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
from splitimpera.models.targets import Listed, one_by_one
from splitimpera.records.spans import Span
from splitimpera.tasks.language import Language
from splitimpera.tasks.task import Task

AT_ONCE = 1024
"""Windows whose ids are looked at together."""


def example_of(data: Dataset) -> Row | None:
    """A target, where there are any."""
    return data.validation.targets.rows([0])[0] if data.validation.known else None


def check_targets(task: Task, data: Dataset) -> None:
    """Hold every target to the network's outputs, and what language models read to their vocabulary.

    Raises:
        DataError: one does not fit; its place is named.
    """
    _check_ids(task, data)
    for part in ("train", "validation", "test"):
        samples: Samples = getattr(data, part)
        for place, target in enumerate(one_by_one(samples.targets) if samples.known else ()):
            if problem := task.check(target):
                raise DataError(
                    f"sample {place} of '{part}' has {problem}",
                    where="data.source",
                    hint="correct it, leave it out, or let the task and the network fit the data",
                )


def _check_ids(task: Task, data: Dataset) -> None:
    """Windows of ids must be of the vocabulary that the logits are of; also where nobody knows what comes next."""
    of_answers = getattr(task, "inner", task)
    if not isinstance(of_answers, Language):
        return
    tokens, vocabulary = of_answers.shape
    for part in ("train", "validation", "test"):
        samples: Samples = getattr(data, part)
        if samples.layout is not None:
            return  # several inputs: which of them are ids nobody knows
        for place, ids in enumerate(samples.batches(AT_ONCE)):
            if ids.is_floating_point() or ids.shape[1:] != (tokens,):
                return
            wrong = ((ids < 0) | (ids >= vocabulary)).nonzero()
            if len(wrong):
                row, column = wrong[0].tolist()
                raise DataError(
                    f"sample {AT_ONCE * place + row} of '{part}' has token {int(ids[row, column])}, the network's "
                    f"vocabulary has {vocabulary} (0 to {vocabulary - 1})",
                    where="data.source",
                    hint="take the tokenizer that the network was trained with, 'data.tokens.tokenizer' for texts",
                )


def with_truths(testbed: Testbed, track: Track[Any] = no_progress) -> Testbed:
    """The same testbed where the task has targets; else one that expects the answers of the network unsplit.

    Plans are judged on samples of validation and test alone: those for training get none.

    Raises:
        ModelError: the network cannot be run.
    """
    task = testbed.task
    if task.targets != "none":
        return testbed
    data = testbed.data
    parts = data.validation, data.test
    answers = [list(track(answers_of(testbed, part), "Asking the network", 0)) for part in parts]
    validation, test = (
        Samples(part.source, Listed(tuple(map(task.expected, of_part))))
        for part, of_part in zip(parts, answers, strict=True)
    )
    judged = testbed.with_task(task.agreeing(answers[0]))
    judged.data = replace(data, train=Samples(data.train.source), validation=validation, test=test)
    return judged


def answers_of(testbed: Testbed, samples: Samples) -> Iterator[Row]:
    """The network's answer to each sample, nothing lost."""
    return map(testbed.task.answer, outputs_of(testbed, samples))


def outputs_of(testbed: Testbed, samples: Samples) -> Iterator[Row]:
    """What the network returns for each sample, nothing lost."""
    last, specs = testbed.last, testbed.specs(testbed.last, 0.0)
    if not len(samples):
        return
    for x in samples.batches(testbed.chunk([])):
        made = testbed.call(Span(0, last), testbed.inputs(x))
        yield from unstack(made, specs)


def response_bytes(testbed: Testbed) -> int:
    """How large an answer is, the mean of a few samples of the calibration data."""
    samples = testbed.data.calibration().take(torch.arange(min(8, len(testbed.data.calibration()))))
    sizes = [sum(part.nbytes for part in answer) for answer in answers_of(testbed, samples)]
    return round(sum(sizes) / len(sizes))
