"""The plans that a device may use: their halves, what each takes here, and the rules that choose among them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import perf_counter, sleep

import numpy as np

from splitimpera.bundle.manifest import HopEntry, PlanEntry
from splitimpera.bundle.opened import Bundle
from splitimpera.codec.given import array_dtype
from splitimpera.core.array_types import Row
from splitimpera.core.errors import PlanError
from splitimpera.deploy.adapting import Adapting, window_s
from splitimpera.deploy.answering import Mode
from splitimpera.deploy.halves import Coded, device_halves
from splitimpera.deploy.hops import pace
from splitimpera.deploy.link_estimate import LinkEstimate
from splitimpera.deploy.switching import PlanChange
from splitimpera.deploy.ways import Way, carrier_of
from splitimpera.records.policy import Policy, PolicyPlan

KEPT, KEPT_S = 64, 5.0
"""So many durations are looked back on, and for so long."""
SPARE_S = 0.01
"""So much sooner than it has to, the device begins where nobody answers; twice what it was late by of late, if more."""
WARM_UPS = 3


def slowed(took_s: float, slowdown: float) -> None:
    """Wait as much longer as a slower device would take."""
    if slowdown > 1:
        sleep((slowdown - 1) * took_s)


class Durations:
    """What something took of late.

    What was long is forgotten: where nothing new comes, since it took too long, it is tried again.

    Args:
        clock: s.

    Example:
        >>> times = iter([0.0, 1.0, 2.0, 3.0, 30.0])
        >>> took = Durations(lambda: next(times))
        >>> for took_s in (0.01, 0.01, 0.5):
        ...     took.add(took_s)
        >>> took.p95_s, took.p95_s  # at 3 and at 30 s
        (0.5, 0.01)
    """

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self._kept: deque[tuple[float, float]] = deque(maxlen=KEPT)
        self._clock = clock

    def add(self, took_s: float) -> None:
        self._kept.append((self._clock(), took_s))

    @property
    def longest_s(self) -> float:
        """0: there was none of late."""
        return max(self._latest(), default=0.0)

    @property
    def p95_s(self) -> float:
        """What 95 % keep to; half of all, where there was none of late; 0 before the first."""
        latest = self._latest()
        share = 95 if latest else 50
        ordered = sorted(latest or [took_s for _, took_s in self._kept])
        return ordered[min(len(ordered) * share // 100, len(ordered) - 1)] if ordered else 0.0

    def _latest(self) -> list[float]:
        since_s = self._clock() - KEPT_S
        return [took_s for at_s, took_s in self._kept if at_s > since_s]


class AdaptivePlans:
    """Plans of a bundle above its privacy floor, ready to run.

    Args:
        plan: The one to begin with, and without a policy the only one that is sent by; None: the policy's choice, or
            the recommended one.
        sends: Whether there is a server.
        slowdown: Every layer takes so many times as long, to stand in for a slower device.

    Attributes:
        local: The plan that runs on the device alone; None: there is none, or the mode does without.
        early: The plan whose frames may leave early; None: there is none, and no bundle with one has another.
        can_finish: Whether the device answers frames by itself.
        hops: Of all plans that are sent by.
        window_s, every_s: Over how long a link is looked at, and how often a frame comes, as designed.

    Raises:
        BundleError: there is no such plan, or it is damaged.
        PlanError: no plan is left that may be used.
    """

    def __init__(
        self, bundle: Bundle, plan: str | None, mode: Mode, sends: bool, threads: int, slowdown: float = 1.0
    ) -> None:
        manifest, self._slowdown = bundle.manifest, slowdown
        policy = bundle.policy() if sends else None
        entries = manifest.plans if policy is None else [manifest.plan(each.id) for each in policy.plans]
        local = next((each.id for each in [*entries, *manifest.plans] if not each.hops), None)
        first = None if plan is None and policy is not None else manifest.plan(plan).id
        if policy is None and first is not None:
            entries = [manifest.plan(first)]
        if first is not None and manifest.plan(first).hops and not sends:
            if local is None:
                raise PlanError(f"plan '{first}' needs a server", hint="say where it listens, as 'host:port'")
            first, entries = local, [manifest.plan(local)]
        if mode is not Mode.SERVER_ONLY and local is not None and local not in [each.id for each in entries]:
            entries = [*entries, manifest.plan(local)]
        usable = [each for each in entries if not each.hops or (sends and each.hops[0].depth >= manifest.floor)]
        if mode is Mode.SERVER_ONLY:
            usable = [each for each in usable if each.hops]
        if not usable:
            raise PlanError(
                f"no plan of the bundle can be used: mode {mode}, privacy floor {manifest.floor}",
                hint="export a plan that runs on the device alone, or one with a deeper cut",
            )
        self._entries: dict[str, PlanEntry] = {each.id: each for each in usable}
        self._first = first if first in self._entries else None
        self.early = next((id for id, each in self._entries.items() if each.exits), None)
        self.local = local if local in self._entries else None
        self.can_finish = self.local is not None and mode is not Mode.SERVER_ONLY
        self.hops = [each.hops[0] for each in usable if each.hops]
        self.depths = [hop.depth for hop in self.hops] + ([None] if self.local else [])
        self.responding = manifest.responding
        self.window_s, self.every_s = window_s(usable[0].fps), 1 / usable[0].fps
        self.halves = device_halves(bundle, list(self._entries), threads)
        self._heads = {id: Durations() for id in self._entries}
        self._rests = {id: Durations() for id, half in self.halves.items() if half.rest is not None}
        self._whole = Durations()
        self.late = Durations()
        """By how much the device's answers came later than when it was to begin, and what layers take, say."""
        self._bytes = dict.fromkeys(self._entries, 0)
        self._policy = policy or self._alone(manifest.plan(first).id)
        self._packet_bytes = max((pace(hop, True).header_bytes for hop in self.hops), default=0)
        self._warm_up(tuple(np.zeros(one.shape, array_dtype(one.spec)) for one in manifest.input.tensors))

    def _alone(self, first: str) -> Policy:
        """One condition, and one plan that is worth something: it is used wherever it can be."""
        plans = [
            PolicyPlan(
                id=id, configuration=entry.configuration, cut=None, codec=None, bottleneck=0.0, transport=None,
                values=[float(id == first)], errors=[0.0],
            )
            for id, entry in self._entries.items()
        ]  # fmt: skip
        chosen = [list(self._entries).index(first) if first in self._entries else None]
        return Policy(
            name="", objective="", prior="", rates_bps=[], delays_s=[], losses=[], weights=[1.0], plans=plans,
            chosen=chosen, expected=1.0, of_all=1.0, bound=1.0,
        )  # fmt: skip

    def _warm_up(self, zeros: Row) -> None:
        """An engine's first run takes longer; the others say what a frame takes."""
        for id in self._entries:
            if id == self.early:
                self.halves[id].warm_up()
            for turn in range(WARM_UPS + 1):
                if id == self.local:
                    self.finished(None, zeros, None)
                else:
                    coded = self.head(id, zeros)
                    predicted = self._entries[id].predicted.get("payload_bytes")
                    sent = 0 if coded.payload is None else len(coded.payload.data)
                    if self._entries[id].exits:  # what is predicted is less, with frames that send nothing
                        predicted = max(predicted or 0.0, float(sent))
                    self._bytes[id] = max(1, round(predicted) if predicted else sent)
                    if id in self._rests:
                        self.finished(id, zeros, coded)
                if not turn:
                    self._heads[id], self._whole = Durations(), Durations() if id == self.local else self._whole
                    if id in self._rests:
                        self._rests[id] = Durations()

    # Rules -----------------------------------------------------------------------------------------------------------

    def adapting(self, told: Callable[[PlanChange], None]) -> Adapting:
        """What chooses among the plans."""
        carrier = carrier_of(self.hops[0]) if self.hops else "udp"
        return Adapting(
            self._policy,
            self._bytes,
            LinkEstimate(carrier, seconds=self.window_s),
            first=self._first,
            header_bytes=self._packet_bytes,
            told=told,
        )

    def follow(self, adapting: Adapting, way: Way) -> None:
        """Have the rules look at the link of the server and carrier in use."""
        hop = self.hop(adapting.switching.chosen)
        link = next(iter(way.links.values())) if hop is None else way.lane(hop).link
        if link is not adapting.estimate:
            adapting.use(link)
            way.followed_by(adapting)

    # What is known of a plan; None: of no plan ------------------------------------------------------------------------

    def entry(self, plan: str | None) -> PlanEntry:
        return self._entries[plan or ""]

    def hop(self, plan: str | None) -> HopEntry | None:
        """None: it is local."""
        entry = self._entries.get(plan or "")
        return entry.hops[0] if entry is not None and entry.hops else None

    @property
    def device_s(self) -> float | None:
        """What the device takes for a whole frame; None: it cannot."""
        return self._whole.p95_s if self.can_finish else None

    def frame_bytes(self, plan: str | None) -> int:
        """Payload of a frame."""
        return self._bytes.get(plan or "", 0)

    def head_s(self, plan: str | None) -> float:
        return self._heads[plan].p95_s if plan in self._heads else 0.0

    @property
    def spare_s(self) -> float:
        """So much sooner than it has to, the device begins where nobody answers."""
        return max(SPARE_S, 2 * self.late.longest_s)

    def rest_s(self, plan: str | None) -> float | None:
        """What it takes to finish a frame that was sent; None: it begins anew."""
        return self._rests[plan].p95_s if plan in self._rests and self.can_finish else None

    # Engines ---------------------------------------------------------------------------------------------------------

    def head(self, plan: str, tensors: Row) -> Coded:
        """Run what comes before the cut."""
        begun_s = perf_counter()
        coded = self.halves[plan](list(tensors))
        slowed(perf_counter() - begun_s, self._slowdown)
        self._heads[plan].add(perf_counter() - begun_s)
        return coded

    def stand_in(self, coded: Coded | None) -> Row | None:
        """The answer of a frame's last early exit; None: it has none."""
        if coded is None or coded.said is None or self.early is None:
            return None
        return self.halves[self.early].named_by(coded.said)

    def finished(self, plan: str | None, tensors: Row, coded: Coded | None) -> Row:
        """A frame's answer by the device alone; from the cut on, where the plan's rest is here."""
        begun_s = perf_counter()
        if plan in self._rests and coded is not None and coded.outputs is not None:
            result = self.halves[plan].finished(coded.outputs)
            slowed(perf_counter() - begun_s, self._slowdown)
            self._rests[plan].add(perf_counter() - begun_s)
            return result
        assert self.local is not None
        whole = self.halves[self.local](list(tensors)).result
        assert whole is not None
        slowed(perf_counter() - begun_s, self._slowdown)
        self._whole.add(perf_counter() - begun_s)
        return whole
