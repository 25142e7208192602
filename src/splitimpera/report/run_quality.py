"""What the answers of a run are worth over time; one that is late, or an earlier one once more, counts as none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from splitimpera.bundle.task_entry import responding_of
from splitimpera.core.array_types import Array, FloatArray, IntArray
from splitimpera.core.errors import BundleError, DataError, shown
from splitimpera.deploy.frame_log import Counts, FrameLine, JudgedBy, RunLine
from splitimpera.tasks.qualities import ACCURACY, QUALITIES
from splitimpera.tasks.quality import Quality, Sums

MOST_NUMBERS = 1 << 25
"""Of all frames together; of more the quality is not followed over time."""


@dataclass(frozen=True)
class RunQuality:
    """The on-time quality of any part of a run.

    Attributes:
        name: Of the metric.
        quality: What makes a value of sums; None: the share of right answers.
        sums: Of all frames before each, (frames + 1, numbers); `known`: how many of them have a target.
    """

    name: str
    quality: Quality | None
    sums: FloatArray
    known: IntArray

    @property
    def title(self) -> str:
        return QUALITIES[self.name].title

    @property
    def judged(self) -> int:
        """How many frames have a target."""
        return int(self.known[-1])

    @property
    def overall(self) -> float:
        """Of the whole run; not a number where its frames say nothing."""
        return float(self.between(np.array([0]), np.array([len(self.known) - 1]))[0])

    def between(self, first: IntArray, last: IntArray) -> FloatArray:
        """The quality of the frames from `first` to before `last`, (n,) each; not a number where none is known."""
        counts = self.known[last] - self.known[first]
        totals = (self.sums[last] - self.sums[first])[counts > 0]
        found = np.full(len(counts), np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            if self.quality is None:
                found[counts > 0] = totals[:, 0] / counts[counts > 0]
            elif len(totals):
                found[counts > 0] = _checked(self.quality, totals)
        return found

    def format(self, value: float) -> str:
        return QUALITIES[self.name].format(value)


def run_quality(run: RunLine, frames: Sequence[FrameLine], on_time: Array) -> RunQuality | None:
    """What is known of the answers' worth; None where there are no targets, or the metric has no sums to follow.

    Args:
        on_time: Which frames have an answer of their own in time, (frames,).

    Raises:
        DataError: the log's numbers are none of its task.
    """
    if run.judged_by is None:
        labelled = np.array([line.label is not None for line in frames])
        right = np.array([line.label is not None and line.predicted == line.label for line in frames]) & on_time
        return RunQuality(ACCURACY, None, _sums(right[:, None]), _known(labelled)) if labelled.any() else None
    quality = _quality(run.judged_by)
    judged = np.array([line.counts_lost is not None for line in frames])
    size = max((line.counts_lost[0] for line in frames if line.counts_lost is not None), default=0)
    adds_up = isinstance(quality, Sums)
    if quality is None or not adds_up or not judged.any() or size * len(frames) > MOST_NUMBERS:
        return None
    numbers = np.zeros((len(frames), size))
    for row, line, timely in zip(numbers, frames, on_time, strict=True):
        counted = line.counts if timely and line.counts is not None else line.counts_lost
        if counted is not None:
            _fill(row, counted)
    return RunQuality(quality.name, quality, _sums(numbers), _known(judged))


def _quality(by: JudgedBy) -> Quality | None:
    try:
        task = responding_of(by.task, by.result, by.inputs).task
    except BundleError as error:
        raise DataError(f"the log's task cannot be used: {error}") from None
    return None if task is None or task.quality.name not in QUALITIES else task.quality


def _checked(quality: Quality, totals: FloatArray) -> FloatArray:
    try:
        return np.asarray(quality.value(totals), dtype=np.float64)
    except (ValueError, IndexError, OverflowError) as failure:
        raise DataError(f"the log's numbers are none of this metric: {shown(failure, 200)}") from None


def _fill(row: FloatArray, counts: Counts) -> None:
    size, pairs = counts
    if size != len(row) or any(place >= size for place, _ in pairs):
        raise DataError(f"a frame has {size} numbers, others have {len(row)}", hint="was the log changed?")
    for place, number in pairs:
        row[place] = number


def _sums(rows: Array) -> FloatArray:
    return np.vstack([np.zeros(rows.shape[1]), np.cumsum(rows, axis=0, dtype=np.float64)])


def _known(there: Array) -> IntArray:
    return np.append(0, np.cumsum(there))
