"""Logs of `infer`, held to the design that they are said to be of, and to each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from splitimpera.bundle.opened import open_bundle
from splitimpera.codec.framing import WORD
from splitimpera.core.bounds import BOUNDS
from splitimpera.core.errors import DataError, listed, shown, shown_path
from splitimpera.deploy.answering import AnsweredBy
from splitimpera.deploy.frame_log import FrameLine, HopLine, RunLine, read_log
from splitimpera.report.schema import PlanEntry, Results

TIMES = ("due_s", "begun_s", "sent_s", "response_s")
COUNTS = ("payload_bytes", "packets", "lost_packets", "missing_bytes", "batch")
LATEST_S = 1e9
DURATIONS = ("head_s", "encode_s", "assembled_s", "queued_s", "decode_s", "run_s", "server_s")
HOP_DURATIONS = ("encode_s", "away_s", *DURATIONS[2:])
WARM_UP = 1
"""Frames of each log that are not compared."""


@dataclass(frozen=True)
class Log:
    """One log.

    Attributes:
        frames: In the order of their numbers, the first ones of the run among them.
        others: How many more there were, which other plans sent, or none did.
        finished: How many of `frames` the device answered in place of the server; here nothing came back of them.
        shortened: How many of them a machine in the middle finished; the same holds of them.
    """

    path: Path
    run: RunLine
    frames: tuple[FrameLine, ...]
    others: int = 0
    finished: int = 0
    shortened: int = 0

    @property
    def compared(self) -> tuple[FrameLine, ...]:
        """All but the first, on which caches are cold and connections slow."""
        return self.frames[WARM_UP:]


def read_logs(
    paths: Sequence[Path], results: Results, bundle: Path | None = None, wanted: str | None = None
) -> tuple[PlanEntry, list[Log]]:
    """Read logs, and find the plan of the design that they are of.

    Args:
        bundle: What they must have run; None: all the same one, whichever that is.
        wanted: Of a run that chose among plans, the one whose frames are compared; None: the one that sent most.

    Raises:
        DataError: a log is damaged, or of another plan, design or bundle; says what was expected and what is given.
        BundleError: the bundle cannot be opened.
    """
    logs = [_read(path) for path in paths]
    first, plans = logs[0].run, results.by_id
    name = f"'{shown_path(logs[0].path)}'"
    chosen = first.plan if first.mode is None else wanted or _sent_most(logs)
    if wanted not in (None, chosen):
        raise DataError(f"the log is of plan '{shown(chosen)}', not of '{shown(wanted)}'", where=name)
    if chosen not in plans:
        raise DataError(
            f"the log is of plan '{shown(chosen)}', which the design '{shown(results.scenario.name)}' has not",
            where=name,
            hint=f"its plans are {listed(plans)}; name the results folder that the bundle was exported from",
        )
    if bundle is not None:
        expected = open_bundle(bundle).manifest.bundle
        if first.bundle != expected:
            raise _other(logs[0], "bundle", expected, first.bundle, "export again, or name the bundle that was run")
    plan = plans[chosen]
    if first.mode is None:
        _check_carrier(logs[0], plan)
    seen: dict[tuple[str, str], Log] = {}
    for log in logs:
        if (log.run.mode is None) != (first.mode is None):
            raise _other(log, "mode", str(first.mode), str(log.run.mode), "verify runs of several plans by themselves")
        for key in ("bundle",) if first.mode is not None else ("bundle", "plan", "carrier"):
            expected, given = getattr(first, key), getattr(log.run, key)
            if given != expected:
                raise _other(log, key, expected, given, "verify logs of one plan of one bundle at a time")
        same = (log.run.begun, repr(log.frames))
        if same in seen:
            raise DataError(f"it is the same log as '{shown_path(seen[same].path)}'", where=f"'{shown_path(log.path)}'")
        seen[same] = log
    if first.mode is not None:
        logs = [_of_plan(log, chosen) for log in logs]
    for log in logs:
        _check_exits(log, plan)
    logs = [_whole_ways(log, len(plan.hops) - 1) for log in logs]
    if not any(line.latency_s is not None for log in logs for line in log.compared):
        raise DataError(
            f"no frame after the first was answered: {_told(logs)}",
            where=name,
            hint="let 'splitimpera infer' run with the server at hand, for 100 frames or more",
        )
    return plan, logs


def _sent_most(logs: Sequence[Log]) -> str:
    """The plan that sent most frames, of runs that chose among several."""
    by = [_by(line) for log in logs for line in log.frames]
    sent = Counter(plan for plan in by if plan is not None)
    if not sent:
        raise DataError(
            "no frame was sent to a server: a design predicts nothing of what the device did instead",
            where=f"'{shown_path(logs[0].path)}'",
            hint="let 'splitimpera infer' run with a server at hand",
        )
    return sent.most_common(1)[0][0]


def _of_plan(log: Log, plan: str) -> Log:
    """The frames that a plan sent, or let leave; of those that the server did not answer in time nothing came back."""
    frames = [line for line in log.frames if _by(line) == plan]
    if not frames:
        raise DataError(f"no frame was sent by plan '{shown(plan)}'", where=f"'{shown_path(log.path)}'")
    instead = {place for place, line in enumerate(frames) if line.answered_by in _INSTEAD and line.exit is None}
    for place in instead:
        frames[place] = frames[place].model_copy(update=_NOTHING)
    return replace(log, frames=tuple(frames), others=len(log.frames) - len(frames), finished=len(instead))


def _check_exits(log: Log, plan: PlanEntry) -> None:
    """Hold what frames left at to the plan's early exits."""
    cuts = [None, *(exit.cut for exit in plan.exits)]
    for line in log.frames:
        if line.exit not in cuts:
            raise DataError(
                f"frame {line.frame} left at an exit behind cut {line.exit}, which plan '{shown(plan.id)}' has not",
                where=f"'{shown_path(log.path)}'",
            )


