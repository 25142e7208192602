"""Early exits in a manifest: where frames may leave, and the programs of the heads that say so."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, zip_longest
from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from splitimpera.bundle.entries import Entry, Name, Path, Tensors, Whole
from splitimpera.bundle.segments import Engine, SegmentEntry, Span, chained
from splitimpera.bundle.task_entry import Responding

Threshold = Annotated[float, Field(ge=0, le=1)]
EARLY = {"exits", "heads", "left"}
"""Keys that stand in a manifest only where there are early exits: all other bundles are what they were before."""


class MayBeEarly(Entry):
    """An entry some of whose keys are there only where plans have early exits."""

    @model_serializer(mode="wrap")
    def _without_nothing(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in written(self).items() if value or key not in EARLY}


class ExitEntry(Entry):
    """An early exit of a plan, on its first machine.

    Attributes:
        cut: Behind which its head looks, and the `layer` in front of it.
        thresholds: The confidence from which on a frame leaves: one, or one for each class.
    """

    cut: Annotated[Whole, Field(ge=1)]
    layer: Name
    thresholds: Annotated[list[Threshold], Field(min_length=1, max_length=1_000_000)]


class HeadEntry(Entry):
    """The program of an exit's head: takes what crosses the cut, and returns logits divided by its temperature.

    Attributes:
        outputs: One tensor, of shape (classes,).
    """

    cut: Whole
    engine: Engine
    file: Path
    inputs: Tensors
    outputs: Tensors


def divided(span: Span, exits: Sequence[ExitEntry]) -> list[Span]:
    """What a machine runs of a span one after another, a piece up to each exit and the rest, perhaps empty.

    Example:
        >>> exit = ExitEntry(cut=3, layer="conv3", thresholds=[0.9])
        >>> [tuple(piece) for piece in divided(Span(0, 7, 0.0, 4.0), [exit])]
        [(0, 3, 0.0, 0.0), (3, 7, 0.0, 4.0)]
    """
    borders = [(span.start, span.arriving), *((exit.cut, 0.0) for exit in exits), (span.end, span.leaving)]
    return [Span(start, end, arriving, leaving) for (start, arriving), (end, leaving) in pairwise(borders)]


def check_exits(
    exits: Sequence[ExitEntry],
    heads: Sequence[HeadEntry],
    segments: Sequence[SegmentEntry],
    pieces: Sequence[Span],
    last: int,
    responding: Responding,
) -> None:
    """Hold the exits of a plan to the programs of its first machine, and to the task.

    Args:
        pieces: As `divided` has them.
        last: The cut that only the result crosses.

    Raises:
        ValueError: an exit lies where no frame can leave, lacks its head or the layers in front of it, or what its head
            says is none of the task's responses.
    """
    if not responding.names_classes:
        raise ValueError("an early exit answers with a class, and the task names none")
    if exits[-1].cut >= last:
        raise ValueError(f"the exit behind cut {exits[-1].cut} has no layers behind it")
    if [head.cut for head in heads] != [exit.cut for exit in exits]:
        raise ValueError("each early exit has one head, and the heads are in their order")
    before: list[SegmentEntry] = []
    for piece, exit, head in zip_longest(pieces, exits, heads):
        chain = chained(segments, piece)
        if not chain and not piece.empty:
            raise ValueError(f"there is no program of the layers from cut {piece.start} to cut {piece.end}")
        if any(one.outputs != other.inputs for one, other in pairwise([*before[-1:], *chain])):
            raise ValueError(f"the programs in front of the exits and behind cut {piece.start} do not fit together")
        before = chain
        if exit is not None:
            _check_head(exit, head, chain[-1], responding)


def _check_head(exit: ExitEntry, head: HeadEntry, front: SegmentEntry, responding: Responding) -> None:
    (logits, *others), response = head.outputs, responding.response[0]
    if head.inputs != front.outputs:
        raise ValueError(f"the head behind cut {exit.cut} takes other tensors than cross there")
    if others or logits.shape != response.shape or not logits.dtype.startswith("float"):
        raise ValueError(f"the head behind cut {exit.cut} returns no logits of shape {response.shape}")
    if len(exit.thresholds) not in (1, *logits.shape):
        raise ValueError(f"the exit behind cut {exit.cut} needs one threshold, or one for each class")
