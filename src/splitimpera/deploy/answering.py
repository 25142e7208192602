"""Who answers a frame: the server, the device, the last answer once more, or nobody.

`Answering` knows the mode and the privacy floor; it decides for each frame what to begin with, and hands out a
`FrameAnswer` that is told what happens and ends with exactly one `AnsweredBy`. Where the device can finish a frame by
itself, the server's answer is waited for no longer than until the device has to begin. Pure rules, without engines,
sockets or timers: times are passed in, in seconds of one clock that does not go back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import inf, isfinite

from splitimpera.core.errors import PlanError, shown
from splitimpera.deploy.breaker import Circuit

SPARE_S = 0.002
"""So much sooner than it has to, the device begins: timers are late by about as much."""


class Mode(StrEnum):
    """Who is to answer."""

    PREFER_DEVICE = "prefer-device"
    """The device wherever it can in time, else the server."""
    PREFER_SERVER = "prefer-server"
    """The server; the device where no answer comes in time."""
    DEVICE_ONLY = "device-only"
    """Nothing is ever sent."""
    SERVER_ONLY = "server-only"
    """The device never finishes a frame by itself."""


class AnsweredBy(StrEnum):
    """Whose answer a frame got."""

    SERVER = "server"
    DEVICE = "device"
    STALE = "stale"
    """That of an earlier frame once more, marked as such."""
    NONE = "none"


class Action(StrEnum):
    """What a frame begins with."""

    SEND = "send"
    COMPUTE = "compute"
    BOTH = "both"
    STALE = "stale"
    NONE = "none"


@dataclass(frozen=True)
class Known:
    """What is known when a frame begins.

    Attributes:
        now_s, deadline_s: Now, and when the answer has to be there; infinite: there is no deadline.
        device_s: What the device takes for the whole network, with what it has to finish before; None: it cannot.
        remote_s: How long an answer by the server takes, which 95 % keep to; None: not known yet.
        circuit: As `Breaker.allows` says: CLOSED; HALF_OPEN: the frame would be a probe; None: nothing may be sent.
        outage: Nothing has come over the link for too long.
        cut_depth: After how many layers the plan sends; None: it sends nothing. For a probe, that of the plan that is
            to be returned to.
        queued: What waits to be sent already would make it late.
        head_s: How long the device is busy with a frame that is sent, before it can begin with anything else.
        rest_s: What it takes to finish a frame that was sent; None: it begins anew, `device_s`.
        every_s: A frame comes so often; a device that takes longer cannot answer all of them.
    """

    now_s: float
    deadline_s: float
    device_s: float | None
    remote_s: float | None
    circuit: Circuit | None
    outage: bool
    cut_depth: int | None
    head_s: float = 0.0
    rest_s: float | None = None
    queued: bool = False
    every_s: float = inf


class FrameAnswer:
    """One frame, from its beginning to its one outcome; `Answering.begin` makes it.

    Whoever runs it sends where `sends`, begins to compute where `computes` or where a method returns True, and calls
    `passed` at `wake_s`. All methods may be called at any time; after the outcome they change nothing of the frame.

    Attributes:
        action: What it begins with, and the `reason`, for the log.
        latest_s: When the device begins by itself where no answer came; None: it does not.
        answered_by: None: not known yet.
        answered_s: When that was.
    """

    def __init__(
        self, answering: Answering, known: Known, action: Action, reason: str, latest_s: float | None = None
    ) -> None:
        self.action, self.reason, self.latest_s = action, reason, latest_s
        self.answered_by: AnsweredBy | None = None
        self.answered_s: float | None = None
        self._answering, self._known = answering, known
        self._waits = self.sends
        self._computing = self.computes
        if action in (Action.STALE, Action.NONE):
            self._end(AnsweredBy(action.value), known.now_s)

    @property
    def sends(self) -> bool:
        """Whether it is sent."""
        return self.action in (Action.SEND, Action.BOTH)

    @property
    def computes(self) -> bool:
        """Whether the device finishes it from the beginning on."""
        return self.action in (Action.COMPUTE, Action.BOTH)

    @property
    def wake_s(self) -> float:
        """When `passed` is to be called next; infinite: it need not be."""
        if self.answered_by is not None:
            return inf
        return self._known.deadline_s if self._computing or self.latest_s is None else self.latest_s

    def passed(self, now_s: float) -> bool:
        """Time has passed. Returns True once where the device is to begin now."""
        if self.answered_by is not None:
            return False
        if now_s >= self._known.deadline_s:
            self._give_up(now_s)
            return False
        if self._computing or self.latest_s is None or now_s < self.latest_s:
            return False
        return self._start(now_s)

    def server_answered(self, now_s: float) -> None:
        """The server's answer came."""
        if self.sends:
            self._answer(AnsweredBy.SERVER, now_s)

    def server_failed(self, now_s: float) -> bool:
        """The server has no answer: it says so, the session ended, or nothing came for too long.

        Returns:
            True once where the device is to begin now.
        """
        self._waits = False
        if self.answered_by is not None:
            return False
        if not self._computing and self.latest_s is not None and self._start(now_s):
            return True
        if not self._computing:
            self._give_up(now_s)
        return False

    def device_answered(self, now_s: float) -> None:
        """The device has finished it."""
        if self._computing:
            self._answer(AnsweredBy.DEVICE, now_s)

    def device_failed(self, now_s: float) -> None:
        """The device's program failed on it."""
        self._computing, self.latest_s = False, None
        if self.answered_by is None and not self._waits:
            self._give_up(now_s)

    def _start(self, now_s: float) -> bool:
        """Begin on the device, where that is not too late; it is tried once."""
        self.latest_s = None
        rest_s = _rest_s(self._known)
        self._computing = rest_s is not None and now_s + rest_s <= self._known.deadline_s
        return self._computing

    def _answer(self, by: AnsweredBy, now_s: float) -> None:
        if self.answered_by is None:
            if now_s <= self._known.deadline_s:
                self._end(by, now_s)
            else:
                self._give_up(now_s)
        self._answering.answered(self._known.now_s)  # one that is late is still the latest there is

    def _give_up(self, now_s: float) -> None:
        self._end(self._answering.without(now_s), now_s)

    def _end(self, by: AnsweredBy, now_s: float) -> None:
        self.answered_by, self.answered_s = by, now_s


