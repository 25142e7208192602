"""Programs of some layers, and those that run more layers one after another.

Plans share programs: the head of a deeper cut is that of a shallower one, and the layers between the two.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from splitimpera.bundle.entries import Entry, Path, Tensors, Whole

Engine = Literal["onnx", "torch"]
Ratio = Annotated[float, Field(ge=0, le=1e6)]


class Span(NamedTuple):
    """Which layers: from one cut to another, with the ratios of the bottlenecks there, 0 for none."""

    start: int
    end: int
    arriving: float = 0.0
    leaving: float = 0.0

    @property
    def empty(self) -> bool:
        """Whether nothing is to be run: what arrives leaves as it is."""
        return (self.start, self.arriving) == (self.end, self.leaving)


class SegmentEntry(Entry):
    """The program of some layers: takes `inputs`, makes `outputs`, any number of frames at once."""

    start: Whole
    end: Whole
    arriving: Ratio
    leaving: Ratio
    engine: Engine
    file: Path
    inputs: Tensors
    outputs: Tensors

    @property
    def span(self) -> Span:
        return Span(self.start, self.end, self.arriving, self.leaving)


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
    begin, end = (span.start, span.arriving), (span.end, span.leaving)
    onwards: dict[tuple[int, float], list[SegmentEntry]] = {}
    for segment in segments:
        onwards.setdefault((segment.start, segment.arriving), []).append(segment)
    came: dict[tuple[int, float], SegmentEntry] = {}
    reached = deque([begin])
    while reached and end not in came:
        for segment in onwards.pop(reached.popleft(), ()):
            there = segment.end, segment.leaving
            if there not in came:
                came[there] = segment
                if not segment.leaving:
                    reached.append(there)
    backwards: list[SegmentEntry] = []
    place = end
    while place in came and (not backwards or place != begin):
        backwards.append(came[place])
        place = came[place].start, came[place].arriving
    return backwards[::-1]
