"""What a results file holds of the times that were measured, as models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from splitimpera.report.entry import Count, Entry, Number


class SegmentTimeEntry(Entry):
    """The layers between two cuts, timed; ratios of bottlenecks there are 0 for none; `heads`: cuts of early exits."""

    start: Count
    end: Count
    arriving: Number
    leaving: Number
    batch: Count
    samples_s: list[Number]
    hot_samples_s: list[Number]
    heads: list[Count] = Field(default_factory=list)


class CodingTimeEntry(Entry):
    """A codec, timed on one frame that crosses a cut."""

    direction: Literal["encode", "decode"]
    cut: Count
    codec: str
    bottleneck: Number
    packet_bytes: Count
    samples_s: list[Number]
    hot_samples_s: list[Number]
    tokens: Count = 0


Points = list[Annotated[tuple[Count, Number], Field(strict=False)]]
"""JSON has lists, and no tuples."""


class TokenTimesEntry(Entry):
    """Seconds for a prompt by its tokens, and for one more token by those before it: pairs of a count and seconds."""

    prefill: Points
    decode: Points
    how: Literal["measured", "scaled", "estimated"]
    together: Points
    spread: list[Number]


class RunTimeEntry(Entry):
    """The blocks of a language model between two cuts, timed token by token."""

    start: Count
    end: Count
    context: Count
    together: Count
    times: TokenTimesEntry


class MeasurementsEntry(Entry):
    """What was timed on the machine that ran the design; `design --measurements` uses it again."""

    machine: str
    fingerprint: str
    threads: Count
    segments: list[SegmentTimeEntry]
    codings: list[CodingTimeEntry]
    fps: Number
    values_threads: Count = 0
    waited: Number = 0.0
    runs: list[RunTimeEntry] = Field(default_factory=list)
