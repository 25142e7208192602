"""Who chooses the plan of each frame in `adaptation.py`: static plans, rules of thumb, the runtime, an oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, inf
from typing import Any

import numpy as np
from changing_link import DOWN_BPS, GIVE_UP_S, RESPONSE_BYTES, PlanFacts, Uplink

from splitimpera.deploy.adapting import Adapting, window_s
from splitimpera.deploy.answering import Action, Answering, Known, Mode
from splitimpera.deploy.breaker import Circuit
from splitimpera.deploy.link_estimate import LinkEstimate
from splitimpera.deploy.messages import Response
from splitimpera.deploy.switching import LEAST_STAY_S
from splitimpera.net.directions import NS
from splitimpera.records.link import Link
from splitimpera.records.policy import Policy

Plans = dict[str, PlanFacts]


class Static:
    """One plan for all frames; every one is sent."""

    def __init__(self, plan: str) -> None:
        self._plan = plan

    def plan(self, now_s: float) -> tuple[str | None, bool]:
        return self._plan, False

    def sends(self, plan: str, size: int, now_s: float, left_s: float) -> bool:
        return True

    def pings(self, now_s: float) -> bool:
        return False

    def sent(self, frame: int, size: int, packets: int, now_s: float, left_s: float, trial: bool) -> None: ...

    def answered(self, frame: int, response: Response, now_s: float, handed_s: float) -> None: ...

    def lost(self, frame: int, now_s: float) -> None: ...

    def pinged(self, number: int, now_s: float) -> None: ...

    def ponged(self, number: int, now_s: float) -> None: ...


class Thumb(Static):
    """What clients do that know no policy: times of each plan, smoothed as TCP does its round trip (RFC 6298).

    It changes to the plan with the smallest time where that of its own is 15 % longer; or, `accurate`, to the most
    accurate one whose time meets the deadline, with 15 % to spare where it is not its own. What was seen of a plan
    counts for 10 s, then the design's prediction does. The same minimal stay as ours.
    """

    WORSE, GAIN, KEPT_S = 1.15, 0.125, 10.0

    def __init__(self, plans: Plans, link: Link, deadline_s: float, accurate: bool) -> None:
        self._plans = {name: facts for name, facts in plans.items() if facts.frame_bytes}
        self._deadline_s, self._accurate = deadline_s, accurate
        self._predicted = {name: self._time_s(facts, link) for name, facts in self._plans.items()}
        self._seen: dict[str, tuple[float, float]] = {}
        self._under_way: dict[int, tuple[str, float]] = {}
        self._changed_s = -inf
        super().__init__(min(self._predicted, key=self._predicted.__getitem__))

    @staticmethod
    def _time_s(facts: PlanFacts, link: Link) -> float:
        return facts.device_s + facts.server_s + 2 * link.delay_s + 8 * facts.frame_bytes / link.rate_bps

    def plan(self, now_s: float) -> tuple[str | None, bool]:
        if now_s - self._changed_s >= LEAST_STAY_S:
            best = self._best(now_s)
            if best != self._plan:
                self._plan, self._changed_s = best, now_s
        return self._plan, False

    def _best(self, now_s: float) -> str:
        times = {name: self._smoothed_s(name, now_s) for name in self._plans}
        own_s = times[self._plan]
        if self._accurate:
            bound = {name: self._deadline_s / (1 if name == self._plan else self.WORSE) for name in times}
            meeting = [name for name in times if times[name] <= bound[name]]
            if meeting:
                return max(meeting, key=lambda name: self._plans[name].accuracies[0])
        best = min(times, key=times.__getitem__)
        return best if own_s > self.WORSE * times[best] else self._plan

    def _smoothed_s(self, name: str, now_s: float) -> float:
        time_s, seen_s = self._seen.get(name, (0.0, -inf))
        return time_s if now_s - seen_s <= self.KEPT_S else self._predicted[name]

    def sent(self, frame: int, size: int, packets: int, now_s: float, left_s: float, trial: bool) -> None:
        self._under_way[frame] = self._plan, now_s - self._plans[self._plan].device_s

    def answered(self, frame: int, response: Response, now_s: float, handed_s: float) -> None:
        self._took(frame, now_s, None)

    def lost(self, frame: int, now_s: float) -> None:
        self._took(frame, now_s, self._deadline_s + GIVE_UP_S)

    def _took(self, frame: int, now_s: float, at_least_s: float | None) -> None:
        name, begun_s = self._under_way.pop(frame, ("", 0.0))
        if name:
            before_s = self._smoothed_s(name, now_s)
            time_s = max(now_s - begun_s, at_least_s or 0.0)
            self._seen[name] = before_s + self.GAIN * (time_s - before_s), now_s


class Ours(Static):
    """The runtime's own rules: estimate, policy, switching, answering, as the client runs them."""

    def __init__(
        self, policy: Policy, plans: Plans, fps: float, deadline_s: float, header_bytes: int, **how: Any
    ) -> None:
        kind, seconds = how.pop("kind", "windowed"), how.pop("seconds", window_s(fps))
        self._holds = how.pop("holds", True)
        self.changes: list[Any] = []
        self.adapting = Adapting(
            policy,
            {name: facts.frame_bytes for name, facts in plans.items()},
            LinkEstimate("udp", kind, seconds),
            header_bytes=header_bytes,
            told=self.changes.append,
            **how,
        )
        self._plans, self._deadline_s = plans, deadline_s
        self._local = next((facts for facts in plans.values() if not facts.frame_bytes), None)
        self._answering = Answering(Mode.PREFER_SERVER)

    def plan(self, now_s: float) -> tuple[str | None, bool]:
        choice = self.adapting.next(now_s)
        facts = None if choice.plan is None else self._plans[choice.plan]
        sends = facts is not None and facts.frame_bytes > 0
        known = Known(
            now_s,
            now_s + self._deadline_s,
            None if self._local is None else self._local.device_s,
            None,
            Circuit.CLOSED,
            self.adapting.outage(now_s) is not None,
            1 if sends else None,
            head_s=facts.device_s if sends and facts is not None else 0.0,
        )
        action = self._answering.begin(known).action
        if action is Action.COMPUTE and self._local is not None:
            return self._local.id, False
        return (choice.plan, choice.trial) if action in (Action.SEND, Action.BOTH) else (None, False)

    def sends(self, plan: str, size: int, now_s: float, left_s: float) -> bool:
        left_s -= self._plans[plan].server_s
        return not self._holds or self.adapting.worth_sending(size, left_s, now_s)

    def pings(self, now_s: float) -> bool:
        return self.adapting.ping_due(now_s)

    def sent(self, frame: int, size: int, packets: int, now_s: float, left_s: float, trial: bool) -> None:
        self.adapting.sent(frame, size, packets, now_s, left_s, trial)

    def answered(self, frame: int, response: Response, now_s: float, handed_s: float) -> None:
        self.adapting.answered(frame, response, now_s, handed_s)

    def lost(self, frame: int, now_s: float) -> None:
        self.adapting.lost(frame, now_s)

    def pinged(self, number: int, now_s: float) -> None:
        self.adapting.estimate.probed(number, now_s)

    def ponged(self, number: int, now_s: float) -> None:
        self.adapting.estimate.probe_answered(number, now_s)


