"""Which plan the next frame is run by: what the policy proposes, but not more often than is good.

Three things move a run from plan to plan, and each is recorded:

- a **switch**, as the policy proposes: only where its gain is above a margin, and at least `least_stay_s` after the one
  before, so that no sequence of proposals makes a run flap;
- a **pin**, by which an operator chooses the plan: at once, and proposals are passed over until it is taken away;
- a **fallback** to the local plan where the server cannot be reached: at once, whatever else holds, and the **return**
  from it. It is no switch: the plan that was chosen stays chosen. The first return is at once; the next one comes at
  least `least_stay_s` later, so that a link that comes and goes leaves the frames on the device.

Pure rules: the time is passed in, and comes from one clock that does not go back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf, isfinite

from splitimpera.core.errors import PlanError, listed, shown

LEAST_STAY_S = 1.0
MARGIN = 0.01
"""One point of on-time quality."""


class Cause(StrEnum):
    """What moved a run to another plan."""

    SWITCH = "switch"
    PIN = "pin"
    FALLBACK = "fallback"
    RETURN = "return"


@dataclass(frozen=True)
class Proposal:
    """What the policy holds for best now.

    Attributes:
        plan: Its id.
        gain: How much more it is worth than the plan that is chosen, in the policy's unit.
        reason: Under which condition of the link, for the log.
    """

    plan: str
    gain: float
    reason: str = ""


@dataclass(frozen=True)
class PlanChange:
    """From one plan to another; None: there is none, for the server is out of reach and no plan is local."""

    now_s: float
    before: str | None
    after: str | None
    cause: Cause
    reason: str


class Switching:
    """The plan of each frame.

    Args:
        plans: The ids of those that may be used: in the bundle, and above the privacy floor.
        first: The one to begin with.
        local: The one that runs on the device alone; None: there is none, or it must not be used.
        margin: A switch has to gain more than this. 0 where the policy's table has a margin already.
        least_stay_s: Between two switches, at least.
        told: Called with each change.

    Raises:
        PlanError: a plan that is not among `plans`, or a margin or time that is none.

    Example:
        >>> plans = Switching(["local", "split"], "split", "local")
        >>> plans.next(0.0), plans.next(0.1, cut_off="no answer for 2 s"), plans.next(0.2)
        ('split', 'local', 'split')
    """

    def __init__(
        self,
        plans: Sequence[str],
        first: str,
        local: str | None = None,
        margin: float = MARGIN,
        least_stay_s: float = LEAST_STAY_S,
        told: Callable[[PlanChange], None] = lambda _: None,
    ) -> None:
        self._plans = tuple(plans)
        self._known(first, "first")
        if local is not None:
            self._known(local, "local")
        for name, value in (("margin", margin), ("least_stay_s", least_stay_s)):
            if not (isfinite(value) and value >= 0):
                raise PlanError(f"expected 0 or more, got {shown(value)}", where=name)
        self.chosen = first
        """What policy or operator want; it is used wherever the server can be reached."""
        self.used: str | None = first
        self.pinned = False
        self._local, self._margin, self._least_stay_s, self._told = local, margin, least_stay_s, told
        self._chosen_s = self._returned_s = -inf
        self._away = False
        """Whether the server was out of reach, and nothing has returned to it since."""

    def next(self, now_s: float, proposal: Proposal | None = None, cut_off: str | None = None) -> str | None:
        """The plan of the frame that begins now.

        Args:
            proposal: What the policy holds for best; None: it has nothing to say. Passed over while the server is out
                of reach, for then nothing is known of the link.
            cut_off: Why the server cannot be reached (an outage, an open circuit); None: it can.

        Returns:
            its id; None: the server cannot be reached, and no plan is local.

        Raises:
            PlanError: a proposal of a plan that may not be used.
        """
        if proposal is not None:
            self._known(proposal.plan, "policy")
        if cut_off is not None:
            self._away = True
            if self.used != self._local:
                self._use(self._local, now_s, Cause.FALLBACK, cut_off)
            return self.used
        if self._away and self.used != self.chosen:
            # without a local plan nothing is better than a server that comes and goes
            if self._local is not None and now_s - self._returned_s < self._least_stay_s:
                return self.used
            self._returned_s = now_s
            self._use(self.chosen, now_s, Cause.RETURN, "the server can be reached again")
        self._away = False
        if proposal is not None and proposal.plan != self.chosen and self._worth_it(proposal, now_s):
            self._choose(proposal.plan, now_s)
            told = f": {proposal.reason}" if proposal.reason else ""
            self._use(proposal.plan, now_s, Cause.SWITCH, f"gains {proposal.gain:.3g}{told}")
        return self.used

    def pin(self, plan: str, now_s: float) -> None:
        """Choose a plan until `unpin`. While the server is out of reach it is used from the return on.

        Raises:
            PlanError: it may not be used.
        """
        self._known(plan, "pin")
        self.pinned = True
        if plan != self.chosen:
            self._choose(plan, now_s)
        if not self._away and plan != self.used:
            self._use(plan, now_s, Cause.PIN, "the operator chose it")

    def unpin(self) -> None:
        """Leave the choice to the policy again."""
        self.pinned = False

    def _worth_it(self, proposal: Proposal, now_s: float) -> bool:
        stayed = now_s - self._chosen_s >= self._least_stay_s
        return not self.pinned and stayed and proposal.gain > self._margin

    def _choose(self, plan: str, now_s: float) -> None:
        self.chosen, self._chosen_s = plan, now_s

    def _use(self, plan: str | None, now_s: float, cause: Cause, reason: str) -> None:
        before, self.used = self.used, plan
        self._told(PlanChange(now_s, before, plan, cause, reason))

    def _known(self, plan: str, where: str) -> None:
        if plan not in self._plans:
            raise PlanError(
                f"expected one of the plans {listed(self._plans)}, got '{shown(plan)}'",
                where=where,
                hint="take a policy and a plan of this bundle, above its privacy floor",
            )
