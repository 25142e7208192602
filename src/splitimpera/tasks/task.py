"""The seam of the tasks: what a task says of a network's outputs and of what is expected of them.

A quality turns each answer into numbers, and sums of these, weighted, into one value: so many samples are right, so
many pixels of each class. What has no such sums, average precision, makes vectors of them that can
be added all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from splitimpera.core.array_types import FloatArray, Row
from splitimpera.core.errors import ModelError, listed
from splitimpera.core.statistics import contribution_draws, ends

if TYPE_CHECKING:
    from torch import Tensor

TargetKind = Literal["class", "array", "mask", "boxes", "none"]
"""How targets are read: a class index; numbers of one shape; class indices a pixel; boxes with classes; not at all."""
Chosen = Literal["predicted", "label"]
Matrix = Any
"""Vectors as rows: float64 (n, m), dense, or a `scipy.sparse` array."""


@dataclass(frozen=True)
class Output:
    """One tensor of what the network returns.

    Attributes:
        name: its key or position, "logits" or "0"; nested ones joined by points.
        shape: for one sample.
        dtype: torch's name of the element type, without the prefix.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    def __str__(self) -> str:
        return f"'{self.name}' {self.dtype} {self.shape}"


class Quality(Protocol):
    """What makes answers good.

    Attributes:
        name: how the value is called, one of `metrics.QUALITIES`.
    """

    name: str

    def count(self, answer: Row, target: Row) -> FloatArray:
        """The numbers of a frame with a response, (k,); the same number of them for each."""
        ...

    def count_lost(self, target: Row) -> FloatArray:
        """The numbers of a frame without a response, or one that came too late."""
        ...

    def vectors(self, counts: FloatArray) -> Matrix:
        """These numbers, (n, k), as vectors (n, m) that may be added and weighted."""
        ...

    def signal(self, vectors: Matrix) -> FloatArray:
        """Numbers of each row, (n, j), that vary as its share in the value does."""
        ...

    def value(self, total: Matrix) -> Any:
        """What sums of such vectors come to, (..., m) -> (...)."""
        ...

    def interval(self, vectors: Matrix) -> tuple[float, float]:
        """The 95 % interval of the value over samples; `vectors` has shape (samples, m)."""
        ...


class Sums:
    """A quality whose numbers add up as they are."""

    def vectors(self, counts: FloatArray) -> Matrix:
        return counts

    def signal(self, vectors: Matrix) -> FloatArray:
        return np.asarray(vectors, dtype=np.float64)

    def value(self, total: Any) -> Any:
        raise NotImplementedError

    def interval(self, vectors: Matrix) -> tuple[float, float]:
        return ends(contribution_draws([vectors], self.value))


class Task(Protocol):
    """What a network is for.

    A task knows nothing of plans. It is made with options, and `fitted` to a network's outputs before it is used. All
    of `answer` and `quality` work without torch: they run on the machine that runs the tail.

    Attributes:
        name: as scenarios have it.
        targets: how targets are read.
        metrics: the qualities that requirements may name; the first unless one of them does.
        quality: what makes answers good.
    """

    name: str
    targets: TargetKind
    metrics: tuple[str, ...]

    @property
    def quality(self) -> Quality: ...

    def options(self) -> dict[str, Any]:
        """The keys that make the same task again, as plain values."""
        ...

    def fitted(
        self, outputs: Sequence[Output], metric: str, inputs: Sequence[Output] = (), example: Row | None = None
    ) -> Task:
        """The task for a network with these outputs.

        Args:
            metric: which of `metrics` its quality is.
            inputs: What the network takes.
            example: A target, where there are any.

        Raises:
            ModelError: such outputs are none of this task.
        """
        ...

    def check(self, target: Row) -> str:
        """What is wrong with a target, in words; empty where nothing is."""
        ...

    def answer(self, row: Row) -> Row:
        """The response to one sample, from the network's outputs (no batch dimension): post-processing."""
        ...

    def expected(self, answer: Row) -> Row:
        """An answer as a target: what is expected where the network unsplit is taken for right."""
        ...

    def scalar(self, outputs: Sequence[Tensor], targets: Sequence[Row] | None, chosen: Chosen) -> Tensor:
        """What saliency differentiates, (samples,); each sample's from its own outputs alone.

        Args:
            targets: What is expected, where it is known.
            chosen: the class that is predicted, or the one that is labelled.
        """
        ...

    def loss(self, outputs: Sequence[Tensor], targets: Sequence[Row]) -> Tensor:
        """What training on targets makes smaller: the mean over the samples."""
        ...

    def distance(self, outputs: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
        """How far outputs are from those of the network unsplit, the mean over the samples: distillation."""
        ...

    def agreeing(self, answers: Sequence[Row]) -> Task:
        """The task once the answers of the network unsplit are known, where `targets` is "none"."""
        ...

    def group(self, target: Row) -> int:
        """The class that a sample belongs to in curves of single classes; -1 for none."""
        ...


def only(outputs: Sequence[Output], wanted: str | int | None, ranks: Sequence[int], expected: str) -> int:
    """Which output a task is about: the one that is named, "logits", or the only one of so many dimensions.

    Args:
        wanted: its name or position; None: whichever it is.
        ranks: Numbers of dimensions that it may have.
        expected: what it is expected to be, in words.

    Raises:
        ModelError: there is none, or there are several.

    >>> only([Output("logits", (10,)), Output("features", (512,))], None, (1,), "one logit a class")
    0
    """
    names = [output.name for output in outputs]
    if wanted is not None:
        if str(wanted) not in names:
            raise ModelError(f"the network returns no '{wanted}'", where="task.output", hint=f"known: {listed(names)}")
        places = [names.index(str(wanted))]
    else:
        places = [place for place, output in enumerate(outputs) if output.name == "logits"] or [*range(len(outputs))]
    fitting = [place for place in places if len(outputs[place].shape) in ranks]
    shapes = listed(map(str, outputs))
    if not fitting:
        raise ModelError(f"the network returns {shapes} a sample, {expected} is expected", where="task")
    if len(fitting) > 1:
        raise ModelError(
            f"the network returns {shapes} a sample, and several may be {expected}",
            where="task.output",
            hint="name one of them",
        )
    return fitting[0]


def real(output: Output) -> None:
    """Refuse outputs that are no real floating-point numbers."""
    if not output.dtype.startswith(("float", "bfloat")):
        raise ModelError(f"the network's result {output} is expected to be floating-point numbers", where="task.output")


def mean_and_sum(value: float) -> FloatArray:
    """The numbers of a frame of whose value the mean is taken."""
    return np.array([value, 1.0])


def is_dense(vectors: Matrix) -> bool:
    return isinstance(vectors, np.ndarray)


def total(vectors: Matrix) -> Matrix:
    """The sum of all rows: (m,), or (1, m) where sparse."""
    if is_dense(vectors):
        return vectors.sum(0)
    from scipy.sparse import csr_array

    return csr_array(np.ones((1, vectors.shape[0]))) @ vectors


def value_of(quality: Quality, vectors: Matrix) -> float:
    """What all rows together come to."""
    return float(np.squeeze(quality.value(total(vectors))))
