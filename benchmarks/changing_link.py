"""A device, a server and a link that changes: frames one by one, by whatever plan a strategy chooses for each.

Over UDP. The link is the simulator's own (`net.kernels`), a frame at a time: one queue for all plans, drop-tail, with a
trace of rates, delays and losses or of delivery opportunities. Device and server take what the design says of each
plan, one frame at a time. Responses and pings come back over a downlink that is never full. What is sent is not held
back to the design's rate, as the runtime's pacer does.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Protocol

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.deploy.frame_log import FrameLine, RunLine
from splitimpera.deploy.messages import Response, Status
from splitimpera.net import kernels
from splitimpera.net.directions import NS, build_ways, least_round_trip_s, nanoseconds
from splitimpera.net.udp import headers_bytes, payload_bytes
from splitimpera.records.link import Link, Trace

RESPONSE_BYTES, PING_WIRE_BYTES = 150, 80
DOWN_BPS = 10e6
QUEUE_BYTES = 30_000
GIVE_UP_S = 1.0
"""After its deadline nobody waits for a frame."""
NO_DEADLINE_S = 1e3
TICK_S = 0.025
"""How often a strategy is asked whether to ping."""


@dataclass(frozen=True)
class PlanFacts:
    """What a plan takes and gives.

    Attributes:
        frame_bytes: Payload; 0: the plan is local.
        device_s, server_s: Until it is sent, or answered by the device; from its last packet to the response.
        losses, accuracies: What its answers are worth at these shares of lost packets, the first of them 0.
    """

    id: str
    frame_bytes: int
    device_s: float
    server_s: float
    losses: tuple[float, ...]
    accuracies: tuple[float, ...]

    def worth(self, lost_share: float) -> float:
        """Of an answer in time: its accuracy; without any packet there is none."""
        return 0.0 if lost_share >= 1 else float(np.interp(lost_share, self.losses, self.accuracies))


@dataclass(frozen=True)
class Frame:
    """What became of a frame: all that it is scored by.

    Attributes:
        plan: By which it was run; None: by none.
        answered_s: When its answer was there; infinite: never.
        lost_share: Of its packets.
        right: Whether the answer was right, where that is known.
    """

    due_s: float
    plan: str | None
    answered_s: float = inf
    lost_share: float = 0.0
    right: bool | None = None


def frames_of_log(run: RunLine, lines: Iterable[FrameLine]) -> list[Frame]:
    """The frames of a real run's log."""
    return [
        Frame(
            line.due_s,
            getattr(line, "plan", None) or run.plan,
            inf if line.latency_s is None else line.due_s + line.latency_s,
            (line.lost_packets or 0) / max(line.packets, 1),
            None if line.label is None or line.predicted is None else line.label == line.predicted,
        )
        for line in lines
    ]


def worths(frames: Sequence[Frame], plans: dict[str, PlanFacts], deadline_s: float) -> FloatArray:
    """What each frame is worth: its accuracy where its answer is on time, 0 where it is not, shape (frames,)."""

    def worth(frame: Frame) -> float:
        if frame.plan is None or not frame.answered_s - frame.due_s <= deadline_s:
            return 0.0
        return plans[frame.plan].worth(frame.lost_share) if frame.right is None else float(frame.right)

    return np.array([worth(frame) for frame in frames])


class Strategy(Protocol):
    """Who chooses the plans. All times in seconds from the start of the run."""

    def plan(self, now_s: float) -> tuple[str | None, bool]:
        """By which plan the next frame is run, and whether that is a trial."""

    def sends(self, plan: str, size: int, now_s: float, left_s: float) -> bool:
        """Whether a frame that was run up to its cut is sent."""

    def pings(self, now_s: float) -> bool: ...

    def sent(self, frame: int, size: int, packets: int, now_s: float, left_s: float, trial: bool) -> None: ...

    def answered(self, frame: int, response: Response, now_s: float, handed_s: float) -> None: ...

    def lost(self, frame: int, now_s: float) -> None: ...

    def pinged(self, number: int, now_s: float) -> None: ...

    def ponged(self, number: int, now_s: float) -> None: ...


