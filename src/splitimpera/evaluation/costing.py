"""What each device of a plan takes for its part of the work."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Literal, Protocol

from splitimpera.core.errors import PlanError, shown
from splitimpera.cost.devices import codec_cost, network_cost
from splitimpera.cost.work import Work
from splitimpera.evaluation.codings import Segment, around, coding_of, forwards, rests
from splitimpera.evaluation.heads import Places
from splitimpera.evaluation.testbed import Testbed
from splitimpera.evaluation.token_costs import token_costs
from splitimpera.records.costs import Cost, DeviceCosts
from splitimpera.records.device import Device
from splitimpera.records.measurements import Measurements
from splitimpera.records.plan import Hop, Plan


class Bench(Protocol):
    """What is asked about a network, of a `Testbed` or of what else knows it; the arguments are a testbed's."""

    @property
    def last(self) -> int: ...

    def work(
        self, start: int, end: int, arriving: float = 0.0, leaving: float = 0.0, batch: int = 1, heads: Places = ()
    ) -> Work: ...

    def coded(self, cut: int, ratio: float = 0.0) -> tuple[int, int]: ...


def plan_costs(plan: Plan, testbed: Bench, measurements: Measurements) -> tuple[DeviceCosts, ...]:
    """The costs of a plan's devices, in their order.

    A device between two equal cuts runs no layer, and where both hops code alike it does nothing but forward. That it
    decodes and codes again what came with gaps is not in its time.

    Args:
        measurements: times of this machine, for devices without profile or preset.

    Raises:
        DataError: one of these times was not measured.
        PlanError: a device with early exits computes several frames together.
    """
    hops = [None, *plan.hops, None]
    if isinstance(testbed, Testbed) and testbed.workload.tokens is not None:
        return tuple(
            token_costs(device, testbed, measurements, arriving, leaving)
            for device, (arriving, leaving) in zip(plan.devices, pairwise(hops), strict=True)
        )
    return tuple(
        device_costs(device, testbed, measurements, arriving, leaving, heads_on(plan, place))
        for place, (device, (arriving, leaving)) in enumerate(zip(plan.devices, pairwise(hops), strict=True))
    )


def heads_on(plan: Plan, place: int) -> Places:
    """The cuts of the exits on one of a plan's devices.

    Raises:
        PlanError: it computes several frames together, of which some would leave and some go on.
    """
    exits, device = plan.exits_on(place), plan.devices[place]
    if exits and device.batch > 1:
        raise PlanError(
            f"'{shown(device.name)}' computes up to {device.batch} frames together and has early exits",
            where=f"devices[{place}].batch",
            hint="frames leave one by one: leave out batch, or the exits on this device",
        )
    return tuple(exit.cut for exit in exits)


def device_costs(
    device: Device,
    testbed: Bench,
    measurements: Measurements,
    arriving: Hop | None,
    leaving: Hop | None,
    heads: Places = (),
) -> DeviceCosts:
    """The costs of one device, by the hops on either side and the exits on it; arguments and errors as above."""
    start, last = arriving.cut if arriving else 0, leaving.cut if leaving else testbed.last
    ratios = around(arriving, leaving)
    until_end = (start, last, ratios["arriving"], ratios["leaving"])

    def network(segment: Segment, batch: int, heads: Places) -> Cost:
        work = testbed.work(*segment, batch, heads)
        return network_cost(device, work, lambda: measurements.segment_samples_s(*segment, batch, heads))

    def coding(direction: Literal["encode", "decode"], hop: Hop | None) -> Cost | None:
        if hop is None or forwards(arriving, leaving):
            return None
        key = coding_of(hop)
        size, channels = testbed.coded(key.cut, key.bottleneck)
        here = partial(measurements.coding_samples_s, direction, *key[:4])
        return codec_cost(device, key.codec, direction, size, here, channels)

    if rests(arriving, leaving):
        nothing = (Cost(0.0, "estimated"),) * device.batch
        return DeviceCosts(nothing, coding("decode", arriving), coding("encode", leaving), 0)
    of_one = network(until_end, 1, heads)
    together = [of_one]
    if device.batch > 1:
        # between one frame and the largest batch, each further frame takes as much longer
        most = network(until_end, device.batch, heads)
        step_s = (most.seconds - of_one.seconds) / (device.batch - 1)
        together += [replace(most, seconds=of_one.seconds + step_s * more) for more in range(1, device.batch)]
    memory_bytes = testbed.work(*until_end, device.batch, heads).memory_bytes
    # what leaves has not come to the bottleneck in front of the link
    left = tuple(
        network((start, cut, ratios["arriving"], 0.0), 1, heads[:place]) for place, cut in enumerate(heads, start=1)
    )
    return DeviceCosts(tuple(together), coding("decode", arriving), coding("encode", leaving), memory_bytes, left)