class Answering:
    """Decides for each frame.

    What it promises, where `Known` tells the truth: every frame has one outcome; no frame is sent beneath the privacy
    floor; and wherever the mode lets the device finish frames, and it can in time, the frame has an answer in time. For
    the sake of the last, a frame is not sent where the device could no longer finish it afterwards.

    Args:
        floor: At least so many layers run on the device before anything is sent (`cut_depth >= floor`); 0: no floor.
        hedge: With `prefer-server`, the device begins at once where `remote_s` is more than the time left, instead of
            at the latest moment.
        stale_s: A last answer is given once more for so long after its frame began; 0: never.
        spare_s: So much sooner than it has to, the device begins.

    Raises:
        PlanError: a floor or time that is none.

    Example:
        >>> answering = Answering(Mode.PREFER_SERVER)
        >>> frame = answering.begin(Known(0.0, 0.1, 0.04, 0.02, Circuit.CLOSED, False, 3))
        >>> frame.action.value, round(frame.latest_s, 3), frame.passed(frame.latest_s)
        ('send', 0.058, True)
        >>> frame.device_answered(0.098)
        >>> frame.answered_by.value
        'device'
    """

    def __init__(
        self, mode: Mode, floor: int = 0, hedge: bool = False, stale_s: float = inf, spare_s: float = SPARE_S
    ) -> None:
        if floor < 0:
            raise PlanError(f"expected 0 layers or more, got {shown(floor)}", where="privacy floor")
        if not stale_s >= 0:
            raise PlanError(f"expected 0 s or more, got {shown(stale_s)}", where="stale_s")
        if not (isfinite(spare_s) and spare_s >= 0):
            raise PlanError(f"expected 0 s or more, got {shown(spare_s)}", where="spare_s")
        self.mode, self.floor, self.hedge = mode, floor, hedge
        self._stale_s, self.spare_s = stale_s, spare_s
        self._last_s = -inf

    def may_send(self, cut_depth: int | None) -> bool:
        """Whether a plan may send at all: the mode lets it, and what it sends lies behind the privacy floor."""
        return self.mode is not Mode.DEVICE_ONLY and cut_depth is not None and cut_depth >= self.floor

    def check(self, cut_depths: Iterable[int | None], device_can: bool) -> None:
        """Hold the mode to a bundle's plans, before the first frame.

        Args:
            cut_depths: Of every plan; None: it sends nothing.
            device_can: Whether the bundle holds the whole network for the device, and its memory bears it.

        Raises:
            PlanError: no frame could ever be answered.
        """
        sends = any(map(self.may_send, cut_depths))
        if sends or (device_can and self.mode is not Mode.SERVER_ONLY):
            return
        problems, hints = [], []
        if self.mode is not Mode.DEVICE_ONLY:
            problems.append(f"no plan sends after {self.floor} layers or more")
            hints.append("export a plan with a deeper cut, or lower the privacy floor")
        if self.mode is not Mode.SERVER_ONLY:
            problems.append("the device cannot run the whole network")
            hints.append("export a plan that runs on the device alone")
        problem = f"{self.mode} answers no frame: {' and '.join(problems)}"
        raise PlanError(problem, where="mode", hint=", or ".join([*hints, "choose another mode"]))

    def begin(self, known: Known) -> FrameAnswer:
        """What to do with a frame."""
        action, reason, latest_s = self._decide(known)
        return FrameAnswer(self, known, action, reason, latest_s)

    def answered(self, begun_s: float) -> None:
        """There is an answer of a frame that began then."""
        self._last_s = max(self._last_s, begun_s)

    def without(self, now_s: float) -> AnsweredBy:
        """What a frame gets that nobody answers."""
        return AnsweredBy.STALE if now_s - self._last_s < self._stale_s else AnsweredBy.NONE

    def _decide(self, known: Known) -> tuple[Action, str, float | None]:
        left_s = known.deadline_s - known.now_s
        may_compute = self.mode is not Mode.SERVER_ONLY
        in_time = may_compute and known.device_s is not None and known.device_s <= left_s
        barrier = "no time is left" if left_s <= 0 else self._barrier(known)
        if in_time and (barrier or self.mode is Mode.PREFER_DEVICE):
            return Action.COMPUTE, barrier or f"{self.mode}: the device is in time", None
        if in_time:
            return self._with_both(known, left_s)
        reason = f"{self.mode}: the device is not in time" if may_compute else f"{self.mode}"
        if barrier:
            return Action(self.without(known.now_s).value), f"{reason}, and {barrier}", None
        return Action.SEND, reason, None

    def _with_both(self, known: Known, left_s: float) -> tuple[Action, str, float | None]:
        """Where server and device may answer, and the server is to."""
        rest_s = _rest_s(known)
        assert rest_s is not None
        latest_s = known.deadline_s - rest_s - self.spare_s
        if known.now_s + known.head_s > latest_s:
            assert known.device_s is not None
            if (
                known.device_s > known.every_s
                and known.remote_s is not None
                and known.head_s + known.remote_s <= left_s
            ):
                return Action.SEND, f"{self.mode}: the device cannot answer every frame, the server should", None
            return Action.COMPUTE, "after sending, the device would no longer be in time", None
        if known.circuit is Circuit.HALF_OPEN:
            return Action.BOTH, "it is a probe of the server", None
        if self.hedge and known.remote_s is not None and known.remote_s > left_s:
            return Action.BOTH, f"the server takes {known.remote_s:.3g} s, {left_s:.3g} s are left", None
        return Action.SEND, f"{self.mode}", latest_s

    def _barrier(self, known: Known) -> str:
        """Why a frame cannot be sent; empty: it can."""
        if self.mode is Mode.DEVICE_ONLY:
            return "nothing is ever sent"
        if known.cut_depth is None:
            return "the plan sends nothing"
        if not self.may_send(known.cut_depth):
            return f"it would be sent after {known.cut_depth} layers, the privacy floor is {self.floor}"
        if known.outage:
            return "nothing comes over the link"
        if known.circuit is None:
            return "the circuit is open"
        return "it would be late behind what waits already" if known.queued else ""


def _rest_s(known: Known) -> float | None:
    return known.device_s if known.rest_s is None else known.rest_s
