"""How many senders a plan carries, and what gives way with one more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from splitimpera.core.array_types import IntArray
from splitimpera.evaluation.costing import plan_costs
from splitimpera.evaluation.run import frames_for
from splitimpera.evaluation.testbed import Testbed, route_of
from splitimpera.evaluation.timeline import timeline
from splitimpera.net.budget import WorkError
from splitimpera.records.measurements import Measurements
from splitimpera.records.plan import Plan

MOST_SENDERS = 1000
MOST_FRAMES = 200_000
MOST_TOKENS = 1_000_000


@dataclass(frozen=True)
class Capacity:
    """The most senders with which a plan is stable, 0 if not even one, and the stage that saturates with one more.

    `busiest_stage` is None where `MOST_SENDERS`, or as many as can be simulated, are not too many.
    """

    senders: int
    busiest_stage: str | None


def find_capacity(
    plan: Plan,
    testbed: Testbed,
    measurements: Measurements,
    rng: Callable[[], np.random.Generator],
    replications: int = 1,
    workers: int = 1,
    sizes: Sequence[IntArray] | None = None,
    leaving: Sequence[IntArray | None] = (),
) -> Capacity:
    """Find it by bisection, every number of senders being simulated; of the frames the timeline alone.

    Args:
        rng: gives a fresh generator, the same for every number.
        workers: how many replications are simulated side by side.
        sizes: bytes of the payloads at each hop, sample by sample; None: those of a few samples, again and again.
        leaving: At which of each device's early exits each sample leaves.
    """
    workload = frames_for(testbed.workload, len(testbed.samples("validation")))
    of_each = float(workload.frames)
    if workload.tokens is not None:
        of_each *= workload.tokens.output.mean * MOST_FRAMES / MOST_TOKENS
    most = max(1, min(MOST_SENDERS, int(MOST_FRAMES / of_each)))
    costs = plan_costs(plan, testbed, measurements)
    provisional = [*map(testbed.provisional, route_of(plan.hops))]
    of_hops = [one.sizes for one in provisional] if sizes is None else sizes
    elements = [one.element_bytes for one in provisional]

    def saturated(senders: int) -> str | None:
        """What is too slow for so many."""
        with_senders = replace(workload, senders=senders)
        found = timeline(plan, with_senders, costs, of_hops, elements, rng(), replications, workers, None, leaving)
        return None if found.stable else found.busiest_stage

    return _bisected(saturated, most)


def _bisected(saturated: Callable[[int], str | None], most: int) -> Capacity:
    if (stage := saturated(1)) is not None:
        return Capacity(0, stage)
    carried, too_many = 1, 1
    while stage is None and too_many < most:
        carried, too_many = too_many, min(2 * too_many, most)
        try:
            stage = saturated(too_many)
        except WorkError:
            return Capacity(carried, None)
    if stage is None:
        return Capacity(too_many, None)
    while too_many - carried > 1:
        middle = (carried + too_many) // 2
        found = saturated(middle)
        if found is None:
            carried = middle
        else:
            too_many, stage = middle, found
    return Capacity(carried, stage)
