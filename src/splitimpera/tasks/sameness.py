"""Results beside those they should be: how many answers are the same, by what the task calls an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from splitimpera.core.array_types import Array, FloatArray, Row
from splitimpera.tasks.quality import Quality, value_of

CLOSE = 0.01
"""As a share of the largest value: results that differ by more are not the same, however close the best two are."""


class Comparison(Protocol):
    """Results of some samples beside those they should be."""

    words: str
    """What is equal."""

    def take(self, wanted: Row, found: Row, answer: Row) -> None:
        """One more sample: the network's outputs, those that were found, and the response made of these."""
        ...

    def __len__(self) -> int: ...

    @property
    def difference(self) -> float:
        """The largest of any value; infinite where one is no number."""
        ...

    @property
    def equal(self) -> float:
        """The share that is the same."""
        ...

    @property
    def as_good_as_equal(self) -> float:
        """The same, without what rounding alone decides."""
        ...


@dataclass
class _Compared:
    """What all have in common.

    Attributes:
        gaps: Largest difference of any value of each sample; infinite where one is no number.
    """

    gaps: list[float] = field(default_factory=list, init=False)

    def __len__(self) -> int:
        return len(self.gaps)

    @property
    def difference(self) -> float:
        return max(self.gaps)

    @property
    def equal(self) -> float:
        raise NotImplementedError

    @property
    def as_good_as_equal(self) -> float:
        return self.equal


@dataclass
class ComparedClasses(_Compared):
    """Logits of some classes: of each sample some numbers, not its logits.

    Attributes:
        place: Which of the outputs they are.
        answers: Class that was found.
        same: Whether it is the class that should be found.
        margins: How far the best two logits are apart that should be found.
        largest: The largest of these logits, without its sign.
    """

    place: int = 0
    answers: list[int] = field(default_factory=list)
    same: list[bool] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    largest: list[float] = field(default_factory=list)

    words = "equal predictions"

    def take(self, wanted: Row, found: Row, answer: Row) -> None:
        self.add(wanted[self.place], found[self.place])

    def add(self, wanted: Array, found: Array) -> None:
        """Take the logits of one more sample."""
        should, is_ = (np.asarray(logits, np.float64).ravel() for logits in (wanted, found))
        best = np.sort(should)[-2:]
        self.gaps.append(gap((should,), (is_,)))
        self.answers.append(int(is_.argmax()))
        self.same.append(bool(should.argmax() == is_.argmax()))
        self.margins.append(float(best[-1] - best[0]) if len(best) > 1 else float("inf"))
        self.largest.append(float(np.abs(should).max()))

    @property
    def equal(self) -> float:
        return float(np.mean(self.same))

    @property
    def as_good_as_equal(self) -> float:
        """The share of equal answers, with samples whose best two logits are closer than results differ by rounding."""
        undecided = np.array(self.margins) < min(self.difference, CLOSE * max(self.largest))
        return float((np.array(self.same) | undecided).mean())


@dataclass
class ComparedAnswers(_Compared):
    """Answers of which a quality says how far they are the same: masks, boxes, labels.

    Attributes:
        words: What is equal.
        expected: Function from the outputs that should be found to the answer that is expected, as a target.
        quality: What says how far an answer is that.
    """

    words: str
    expected: Callable[[Row], Row]
    quality: Quality
    counts: list[FloatArray] = field(default_factory=list)

    def take(self, wanted: Row, found: Row, answer: Row) -> None:
        self.gaps.append(gap(wanted, found))
        self.counts.append(self.quality.count(answer, self.expected(wanted)))

    @property
    def equal(self) -> float:
        counts = np.array(self.counts)
        value = value_of(self.quality, self.quality.vectors(counts))
        return float(not counts.any()) if np.isnan(value) else value  # nothing should be found


@dataclass
class ComparedNumbers(_Compared):
    """Numbers that are the same where they differ by less than 1 % of the largest so far; of all outputs."""

    equals: list[tuple[int, int]] = field(default_factory=list)
    largest: float = 0.0

    words = "equal numbers"

    def take(self, wanted: Row, found: Row, answer: Row) -> None:
        self.gaps.append(gap(wanted, found))
        self.largest = max([self.largest, *(float(np.abs(each).max(initial=0)) for each in wanted)])
        near = [
            np.abs(_wide(one) - _wide(other)) <= CLOSE * self.largest for one, other in zip(wanted, found, strict=True)
        ]
        self.equals.append((sum(int(each.sum()) for each in near), sum(each.size for each in near)))

    @property
    def equal(self) -> float:
        same, of_all = np.array(self.equals).sum(0)
        return float(same / max(of_all, 1))


def gap(wanted: Row, found: Row) -> float:
    """The largest difference of any value; infinite where one is no number."""
    largest = 0.0
    for one, other in zip(wanted, found, strict=True):
        should, is_ = _wide(one), _wide(other)
        with np.errstate(invalid="ignore"):
            off = np.where(should == is_, 0.0, np.abs(should - is_))
        largest = max(largest, float(off.max(initial=0)) if np.isfinite(off).all() else float("inf"))
    return largest


def _wide(values: Array) -> Array:
    return np.asarray(values, np.complex128 if values.dtype.kind == "c" else np.float64)
