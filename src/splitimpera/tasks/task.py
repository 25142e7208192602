"""The seam of the tasks: what a task says of a network's outputs and of what is expected of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, get_type_hints

from splitimpera.core.array_types import Array, FloatArray, Row
from splitimpera.core.errors import ModelError, listed
from splitimpera.tasks.painting import Drawing
from splitimpera.tasks.quality import Quality
from splitimpera.tasks.sameness import ComparedNumbers, Comparison

if TYPE_CHECKING:
    from torch import Tensor

TargetKind = Literal["class", "array", "mask", "boxes", "none"]
"""How targets are read: a class index; numbers of one shape; class indices a pixel; boxes with classes; not at all."""
Chosen = Literal["predicted", "label"]


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


@dataclass(frozen=True)
class Response:
    """The arrays of an answer.

    Attributes:
        arrays: name, shape and type of each; a side that is None is the number of objects, the same in all of them.
        most: how many objects there are at most; None: no side varies.
    """

    arrays: tuple[tuple[str, tuple[int | None, ...], str], ...]
    most: int | None = None


class Task(Protocol):
    """What a network is for.

    A task knows nothing of plans. It is made with options, and `fitted` to a network's outputs before it is used. All
    of `answer` and `quality` work without torch: they run on the machine that runs the tail.

    """

    @property
    def name(self) -> str:
        """As scenarios have it."""
        ...

    @property
    def targets(self) -> TargetKind:
        """How targets are read."""
        ...

    @property
    def metrics(self) -> tuple[str, ...]:
        """The qualities that requirements may name; the first unless one of them does."""
        ...

    @property
    def quality(self) -> Quality:
        """What makes answers good."""
        ...

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

    @property
    def answering(self) -> Task:
        """The task whose answers these are: itself, and of an agreement what it is an agreement of."""
        ...

    @property
    def target_shape(self) -> tuple[int, ...] | None:
        """The shape of a target, where the outputs alone do not tell it."""
        ...

    def response(self) -> Response:
        """What an answer looks like, once fitted."""
        ...

    def judging(self, near: Array | None) -> Quality | None:
        """What makes answers good, on a machine that has no network; None where that cannot be known there.

        Args:
            near: How near numbers agree, which only those know who ran the network on many samples.
        """
        ...

    def problem(self, answer: Row) -> str:
        """What is wrong with an answer of these types and shapes that came from elsewhere; empty where nothing is."""
        ...

    def sameness(self) -> Comparison:
        """What compares results of the same samples, of which a few may differ by rounding."""
        ...

    def scalar(self, outputs: Sequence[Tensor], targets: Sequence[Row] | None, chosen: Chosen) -> Tensor:
        """What saliency differentiates, (samples,); each sample's from its own outputs alone.

        Args:
            targets: What is expected, where it is known.
            chosen: the class that is predicted, or the one that is labelled.
        """
        ...

    def loss(
        self, outputs: Sequence[Tensor], wanted: Sequence[Tensor], targets: Sequence[Row] | None, distill: float
    ) -> Tensor:
        """What training makes smaller, the mean over the samples.

        Args:
            wanted: What the network unsplit returns.
            targets: What is expected, where it is known and counts.
            distill: the share of the distance to `wanted`; the rest is the loss on the targets.
        """
        ...

    def agreeing(self, answers: Sequence[Row]) -> Task:
        """The task once the answers of the network unsplit are known, where `targets` is "none"."""
        ...

    def group(self, target: Row) -> int:
        """The class that a sample belongs to in curves of single classes; -1 for none."""
        ...

    def draw(self, image: Array, row: Row, names: Sequence[str] = (), expected: bool = False) -> Drawing | None:
        """A response over its image; None: there is nothing to see. A task of another's may lack this.

        Args:
            image: uint8 (H, W, 3), all of what the network sees, in any size.
            row: An answer, or a target where it is what is `expected`.
            names: Names of the classes, as far as they have any.
        """
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


def plain(dtype: str) -> str:
    """The type that arrays have, where bfloat16 is float32."""
    return "float32" if dtype == "bfloat16" else dtype


def numbers_of(task: Task, row: Row, target: Row) -> FloatArray:
    """The quality's numbers of a sample, from the network's outputs (no batch dimension).

    They are those of the answer, but of a task that has more to count than its answers say: its `counted(row, target)`
    has the word, as a language model's does, whose answers leave the probabilities of all other tokens out.
    """
    own: Callable[[Row, Row], FloatArray] | None = getattr(task, "counted", None)
    return task.quality.count(task.answer(row), target) if own is None else own(row, target)


_NEVER = object()
"""The default of what has none."""


class Plain:
    """What most tasks have to say of themselves.

    Attributes:
        keys: which attributes a scenario may give.
    """

    keys: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def known_keys(cls, options: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG003  (of an agreement it is needed)
        """The keys that may stand among these, each with its type."""
        types = get_type_hints(cls)
        return {key: types.get(key, Any) for key in cls.keys}

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Any:
        """The task with these keys."""
        return cls(**options)

    def options(self) -> dict[str, Any]:
        given = {key: getattr(self, key) for key in self.keys}
        return {key: value for key, value in given.items() if value != getattr(type(self), key, _NEVER)}

    @property
    def answering(self) -> Any:
        return self

    @property
    def target_shape(self) -> tuple[int, ...] | None:
        return None

    def judging(self, near: Array | None) -> Any:
        return self.quality  # type: ignore[attr-defined]

    def problem(self, answer: Row) -> str:
        return ""

    def sameness(self) -> Comparison:
        return ComparedNumbers()

    def agreeing(self, answers: Sequence[Row]) -> Any:
        return self

    def group(self, target: Row) -> int:
        return -1

    def draw(self, image: Array, row: Row, names: Sequence[str] = (), expected: bool = False) -> Drawing | None:
        return None
