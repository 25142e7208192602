"""The rules of an `AdaptiveClient` for a frame that begins: by which plan it is sent, to which server, and who answers.

They are asked and told under the client's lock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import count

import numpy as np

from splitimpera.bundle.manifest import Manifest
from splitimpera.core.array_types import Row
from splitimpera.deploy.adapting import Choice
from splitimpera.deploy.adaptive_frame import AdaptiveFrame, at_once
from splitimpera.deploy.adaptive_plans import AdaptivePlans
from splitimpera.deploy.answering import Answering, Known
from splitimpera.deploy.breaker import Circuit, CircuitRules
from splitimpera.deploy.event_log import tell
from splitimpera.deploy.halves import Coded
from splitimpera.deploy.inferred import Inference, Seen
from splitimpera.deploy.servers import Address, Servers
from splitimpera.deploy.switching import PlanChange
from splitimpera.deploy.ways import Lane, Way

log = logging.getLogger(__name__)

PROBE_S = 0.75
"""What opening a session again may take, beside the round trips of its link."""
ROUND_TRIPS = 8.0


class FrameRules:
    """What is asked before each frame.

    Args:
        addresses: Of the servers; none: nothing is sent.
        call: Calls something in the event loop, soon.

    Attributes:
        ways: To the servers, once they are opened.
    """

    def __init__(
        self,
        plans: AdaptivePlans,
        answering: Answering,
        addresses: Sequence[Address],
        call: Callable[[Callable[[], object]], object],
    ) -> None:
        self.plans, self.answering = plans, answering
        self.adapting = plans.adapting(self._changed)
        self.servers = self._known_servers(addresses)
        self.ways: dict[Address, Way] = {}
        self._call = call
        self._numbers = count()
        self._change: PlanChange | None = None

    def _known_servers(self, addresses: Sequence[Address]) -> Servers | None:
        if not addresses:
            return None
        slowest_s = max((hop.link.delay_s for hop in self.plans.hops), default=0.0)
        rules = CircuitRules(probe_s=PROBE_S + ROUND_TRIPS * 2 * slowest_s)
        return Servers(
            addresses,
            rules,
            np.random.default_rng(),
            told=lambda change: tell(log, logging.INFO, "server", after=_written(change.after), reason=change.reason),
            circuit_told=lambda address, change: tell(
                log, logging.INFO, "circuit", server=_written(address), after=change.after.value, reason=change.reason
            ),
        )

    def _changed(self, change: PlanChange) -> None:
        self._change = change
        tell(
            log,
            logging.INFO,
            "plan",
            before=change.before or "none",
            after=change.after or "none",
            cause=change.cause.value,
            reason=change.reason,
        )

    def begin(self, tensors: Row, begun_s: float, deadline_s: float) -> AdaptiveFrame:
        """Who is to answer a frame, and by which plan it is sent."""
        server = None if self.servers is None else self.servers.use(begun_s)
        way = None if server is None else self.ways.get(server.address)
        allowed = None if server is None else server.breaker.allows(begun_s)
        if way is not None:
            self.plans.follow(self.adapting, way)
        self._change = None
        choice = self._choice(begun_s, way, allowed)
        probe = allowed is Circuit.HALF_OPEN or choice.trial
        sent_by = choice.plan
        if sent_by in (None, self.plans.local) and allowed is Circuit.HALF_OPEN:
            sent_by = self.adapting.switching.chosen
        hop = self.plans.hop(sent_by)
        lane = None if way is None or hop is None else way.lane(hop)
        if lane is None or not lane.open:
            allowed = None
        outage = lane is not None and lane.link.outage(begun_s) is not None
        known = Known(
            begun_s,
            deadline_s,
            self.plans.device_s,
            None if hop is None else self.adapting.answer_s(sent_by or "", begun_s),
            Circuit.HALF_OPEN if probe and allowed is not None else allowed,
            outage and not probe,
            None if hop is None else hop.depth,
            self.plans.head_s(sent_by),
            self.plans.rest_s(sent_by),
            hop is not None and not probe and not self._worth_sending(sent_by, deadline_s - begun_s, begun_s),
            self.plans.every_s,
        )
        self.answering.spare_s = self.plans.spare_s
        answer = self.answering.begin(known)
        used = self.adapting.switching.used if self.servers is not None else choice.plan
        attempt = server.begin(begun_s) if server is not None and answer.sends else None
        seen = self.seen(begun_s, lane)
        number = next(self._numbers)
        return AdaptiveFrame(
            number, tensors, begun_s, deadline_s, answer, choice, used, sent_by, lane, way, attempt, self._change, seen
        )

    def alone(self, coded: Coded, begun_s: float, now_s: float, manifest: Manifest) -> Future[Inference]:
        """What is told of a frame of which nothing is sent, whatever the link is like."""
        self.answering.answered(begun_s)
        plan = self.plans.early or ""
        return at_once(next(self._numbers), coded, begun_s, now_s, plan, self.seen(now_s), manifest)

    def _worth_sending(self, plan: str | None, left_s: float, now_s: float) -> bool:
        size = self.plans.frame_bytes(plan)
        return self.adapting.worth_sending(size, left_s, now_s)

    def _choice(self, now_s: float, way: Way | None, allowed: Circuit | None) -> Choice:
        """What the rules say, with what is in the way of the server."""
        cut_off = None
        if self.servers is None:
            return Choice(self.plans.local, str(self.answering.mode))
        if way is None or allowed is None:
            cut_off = "the circuit is open"
        elif allowed is Circuit.HALF_OPEN:
            cut_off = "the server is tried again"
        elif not way.open:
            cut_off = "there is no session"
        elif (outage := self.adapting.outage(now_s)) is not None:
            cut_off = f"nothing came for {now_s - outage.begun_s:.2g} s"
            way.server.breaker.trip(now_s, cut_off)
            self._call(way.reset)
        return self.adapting.next(now_s, cut_off)

    def seen(self, now_s: float, lane: Lane | None = None) -> Seen:
        """What is known of a link; None: of that by which plans are chosen."""
        link = self.adapting.estimate if lane is None else lane.link
        goodput, round_trip, loss = link.goodput(now_s), link.round_trip(now_s), link.loss(now_s)
        return Seen(
            None if goodput is None else goodput.value,
            None if round_trip is None else round_trip.value,
            None if loss is None else loss.value,
            link.outage(now_s) is not None,
        )


def _written(address: Address | None) -> str:
    return "none" if address is None else f"{address[0]}:{address[1]}"
