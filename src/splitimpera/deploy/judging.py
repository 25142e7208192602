"""What each response counts for, where its target is known: the numbers that a design adds up, too."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from splitimpera.bundle.manifest import Manifest
from splitimpera.core.array_types import Array, FloatArray, Row
from splitimpera.deploy.frame_log import Counts, JudgedBy
from splitimpera.tasks.qualities import QUALITIES
from splitimpera.tasks.quality import Quality, Sums

SUM_TO_ONE = 1e-3
CONFIDENCE_DIGITS = 4


@dataclass
class Judge:
    """Judges responses by the task's metric.

    Attributes:
        by: What a log's reader needs to make sums of the numbers into a value.
        total: The sum over all frames with a target so far; None: there was none.
    """

    quality: Quality
    by: JudgedBy
    total: FloatArray | None = field(default=None)
    judged: int = 0

    def counts(self, answer: Row | None, target: Row) -> tuple[Counts | None, Counts]:
        """The numbers of a frame's response, None where there is none, and those of a frame without a response."""
        lost = self.quality.count_lost(target)
        found = None if answer is None else self.quality.count(answer, target)
        counted = lost if found is None else found
        self.total = counted if self.total is None else self.total + counted
        self.judged += 1
        return None if found is None else sparse(found), sparse(lost)

    @property
    def title(self) -> str:
        """What people call the metric."""
        return QUALITIES[self.quality.name].title

    @property
    def value(self) -> float | None:
        """Of all frames so far; None without one, and where the value is no matter of sums."""
        known = self.total is not None and isinstance(self.quality, Sums)
        return float(self.quality.value(self.total)) if known else None

    @property
    def told(self) -> str:
        """The value in words, or where to look for it."""
        if self.value is None:
            return f"'splitimpera verify' says it, of {self.judged} frames"
        return f"{QUALITIES[self.quality.name].format(self.value)} of {self.judged} frames"


def judge_of(manifest: Manifest, near: Array | None = None) -> Judge | None:
    """What judges the responses of a bundle; None where labels say all of it, or nobody here knows the task.

    Args:
        near: How near numbers agree, as the samples of the bundle have it.
    """
    quality = manifest.responding.quality(near)
    if quality is None or isinstance(manifest.task, str):
        return None
    if quality.name == "accuracy" and manifest.responding.names_classes:
        return None
    by = JudgedBy(task=manifest.task, result=manifest.result, inputs=manifest.input.tensors)
    return Judge(quality, by)


def sparse(counts: FloatArray) -> Counts:
    """The numbers that are not 0, with their places, and how many there are in all."""
    return len(counts), [(int(place), float(counts[place])) for place in np.flatnonzero(counts)]


def confidence(scores: Array) -> float | None:
    """The probability of the class with the largest score, shape (1, classes) or (classes,), from 0 to 1.

    Scores that are no probabilities go through softmax. None: one of them is no finite number.

    >>> confidence(np.array([[0.0, np.log(3.0)]], dtype=np.float32))
    0.75
    >>> confidence(np.array([0.9, 0.1]))
    0.9
    """
    values = np.asarray(scores, dtype=np.float64).ravel()
    if not values.size or not np.isfinite(values).all():
        return None
    if values.min() < 0 or abs(values.sum() - 1) > SUM_TO_ONE:
        values = np.exp(values - values.max())
        values /= values.sum()
    return round(float(values.max()), CONFIDENCE_DIGITS)
