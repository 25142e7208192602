"""What happened to each frame, one line of JSON each: the device half writes it, `verify` reads it.

The first line says which bundle, plan and carrier; every other one is a frame. Times are in seconds. Those of the
device count from the start of the run, by its own clock; those of the server are durations, by the server's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from splitimpera.bundle.entries import Tensors
from splitimpera.bundle.task_entry import TaskEntry
from splitimpera.core.errors import DataError, shown, shown_path
from splitimpera.core.files import open_file
from splitimpera.deploy.answering import AnsweredBy, Mode
from splitimpera.deploy.switching import Cause

SCHEMA_VERSION: Literal[3] = 3
WITH_HOPS: Literal[4] = 4
"""Of logs of plans of more than two machines."""
WITH_EXITS: Literal[5] = 5
"""Of logs of plans with early exits."""
WITH_DIRECT_ANSWERS: Literal[6] = 6
"""Of logs of runs whose answers may come from the last machine directly."""
LINE_BYTES = 1 << 20
MOST_LINES = 10_000_000

First = TypeVar("First", bound=BaseModel)
Each = TypeVar("Each", bound=BaseModel)

Seconds = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Outcome = Literal[
    "ok", "late", "full", "damaged", "failed", "stopping", "busy", "unreachable", "lost", "dropped", "stale", "unsent",
    "stood-in",
]  # fmt: skip
"""What the server said; "lost": nothing came back in time; "dropped": the device was busy and never sent it; "stale":
the answer to an earlier frame once more; "unsent": it could not be sent, and the device could not be in time;
"stood-in": no response came in time, and the answer of the last early exit stands in for it."""
ANSWERS = ("ok", "stood-in")
"""Outcomes with an answer to this frame."""


Number = Annotated[float, Field(allow_inf_nan=False)]
Counts = tuple[Annotated[int, Field(ge=1, le=1 << 20)], list[tuple[Count, Number]]]
"""How many numbers there are, and those that are not 0, each with its place."""


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class JudgedBy(_Line):
    """By what responses are judged: the task, with the tensors that it is fitted to."""

    task: TaskEntry
    result: Tensors
    inputs: Tensors


class RunLine(_Line):
    """The log's first line.

    Attributes:
        carrier: What carried the frames; "none" where the plan runs on the device alone.
        secure: How: "tls", "dtls" or "none".
        fps: Frame rate that was asked for; None: each as soon as the one before was through.
        round_trip_s: Smallest round trip seen by then.
        result_bytes: Mean size of what a response carries, as the design has it; None: that of the network's result.
        plan: The one that the run began with.
        mode: Who was to answer, where the client had several plans to choose from or could do without the server; None:
            every frame is of `plan`, and the server's.
        judged_by: What `counts` of frames are numbers of; None: there are none, labels alone may be known.
    """

    schema_version: Literal[1, 2, 3, 4, 5, 6] = SCHEMA_VERSION
    bundle: str
    plan: str
    made_by: str
    machine: str
    engine: str
    threads: Count
    carrier: Literal["tcp", "udp", "none"]
    transport: str
    secure: Literal["tls", "dtls", "none"]
    source: str
    fps: float | None
    deadline_s: Seconds | None
    begun: str
    round_trip_s: Seconds | None
    result_bytes: Count | None = None
    judged_by: JudgedBy | None = None
    mode: Mode | None = None


class PlanMove(_Line):
    """A change of plan: from one to another, None for none, and why."""

    before: str | None
    after: str | None
    cause: Cause
    reason: str


class HopLine(_Line):
    """How a frame went on from a machine in the middle, as that machine says it; from `lost_packets` on the next one.

    Attributes:
        encode_s: How long the codec of the hop took.
        away_s: From then until the next machine's response was there.
        payload_bytes, packets: What was sent.
        lost_packets, missing_bytes, assembled_s, queued_s, decode_s, run_s, server_s, batch: As of `FrameLine`.
    """

    encode_s: Seconds
    away_s: Seconds
    payload_bytes: Count
    packets: Count
    lost_packets: Count
    missing_bytes: Count
    assembled_s: Seconds
    queued_s: Seconds
    decode_s: Seconds
    run_s: Seconds
    server_s: Seconds
    batch: Count


class FrameLine(_Line):
    """One frame.

    Attributes:
        frame: Its number, from 0 on.
        sample: Which sample of the source it is.
        due_s: When it was due; `begun_s`: when work on it began.
        head_s, encode_s: How long the layers and the codec took.
        sent_s: When its last byte was with the system; None: it was not sent.
        response_s: When the response was complete; None: there was none.
        payload_bytes, packets: What was sent.
        lost_packets, missing_bytes: What of it never came, as the server says; None: it does not say.
        assembled_s, queued_s, decode_s, run_s, server_s: Durations on the server, as `messages.Response` has them.
        batch: How many frames the server ran together.
        hops: How it went on from there, where a plan has more machines and all of them answered.
        direct: Whether the answer came from the last machine directly; what machines took is told along the way then.
        answered_by, plan, sent_by: Whose answer it got, the plan in use, and the one that it was sent by;
            all None where a run has one plan.
        why: In words. `move`: the change of plan at this frame.
        goodput_bps, link_round_trip_s, link_loss, outage: What was known of the link when it began; None: nothing.
        exit: The cut of the early exit whose answer it got; None: it got no exit's.
        label, predicted: The class that it is, and the one that was found; None: not known.
        confidence: How sure the answer is, as `judging.confidence` has it; None: not known.
        counts: What the response counts for by the task's metric; `counts_lost`: what none would; None: not known.
    """

    frame: Count
    sample: Count | None
    outcome: Outcome
    due_s: Seconds
    begun_s: Seconds | None = None
    head_s: Seconds | None = None
    encode_s: Seconds | None = None
    sent_s: Seconds | None = None
    response_s: Seconds | None = None
    payload_bytes: Count = 0
    packets: Count = 0
    lost_packets: Count | None = None
    missing_bytes: Count | None = None
    assembled_s: Seconds | None = None
    queued_s: Seconds | None = None
    decode_s: Seconds | None = None
    run_s: Seconds | None = None
    server_s: Seconds | None = None
    batch: Count | None = None
    hops: tuple[HopLine, ...] = ()
    direct: bool = False
    exit: Count | None = None
    label: int | None = None
    predicted: int | None = None
    confidence: Number | None = None
    counts: Counts | None = None
    counts_lost: Counts | None = None
    answered_by: AnsweredBy | None = None
    plan: str | None = None
    sent_by: str | None = None
    why: str | None = None
    move: PlanMove | None = None
    goodput_bps: Number | None = None
    link_round_trip_s: Seconds | None = None
    link_loss: Number | None = None
    outage: bool = False

    @property
    def latency_s(self) -> float | None:
        """From when it was due until its response was complete; None where there was none."""
        return None if self.response_s is None or self.outcome != "ok" else self.response_s - self.due_s


def line_of(record: RunLine | FrameLine) -> str:
    """A line of the log."""
    return record.model_dump_json(exclude_defaults=isinstance(record, FrameLine)) + "\n"


def read_log(path: str | Path) -> tuple[RunLine, list[FrameLine]]:
    """What a log holds. A last line that was cut short, as a killed process leaves it, is passed over.

    Raises:
        DataError: it is no log, or is damaged.
    """
    return read_lines(path, RunLine, FrameLine)


def read_lines(path: str | Path, first: type[First], each: type[Each]) -> tuple[First, list[Each]]:
    """The same of a log whose first line and all others are of these kinds."""
    with open_file(path, DataError, what="log") as file:
        run: First | None = None
        others: list[Each] = []
        for number, (line, whole) in enumerate(log_lines(file.readline, path), 1):
            try:
                if run is None:
                    run = first.model_validate_json(line)
                else:
                    others.append(each.model_validate_json(line))
            except ValidationError as failure:
                if not whole and run is not None:
                    break
                raise DataError(told(failure), where=f"'{shown_path(path)}', line {number}") from None
    if run is None:
        raise DataError("the log is empty", where=f"'{shown_path(path)}'")
    return run, others


def log_lines(readline: object, path: str | Path) -> Iterator[tuple[bytes, bool]]:
    """Each line, and whether it is whole."""
    assert callable(readline)
    for _ in range(MOST_LINES):
        line = readline(LINE_BYTES + 1)
        if not line:
            return
        if len(line) > LINE_BYTES:
            raise DataError(f"a line is longer than {LINE_BYTES} bytes", where=f"'{shown_path(path)}'")
        yield line, line.endswith(b"\n")
    raise DataError(f"the log has more than {MOST_LINES} lines", where=f"'{shown_path(path)}'")


def told(failure: ValidationError) -> str:
    """What is wrong with a line, in words."""
    first = failure.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {shown(first['msg'], 200)}" if first["loc"] else shown(first["msg"])
