"""The task in a manifest: what makes responses of the network's outputs, on a machine that has no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from splitimpera.bundle.entries import TENSOR_BYTES, Entry, Name, TensorEntry, Whole
from splitimpera.core.array_types import Array, Row
from splitimpera.core.errors import BundleError, SplitImperaError, shown
from splitimpera.records.graph import DTYPE_BYTES
from splitimpera.tasks.making import TASKS, make_task
from splitimpera.tasks.quality import Quality
from splitimpera.tasks.task import Output, TargetKind, Task

RAW = "raw"
"""Kind of a task that only the machine knows that exported it: the response is the network's outputs."""
Side = Annotated[int, Field(ge=0, lt=1 << 32)]


class ResponseEntry(Entry):
    """A tensor of the response to one frame; a side that is None is the number of objects, the same in all of them."""

    name: Name
    shape: Annotated[list[Side | None], Field(max_length=16)]
    dtype: Literal[*DTYPE_BYTES]  # type: ignore[valid-type]

    @property
    def bytes(self) -> int:
        """Of one object where the number of these is a side."""
        return DTYPE_BYTES[self.dtype] * prod(1 if side is None else side for side in self.shape)


class TaskEntry(Entry):
    """What the network is for.

    Attributes:
        kind: Its name, as scenarios have it; "raw": a task of the user's own, which no other machine knows.
        options: The keys that make it again.
        metric: What its answers are judged by.
        outputs: Key or position, in what the network returns, of each tensor of the result.
        mask: Height and width of a segmentation's masks, where logits are enlarged to them; else None.
        response: The tensors of a response.
        most: How many objects a response has at most; None: it has none.
        result_bytes: Mean size of the responses' tensors, as the design simulates them.
    """

    kind: Name
    options: Annotated[dict[Name, str | int | float | bool | None], Field(max_length=100)]
    metric: Name
    outputs: Annotated[list[Name], Field(min_length=1, max_length=1024)]
    mask: Annotated[list[Side], Field(min_length=2, max_length=2)] | None
    response: Annotated[list[ResponseEntry], Field(min_length=1, max_length=1024)]
    most: Whole | None
    result_bytes: Whole


@dataclass(frozen=True)
class Responding:
    """What makes responses of the network's outputs.

    Attributes:
        task: The task, fitted to the outputs; None: responses are the outputs, and nobody here can judge them.
        response: The tensors of a response.
        most: How many objects it has at most; None: no side of a tensor varies.
    """

    task: Task | None
    response: tuple[ResponseEntry, ...]
    most: int | None = None

    def __call__(self, row: Row) -> Row:
        """The response to one frame, from its outputs."""
        return tuple(row) if self.task is None else self.task.answer(tuple(row))

    @property
    def most_bytes(self) -> int:
        """No response's tensors are larger."""
        return sum(entry.bytes * (1 if None not in entry.shape else self.most or 0) for entry in self.response)

    @property
    def targets(self) -> TargetKind:
        """How targets are to be read, with those that an agreement has of the network unsplit."""
        return "none" if self.task is None else self.task.answering.targets

    @property
    def given_targets(self) -> TargetKind:
        """How those targets are to be read that data sets give; an agreement wants none of them."""
        return "none" if self.task is None else self.task.targets

    @property
    def names_classes(self) -> bool:
        """Whether a response says one class, which is the largest of its logits."""
        return self.targets == "class"

    @property
    def labelled(self) -> bool:
        """Whether the class of a sample is a label that somebody gave it."""
        return self.given_targets == "class"

    def quality(self, near: Array | None = None) -> Quality | None:
        """What makes responses good; None where that is not known.

        Args:
            near: How near numbers agree, which only those know who ran the network on many samples.
        """
        return None if self.task is None else self.task.judging(near)

    def mistarget(self, target: Row) -> str:
        """What is wrong with a target, in words; empty where nothing is."""
        if self.task is None:
            return ""
        if len(target) != (3 if self.targets == "boxes" else 1):
            return f"a target of {len(target)} arrays, of another task"
        if self.targets == "mask":
            (mask,) = target
            if not np.can_cast(mask.dtype, np.int64) or mask.min(initial=0) < 0:
                return f"a mask of {mask.dtype} from {mask.min(initial=0):g} on, class indices are expected"
        return self.task.answering.check(target)

    def problem(self, answer: Row) -> str:
        """What is wrong with a response that came from elsewhere, in words; empty where nothing is."""
        return "" if self.task is None else self.task.problem(answer)