class Uplink:
    """The way to the server, with its state; `copy` and `sent` are all that the oracle needs as well."""

    def __init__(self, link: Link, rng: np.random.Generator) -> None:
        self.link, self._rng = link, rng
        self._ways = build_ways(link, rng)
        self.payload, self.header = payload_bytes(link, 1), headers_bytes(link)
        self.round_trip_s = least_round_trip_s(link, self.header + 24, self.header)

    def send(self, size: int, now_s: float, left_s: float) -> Any:
        """A frame; as `kernels.DATAGRAMS` has it, with `gone`: how many of its packets are missing."""
        frame = np.zeros(1, kernels.DATAGRAMS)
        patience_s = max(left_s - self.round_trip_s / 2, 0.0)
        frame["ready"], frame["size"] = nanoseconds(now_s), size
        frame["deadline"], frame["patience"] = nanoseconds(now_s + left_s), nanoseconds(patience_s)
        missing = np.empty(-(-size // self.payload), dtype=np.int64)
        ways = self._ways
        args = (ways.ways, 0, ways.steps, ways.drops, ways.waiting, frame, missing)
        kernels.run_udp(*args, self.payload, self.header, False, self._rng)
        return frame[0], int(missing.sum())

    @property
    def busy_s(self) -> float:
        """When all that was sent has left."""
        return float(self._ways.ways[0]["busy"]) / NS

    @property
    def state(self) -> Any:
        return self._ways.ways.copy()

    @state.setter
    def state(self, ways: Any) -> None:
        self._ways.ways[:] = ways


class World:
    """One run.

    Args:
        link: With its trace.
        fps: Frames a second; `deadline_s` of each, from when it is due.
    """

    def __init__(self, link: Link, plans: dict[str, PlanFacts], fps: float, deadline_s: float, seed: int) -> None:
        self.plans, self.fps, self.deadline_s = plans, fps, deadline_s
        self.link = replace(link, queue_bytes=QUEUE_BYTES)
        self._uplink = Uplink(self.link, np.random.default_rng(seed))
        self._events: list[tuple[float, int, str, Any]] = []
        self._count = 0
        self._frames: list[Frame] = []
        self._device_free_s = self._server_free_s = 0.0

    def run(self, strategy: Strategy, count: int) -> list[Frame]:
        """So many frames."""
        self._strategy = strategy
        self._frames = [Frame(number / self.fps, None) for number in range(count)]
        for number, frame in enumerate(self._frames):
            self._at(frame.due_s, "due", number)
        for tick in range(int(count / self.fps / TICK_S)):
            self._at(tick * TICK_S, "tick", tick)
        while self._events:
            now_s, _, kind, what = heapq.heappop(self._events)
            getattr(self, f"_{kind}")(now_s, what)
        return self._frames

    def _at(self, when_s: float, kind: str, what: Any) -> None:
        self._count += 1
        heapq.heappush(self._events, (when_s, self._count, kind, what))

    def _due(self, now_s: float, number: int) -> None:
        if self._device_free_s > now_s:
            self._at(self._device_free_s, "due", number)
            return
        plan, trial = self._strategy.plan(now_s)
        self._frames[number] = replace(self._frames[number], plan=plan)
        if plan is not None:
            self._device_free_s = now_s + self.plans[plan].device_s
            self._at(self._device_free_s, "ready", (number, plan, trial))

    def _ready(self, now_s: float, what: tuple[int, str, bool]) -> None:
        number, plan, trial = what
        facts, left_s = self.plans[plan], self._frames[number].due_s + self.deadline_s - now_s
        if not facts.frame_bytes:
            self._frames[number] = replace(self._frames[number], answered_s=now_s)
            return
        if not self._strategy.sends(plan, facts.frame_bytes, now_s, left_s):
            return
        sent, gone = self._uplink.send(facts.frame_bytes, now_s, max(left_s, 0.0))
        packets = int(sent["packets"])
        self._strategy.sent(number, facts.frame_bytes, packets, now_s, max(left_s, 0.0), trial)
        self._at(now_s + max(left_s, 0.0) + GIVE_UP_S, "lost", number)
        if gone < packets:
            first_s, complete_s = float(sent["first"]) / NS, float(sent["complete"]) / NS
            self._at(complete_s, "whole", (number, now_s, packets, gone, first_s))

    def _whole(self, now_s: float, what: tuple[int, float, int, int, float]) -> None:
        """The server has what it will have of a frame."""
        number, sent_s, packets, gone, first_s = what
        facts = self.plans[self._frames[number].plan or ""]
        late = now_s > self._frames[number].due_s + self.deadline_s
        self._server_free_s = max(self._server_free_s, now_s) + (0.0 if late else facts.server_s)
        missing = min(gone * self._uplink.payload, facts.frame_bytes)
        response = Response(
            Status.LATE if late else Status.OK,
            lost_packets=gone,
            missing_bytes=missing,
            assembled_s=now_s - first_s,
            total_s=self._server_free_s - first_s,
        )
        back_s = self._server_free_s + self._back_s(RESPONSE_BYTES)
        self._at(back_s, "answer", (number, sent_s, gone / packets, response))

    def _answer(self, now_s: float, what: tuple[int, float, float, Response]) -> None:
        number, sent_s, lost_share, response = what
        if response.status is Status.OK:
            self._frames[number] = replace(self._frames[number], answered_s=now_s, lost_share=lost_share)
        self._strategy.answered(number, response, now_s, sent_s)

    def _lost(self, now_s: float, number: int) -> None:
        self._strategy.lost(number, now_s)

    def _tick(self, now_s: float, number: int) -> None:
        if self._strategy.pings(now_s):
            sent, gone = self._uplink.send(PING_WIRE_BYTES - self._uplink.header, now_s, NO_DEADLINE_S)
            self._strategy.pinged(number, now_s)
            if not gone:
                self._at(float(sent["complete"]) / NS + self._back_s(PING_WIRE_BYTES), "pong", number)

    def _pong(self, now_s: float, number: int) -> None:
        self._strategy.ponged(number, now_s)

    def _back_s(self, size: int) -> float:
        return self.link.delay_s + 8 * size / DOWN_BPS


# Traces of our own making ---------------------------------------------------------------------------------------------

STEP_S = 0.25


def _steps(name: str, rates_bps: Sequence[float], each_s: float = STEP_S) -> Trace:
    times = tuple(place * each_s for place in range(len(rates_bps)))
    return Trace(name, times, len(rates_bps) * each_s, rate_bps=tuple(rates_bps))


def step() -> Trace:
    """10 s fast, 10 s slow."""
    return _steps("step", [2.5e6, 0.25e6], 10.0)


def ramp() -> Trace:
    """From 4 Mbit/s down to 0.1 in 30 s by equal factors, and up again."""
    down = np.geomspace(4e6, 0.1e6, int(30 / STEP_S))
    return _steps("ramp", [*down, *down[::-1]])


def sawtooth() -> Trace:
    """Up from 0.1 to 3 Mbit/s in 8 s, and down at once."""
    return _steps("sawtooth", [*np.linspace(0.1e6, 3e6, int(8 / STEP_S))])


def outage() -> Trace:
    """2 Mbit/s, and 0.4 after nothing for 3 s."""
    rates = [2e6] * int(10 / STEP_S) + [0.0] * int(3 / STEP_S) + [0.4e6] * int(7 / STEP_S)
    return _steps("outage of 3 s", rates)


MADE = (step, ramp, sawtooth, outage)
