"""The device half at a frame rate: each frame begun when it is due, and a line of the log for each."""

from __future__ import annotations

from array import array
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf, isfinite
from time import monotonic, sleep
from typing import Any, NamedTuple, Protocol

import numpy as np

from splitimpera.bundle.task_entry import Responding
from splitimpera.core.array_types import Array
from splitimpera.core.errors import LinkError
from splitimpera.core.version import __version__
from splitimpera.deploy.adaptive_client import AdaptiveClient
from splitimpera.deploy.client import Client
from splitimpera.deploy.frame_clock import FrameClock
from splitimpera.deploy.frame_log import (
    ANSWERS,
    SCHEMA_VERSION,
    WITH_DIRECT_ANSWERS,
    WITH_EXITS,
    WITH_HOPS,
    FrameLine,
    HopLine,
    PlanMove,
    RunLine,
)
from splitimpera.deploy.inferred import Answered, Inference
from splitimpera.deploy.judging import Judge, confidence
from splitimpera.deploy.messages import Onward, Response
from splitimpera.deploy.sample_stream import Sample, Source

ROUND_TRIP_S = 0.5
"""How long the first round trip is waited for, before the first frame."""
MOVES_KEPT = 1000
LAST_S = 1.0
"""After Ctrl-C, how long responses that are on their way are waited for."""


class _Underway(NamedTuple):
    frame: int
    due_s: float
    sample: Sample | None
    found: Future[Inference] | None
    """None: it was dropped."""


class Runner(Protocol):
    """What runs frames: `Client`, or `AdaptiveClient`."""

    @property
    def responding(self) -> Responding: ...

    def submit(
        self, x: Array | Sequence[Array], deadline_s: float | None = None, *, since_s: float | None = None
    ) -> Future[Inference]: ...


@dataclass
class Tally:
    """What a run came to so far.

    Attributes:
        outcomes: How many frames had each.
        latencies_s: From due to response, of those that are ok.
        lost_packets: Of the `told_packets` of those frames of which the server says what came.
        directly: How many answers came from the last machine directly.
        missed: How many had no result within the deadline that was asked for.
        exits: How many frames left early, by the cut of the exit.
        answered, plans: How many frames each answered, and were of each plan, where a client has several.
        moves: The frames at which the plan changed; the last `MOVES_KEPT`.
        latest: The latest frame.
        correct, labelled: Of frames whose class is known, how many are right; one without a result is not.
        judge: What says how good other responses are.
    """

    deadline_s: float | None = None
    judge: Judge | None = None
    outcomes: Counter[str] = field(default_factory=Counter)
    latencies_s: array[float] = field(default_factory=lambda: array("d"))
    payload_bytes: int = 0
    packets: int = 0
    told_packets: int = 0
    lost_packets: int = 0
    missed: int = 0
    directly: int = 0
    exits: Counter[int] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    plans: Counter[str] = field(default_factory=Counter)
    moves: list[FrameLine] = field(default_factory=list)
    latest: FrameLine | None = None
    correct: int = 0
    labelled: int = 0

    @property
    def frames(self) -> int:
        return self.outcomes.total()

    @property
    def accuracy(self) -> float | None:
        return self.correct / self.labelled if self.labelled else None

    def percentile_s(self, share: float) -> float | None:
        """Of the latencies; None where there are none."""
        return float(np.percentile(self.latencies_s, 100 * share)) if self.latencies_s else None

    def add(self, line: FrameLine) -> None:
        latency_s = line.latency_s
        self.latest = line
        if line.answered_by is not None:
            self.answered[line.answered_by] += 1
            self.plans[line.plan or "none"] += 1
        if line.move is not None:
            self.moves = [*self.moves[1 - MOVES_KEPT :], line]
        self.outcomes[line.outcome] += 1
        if line.exit is not None and line.outcome == "ok":
            self.exits[line.exit] += 1
        if latency_s is not None:
            self.latencies_s.append(latency_s)
        self.directly += line.direct
        self.payload_bytes += line.payload_bytes
        self.packets += line.packets
        if line.lost_packets is not None:
            self.told_packets += line.packets
            self.lost_packets += line.lost_packets
        self.missed += self.deadline_s is not None and (latency_s is None or latency_s > self.deadline_s)
        if line.label is not None:
            self.labelled += 1
            self.correct += line.predicted == line.label

    def as_json(self) -> dict[str, object]:
        """All of it as plain values."""
        return {
            "frames": self.frames,
            "outcomes": dict(self.outcomes),
            **{f"p{round(100 * share)}_s": self.percentile_s(share) for share in (0.5, 0.95, 0.99)},
            "payload_bytes": self.payload_bytes,
            "packets": self.packets,
            "told_packets": self.told_packets,
            "lost_packets": self.lost_packets,
            "missed": None if self.deadline_s is None else self.missed,
            "accuracy": self.accuracy,
            **({"directly": self.directly} if self.directly else {}),
            **({"exits": {str(cut): count for cut, count in sorted(self.exits.items())}} if self.exits else {}),
            **({"answered_by": dict(self.answered), "plans": dict(self.plans)} if self.answered else {}),
            **({} if self.judge is None else {self.judge.quality.name: self.judge.value}),
        }


