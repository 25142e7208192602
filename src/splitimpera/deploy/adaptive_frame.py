"""One frame of an `AdaptiveClient`, from its beginning to what is told of it."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field

from splitimpera.bundle.manifest import Manifest
from splitimpera.core.array_types import Row
from splitimpera.deploy.adapting import Choice
from splitimpera.deploy.answering import Action, AnsweredBy, FrameAnswer
from splitimpera.deploy.connection import Exchange
from splitimpera.deploy.frame_log import Outcome
from splitimpera.deploy.halves import Coded
from splitimpera.deploy.inferred import OUTCOMES, Answered, Inference, Seen
from splitimpera.deploy.messages import Status
from splitimpera.deploy.result_reading import named
from splitimpera.deploy.switching import PlanChange
from splitimpera.deploy.ways import Lane, Way


@dataclass(eq=False)
class AdaptiveFrame:
    """A frame under way.

    Attributes:
        tensors: The network's input.
        used: The plan in use; None: none could be used.
        plan: The one that it is sent by, if it is sent; another one for a trial.
        attempt: What names it to the server's circuit.
        of_server, of_device: The answers that there are.
        computed_s: What the device took for its own.
        stand_in: The answer of its last early exit, for want of a better one; None: its plan has none.
    """

    number: int
    tensors: Row
    begun_s: float
    deadline_s: float
    answer: FrameAnswer
    choice: Choice
    used: str | None
    plan: str | None
    lane: Lane | None
    way: Way | None
    attempt: int | None
    change: PlanChange | None
    seen: Seen
    coded: Coded | None = None
    exchange: Exchange | None = None
    of_server: Row | None = None
    of_device: Row | None = None
    computed_s: float = 0.0
    stand_in: Row | None = None
    settled: bool = False
    found: Future[Inference] = field(default_factory=Future)

    def result(self, last: Row | None) -> Row | None:
        """The answer that counts; `last`: the one before."""
        by = self.answer.answered_by
        if by is AnsweredBy.SERVER:
            return self.of_server
        if by is AnsweredBy.DEVICE:
            return self.of_device
        if self.stand_in is not None:
            return self.stand_in
        return last if by is AnsweredBy.STALE else None

    def inference(self, manifest: Manifest, result: Row | None) -> Inference:
        """What is told of it."""
        by = self.answer.answered_by
        assert by is not None
        exchange, coded = self.exchange, self.coded
        in_time = by in (AnsweredBy.SERVER, AnsweredBy.DEVICE)
        stands_in = not in_time and self.stand_in is not None
        return Inference(
            self.number,
            "ok" if in_time else "stood-in" if stands_in else self._missed(by),
            result,
            *named(manifest, result),
            self.begun_s,
            self.computed_s if coded is None else coded.head_s,
            0.0 if coded is None else coded.encode_s,
            None if exchange is None else exchange.sent_s,
            self.answer.answered_s if in_time else None,
            0 if coded is None or coded.payload is None or not self.answer.sends else len(coded.payload.data),
            0 if exchange is None else exchange.packets,
            None if exchange is None else exchange.response,
            Answered(
                AnsweredBy.DEVICE if stands_in else by,
                self.used,
                self.plan if self.answer.sends else None,
                f"{self.answer.reason}; {self.choice.reason}",
                self.change,
                self.seen,
            ),
            exit=coded.said if stands_in and coded is not None else None,
        )

    def _missed(self, by: AnsweredBy) -> Outcome:
        """Why there is no answer in time."""
        if by is AnsweredBy.STALE:
            return "stale"
        if self.answer.action is Action.NONE:
            return "unsent"
        response = None if self.exchange is None else self.exchange.response
        if response is None:
            return "lost"
        return "late" if response.status is Status.OK else OUTCOMES[response.status]


def at_once(
    number: int, coded: Coded, begun_s: float, now_s: float, plan: str, seen: Seen, manifest: Manifest
) -> Future[Inference]:
    """What is told of a frame of which nothing is sent: it left early, or its plan has no hop."""
    found = Future[Inference]()
    reason = "the plan sends nothing" if coded.left is None else f"it left behind cut {coded.left.cut}"
    one = Inference(
        number,
        "ok",
        coded.result,
        *named(manifest, coded.result),
        begun_s,
        coded.head_s,
        coded.encode_s,
        response_s=now_s,
        answered=Answered(AnsweredBy.DEVICE, plan, None, reason, None, seen),
        exit=coded.left,
    )
    found.set_result(one)
    return found
