"""The plans of a design, evaluated: each as far as it is needed, nothing twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from zlib import crc32

import numpy as np
import torch

from splitimpera.core.array_types import IntArray
from splitimpera.core.progress import Track, no_progress
from splitimpera.evaluation.passes import Kept
from splitimpera.evaluation.remembered import Remembered
from splitimpera.evaluation.replay import left_early, replay, resimulated, timeline_alone
from splitimpera.evaluation.run import Evaluated, Settled, evaluate_all, side_by_side
from splitimpera.evaluation.sharing import most_senders
from splitimpera.evaluation.testbed import Part, Testbed, route_of
from splitimpera.evaluation.values import Known
from splitimpera.net.directions import mean_rate_bps
from splitimpera.records.link import Link
from splitimpera.records.measurements import Measurements
from splitimpera.records.outcome import Evaluation
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.traffic import Workload
from splitimpera.studies.loss_curve import LOSSES, LossCurve, curve_through, with_loss

Trial = Callable[[Plan, Workload], Evaluation]
"""Evaluates a plan under a workload, with randomness that is the plan's own at every call."""

MOST_PATTERNS = 1000
LOSING = "Losing packets"
LEAVING = "Looking at early exits"
CURVE_SAMPLES = 64
"""On how many samples a curve over packet loss rests."""


