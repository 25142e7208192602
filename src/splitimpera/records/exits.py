"""What the exits of a network say of some frames, and who leaves where. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from splitimpera.core.array_types import Array, FloatArray, IntArray
from splitimpera.core.statistics import Interval
from splitimpera.records.plan import Exit

GOES_ON = -1
"""In place of the index of an exit: the frame leaves at none of them."""
NOBODY = 1.0
"""The threshold that no frame reaches: confidences stay below it."""


def confidences(logits: Array) -> tuple[FloatArray, IntArray]:
    """How sure a head is of each frame, and of which class: the largest of softmax(logits).

    Args:
        logits: (..., classes), divided by the head's temperature. Where one is no number, the confidence is 0.

    Returns:
        Confidences, (...), from 0 to just below `NOBODY`; classes, (...).

    Example:
        >>> sure, found = confidences(np.log([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]]))
        >>> sure.round(3).tolist(), found.tolist()
        ([0.7, 0.5], [0, 2])
    """
    exact = np.asarray(logits, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        sums = np.exp(exact - exact.max(axis=-1, keepdims=True)).sum(axis=-1)
    sure = np.minimum(1 / sums, np.nextafter(NOBODY, 0.0))
    return np.where(np.isfinite(sums), sure, 0.0), exact.argmax(axis=-1)


def leaves_at(confidence: Array, answers: Array, thresholds: Sequence[tuple[float, ...]]) -> IntArray:
    """The first exit at which each frame is sure enough to leave; `GOES_ON` where there is none.

    Args:
        confidence: (exits, ...).
        answers: the class that each head found, (exits, ...).
        thresholds: of each exit, one for all classes or one for each.

    Example:
        >>> sure, found = np.array([[0.9, 0.6, 0.2], [0.5, 0.8, 0.3]]), np.zeros((2, 3), dtype=int)
        >>> leaves_at(sure, found, [(0.9,), (0.7,)]).tolist()
        [0, 1, -1]
    """
    place = np.full(np.shape(confidence)[1:], GOES_ON)
    for index in reversed(range(len(thresholds))):
        of_classes = np.asarray(thresholds[index])
        needed = of_classes[0] if len(of_classes) == 1 else of_classes[answers[index]]
        place = np.where(confidence[index] >= needed, index, place)
    return place


@dataclass(frozen=True, eq=False)
class ExitTable:
    """What the heads of one network say of some samples, nothing lost.

    Attributes:
        cuts: Behind which each head looks, in order.
        confidence: of each head, (exits, samples).
        answers: the class that each head finds, (exits, samples).
        right: how right each head is, and last the network itself: shares from 0 to 1, (exits + 1, samples).
        classes: how many classes there are.
    """

    cuts: tuple[int, ...]
    confidence: FloatArray
    answers: IntArray
    right: FloatArray
    classes: int

    @property
    def samples(self) -> int:
        return int(self.right.shape[1])

    def take(self, rows: Array) -> ExitTable:
        """Some of the samples."""
        some = (self.confidence[:, rows], self.answers[:, rows], self.right[:, rows])
        return ExitTable(self.cuts, *some, self.classes)

    def at(self, cuts: Sequence[int]) -> ExitTable:
        """Some of the exits."""
        rows = [self.cuts.index(cut) for cut in cuts]
        own = (self.confidence[rows], self.answers[rows], self.right[[*rows, -1]])
        return ExitTable(tuple(cuts), *own, self.classes)


@dataclass(frozen=True)
class ExitCosts:
    """What a frame costs, in whatever is to be little: multiply-accumulates, seconds, joules.

    Attributes:
        layers: What a frame that leaves at each exit has cost without heads, and last what one costs that leaves at
            none; never less than at the exit before.
        heads: What each head costs; a frame pays for all that it comes by.
    """

    layers: tuple[float, ...]
    heads: tuple[float, ...]

    @property
    def by_exit(self) -> FloatArray:
        """What a frame costs that leaves at each exit, and last one that leaves at none, (exits + 1,).

        >>> ExitCosts((1.0, 2.0, 4.0), (0.1, 0.2)).by_exit.round(3).tolist()
        [1.1, 2.3, 4.3]
        """
        made: FloatArray = np.array(self.layers) + np.cumsum((*self.heads, 0.0))
        return made

    def at(self, places: Sequence[int]) -> ExitCosts:
        """Those where some of the exits are there alone."""
        return ExitCosts(
            (*(self.layers[place] for place in places), self.layers[-1]), tuple(self.heads[place] for place in places)
        )


@dataclass(frozen=True)
class Leaving:
    """What becomes of some samples with exits.

    Attributes:
        samples: how many there are.
        shares: of them that leave at each exit, and last of those that leave at none; they add up to 1.
        accuracies: of those that leave at each exit, and last of those that leave at none; NaN of nobody.
        accuracy: of all, with its 95 % `interval`.
        network_accuracy: that of the network without exits.
        lost: `network_accuracy` less `accuracy`, with its 95 % `lost_interval`, paired by sample.
        cost: the mean over all.
    """

    samples: int
    shares: tuple[float, ...]
    accuracies: tuple[float, ...]
    accuracy: float
    interval: Interval
    network_accuracy: float
    lost: float
    lost_interval: Interval
    cost: float


@dataclass(frozen=True)
class ChosenExits:
    """Exits with the thresholds that were chosen for them.

    Attributes:
        exits: those that some frame leaves at; perhaps none.
        costs: what a frame costs with these exits.
        chosen_on: What becomes of the samples that the thresholds were chosen on: better than is to be expected.
        judged_on: What becomes of others.
        oracle: What becomes of these others where each leaves at the first exit that is right, and goes on where none
            is: more than any threshold can do.
        kept_accuracy: Whether the thresholds meet on `chosen_on` what they had to.
    """

    exits: tuple[Exit, ...]
    costs: ExitCosts
    chosen_on: Leaving
    judged_on: Leaving
    oracle: Leaving
    kept_accuracy: bool
