"""What happened in a run, in sentences and in the terminal."""

from __future__ import annotations

from collections import Counter
from math import floor

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table

from splitimpera.core.errors import printable, shown
from splitimpera.core.units import format_fraction, format_time
from splitimpera.report.run_history import KINDS, ON_TIME, RunHistory
from splitimpera.report.tables import outside

KIND_WORDS = {
    "server": "by the server",
    "device": "by the device",
    "late": "too late",
    "stale": "an earlier answer once more",
    "none": "no answer",
}
CAUSE_WORDS = {
    "switch": ("switch", "switches"),
    "pin": ("pin", "pins"),
    "fallback": ("fallback", "fallbacks"),
    "return": ("return", "returns"),
}
MOVES_SHOWN = 20
REASON_CHARACTERS = 300
NONE = "no plan"


def run_account(history: RunHistory) -> RenderableType:
    """The account of a run for the terminal."""
    lines: list[RenderableType] = [outside(headline(history), "bold")]
    lines += [outside(line) for line in sentences(history)]
    if history.moves:
        lines.append(_moves(history))
    if hidden := max(0, len(history.moves) - MOVES_SHOWN):
        lines.append(outside(f"and {hidden} more changes of plan", "dim"))
    return Group(*lines)


def headline(history: RunHistory) -> str:
    """How many frames had an answer in time.

    >>> from splitimpera.report.run_history import history_of
    >>> from splitimpera.deploy.frame_log import FrameLine, RunLine
    >>> first = RunLine(bundle="b", plan="LC", made_by="", machine="here", engine="torch", threads=1,
    ...                 carrier="none", transport="none", secure="none", source="samples", fps=20.0,
    ...                 deadline_s=0.05, begun="", round_trip_s=None)
    >>> headline(history_of(first, [FrameLine(frame=0, sample=0, outcome="ok", due_s=0.0, response_s=0.01)]))
    '100 % of 1 frame answered within 50 ms'
    """
    count, frames = int((history.kinds < ON_TIME).sum()), len(history)
    within = "" if history.run.deadline_s is None else f" within {format_time(history.run.deadline_s)}"
    return f"{percent(count / frames)} of {frames} frame{'s' if frames > 1 else ''} answered{within}"


def percent(share: float) -> str:
    """A share that is called 100 % or 0 % only where it is.

    >>> percent(0.99999), percent(1.0), percent(0.123)
    ('99.99 %', '100 %', '12.3 %')
    """
    return format_fraction(share if share in (0.0, 1.0) else min(max(round(share, 4), 1e-4), 0.9999))


def sentences(history: RunHistory) -> list[str]:
    """What else is to be known, a sentence each."""
    said = [_answers(history), _latency(history), _plans(history), _outages(history), _quality(history)]
    return [line for line in (*said, worst_words(history)) if line]


def _answers(history: RunHistory) -> str:
    counts = np.bincount(history.kinds, minlength=len(KINDS)) / len(history)
    parts = [
        f"{percent(share)} {KIND_WORDS[kind]}" for kind, share in zip(KINDS, counts.tolist(), strict=True) if share
    ]
    mode = "" if history.run.mode is None else f" (mode {history.run.mode.value})"
    return f"Answers{mode}: {', '.join(parts)}."


def _latency(history: RunHistory) -> str:
    if not len(history.answered):
        return "No frame had an answer of its own."
    times = " / ".join(format_time(float(time_s)) for time_s in np.percentile(history.answered, (50, 95, 99)))
    return f"Latency of the frames with an answer of their own, p50 / p95 / p99: {times}."


def _plans(history: RunHistory) -> str:
    counts = np.bincount(history.plan + 1, minlength=len(history.plans) + 1) / len(history)
    if len(history.plans) < 2 and not history.moves:
        return f"One plan: {printable((history.plans or (NONE,))[0])}."
    named = sorted(zip((NONE, *history.plans), counts.tolist(), strict=True), key=lambda pair: -pair[1])
    used = ", ".join(f"{printable(name)} {percent(share)}" for name, share in named if share)
    causes = Counter(move.cause for move in history.moves)
    changes = ", ".join(
        f"{causes[cause]} {one if causes[cause] == 1 else many}"
        for cause, (one, many) in CAUSE_WORDS.items()
        if causes[cause]
    )
    return f"Plans: {used} of the frames; {changes or 'no change'}."


def _outages(history: RunHistory) -> str:
    if not history.outages:
        return "" if history.run.mode is None else "No outage of the link was noticed."
    longest = max(history.outages, key=lambda span: span.to_s - span.from_s)
    length = format_time(_digits(longest.to_s - longest.from_s))
    if len(history.outages) == 1:
        return f"One outage of the link: {length}, from {clock(longest.from_s)} on."
    whole = format_time(_digits(sum(span.to_s - span.from_s for span in history.outages)))
    return (
        f"{len(history.outages)} outages of the link, {whole} together; the longest: {length}, "
        f"from {clock(longest.from_s)} on."
    )


def _quality(history: RunHistory) -> str:
    quality = history.quality
    if quality is None:
        if history.run.judged_by is None:
            return ""
        return (
            f"What the answers are worth is no matter of seconds ({history.run.judged_by.task.metric}): see 'verify'."
        )
    value = quality.overall
    known = quality.format(value) if np.isfinite(value) else "not known"
    return f"On-time {quality.title}: {known}, over the {quality.judged} frames whose target is known."


def worst_words(history: RunHistory) -> str:
    """When the fewest frames had an answer in time."""
    found = history.worst()
    if found is None:
        return ""
    span, share = found
    width_s = span.to_s - span.from_s
    what = "second" if abs(width_s - 1) < 1e-6 else format_time(_digits(width_s))
    return f"The worst {what}: {percent(share)} of the frames in time, from {clock(span.from_s)} to {clock(span.to_s)}."


def _digits(value: float) -> float:
    return float(f"{value:.3g}")


def clock(time_s: float) -> str:
    """Seconds of a run, with minutes and hours where it has them.

    >>> clock(7.25), clock(65.5), clock(3723.0)
    ('7.25 s', '1:05.5 min', '1:02:03 h')
    """
    if not abs(time_s) < 1e6:
        return f"{time_s:.4g} s"
    hundredths = round(100 * time_s)
    if hundredths < 6000:
        return f"{hundredths / 100:g} s"
    minutes, rest = divmod(hundredths / 100, 60)
    seconds = f"{rest:05.2f}".rstrip("0").rstrip(".")
    if minutes < 60:
        return f"{floor(minutes)}:{seconds} min"
    hours, minutes = divmod(minutes, 60)
    return f"{floor(hours)}:{floor(minutes):02}:{seconds} h"


def plan_words(name: str | None) -> str:
    """A plan that was changed from or to."""
    return shown(name or NONE)


def _moves(history: RunHistory) -> Table:
    table = Table(title="Changes of plan", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("when", justify="right", no_wrap=True)
    table.add_column("cause", no_wrap=True)
    for name in ("from", "to", "reason"):
        table.add_column(name, overflow="fold")
    for move in history.moves[:MOVES_SHOWN]:
        told = plan_words(move.before), plan_words(move.after), shown(move.reason, REASON_CHARACTERS)
        table.add_row(clock(move.at_s), move.cause, *map(outside, told))
    return table
