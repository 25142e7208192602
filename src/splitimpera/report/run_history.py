"""A run over time, of a log that `infer --log` wrote: arrays with an entry a frame, outages, changes of plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from splitimpera.core.array_types import Array, FloatArray, IntArray
from splitimpera.core.errors import DataError, shown_path
from splitimpera.deploy.answering import AnsweredBy
from splitimpera.deploy.frame_log import FrameLine, RunLine, read_log
from splitimpera.report.run_quality import RunQuality, run_quality

KINDS = ("server", "device", "late", "stale", "none")
"""What became of a frame: an answer in time of the server or the device (early exits included), one after the deadline,
that of an earlier frame once more, or none."""
ON_TIME = 2
"""The first so many kinds are in time."""
LEAST_WINDOW_S = 1.0
LEAST_FRAMES = 10
"""In a window, at a steady frame rate."""
MOST_WINDOWS = 7200
WINDOWS_EACH = 4
"""So many windows begin within the width of one, where they are not too many."""
ROUNDING_S = 1e-6


class RunMove(NamedTuple):
    """A change of plan; None: no plan."""

    at_s: float
    before: str | None
    after: str | None
    cause: str
    reason: str


class Span(NamedTuple):
    """From when to when, in seconds of the run; `plan`: its place among the plans, -1 for none."""

    from_s: float
    to_s: float
    plan: int = -1


@dataclass(frozen=True)
class Windows:
    """Shares over a sliding window.

    Attributes:
        width_s: Of each.
        at_s: Where each ends, (windows,).
        frames: How many are in each.
        shares: Of each of `KINDS`, (windows, kinds); not a number where there is no frame.
        quality: The on-time quality, (windows,), not a number where none is known; None: it is never known.
    """

    width_s: float
    at_s: FloatArray
    frames: IntArray
    shares: FloatArray
    quality: FloatArray | None


@dataclass(frozen=True)
class RunHistory:
    """What happened in a run.

    Attributes:
        run: The log's first line.
        due_s: When each frame was due, ascending, (frames,); `end_s`: when one more would have been.
        kinds: What became of each, by its place in `KINDS`.
        latency_s: From due to answer; not a number without one.
        plan: The place of each one's plan among `plans`; -1: it had none.
        plans: Their names, in the order of the run.
        goodput_bps, round_trip_s, loss: What was known of the link when each began; not a number: nothing.
        outages, moves: In the order of the run.
        quality: What the answers are worth; None where no target is known.
    """

    run: RunLine
    due_s: FloatArray
    end_s: float
    kinds: IntArray
    latency_s: FloatArray
    plan: IntArray
    plans: tuple[str, ...]
    goodput_bps: FloatArray
    round_trip_s: FloatArray
    loss: FloatArray
    outages: tuple[Span, ...]
    moves: tuple[RunMove, ...]
    quality: RunQuality | None

    def __len__(self) -> int:
        return len(self.due_s)

    @property
    def answered(self) -> FloatArray:
        """The latencies of all frames that had an answer of their own."""
        return self.latency_s[np.isfinite(self.latency_s)]

    @property
    def stays(self) -> list[Span]:
        """From when to when which plan was used."""
        starts = np.flatnonzero(np.diff(self.plan, prepend=-2))
        ends = [*self.due_s[starts[1:]], self.end_s]
        return [
            Span(float(self.due_s[start]), float(end), int(self.plan[start]))
            for start, end in zip(starts, ends, strict=True)
        ]

    @property
    def window_s(self) -> float:
        """A second, or longer where frames are few; no longer than the run."""
        length_s = self.end_s - float(self.due_s[0])
        return min(max(LEAST_WINDOW_S, LEAST_FRAMES * length_s / len(self)), length_s)

    def worst(self) -> tuple[Span, float] | None:
        """The window in which the smallest share of the frames had an answer in time, the first of several, and that
        share; None where all had one, or the run is no longer than one window."""
        width_s = self.window_s
        first = np.flatnonzero(self.due_s + width_s <= self.end_s + ROUNDING_S)
        in_time = self.kinds < ON_TIME
        if in_time.all() or len(first) < 2:
            return None
        last = np.searchsorted(self.due_s, self.due_s[first] + width_s - ROUNDING_S, side="left")
        sums = np.append(0, np.cumsum(in_time))
        found = (sums[last] - sums[first]) / (last - first)
        place = int(found.argmin())
        from_s = float(self.due_s[first[place]])
        return Span(from_s, from_s + width_s), float(found[place])

    def windows(self) -> Windows:
        """Shares over a sliding second, or longer where frames are few or the run is long."""
        width_s = self.window_s
        room_s = self.end_s - float(self.due_s[0]) - width_s
        count = 1 if width_s <= 0 else min(int(np.ceil(WINDOWS_EACH * room_s / width_s)) + 1, MOST_WINDOWS)
        at_s = np.linspace(self.end_s - room_s, self.end_s, count)
        if count > 1:
            width_s = max(width_s, float(at_s[1] - at_s[0]))
        # a frame belongs to a window that its due time lies in; the last ends after the last frame
        first = np.searchsorted(self.due_s, at_s - width_s - ROUNDING_S, side="left")
        last = np.searchsorted(self.due_s, at_s - ROUNDING_S, side="left")
        last[-1] = len(self)
        frames = last - first
        sums = np.vstack([np.zeros(len(KINDS)), np.cumsum(self.kinds[:, None] == np.arange(len(KINDS)), axis=0)])
        shares = np.full((count, len(KINDS)), np.nan)
        there = frames > 0
        shares[there] = (sums[last] - sums[first])[there] / frames[there, None]
        quality = None if self.quality is None else self.quality.between(first, last)
        return Windows(width_s, at_s, frames, shares, quality)


def read_history(path: str | Path) -> RunHistory:
    """A run, from its log.

    Raises:
        DataError: there is no log, it is damaged, or it has no frames.
    """
    run, frames = read_log(path)
    try:
        return history_of(run, frames)
    except DataError as error:
        raise error.at(f"'{shown_path(path)}'") from error.__cause__


def history_of(run: RunLine, frames: Sequence[FrameLine]) -> RunHistory:
    """A run, from the lines of its log.

    Raises:
        DataError: there are no frames, or what they say of their answers makes no sense.

    Example:
        >>> first = RunLine(bundle="b", plan="LC", made_by="", machine="here", engine="torch", threads=1,
        ...                 carrier="none", transport="none", secure="none", source="samples", fps=20.0,
        ...                 deadline_s=0.05, begun="", round_trip_s=None)
        >>> lines = [FrameLine(frame=i, sample=i, outcome="ok", due_s=i / 20, response_s=i / 20 + 0.02 * i)
        ...          for i in range(4)]
        >>> history = history_of(first, lines)
        >>> [KINDS[kind] for kind in history.kinds], history.plans, round(history.end_s, 3)
        (['device', 'device', 'device', 'late'], ('LC',), 0.2)
    """
    if not frames:
        hint = "it ended before its first frame was through; run it again"
        raise DataError("the run has no frames", hint=hint)
    frames = sorted(frames, key=lambda line: line.due_s)
    due_s = np.array([line.due_s for line in frames])
    kinds = np.array([_kind(line, run) for line in frames])
    names = [run.plan if line.answered_by is None else line.plan for line in frames]
    known = dict.fromkeys(name for name in names if name is not None)
    places: dict[str | None, int] = {name: place for place, name in enumerate(known)} | {None: -1}
    end_s = _end_s(run, due_s)
    return RunHistory(
        run=run,
        due_s=due_s,
        end_s=end_s,
        kinds=kinds,
        latency_s=_numbers([line.latency_s for line in frames]),
        plan=np.array([places[name] for name in names]),
        plans=tuple(known),
        goodput_bps=_numbers([line.goodput_bps for line in frames]),
        round_trip_s=_numbers([line.link_round_trip_s for line in frames]),
        loss=_numbers([line.link_loss for line in frames]),
        outages=_spans(np.array([line.outage for line in frames]), due_s, end_s),
        moves=tuple(RunMove(line.due_s, *_moved(line)) for line in frames if line.move is not None),
        quality=run_quality(run, frames, kinds < ON_TIME),
    )


def _kind(line: FrameLine, run: RunLine) -> int:
    if line.outcome == "stale":
        return KINDS.index("stale")
    if line.outcome == "stood-in":
        return KINDS.index("device")
    if line.latency_s is None:
        return KINDS.index("none")
    if run.deadline_s is not None and line.latency_s > run.deadline_s + ROUNDING_S:
        return KINDS.index("late")
    alone = run.carrier == "none" or line.exit is not None
    local = line.answered_by is AnsweredBy.DEVICE or (line.answered_by is None and alone)
    return KINDS.index("device" if local else "server")


def _moved(line: FrameLine) -> tuple[str | None, str | None, str, str]:
    assert line.move is not None
    return line.move.before, line.move.after, line.move.cause.value, line.move.reason


def _end_s(run: RunLine, due_s: FloatArray) -> float:
    """When the frame after the last would have been due."""
    last_s = float(due_s[-1])
    if run.fps is not None and run.fps > 0:
        return last_s + 1 / run.fps
    mean_s = (last_s - float(due_s[0])) / (len(due_s) - 1) if len(due_s) > 1 else 0.0
    return last_s + (mean_s or LEAST_WINDOW_S)


def _spans(there: Array, due_s: FloatArray, end_s: float) -> tuple[Span, ...]:
    """From the first frame of each row of them to the first one after it."""
    edges = np.flatnonzero(np.diff(there.astype(int), prepend=0, append=0))
    times_s = np.append(due_s, end_s)
    return tuple(Span(float(times_s[start]), float(times_s[end])) for start, end in edges.reshape(-1, 2))


def _numbers(values: Sequence[float | None]) -> FloatArray:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