def _whole_ways(log: Log, hops: int) -> Log:
    """The frames of a log, where a machine in the middle finished one as if nothing had come back of it.

    Args:
        hops: Over how many a frame goes on.
    """
    frames = list(log.frames)
    for line in frames:
        if len(line.hops) > max(hops, 0):
            raise DataError(
                f"frame {line.frame} went on over {len(line.hops)} hops, the plan has {max(hops, 0)} of them",
                where=f"'{shown_path(log.path)}'",
            )
    whole = [place for place, line in enumerate(frames) if line.outcome == "ok" and line.exit is None]
    short = [place for place in whole if not frames[place].direct and len(frames[place].hops) < hops]
    for place in short:
        frames[place] = frames[place].model_copy(update=_NOTHING)
    return replace(log, frames=tuple(frames), shortened=len(short)) if short else log


def _by(line: FrameLine) -> str | None:
    """The plan whose frame it is; None: that of what the device did by itself."""
    return line.sent_by if line.exit is None else line.sent_by or line.plan


_INSTEAD = (AnsweredBy.DEVICE, AnsweredBy.STALE)
_NOTHING = {"outcome": "lost", "response_s": None, "predicted": None, "counts": None, "confidence": None}


def outcomes(logs: Sequence[Log]) -> dict[str, int]:
    """How many of the compared frames ended how."""
    found: dict[str, int] = {}
    for log in logs:
        for line in log.compared:
            found[line.outcome] = found.get(line.outcome, 0) + 1
    return found


def _read(path: Path) -> Log:
    run, lines = read_log(path)
    where = f"'{shown_path(path)}'"
    frames = tuple(sorted(lines, key=lambda line: line.frame))
    if not frames:
        raise DataError("the log has no frames", where=where, hint="let 'splitimpera infer' run for a while")
    if run.fps is not None and not BOUNDS["fps"].holds(run.fps):
        raise DataError(f"fps is {run.fps:g}, it must be {BOUNDS['fps']}", where=f"{where}, line 1")
    for before, line in pairwise(frames):
        if line.frame == before.frame:
            raise DataError(f"frame {line.frame} stands there twice: two runs wrote into it", where=where)
        if line.due_s < before.due_s:
            raise DataError(f"frame {line.frame} was due before the one in front of it", where=where)
    for line in frames:
        _check_bounds(line, where)
        spans = {name: value for name in DURATIONS if (value := getattr(line, name)) is not None}
        spans |= {f"hops.{name}": getattr(hop, name) for hop in line.hops for name in HOP_DURATIONS}
        if line.begun_s is not None:
            spans["begun_s after due_s"] = line.begun_s - line.due_s
            if line.response_s is not None:
                spans["response_s after begun_s"] = line.response_s - line.begun_s
        for name, value in spans.items():
            if value < -1e-6:
                raise DataError(f"frame {line.frame}: {name} is {value:g} s, it cannot be below 0", where=where)
    return Log(path, run, frames)


def _check_bounds(line: FrameLine, where: str) -> None:
    sent: list[FrameLine | HopLine] = [line, *line.hops]
    for names, most in (((*TIMES, *DURATIONS, "away_s"), LATEST_S), (COUNTS, WORD)):
        for name in names:
            for one in sent:
                value = getattr(one, name, None)
                if value is not None and abs(value) > most:
                    raise DataError(f"frame {line.frame}: {name} is {value:g}, at most {most:g} can be", where=where)
    for one in sent:
        if one.lost_packets is not None and one.lost_packets > one.packets:
            raise DataError(f"frame {line.frame}: {one.lost_packets} of {one.packets} packets are lost", where=where)


def _check_carrier(log: Log, plan: PlanEntry) -> None:
    transport = plan.transport
    expected = "none" if transport is None else "tcp" if transport.startswith("tcp") else "udp"
    if log.run.carrier != expected:
        raise _other(log, "carrier", expected, log.run.carrier, f"plan '{plan.id}' was designed for that carrier")


def _other(log: Log, what: str, expected: str, given: str, hint: str) -> DataError:
    return DataError(
        f"another {what} is expected: {shown(expected)}, given {shown(given)}",
        where=f"'{shown_path(log.path)}'",
        hint=hint,
    )


def _told(logs: Sequence[Log]) -> str:
    found = outcomes(logs)
    return ", ".join(f"{count} {name}" for name, count in found.items()) or "there is no other"
