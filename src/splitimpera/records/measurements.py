"""What was timed on one machine, so that it can be kept, injected and used again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from statistics import median
from typing import Literal

from splitimpera.core.errors import DataError, listed
from splitimpera.records.token_times import TokenTimes


@dataclass(frozen=True)
class SegmentTime:
    """The layers between two cuts, timed.

    Attributes:
        start, end: the cuts.
        arriving, leaving: ratios of the bottlenecks at `start` and `end`, whose parts are timed with them; 0: none.
        batch: how many frames were run together.
        samples_s: Seconds in each paced frame, in order.
        hot_samples_s: The same back to back; empty: not timed.
        heads: the cuts of the early exits on the way whose heads were timed with them.
    """

    start: int
    end: int
    arriving: float
    leaving: float
    batch: int
    samples_s: tuple[float, ...]
    hot_samples_s: tuple[float, ...] = ()
    heads: tuple[int, ...] = ()


@dataclass(frozen=True)
class RunTime:
    """Blocks of a language model between two cuts, timed token by token.

    Attributes:
        start, end: the cuts.
        context: the most tokens that were before one.
        together: For how many users at most one step was timed.
    """

    start: int
    end: int
    context: int
    together: int
    times: TokenTimes


@dataclass(frozen=True)
class CodingTime:
    """A codec, timed on one frame.

    Attributes:
        direction: "encode" or "decode".
        cut, bottleneck: what it codes: the tensors that cross the cut, or the latent of the bottleneck there.
        packet_bytes: room for data in a packet.
        samples_s: Seconds in each paced frame, in order.
        hot_samples_s: The same back to back; empty: not timed.
        tokens: of how many tokens the frame was; 0: it was a whole sample.
    """

    direction: Literal["encode", "decode"]
    cut: int
    codec: str
    bottleneck: float
    packet_bytes: int
    samples_s: tuple[float, ...]
    hot_samples_s: tuple[float, ...] = ()
    tokens: int = 0


@dataclass(frozen=True)
class Measurements:
    """Times of one machine, for one network at one input size.

    The same Setting, Measurements and seed give the same numbers in any process.

    Attributes:
        machine: the processor's name and its number of cores.
        fingerprint: Digest of the network's layers and shapes, so that those of another one are refused.
        threads: how many threads each timed program had.
        fps: Frame rate at which the samples were taken, with idle time between frames; 0: back to back.
        values_threads: how many threads PyTorch had for the values of the design; 0: as many as the programs.
        waited: Share of the time in which what was timed had no core, for others computed; 0 where that is not known.
        runs: of a language model, its blocks token by token.

    >>> known = Measurements(segments=(SegmentTime(0, 3, 0.0, 0.0, 1, (0.004, 0.002, 0.003)),))
    >>> known.segment_s(0, 3)
    0.003
    """

    machine: str = ""
    fingerprint: str = ""
    threads: int = 1
    segments: tuple[SegmentTime, ...] = ()
    codings: tuple[CodingTime, ...] = ()
    fps: float = 0.0
    values_threads: int = 0
    waited: float = 0.0
    runs: tuple[RunTime, ...] = ()

    def segment_s(
        self,
        start: int,
        end: int,
        arriving: float = 0.0,
        leaving: float = 0.0,
        batch: int = 1,
        heads: tuple[int, ...] = (),
    ) -> float:
        """Median seconds of a run of layers; arguments as of `SegmentTime`.

        Raises:
            DataError: that was not timed.
        """
        return median(self.segment_samples_s(start, end, arriving, leaving, batch, heads))

    def segment_samples_s(
        self,
        start: int,
        end: int,
        arriving: float = 0.0,
        leaving: float = 0.0,
        batch: int = 1,
        heads: tuple[int, ...] = (),
    ) -> tuple[float, ...]:
        """Seconds of each timed call of a run of layers, in order; as `segment_s`."""
        key = start, end, arriving, leaving, batch, heads
        if key not in self._segments:
            how = f", {batch} frames together" if batch > 1 else ""
            how += f" with the heads of the exits at {listed(heads)}" if heads else ""
            raise DataError(f"the layers from cut {start} to cut {end} were not timed{how}", hint=_HINT)
        return self._segments[key]

    def coding_s(
        self, direction: Literal["encode", "decode"], cut: int, codec: str, bottleneck: float, packet_bytes: int
    ) -> float:
        """Median seconds of coding a frame; arguments as of `CodingTime`.

        Raises:
            DataError: that was not timed.
        """
        return median(self.coding_samples_s(direction, cut, codec, bottleneck, packet_bytes))

    def coding_samples_s(
        self,
        direction: Literal["encode", "decode"],
        cut: int,
        codec: str,
        bottleneck: float,
        packet_bytes: int,
        tokens: int = 0,
    ) -> tuple[float, ...]:
        """Seconds of each timed call of a codec, in order; as `coding_s`."""
        key = direction, cut, codec, bottleneck, packet_bytes, tokens
        if key not in self._codings:
            raise DataError(f"the codec '{codec}' was not timed at cut {cut} ({direction})", hint=_HINT)
        return self._codings[key]

    def run_times(self, start: int, end: int, context: int, together: int) -> TokenTimes:
        """What blocks of a language model take; arguments as of `RunTime`.

        Raises:
            DataError: that was not timed.
        """
        for run in self.runs:
            if (run.start, run.end) == (start, end) and run.context >= context and run.together >= together:
                return run.times
        raise DataError(
            f"the blocks from cut {start} to cut {end} were not timed token by token",
            hint="time the plans on this machine, or give their devices a preset",
        )

    def joined(self, more: Measurements) -> Measurements:
        """These, and of others of the same machine and network what was not timed here."""
        segments = [time for time in more.segments if _segment(time) not in self._segments]
        codings = [time for time in more.codings if _coding(time) not in self._codings]
        both = (*self.segments, *segments), (*self.codings, *codings)
        waited = max(self.waited, more.waited)
        runs = (*self.runs, *more.runs)
        return replace(self, segments=both[0], codings=both[1], fps=self.fps or more.fps, waited=waited, runs=runs)

    @cached_property
    def _segments(self) -> dict[tuple[object, ...], tuple[float, ...]]:
        return {_segment(time): time.samples_s for time in self.segments}

    @cached_property
    def _codings(self) -> dict[tuple[object, ...], tuple[float, ...]]:
        return {_coding(time): time.samples_s for time in self.codings}


_HINT = "time the plans on this machine (sei.measure), or give their devices a profile or a preset"


def _segment(time: SegmentTime) -> tuple[object, ...]:
    """What was timed."""
    return time.start, time.end, time.arriving, time.leaving, time.batch, time.heads


def _coding(time: CodingTime) -> tuple[object, ...]:
    """What was timed."""
    return time.direction, time.cut, time.codec, time.bottleneck, time.packet_bytes, time.tokens