@dataclass(eq=False)
class Trials:
    """Evaluates plans on one testbed; what was learned of a plan's frames serves all that is asked of it later.

    Args:
        times: times of this machine, for devices without profile or preset.
        replications: how often links are simulated.
        workers: how many replications are simulated side by side.
        kept: what earlier runs computed.
        needless: whether nobody asks for the quality of a trial, given all else.
        once_if_overloaded: whether a trial simulates links once that payloads alone overload.
        known: what was learned of each plan's frames, by its id.
    """

    testbed: Testbed
    times: Measurements
    seed: int
    replications: int
    workers: int = 1
    kept: Kept | None = None
    needless: Callable[[Evaluation], bool] | None = None
    once_if_overloaded: bool = False
    track: Track[Any] = no_progress
    known: dict[str, Known] = field(default_factory=dict)
    _tried: dict[tuple[Plan, Workload], Evaluation] = field(default_factory=dict)
    _left_early: dict[str, tuple[IntArray | None, ...]] = field(default_factory=dict)
    _links: Remembered = field(default_factory=Remembered)

    def rng(self, plan: Plan) -> np.random.Generator:
        """A plan's own randomness: it does not depend on which other plans there are."""
        return np.random.default_rng([self.seed, crc32(plan.id.encode())])

    def timelines(self, plans: Sequence[Plan]) -> list[Evaluation]:
        """The plans without their quality; payloads are as large as those of a few samples.

        What is certain to be unstable is simulated once.
        """
        asking = {plan.id: left_early(plan, self.testbed) for plan in plans if plan.exits}
        self._left_early |= side_by_side(asking, self.testbed, "validation", self.kept, self.track, LEAVING)
        found = []
        for plan in self.track(plans, "Simulating the plans", len(plans)):
            replications = 1 if self.overloads(plan) else self.replications
            found.append(self._alone(plan, replications, leaving=self._left_early.get(plan.id, ())))
        return found

    def _alone(self, plan: Plan, replications: int, **known: Any) -> Evaluation:
        rng = self.rng(plan)
        return timeline_alone(plan, self.testbed, self.times, rng, replications, workers=self.workers, **known)

    def overloads(self, plan: Plan) -> bool:
        """Whether payloads alone take more than a link carries, and no device drops frames."""
        workload = self.testbed.workload
        if workload.tokens is not None:
            return False  # a simulated user sends no request before the last one is answered
        loads, goes_on = [], np.ones(1, dtype=bool)
        leaving, senders_of = self._leaving_at_best(plan), most_senders(plan.devices, workload.senders)[1:]
        route = route_of(plan.hops)
        for place, (hop, coding, senders) in enumerate(zip(plan.hops, route, senders_of, strict=True)):
            for leaves in leaving[place : place + 1]:
                goes_on = goes_on if leaves is None else goes_on & (leaves < 0)
            some = self.testbed.provisional(coding)
            bits = 8 * some.least_bytes * senders * float(goes_on.mean())
            loads.append(bits * workload.fps / mean_rate_bps(hop.link))
        return max(loads, default=0.0) > 1 and all(device.queue == "wait" for device in plan.devices)

    def at_best(self, found: Evaluation) -> Evaluation:
        """A timeline anew, at the least that payloads may take and without chance; itself where their size is fixed.

        Payloads of other sizes meet other losses and delays, which may favor them: so the link has neither. Who leaves
        at an early exit behind a hop depends on what the hop has lost: at best all do, at the first of the device.
        """
        plan, leaving = found.plan, self._leaving_at_best(found.plan)
        provisional = [*map(self.testbed.provisional, route_of(plan.hops))]
        if all(one.fixed for one in provisional) and not any(leaves is not None for leaves in leaving[1:]):
            return found
        sizes = [np.array([one.least_bytes]) for one in provisional]
        ideal = [replace(with_loss(hop.link, 0.0), downlink_loss=0.0, jitter_s=0.0) for hop in plan.hops]
        best = replace(plan, hops=tuple(map(_over, plan.hops, ideal)))
        return self._alone(best, self.replications, sizes=sizes, leaving=leaving)

    def _leaving_at_best(self, plan: Plan) -> tuple[IntArray | None, ...]:
        """At which exits of each device samples leave at best; what the first device sees is certain."""
        first, *others = self._left_early.get(plan.id, (None,))
        return first, *(None if leaves is None else np.zeros_like(leaves) for leaves in others)

    def evaluated(self, plans: Sequence[Plan], settled: Settled | None = None) -> list[Evaluation]:
        """The plans with their quality on validation samples."""
        found = self._evaluated(plans, "validation", settled)
        self.known |= {one.evaluation.plan.id: one.known for one in found}
        return [one.evaluation for one in found]

    def on_test(self, plans: Sequence[Plan]) -> list[Evaluated]:
        """The plans with their quality on test samples."""
        return self._evaluated(plans, "test")

    def _evaluated(self, plans: Sequence[Plan], part: Part, settled: Settled | None = None) -> list[Evaluated]:
        """From as many loss patterns as the quality needs."""
        return evaluate_all(
            plans,
            self.testbed,
            self.times,
            {plan.id: self.rng(plan) for plan in plans},
            part,
            self.replications,
            workers=self.workers,
            most_patterns=MOST_PATTERNS,
            settled=settled,
            kept=self.kept,
            track=self.track,
        )

    def again(self, before: Evaluation, replications: int) -> Evaluation:
        """An evaluation whose links are simulated more often."""
        plan = before.plan
        return resimulated(
            before,
            self.testbed,
            self.times,
            self.known[plan.id],
            self.rng(plan),
            replications,
            workers=self.workers,
        )

    def trial(self, plan: Plan, workload: Workload) -> Evaluation:
        """A `Trial` of plans that were evaluated, with other links, machines or frames: their timelines replayed."""
        bench, known, key = self.testbed.with_workload(workload), self.known[plan.id], (plan, workload)
        if key in self._tried:
            return self._tried[key]
        found = replay(
            plan,
            bench,
            self.times,
            known,
            self.rng(plan),
            self._replications_of(plan, workload),
            workers=self.workers,
            needless=self.needless,
            remembered=self._links,
        )
        if not plan.hops:  # without a link it is the same on all of them
            self._tried[key] = found
        return found

    def timing(self, plan: Plan, workload: Workload) -> Evaluation:
        """A `Trial` of any plan, without its quality and intervals: of one replication."""
        bench, known = self.testbed.with_workload(workload), self.known.get(plan.id)
        sizes = None if known is None else known.sizes
        return timeline_alone(plan, bench, self.times, self.rng(plan), sizes=sizes, intervals=False)

    def _replications_of(self, plan: Plan, workload: Workload) -> int:
        """How often a trial simulates the links: requests of many tokens each say as much as many frames."""
        if workload.tokens is not None or (self.once_if_overloaded and self.overloads(plan)):
            return 1
        return self.replications

    def loss_curves(self, plans: Iterable[Plan]) -> list[LossCurve]:
        """Quality against packet loss, of plans that were evaluated; `trial` knows then what other losses do.

        All plans at all losses together take one pass over `CURVE_SAMPLES` samples, with one loss pattern of each; the
        curve is what was found without loss on all samples, less what the loss costs on these.
        """
        plans = list(plans)
        samples = len(self.testbed.data.validation)
        order = np.random.default_rng([self.seed, samples]).permutation(samples)[:CURVE_SAMPLES]
        rows = torch.from_numpy(np.sort(order))
        variants = {plan.id: [_at_loss(plan, loss) for loss in LOSSES] for plan in plans}
        every = [variant for of_plan in variants.values() for variant in of_plan]
        found = evaluate_all(
            every,
            self.testbed.of_samples(rows),
            self.times,
            {variant.id: self.rng(variant) for variant in every},
            intervals=False,
            workers=self.workers,
            most_patterns=1,
            kept=self.kept,
            track=self.track,
            description=LOSING,
        )
        by_id = {one.evaluation.plan.id: one for one in found}
        curves = []
        for plan in plans:
            known, some = self.known[plan.id], [by_id[variant.id] for variant in variants[plan.id]]
            for one in some:
                known = replace(known, damage=known.damage.with_more(one.known.damage))
            self.known[plan.id] = known
            curves.append(curve_through(plan, known.intact, rows.numpy(), [one.evaluation for one in some]))
        return curves


def _over(hop: Hop, link: Link) -> Hop:
    return replace(hop, link=link)


def _at_loss(plan: Plan, loss: float) -> Plan:
    hops = tuple(replace(hop, link=with_loss(hop.link, loss)) for hop in plan.hops)
    return replace(plan, id=f"{plan.id} at {loss!r}", hops=hops)
