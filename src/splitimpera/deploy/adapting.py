"""By which plan each frame is run, as the link changes: estimates, policy, switching and trials, joined.

`Adapting` is told what was sent, answered and lost, and asked before every frame. It makes of the link's estimates what
is believed of the link (`belief`), takes the plan of the largest expected value by the policy, and moves to it as
`switching` allows. A client also asks it whether a frame is still worth sending, and when to ping.

- Rates: the policy's are of the wire, so the estimate is told sizes with headers.
- Delay: half the round trip of small packets, without what this client's own queue makes of it.
- Loss: over TCP none is seen; what it does is in the goodput.
- Trials: small frames tell nothing of the rate, and local plans nothing at all. Where to know it would be worth more
  than a change has to gain, single frames are run by the plan that could win, within the budget of probes; where the
  chosen plan is local, the device computes them as well.
- Experience: the plan in use is worth no less than what its latest frames came to; delays and losses that would have
  kept them from coming in time are believed the less, whichever plan they are asked for.
- Queues: a frame that would find a queue of this client's own, and come too late behind it, is held back: it would only
  make the next ones late.

Pure rules: no sockets, no clock; times are passed in, in seconds of one clock that does not go back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, inf

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.core.errors import PlanError, listed
from splitimpera.deploy.belief import Belief, LinkBelief, delay_beliefs, rate_beliefs, share_belief
from splitimpera.deploy.link_estimate import SEGMENT_BYTES, LinkEstimate
from splitimpera.deploy.lone_packets import LEAST_BYTES
from splitimpera.deploy.messages import Response, Status
from splitimpera.deploy.probe_budget import LEAST_BYTES_PER_S, SECONDS, ProbeBudget
from splitimpera.deploy.silence import Outage
from splitimpera.deploy.switching import LEAST_STAY_S, PlanChange, Proposal, Switching
from splitimpera.records.policy import Policy

HEADER_BYTES = 50
"""What comes with a packet on the wire, where nobody says: link, IP, UDP and frame header."""
PING_S, BUSY_PING_S = 0.25, 0.05
"""Pings apart: while the frames are small packets themselves, and else."""
PING_BYTES = 80
HOLD = 0.3
"""A frame is held back where not even this share of such frames would come in time: links flush queues in bursts."""
TRIALS_APART_S, MOST_APART_S = 0.25, 1.0
"""Twice as long after each trial that led to no other plan."""
WATCHED_S, LEAST_WATCHED = 1.0, 5
"""What the latest frames by the chosen plan came to, where there are so many."""
ENOUGH = 3
"""Frames that told the rate of late: more are not tried."""


def window_s(fps: float) -> float:
    """How long an estimate looks back where frames come so often: 12 of them, 1 to 3 s.

    >>> window_s(50.0), window_s(10.0), window_s(1.0)
    (1.0, 1.2, 3.0)
    """
    return min(max(12 / fps, 1.0), 3.0)


@dataclass(frozen=True)
class Choice:
    """By what a frame is run.

    Attributes:
        plan: The plan's id; None: the server cannot be reached, and no plan is local.
        trial: It is run by this plan once, to learn what the link is like. Where `beside` is another plan, the device
            runs the frame by that one as well, and its answer counts.
        beside: The local plan that is chosen; None: nothing is run beside.
        reason: For the log.
    """

    plan: str | None
    reason: str
    trial: bool = False
    beside: str | None = None


class Adapting:
    """The plan of each frame, by what is known of the link.

    Args:
        policy: Of this bundle.
        frame_bytes: Payload of a frame by each plan that may be used (in the bundle, above the privacy floor); 0: it is
            local.
        estimate: Of the link to the server in use; `use` takes another one.
        first: The plan to begin with; None: the best where nothing is known.
        header_bytes: What comes with each packet on the wire.
        least_stay_s: As `Switching` has it.
        told: Called with each change of the plan.

    Raises:
        PlanError: the policy has none of the plans, or not `first`.

    Example:
        >>> from splitimpera.records.policy import PolicyPlan
        >>> keys = {"configuration": "RC", "cut": 0, "codec": "uint8", "bottleneck": 0.0, "transport": "udp"}
        >>> plans = [PolicyPlan(id=name, values=values, errors=[0.0, 0.0], **keys)
        ...          for name, values in {"small": [0.8, 0.8], "large": [0.0, 0.9]}.items()]
        >>> policy = Policy(name="", objective="", prior="", rates_bps=[1e5, 1e7], delays_s=[], losses=[],
        ...                 weights=[0.5, 0.5], plans=plans, chosen=[0, 1], expected=0.85, of_all=0.85, bound=0.85)
        >>> adapting = Adapting(policy, {"small": 1_000, "large": 100_000}, LinkEstimate("udp"))
        >>> adapting.next(0.0).plan
        'small'
    """

    def __init__(
        self,
        policy: Policy,
        frame_bytes: Mapping[str, int],
        estimate: LinkEstimate,
        *,
        first: str | None = None,
        header_bytes: int = HEADER_BYTES,
        least_stay_s: float = LEAST_STAY_S,
        told: Callable[[PlanChange], None] = lambda _: None,
    ) -> None:
        self.policy, self.estimate = policy, estimate
        self._bytes = {plan.id: frame_bytes[plan.id] for plan in policy.plans if plan.id in frame_bytes}
        if not self._bytes:
            hint = f"the policy has {listed(plan.id for plan in policy.plans)}; make it again for these plans"
            raise PlanError(f"the policy has none of the plans {listed(frame_bytes)}", where="policy", hint=hint)
        self._ids = tuple(self._bytes)
        usable = [plan for plan in policy.plans if plan.id in self._bytes]
        self._values = np.array([plan.values for plan in usable])
        self._errors = np.array([plan.errors for plan in usable])
        local = next((plan.id for plan in usable if plan.configuration == "LC"), None)
        best = self._ids[int(np.argmax(self._values @ np.array(policy.weights)))]
        # the policy's own margin is in the proposals
        self.switching = Switching(self._ids, first or best, local, 0.0, least_stay_s, told)
        self._header_bytes = header_bytes
        # what is not used is saved until any frame can be paid for
        largest = max(map(self._wire_bytes, self._bytes.values()))
        self.budget = ProbeBudget(seconds=max(SECONDS, 1.01 * largest / LEAST_BYTES_PER_S))
        self._rates: tuple[tuple[Belief, ...], float] = (), -inf
        self._tried_s = self._pinged_s = -inf
        self._apart_s, self._held = TRIALS_APART_S, 0
        self._watched: dict[int, tuple[float, float, bool | None]] = {}
        self._watched_plan = self.switching.chosen

    def use(self, estimate: LinkEstimate) -> None:
        """Another server is used from now on, or another carrier: what was known of the link is not true of it."""
        self.estimate, self._rates = estimate, ((), -inf)

    # What is asked ----------------------------------------------------------------------------------------------------

    def next(self, now_s: float, cut_off: str | None = None) -> Choice:
        """By what the frame is run that begins now.

        Args:
            cut_off: Why the server cannot be reached, as an open circuit; an outage is seen here.
        """
        outage = self.outage(now_s)
        if cut_off is None and outage is not None:
            cut_off = f"nothing came for {now_s - outage.begun_s:.2g} s"
        if cut_off is not None:
            return Choice(self.switching.next(now_s, cut_off=cut_off), cut_off)
        link = self.link(now_s)
        on_time = self._on_time(now_s)
        shares = self._experienced(link.shares(self.policy), on_time)
        before = self.switching.chosen
        plan = self.switching.next(now_s, self._proposal(shares, on_time, link))
        if self.switching.chosen != before:
            self._apart_s = TRIALS_APART_S
        tried = None if plan is None else self._trial(plan, shares, link, now_s)
        if tried is None:
            return Choice(plan, link.words())
        beside = plan if plan is not None and not self._bytes[plan] else None
        return Choice(tried, f"a trial: {link.words()}", True, beside)

    def worth_sending(self, size: int, left_s: float, now_s: float) -> bool:
        """Whether a frame of `size` bytes is to be sent, whose answer is due in `left_s`: not where a queue of this
        client's own makes it late. Where none stands it is sent in any case: it says what the link is like."""
        if left_s == inf or self.estimate.queued_s(now_s) <= 0:
            return True
        answer_s = self.estimate.answer_s(self._wire_bytes(size), now_s, HOLD)
        if answer_s is None or answer_s <= left_s:
            return True
        self._held += 1
        self._watched[-self._held] = now_s, now_s, False
        return False

    def answer_s(self, plan: str, now_s: float, share: float = 0.95) -> float | None:
        """How long an answer takes from sending on, which this share keeps to; None: not known, or a local plan."""
        size = self._bytes[plan]
        return self.estimate.answer_s(self._wire_bytes(size), now_s, share) if size else None

    def ping_due(self, now_s: float, size: int = PING_BYTES) -> bool:
        """Whether to ping now; if so it is paid for: once a second, in an outage as often as the budget bears."""
        small = 0 < self._bytes[self.switching.chosen] < LEAST_BYTES
        apart_s = PING_S if small and self.outage(now_s) is None else BUSY_PING_S
        if now_s - self._pinged_s < apart_s - 1e-9 or not self.budget.may_probe(size, now_s):
            return False
        self._pinged_s = now_s
        return True

    def outage(self, now_s: float) -> Outage | None:
        """The outage that lasts; None: there is none."""
        return self.estimate.outage(now_s)

    # What happened ----------------------------------------------------------------------------------------------------

    def sent(
        self, frame: int, size: int, packets: int, now_s: float, deadline_s: float = inf, trial: bool = False
    ) -> None:
        """A frame was handed to the session; as `LinkEstimate.sent`. A trial was paid for when it was chosen."""
        wire_bytes = self._wire_bytes(size, packets)
        self.estimate.sent(frame, wire_bytes, packets, now_s, deadline_s)
        if trial:
            return
        self.budget.sent(wire_bytes, now_s)
        if not self._watched or self._watched_plan != self.switching.chosen:
            self._watched, self._watched_plan = {}, self.switching.chosen
        self._watched[frame] = now_s, now_s + deadline_s, None

    def answered(self, frame: int, response: Response, now_s: float, handed_s: float | None = None) -> None:
        """A response came; as `LinkEstimate.answered`."""
        if frame in self._watched:
            sent_s, until_s, _ = self._watched[frame]
            self._watched[frame] = sent_s, until_s, response.status is Status.OK and now_s <= until_s
        self.estimate.answered(frame, response, now_s, handed_s)

    def lost(self, frame: int, now_s: float) -> None:
        """Nobody waits any longer for a frame's response; as `LinkEstimate.lost`."""
        self.estimate.lost(frame, now_s)

    # How --------------------------------------------------------------------------------------------------------------

    def link(self, now_s: float) -> LinkBelief:
        """The link as it is believed to be."""
        met = rate_beliefs(self.estimate, now_s)
        if met:
            self._rates = met, now_s
        rates = tuple(belief.grown(now_s - self._rates[1]) for belief in self._rates[0])
        delays = delay_beliefs(self.estimate, now_s)
        known = rates or delays
        return LinkBelief(rates, delays, share_belief(self.estimate.loss(now_s)) if known else None)

    def _wire_bytes(self, size: int, packets: int = 1) -> int:
        """Of a frame, with headers."""
        return size + max(packets, ceil(size / SEGMENT_BYTES)) * self._header_bytes

    def _experienced(self, shares: FloatArray, on_time: float) -> FloatArray:
        """How likely each cell is, after this share of the latest frames came in time: so much of the belief moves to
        the delays and losses at which the chosen plan would bring them, at some rate. Of the rate frames say more
        by themselves."""
        own = self._values[self._ids.index(self.switching.chosen)].reshape(self.policy.shape).max(axis=0)
        likely = (shares.reshape(self.policy.shape) * own).ravel()
        return (1 - on_time) * shares + on_time * likely / likely.sum() if on_time and likely.any() else shares

    def _proposal(self, shares: FloatArray, on_time: float, link: LinkBelief) -> Proposal | None:
        """What is expected to be worth most, where that is more than the policy's margin."""
        worths, chosen = self._values @ shares, self._ids.index(self.switching.chosen)
        worths[chosen] = max(worths[chosen], on_time * self._values[chosen].max())
        best = int(np.argmax(worths))
        gain = float(worths[best] - worths[chosen])
        return Proposal(self._ids[best], gain, link.words()) if gain > self._margin(best, chosen, shares) else None

    def _on_time(self, now_s: float) -> float:
        """The share of the latest frames by the chosen plan that were answered in time; 0: too few are known."""
        if self._watched_plan != self.switching.chosen:
            return 0.0
        self._watched = {name: one for name, one in self._watched.items() if one[0] > now_s - WATCHED_S}
        known = [one[2] is True for one in self._watched.values() if one[2] is not None or one[1] < now_s]
        return sum(known) / len(known) if len(known) >= LEAST_WATCHED else 0.0

    def _margin(self, one: int, other: int, shares: FloatArray) -> float:
        """As `Policy.margin`, expected."""
        errors = np.hypot(self._errors[one], self._errors[other])
        return float(np.maximum(errors, self.policy.least_margin) @ shares)

    def _trial(self, plan: str, shares: FloatArray, link: LinkBelief, now_s: float) -> str | None:
        """The plan to try, and paid for; None: none."""
        goodput = self.estimate.goodput(now_s)
        known = goodput is not None and goodput.count >= ENOUGH and not goodput.at_least
        if known or self.switching.pinned or now_s - self._tried_s < self._apart_s:
            return None
        own = self._ids.index(plan)
        gains = np.maximum(self._values - self._values[own], 0.0) @ shares
        telling = np.array([*self._bytes.values()]) > self._bytes[plan]
        best = int(np.argmax(gains * telling))
        size = self._bytes[self._ids[best]]
        if not telling[best] or gains[best] <= self._margin(best, own, shares):
            return None
        if not self.budget.may_probe(self._wire_bytes(size), now_s):
            return None
        self._tried_s, self._apart_s = now_s, min(2 * self._apart_s, MOST_APART_S)
        return self._ids[best]