class Scripted(Static):
    """Plans that were found beforehand, frame by frame; `sent` says of each whether it goes."""

    def __init__(self, script: Sequence[tuple[str, bool]]) -> None:
        self._script, self._place = script, -1

    def plan(self, now_s: float) -> tuple[str | None, bool]:
        self._place += 1
        plan, sends = self._script[self._place]
        return plan if sends else None, False


# The oracle -----------------------------------------------------------------------------------------------------------

MOST_LABELS = 16
"""Of each plan and stay; those worth least are left out where there are more."""


@dataclass(frozen=True, eq=False)
class _Label:
    """A way up to some frame: what it is worth, and when the link will have sent all of it."""

    worth: float
    busy_s: float
    state: Any
    before: _Label | None
    did: tuple[str, bool]


def oracle(link: Link, plans: Plans, fps: float, deadline_s: float, count: int) -> list[tuple[str, bool]]:
    """The best plans of all frames for somebody who knows the trace: dynamic programming, with the same minimal stay.

    A way is a plan for each frame, and whether the frame is sent. Of two ways that use one plan since as long, one that
    is worth no more and has a longer queue is given up: the link is first in, first out, so that a shorter queue is
    never worse later. Losses are chance: it knows their rate, and takes what a frame is worth on average.
    """
    trace = link.trace and replace(link.trace, loss=())
    uplink = Uplink(replace(link, loss=0.0, trace=trace, queue_bytes=None), np.random.default_rng(0))
    stay = ceil(LEAST_STAY_S * fps - 1e-9)
    remote = {name: facts for name, facts in plans.items() if facts.frame_bytes}
    if any(facts.device_s > 1 / fps for facts in remote.values()):
        raise ValueError("a plan takes the device longer than a frame lasts: frames would wait for it")
    labels = {(name, stay): [_Label(0.0, -inf, uplink.state, None, (name, False))] for name in remote}
    for number in range(count):
        due_s, found = number / fps, {}
        known: dict[tuple[str, float], tuple[float, float, Any]] = {}
        for (plan, since), some in labels.items():
            for name, facts in remote.items():
                if name != plan and since < stay:
                    continue
                key = name, min(since + 1, stay) if name == plan else 1
                ready_s = due_s + facts.device_s
                for label in some:
                    idle = label.busy_s <= ready_s
                    asked = name, -inf if idle else label.busy_s
                    if asked not in known:
                        known[asked] = _sent(uplink, label.state, facts, ready_s, due_s + deadline_s - ready_s)
                    worth, busy_s, state = known[asked]
                    ways = found.setdefault(key, [])
                    if worth or idle:
                        ways.append(_Label(label.worth + worth, busy_s, state, label, (name, True)))
                    if not idle:
                        ways.append(_Label(label.worth, label.busy_s, label.state, label, (name, False)))
        labels = {key: _best(ways) for key, ways in found.items()}
    last = max((label for some in labels.values() for label in some), key=lambda label: label.worth)
    script = []
    while last.before is not None:
        script.append(last.did)
        last = last.before
    return script[::-1]


def _sent(uplink: Uplink, state: Any, facts: PlanFacts, ready_s: float, left_s: float) -> tuple[float, float, Any]:
    """What a frame is worth on average, when the link is free afterwards, and its state."""
    uplink.state = state
    sent, _ = uplink.send(facts.frame_bytes, ready_s, left_s)
    back_s = facts.server_s + uplink.link.delay_s + 8 * RESPONSE_BYTES / DOWN_BPS
    in_time = float(sent["complete"]) / NS + back_s <= ready_s + left_s
    return facts.accuracies[0] if in_time else 0.0, uplink.busy_s, uplink.state


def _best(ways: list[_Label]) -> list[_Label]:
    """Those that no other beats in worth and queue."""
    kept: list[_Label] = []
    for label in sorted(ways, key=lambda label: (-label.worth, label.busy_s)):
        if not kept or label.busy_s < kept[-1].busy_s:
            kept.append(label)
    return kept[:MOST_LABELS]
