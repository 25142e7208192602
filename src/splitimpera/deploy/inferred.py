"""What became of a frame, as a client tells it."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field

from splitimpera.core.array_types import Array
from splitimpera.deploy.answering import AnsweredBy
from splitimpera.deploy.exit_gates import Said
from splitimpera.deploy.frame_log import Outcome
from splitimpera.deploy.messages import Response, Status
from splitimpera.deploy.switching import PlanChange

OUTCOMES: dict[Status, Outcome] = {
    Status.OK: "ok",
    Status.LATE: "late",
    Status.FULL: "full",
    Status.DAMAGED: "damaged",
    Status.FAILED: "failed",
    Status.STOPPING: "stopping",
    Status.BUSY: "busy",
    Status.UNREACHABLE: "unreachable",
    Status.DIRECT: "lost",  # the response itself did not come
    Status.LACKING: "failed",  # no frame is a step
}


@dataclass(frozen=True)
class Answered:
    """How a frame of an `AdaptiveClient` came to what it got.

    Attributes:
        plan: The one in use when it began; None: none could be used.
        sent_by: The plan that it was sent by; None: it was not sent.
        change: The change of plan at this frame; None: there was none.
        seen: What was known of the link when it began.
    """

    by: AnsweredBy
    plan: str | None
    sent_by: str | None
    reason: str
    change: PlanChange | None
    seen: Seen


@dataclass(frozen=True)
class Seen:
    """What is known of a link: each None where nothing is."""

    goodput_bps: float | None = None
    round_trip_s: float | None = None
    loss: float | None = None
    outage: bool = False


@dataclass(frozen=True)
class Inference:
    """What became of one frame; times by `time.monotonic`.

    Attributes:
        frame: Its number, from 0 on.
        outcome: "ok" where there is a result, else why there is none; "lost": no response came in time; "stood-in": no
            response came in time, and the result is that of the last early exit.
        result: The response to this frame, as its task has it: logits, a mask, boxes; None without one.
        answer: The class that was found; None without a result, and where the task is about no such class.
        name: Its name, where classes have names.
        begun_s: When work on it began.
        head_s, encode_s: What layers and codec took here.
        sent_s: When its last byte was with the system; None: it was not sent.
        response_s: When the response was complete, or the result where there is no server; None: none came.
        payload_bytes, packets: What was sent.
        response: What the server says of it, the last machine where the answer came directly; None: nothing.
        exit: What the early exit says whose answer the result is; None: it is no exit's.
        answered: By whom, under which plan and why, where a client has several; None: it has one.
        word: What all machines say of it along the way, where its answer came from the last one directly, past those in
            the middle; done when that is there, None where it never comes.
    """

    frame: int
    outcome: Outcome
    result: tuple[Array, ...] | None
    answer: int | None
    name: str | None
    begun_s: float
    head_s: float
    encode_s: float
    sent_s: float | None = None
    response_s: float | None = None
    payload_bytes: int = 0
    packets: int = 0
    response: Response | None = None
    answered: Answered | None = None
    exit: Said | None = None
    word: Future[Response | None] | None = field(default=None, compare=False, repr=False)

    @property
    def direct(self) -> bool:
        """Whether its answer came from the last machine directly."""
        return self.word is not None

    @property
    def latency_s(self) -> float | None:
        """From when work on it began until its response was complete; None where none came."""
        return None if self.response_s is None else self.response_s - self.begun_s

    @property
    def lost_packets(self) -> int | None:
        """How many of its packets never came; None: the server does not say."""
        return None if self.response is None else self.response.lost_packets