def task_entry(
    task: Task, kind: str, outputs: Sequence[Output], result: Sequence[TensorEntry], result_bytes: int
) -> TaskEntry:
    """What a manifest says of a task.

    Args:
        task: Fitted to the outputs.
        kind: As the scenario names it, a task or a factory.
        result: The tensors of the network's result, in the order of the outputs.
    """
    own = kind in TASKS
    made = Responding(task, *_response(task)) if own else Responding(None, _raw(result))
    shape = task.target_shape if own else None
    return TaskEntry(
        kind=kind if own else RAW,
        options=task.options() if own else {},
        metric=task.quality.name,
        outputs=[output.name for output in outputs],
        mask=None if shape is None else list(shape),
        response=list(made.response),
        most=made.most,
        result_bytes=result_bytes,
    )


def first_entry(result: Sequence[TensorEntry]) -> TaskEntry:
    """The task of bundles that say no more than "classification"."""
    logits = result[0]
    return TaskEntry(
        kind="classification",
        options={"output": "0"},
        metric="accuracy",
        outputs=[str(place) for place in range(len(result))],
        mask=None,
        response=[_stored("logits", logits.shape, logits.dtype)],
        most=None,
        result_bytes=logits.spec.bytes,
    )


def responding_of(entry: TaskEntry, result: Sequence[TensorEntry], inputs: Sequence[TensorEntry]) -> Responding:
    """The task of a manifest, fitted again.

    Args:
        result: The tensors of the network's result.
        inputs: Those that it takes.

    Raises:
        BundleError: there is no such task, the result is none of it, or its responses are others.
    """
    if len(entry.outputs) != len(result):
        raise BundleError(f"the task names {len(entry.outputs)} outputs, the network's result has {len(result)}")
    if entry.kind == RAW:
        made = Responding(None, _raw(result))
    else:
        task = _fitted(entry, result, inputs)
        made = Responding(task, *_response(task))
    if (list(made.response), made.most) != (entry.response, entry.most):
        raise BundleError(f"the task '{shown(entry.kind)}' makes other responses of this result than the manifest says")
    return made


def _fitted(entry: TaskEntry, result: Sequence[TensorEntry], inputs: Sequence[TensorEntry]) -> Task:
    if entry.mask is not None and prod(entry.mask) > TENSOR_BYTES:
        raise BundleError(f"a mask of {entry.mask[0]} x {entry.mask[1]} pixels is larger than any that is sent")
    outputs = [
        Output(name, tuple(tensor.shape), tensor.dtype) for name, tensor in zip(entry.outputs, result, strict=True)
    ]
    images = [Output("input", tuple(tensor.shape), tensor.dtype) for tensor in inputs]
    example = None if entry.mask is None else (np.broadcast_to(np.uint8(0), entry.mask),)
    try:
        task = make_task(entry.kind, entry.options)
        if entry.metric not in task.metrics:
            raise BundleError(f"'{shown(entry.metric)}' is no metric of it")
        return task.fitted(outputs, entry.metric, images, example)
    except (SplitImperaError, ArithmeticError, ValueError, LookupError) as error:  # of shapes that no network has
        raise BundleError(f"the task '{shown(entry.kind)}' cannot be made: {shown(error, 300)}") from None


def _response(task: Task) -> tuple[tuple[ResponseEntry, ...], int | None]:
    """The tensors of a task's response, and how many objects it has at most."""
    response = task.response()
    return tuple(_stored(*array) for array in response.arrays), response.most


def _raw(result: Sequence[TensorEntry]) -> tuple[ResponseEntry, ...]:
    return tuple(_stored(tensor.name, tensor.shape, tensor.dtype) for tensor in result)


def _stored(name: str, shape: Sequence[int | None], dtype: str) -> ResponseEntry:
    """A tensor as programs have it, where bfloat16 is float32."""
    plain = "float32" if dtype == "bfloat16" else dtype
    return ResponseEntry(name=name, shape=list(shape), dtype=plain)