def run_line(
    client: Client | AdaptiveClient,
    source: Source,
    fps: float | None,
    deadline_s: float | None,
    judge: Judge | None = None,
) -> RunLine:
    """The first line of a run's log; waits a moment for the first round trip."""
    until_s = monotonic() + ROUND_TRIP_S
    while client.hop is not None and client.round_trip_s == inf and monotonic() < until_s:
        sleep(0.001)
    transport = "none" if client.hop is None else client.hop.transport
    carrier = "none" if client.hop is None else "tcp" if transport == "tcp" else "udp"
    secure = "none" if client.security is None or carrier == "none" else "tls" if carrier == "tcp" else "dtls"
    machine = client.plan.machines[0]
    engines = {segment.engine for segment in client.bundle.manifest.part(machine).segments}
    task = client.bundle.manifest.task
    asked_s = client.deadline_s if deadline_s is None else deadline_s
    plans = client.bundle.manifest.plans
    machines, early = max(len(plan.machines) for plan in plans), any(plan.exits for plan in plans)
    version = WITH_EXITS if early else WITH_HOPS if machines > 2 else SCHEMA_VERSION
    direct = isinstance(client, Client) and client.answers is not None
    return RunLine(
        schema_version=WITH_DIRECT_ANSWERS if direct else version,
        bundle=client.bundle.manifest.bundle,
        plan=client.plan.id,
        made_by=f"splitimpera {__version__}",
        machine=machine,
        engine=min(engines, default="none"),
        threads=client.threads,
        carrier=carrier,  # type: ignore[arg-type]  # one of three
        transport=transport,
        secure=secure,  # type: ignore[arg-type]
        source=source.name,
        fps=fps,
        deadline_s=asked_s if isfinite(asked_s) else None,
        begun=datetime.now(UTC).isoformat(timespec="milliseconds"),
        round_trip_s=client.round_trip_s if isfinite(client.round_trip_s) else None,
        result_bytes=None if isinstance(task, str) else task.result_bytes,
        judged_by=None if judge is None else judge.by,
        mode=client.mode if isinstance(client, AdaptiveClient) else None,
    )


def _answered(answered: Answered) -> dict[str, Any]:
    """What the log says of a frame of a client with several plans."""
    change, seen = answered.change, answered.seen
    return {
        "answered_by": answered.by,
        "plan": answered.plan,
        "sent_by": answered.sent_by,
        "why": answered.reason,
        "move": None
        if change is None
        else PlanMove(before=change.before, after=change.after, cause=change.cause, reason=change.reason),
        "goodput_bps": seen.goodput_bps,
        "link_round_trip_s": seen.round_trip_s,
        "link_loss": seen.loss,
        "outage": seen.outage,
    }


def _on_server(response: Response) -> dict[str, Any]:
    """What the log has of a machine's response."""
    return {
        "lost_packets": response.lost_packets,
        "missing_bytes": response.missing_bytes,
        "assembled_s": response.assembled_s,
        "queued_s": response.queued_s,
        "decode_s": response.decode_s,
        "run_s": response.run_s,
        "server_s": response.total_s,
        "batch": response.batch,
    }


def _hop_line(onward: Onward) -> HopLine:
    return HopLine(
        encode_s=onward.encode_s,
        away_s=onward.away_s,
        payload_bytes=onward.payload_bytes,
        packets=onward.packets,
        **_on_server(onward.response),
    )


def _coming(found: Future[Inference] | None) -> Future[Any] | None:
    """What is still to come of a frame: its answer, or the word of one that came directly; None: nothing."""
    if found is None or not found.done():
        return found
    word = None if found.cancelled() or found.exception() is not None else found.result().word
    return None if word is None or word.done() else word


