"""What the plans of one bundle must have in common."""

from __future__ import annotations

from collections.abc import Sequence

from splitimpera.bundle.schema_versions import Answers
from splitimpera.core.errors import PlanError, listed
from splitimpera.core.units import format_bytes
from splitimpera.cost.spending import memory_bytes
from splitimpera.export.designed import Designed
from splitimpera.records.device import Device
from splitimpera.records.requirement import METRICS

DEPTH = "cut_depth"


def machines_of(designs: Sequence[Designed]) -> list[str]:
    """The machines of all plans, in the order of the frames' way.

    Raises:
        PlanError: several plans are for other machines than each other.
    """
    longest = max((design.plan for design in designs), key=lambda plan: len(plan.devices))
    machines = [device.name for device in longest.devices]
    for plan in (design.plan for design in designs):
        own = [device.name for device in plan.devices]
        if own != machines[: len(own)]:
            raise PlanError(
                f"it is for {listed(own)}, plan '{longest.id}' is for {listed(machines)}",
                where=f"plan '{plan.id}'",
                hint="a bundle is for the same machines; export them apart",
            )
    return machines


def floor_of(designs: Sequence[Designed]) -> int:
    """The privacy floor: so many layers run on the device before anything is sent, as a requirement wants; 0: none.

    Raises:
        PlanError: a plan sends before.
    """
    wanted = [each for each in designs[0].results.requirements if each.metric == DEPTH and each.weight is None]
    if not wanted:
        return 0
    deepest = max(wanted, key=lambda each: each.limit)
    for plan in (design.plan for design in designs):
        if plan.hops and plan.hops[0].cut < deepest.limit:
            raise PlanError(
                f"it sends after {METRICS[DEPTH].format(plan.hops[0].cut)}, the design requires '{deepest.text}'",
                where=f"plan '{plan.id}'",
                hint="leave it out, or design again without this requirement",
            )
    return int(deepest.limit)


def answers_of(designs: Sequence[Designed], policy: bool) -> Answers:
    """How answers of plans of more than two machines come back.

    Args:
        policy: Whether there is one, whose plans have their answers along the way.

    Raises:
        PlanError: there is, and answers come back directly.
    """
    chains = [design.plan for design in designs if len(design.plan.devices) > 2]
    if not chains or designs[0].setting.workload.direct is None:
        return "along"
    if policy:
        raise PlanError(
            f"answers of plan '{chains[0].id}' come back directly, those of a policy's plans along the way",
            where="--policy",
            hint="export without, or design without workload.answers",
        )
    return "direct"


def check_memory(device: Device, plans: int, needed_bytes: int) -> None:
    """Refuse more plans than a device bears, by what their programs alone take.

    Raises:
        PlanError: with both numbers.
    """
    limit = memory_bytes(device)
    if limit is not None and needed_bytes > limit:
        raise PlanError(
            f"the programs of {plans} plans take {format_bytes(needed_bytes)} on {device.name}, it has "
            f"{format_bytes(limit)}",
            where="--policy",
            hint="export fewer plans: 'splitimpera policy' takes '--plans' and '--memory'",
        )
