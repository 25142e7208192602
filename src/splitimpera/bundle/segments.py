"""Programs of some layers, and those that run more layers one after another.

Plans share programs: the head of a deeper cut is that of a shallower one, and the layers between the two.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from splitimpera.bundle.entries import Entry, Path, Tensors, Whole
from splitimpera.records.spans import NETWORK, Place
from splitimpera.records.spans import Span as Span

Engine = Annotated[str, Field(pattern="^[a-z][a-z0-9_-]{0,31}$")]
"""What runs a program: "onnx", "torch", or an engine of an extension's that both machines have."""
Ratio = Annotated[float, Field(ge=0, le=1e6)]
_Tensors = tuple[int, float, Place]
"""What crosses a cut, or the latents of the bottleneck of a ratio there, and behind which bottleneck that is made."""


class BottleneckEntry(Entry):
    """A bottleneck of a plan before."""

    cut: Whole
    ratio: Annotated[float, Field(gt=0, le=1e6)]


class SegmentEntry(Entry):
    """The program of some layers: takes `inputs`, makes `outputs`, any number of frames at once.

    Attributes:
        behind: The bottleneck of whose tail the layers are, where none is at `start`. None, and no key in the manifest:
            they are the network's own.
    """

    start: Whole
    end: Whole
    arriving: Ratio
    leaving: Ratio
    engine: Engine
    file: Path
    inputs: Tensors
    outputs: Tensors
    behind: BottleneckEntry | None = None

    @property
    def span(self) -> Span:
        behind = NETWORK if self.behind is None else (self.behind.cut, self.behind.ratio)
        return Span(self.start, self.end, self.arriving, self.leaving, behind)

    @model_serializer(mode="wrap")
    def _without_none(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in written(self).items() if value is not None}


def span_keys(span: Span) -> dict[str, Any]:
    """The keys of a segment that say which layers it has.

    Example:
        >>> span_keys(Span(8, 12, behind=(5, 32.0)))
        {'start': 8, 'end': 12, 'arriving': 0.0, 'leaving': 0.0, 'behind': {'cut': 5, 'ratio': 32.0}}
    """
    keys = span._asdict()
    cut, ratio = keys.pop("behind")
    return keys | ({"behind": {"cut": cut, "ratio": ratio}} if ratio else {})


def chained(segments: Iterable[SegmentEntry], span: Span) -> list[SegmentEntry]:
    """The fewest programs that run some layers one after another; none where there is no such chain.

    What one hands to the next are the network's own tensors, never those of a bottleneck.

    Example:
        >>> from splitimpera.bundle.entries import TensorEntry
        >>> x = [TensorEntry(name="x", shape=[4], dtype="float32", batch_dim=0, channel_dim=0)]
        >>> parts = [
        ...     SegmentEntry(start=start, end=end, arriving=0.0, leaving=0.0, engine="onnx", file=f"{end}.onnx",
        ...                  inputs=x, outputs=x)
        ...     for start, end in [(0, 3), (3, 5), (5, 9)]
        ... ]
        >>> [segment.file for segment in chained(parts, Span(0, 5))]
        ['3.onnx', '5.onnx']
        >>> chained(parts, Span(0, 4))
        []
    """
    begin, end = _taken(span), _made(span)
    onwards: dict[_Tensors, list[SegmentEntry]] = {}
    for segment in segments:
        onwards.setdefault(_taken(segment.span), []).append(segment)
    came: dict[_Tensors, SegmentEntry] = {}
    reached = deque([begin])
    while reached and end not in came:
        for segment in onwards.pop(reached.popleft(), ()):
            there = _made(segment.span)
            if there not in came:
                came[there] = segment
                if not segment.leaving:
                    reached.append(there)
    backwards: list[SegmentEntry] = []
    place = end
    while place in came and (not backwards or place != begin):
        backwards.append(came[place])
        place = _taken(came[place].span)
    return backwards[::-1]


def _taken(span: Span) -> _Tensors:
    return span.start, span.arriving, span.behind


def _made(span: Span) -> _Tensors:
    return span.end, span.leaving, span.weights