class DeviceRun:
    """Frames of a source through a client.

    The layers run in the thread that calls `run`: it has nothing else to do, a frame's layers come after those of the
    frame before in any case, and another thread would cost a change of threads for each frame. What comes back is
    received, and timed, in the client's own thread meanwhile.

    Args:
        deadline_s: Of each frame, from when it is due; None: the client's own.
        told: Called with the line of each frame, in order.
        idle: Called when the next frame is so many seconds away, for whoever has something to draw.
        judge: Judges responses whose target is known; None: labels say all that is known.
    """

    def __init__(
        self,
        client: Runner,
        source: Source,
        clock: FrameClock,
        deadline_s: float | None = None,
        told: Callable[[FrameLine], None] = lambda _: None,
        idle: Callable[[float], None] = lambda _: None,
        judge: Judge | None = None,
    ) -> None:
        self.client = client
        self.source = source
        self.clock = clock
        self.deadline_s = deadline_s
        self.told = told
        self.idle = idle
        self.tally = Tally(deadline_s, judge)
        self.failure: LinkError | None = None
        self._underway: deque[_Underway] = deque()

    def run(self) -> Tally:
        """Until the source or the clock ends, or Ctrl-C; then what is on its way is waited for.

        Raises:
            DataError: an input is none that the network takes.
            LinkError: the session with the server has ended.
        """
        samples = self.source.frames(self.clock.frames)
        self.clock.begun_s = monotonic()
        try:
            sample = None if self.source.live else next(samples, None)
            for frame, due_s, runs in self.clock:
                if self.source.live and runs:
                    sample = next(samples, None)
                if sample is None and (runs or not self.source.live):
                    break
                found = None
                if runs and sample is not None:
                    found = self.client.submit(sample.x, self.deadline_s, since_s=due_s)
                    if self.clock.fps is None:
                        found.exception()  # the next one begins when this one is through
                self._underway.append(_Underway(frame, due_s, sample, found))
                if not self.source.live:
                    sample = next(samples, None)  # read before it is due
                self._settle()
                if self.failure is not None:
                    break
                self.idle(self.clock.due_s(frame + 1) - monotonic() if self.clock.fps else 0.0)
            self._settle(inf)
        finally:
            samples.close()
            self._settle(LAST_S)  # Ctrl-C, or a failure: what was sent has its line
        if self.failure is not None:
            raise self.failure
        return self.tally

    def _settle(self, patience_s: float = 0.0) -> None:
        """Write the lines of those frames of which it is known what became of them."""
        until_s = monotonic() + patience_s
        while self._underway:
            first = self._underway[0]
            coming = _coming(first.found)
            if coming is not None:
                left_s = until_s - monotonic()
                if left_s > 0:
                    with suppress(TimeoutError):
                        coming.exception(None if left_s == inf else left_s)
                    continue
                if not patience_s:
                    return
                coming.cancel()
            self._underway.popleft()
            line = self._line(first)
            self.tally.add(line)
            self.told(line)

    def _line(self, underway: _Underway) -> FrameLine:
        start_s, sample, found = self.clock.begun_s, underway.sample, underway.found
        where: dict[str, Any] = {
            "frame": underway.frame,
            "sample": None if sample is None else sample.row,
            "due_s": underway.due_s - start_s,
            "label": None if sample is None or not self.client.responding.labelled else sample.label,
        }
        if found is None:
            return FrameLine(outcome="dropped", **where, **self._judged(sample, None))
        if found.cancelled():
            return FrameLine(outcome="lost", **where, **self._judged(sample, None))
        try:
            one = found.result()
        except LinkError as failure:
            self.failure = failure
            return FrameLine(outcome="lost", **where, **self._judged(sample, None))
        where |= self._judged(sample, one)
        response = one.response
        if one.word is not None:
            response = one.word.result() if one.word.done() and not one.word.cancelled() else None
        line: dict[str, Any] = {
            "outcome": one.outcome,
            "begun_s": one.begun_s - start_s,
            "head_s": one.head_s,
            "encode_s": one.encode_s,
            "sent_s": None if one.sent_s is None else one.sent_s - start_s,
            "response_s": None if one.response_s is None else one.response_s - start_s,
            "payload_bytes": one.payload_bytes,
            "packets": one.packets,
            "exit": None if one.exit is None else one.exit.cut,
            "predicted": one.answer if one.outcome in ANSWERS else None,
            "confidence": None if one.answer is None or one.result is None else confidence(one.result[0]),
        }
        if one.answered is not None:
            line |= _answered(one.answered)
        if one.direct:
            line["direct"] = True
        if response is not None:
            line |= _on_server(response) | {"hops": tuple(map(_hop_line, response.hops))}
        return FrameLine(**where, **line)

    def _judged(self, sample: Sample | None, found: Inference | None) -> dict[str, Any]:
        """What the log says of a response's worth."""
        judge = self.tally.judge
        if judge is None or sample is None or sample.target is None:
            return {}
        responding = self.client.responding
        if sample.label is not None and (not responding.labelled or responding.mistarget(sample.target)):
            return {}  # a folder's or user's class, where the task expects something else or knows no such class
        answer = None if found is None or found.outcome not in ANSWERS else found.result
        counts, counts_lost = judge.counts(answer, sample.target)
        return {"counts": counts, "counts_lost": counts_lost}
