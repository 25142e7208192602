"""How many sensors a plan carries, and what gives way with one more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from splitimpera.evaluation.run import evaluate
from splitimpera.evaluation.testbed import Testbed
from splitimpera.net.budget import WorkError
from splitimpera.records.plan import Plan

MOST_SENDERS = 1000
MOST_FRAMES = 200_000


@dataclass(frozen=True)
class Capacity:
    """The most senders with which a plan is stable, 0 if not even one, and the stage that saturates with one more.

    `busiest_stage` is None where `MOST_SENDERS`, or as many as can be simulated, are not too many.
    """

    senders: int
    busiest_stage: str | None


def find_capacity(
    plan: Plan, testbed: Testbed, rng: Callable[[], np.random.Generator], replications: int = 1
) -> Capacity:
    """Find it by bisection, every number of senders being simulated.

    Args:
        rng: a fresh generator, the same for every number.
    """
    workload = testbed.workload
    frames = max(workload.frames, len(testbed.samples("validation")))
    most = max(1, min(MOST_SENDERS, MOST_FRAMES // frames))

    def stage(senders: int) -> str | None:
        """What is too slow for so many."""
        bench = testbed.with_workload(replace(workload, senders=senders))
        found = evaluate(plan, bench, rng(), replications=replications, intervals=False)
        return None if found.stable else found.busiest_stage

    if (busiest_stage := stage(1)) is not None:
        return Capacity(0, busiest_stage)
    carried, too_many = 1, 1
    while busiest_stage is None and too_many < most:
        carried, too_many = too_many, min(2 * too_many, most)
        try:
            busiest_stage = stage(too_many)
        except WorkError:
            return Capacity(carried, None)
    if busiest_stage is None:
        return Capacity(too_many, None)
    while too_many - carried > 1:
        middle = (carried + too_many) // 2
        found = stage(middle)
        if found is None:
            carried = middle
        else:
            too_many, busiest_stage = middle, found
    return Capacity(carried, busiest_stage)
