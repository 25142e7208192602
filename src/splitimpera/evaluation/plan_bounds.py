"""What all plans of a space take at the least, by arrays: no plan is made, no frame is simulated.

A plan is a chain: first device, link, device, link, ..., last device. What a device takes depends on the hops on either
side alone, and what a link takes on its hop, so that tables of pairs of hops give the sums of all chains.

Latency: the least cost of each device, and of each link (its bytes with headers at the fastest rate + the least delay);
no queue, no loss; an answer that comes back directly takes its whole time. Over UDP a frame with gaps is used at its
deadline, however little has come: a lossy link takes nothing at the least. Frames a second: 1 / the stage that is busy
longest, at the link's mean rate.

Behind a bottleneck run the layers of its tail, whose tensors are others than the network's: codecs whose payloads vary
in size may make a byte of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from math import inf
from typing import Protocol

import numpy as np
import numpy.typing as npt

from splitimpera.codec.framing import packet_count
from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.core.errors import ScenarioError
from splitimpera.cost.spending import energy_j, fits
from splitimpera.evaluation.codings import Coding, Provisional, coding_of
from splitimpera.evaluation.costing import Bench, device_costs
from splitimpera.evaluation.plan_space import PlanSpace
from splitimpera.evaluation.sharing import most_senders
from splitimpera.net.directions import mean_rate_bps
from splitimpera.net.tcp import IP_TCP_HEADER_BYTES, stream_bytes
from splitimpera.net.udp import headers_bytes, payload_bytes
from splitimpera.records.costs import Cost, DeviceCosts
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.measurements import Measurements
from splitimpera.records.plan import Hop
from splitimpera.records.traffic import Workload

Bools = npt.NDArray[np.bool_]

MOST_PLANS = 2_000_000
"""So many chains are held at a time."""


class Payloads(Bench, Protocol):
    """A bench that knows payloads as well, as a `Testbed` does."""

    def provisional(self, coding: Coding) -> Provisional: ...


@dataclass(frozen=True, eq=False)
class Spent:
    """What parts of plans take, arrays of one shape.

    Attributes:
        least_s, usual_s: Seconds of a frame at the least, and without losses and queues as a rule.
        busy_s: Seconds that the busiest stage takes for one frame of each sender, at the least.
        payload_bytes: of all hops, at the least.
        fits: whether all devices hold their part.
    """

    least_s: FloatArray
    usual_s: FloatArray
    busy_s: FloatArray
    payload_bytes: FloatArray
    fits: Bools

    def at(self, places: object) -> Spent:
        """Some of them, by any index of an array."""
        return Spent(*(getattr(self, each.name)[places] for each in fields(self)))

    def then(self, other: Spent) -> Spent:
        """Both, one after the other."""
        return Spent(
            self.least_s + other.least_s,
            self.usual_s + other.usual_s,
            np.maximum(self.busy_s, other.busy_s),
            self.payload_bytes + other.payload_bytes,
            self.fits & other.fits,
        )

    @classmethod
    def joined(cls, parts: Sequence[Spent]) -> Spent:
        """Some after others."""
        return cls(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)))


@dataclass(frozen=True, eq=False)
class PlanBounds:
    """All plans of a space and what they take at the least, arrays of shape (plans,).

    Attributes:
        hops: Which of the space's hops each plan has on each link, -1 where it ends before, shape (plans, links).
        spent: what they take in all.
        waits: whether all of a plan's devices let frames wait rather than drop some.
        energy_j: what the first device spends on a frame; 0 where that is not known.
        cut_depth: layers on the first device.
        device_memory: weights and activations there.
    """

    hops: IntArray
    spent: Spent
    waits: Bools
    energy_j: FloatArray
    cut_depth: IntArray
    device_memory: IntArray

    def of(self, metric: str, usual: bool = False) -> FloatArray | None:
        """The best that each plan may reach in a metric; None where that says nothing of it.

        Args:
            usual: what it is likely to reach.
        """
        if metric.startswith("latency_"):
            return self.spent.usual_s if usual else self.spent.least_s
        if metric == "fps":
            with np.errstate(divide="ignore"):
                return 1 / self.spent.busy_s
        if metric == "payload_bytes":
            return self.spent.payload_bytes
        known = {"energy": self.energy_j, "cut_depth": self.cut_depth, "device_memory": self.device_memory}
        return known[metric].astype(np.float64) if metric in known else None


def bounds_of(
    space: PlanSpace,
    bench: Payloads,
    measurements: Measurements,
    workload: Workload,
    possible: Callable[[Spent], Bools] | None = None,
) -> PlanBounds:
    """The bounds of all plans of a space.

    Args:
        bench: The network; a `Testbed`.
        possible: Which parts of plans may still become a plan that matters; asked where there are too many.

    Raises:
        DataError: a time was not measured.
        ScenarioError: there are too many plans.
    """
    table = _Tables(space, bench, measurements, workload)
    links = len(space.hops)
    parts, chains = [table.alone()], [np.full((1, links), -1)]
    first = table.first()
    ending, found = (first.then(table.link(0, ends).at(0)) for ends in (True, links == 1))
    hops = np.arange(len(space.hops[0]))[:, None]
    behind: IntArray = np.zeros(len(hops), dtype=np.int64)
    for place in range(1, links + 1):
        parts.append((ending if place == 1 else found).then(table.last(place).at(hops[:, -1])))
        chains.append(np.pad(hops, ((0, 0), (0, links - place)), constant_values=-1))
        if place == links:
            break
        after = table.follows(place)
        if after.sum(1)[hops[:, -1]].sum() > MOST_PLANS and possible is not None:
            left = possible(found)
            found, hops, behind = found.at(left), hops[left], behind[left]
        count = int(after.sum(1)[hops[:, -1]].sum())
        if count > MOST_PLANS:
            raise ScenarioError(
                f"there are {count} ways to the device '{space.devices[place + 1].name}', at most {MOST_PLANS} are "
                "looked at",
                where="plans",
                hint="name fewer cuts or ratios, or fewer codecs and transports for some links ('links[1].codecs')",
            )
        rows, following = np.nonzero(after[hops[:, -1]])
        pairs = hops[rows, -1], following
        behind = behind[rows] | table.squeezes(place)[pairs]
        found = found.at(rows).then(table.middle(place).at(pairs)).then(table.link(place).at((behind, following)))
        hops = np.column_stack([hops[rows], following])
    return table.bounds(np.concatenate(chains), Spent.joined(parts))


class _Tables:
    """What devices and links take by the hops around them."""

    def __init__(self, space: PlanSpace, bench: Payloads, measurements: Measurements, workload: Workload) -> None:
        self.space = space
        self.bench = bench
        self.measurements = measurements
        self.workload = workload
        self.sharing = most_senders(space.devices, workload.senders)
        self.firsts = [self._costs(0, None, hop) for hop in space.hops[0]]
        self.whole = self._costs(0, None, None)

    def alone(self) -> Spent:
        return self._devices(0, [self.whole])

    def first(self) -> Spent:
        return self._devices(0, self.firsts)

    def last(self, place: int) -> Spent:
        """A device that ends plans, by the hop that arrives, with the way back of answers that no hop carries."""
        found = self._devices(place, [self._costs(place, hop, None) for hop in self.space.hops[place - 1]])
        back_s = self.workload.direct_s(place)
        return replace(found, least_s=found.least_s + back_s, usual_s=found.usual_s + back_s)

    def middle(self, place: int) -> Spent:
        """A device in between, by the hops that arrive and leave, shape (hops, hops)."""
        arriving, leaving = self.space.hops[place - 1 : place + 1]
        costs = [
            # where they do not follow each other nobody asks
            self._costs(place, one, other) if self.space.follows(one, other) else self.whole
            for one in arriving
            for other in leaving
        ]
        every = self._devices(place, costs)
        shape = len(arriving), len(leaving)
        return Spent(*(getattr(every, each.name).reshape(shape) for each in fields(Spent)))

    def follows(self, place: int) -> Bools:
        """Which hops of a link may follow which of the one before, shape (hops, hops)."""
        before, after = self.space.hops[place - 1 : place + 1]
        return np.array([[self.space.follows(one, other) for other in after] for one in before])

    def squeezes(self, place: int) -> IntArray:
        """Whether what crosses a link is made by the tail of a bottleneck on the one before, shape (hops, hops)."""
        before, after = self.space.hops[place - 1 : place + 1]
        of_pairs = [[bool(one.bottleneck) and one.cut < other.cut for other in after] for one in before]
        return np.array(of_pairs, dtype=np.int64)

    def link(self, place: int, ends: bool = False) -> Spent:
        """A link by its hops, shape (2, hops): what the network makes crosses, or what a bottleneck's tail makes.

        Args:
            ends: Of plans that have no hop after the first one.
        """
        answer = self.workload.along_bytes(1 if ends else 2)
        every = [
            self._crossing(hop, self.sharing[place + 1], behind, answer)
            for behind in (False, True)
            for hop in self.space.hops[place]
        ]
        least_s, usual_s, busy_s, payload = np.array(every).T.reshape(4, 2, -1)
        return Spent(least_s, usual_s, busy_s, payload, np.ones(payload.shape, dtype=bool))

    def bounds(self, hops: IntArray, spent: Spent) -> PlanBounds:
        device = self.space.devices[0]
        waits = np.cumprod([each.queue == "wait" for each in self.space.devices]).astype(bool)
        wire = [self._wire(hop, self.bench.provisional(coding_of(hop)).least_bytes) for hop in self.space.hops[0]]
        airtimes = [8 * sent / mean_rate_bps(hop.link) for sent, hop in zip(wire, self.space.hops[0], strict=True)]
        every = [*self.firsts, self.whole]  # the last one is that of plans without a hop, whose place is -1
        spends = [
            energy_j(device, _least(costs), sent, airtime_s) or 0.0
            for costs, sent, airtime_s in zip(every, [*wire, 0.0], [*airtimes, 0.0], strict=True)
        ]
        depths = [*(hop.cut for hop in self.space.hops[0]), self.bench.last]
        place = hops[:, 0]
        return PlanBounds(
            hops=hops,
            spent=spent,
            waits=waits[(hops >= 0).sum(1)],
            energy_j=np.array(spends)[place],
            cut_depth=np.array(depths)[place],
            device_memory=np.array([costs.memory_bytes for costs in every])[place],
        )

    def _costs(self, place: int, arriving: Hop | None, leaving: Hop | None) -> DeviceCosts:
        return device_costs(self.space.devices[place], self.bench, self.measurements, arriving, leaving)

    def _devices(self, place: int, every: Sequence[DeviceCosts]) -> Spent:
        device, sharing = self.space.devices[place], self.sharing[place]
        return Spent(
            np.array([_least(costs) for costs in every]),
            np.array([_usual(costs) for costs in every]),
            np.array([_busy(costs) * sharing for costs in every]),
            np.zeros(len(every)),
            np.array([_holds(device, costs) for costs in every]),
        )

    def _crossing(self, hop: Hop, senders: int, behind: bool, answer: int) -> tuple[float, float, float, float]:
        """Least and usual seconds, least busy seconds of the link, least bytes."""
        some, link = self.bench.provisional(coding_of(hop)), hop.link
        payload = some.least_bytes if some.fixed or not behind else 1
        wire_bytes, usual_bytes = (self._wire(hop, size) for size in (payload, some.least_bytes))
        trace = link.trace
        fastest_bps = max(trace.rate_bps, default=link.rate_bps) if trace else link.rate_bps
        if trace is not None and trace.opportunity_bytes:
            fastest_bps = inf
        delay_s = min(trace.delay_s, default=link.delay_s) if trace else link.delay_s
        back_s = link.delay_s if link.downlink_delay_s is None else link.downlink_delay_s
        back_s = (back_s + 8 * answer / (link.downlink_rate_bps or link.rate_bps)) if answer else 0.0
        least_s = delay_s + 8 * wire_bytes / fastest_bps
        least_s += back_s if not link.downlink_loss or hop.transport.startswith("tcp") else 0.0
        busy_s = 8 * wire_bytes / mean_rate_bps(link)
        usual_s = link.delay_s + 8 * usual_bytes / mean_rate_bps(link) + back_s
        loses = link.queue_bytes is not None or link.queue_packets is not None
        if loses and not hop.transport.startswith("tcp"):
            busy_s = 0.0  # what finds no room is not sent
        return least_s if _whole(hop) else 0.0, usual_s, busy_s * senders, payload

    def _wire(self, hop: Hop, payload: int) -> float:
        """Bytes on the wire at the least: a segment of TCP may hold the end of a frame and the next one's beginning."""
        size, link = np.array([payload]), hop.link
        if hop.transport.startswith("tcp"):
            segment = link.mtu_bytes - IP_TCP_HEADER_BYTES
            return float(stream_bytes(link, size)[0]) * (link.mtu_bytes + link.link_header_bytes) / segment
        if not hop.transport.startswith("udp"):
            return 0.0
        element_bytes = self.bench.provisional(coding_of(hop)).element_bytes
        packets = packet_count(size, payload_bytes(link, element_bytes))
        return float((size + packets * headers_bytes(link))[0])


def _whole(hop: Hop) -> bool:
    """Whether a frame is used when all of it has come, and never before."""
    if hop.transport.startswith("tcp"):
        return True
    link: Link = hop.link
    sure = not link.loss and link.drops is None and link.queue_bytes is None and link.queue_packets is None
    return sure and not (link.trace and any(link.trace.loss)) and hop.transport in ("udp", "udp-interleaved")


def _holds(device: Device, costs: DeviceCosts) -> bool:
    return fits(device, costs.memory_bytes) is None


def _quickest(cost: Cost | None) -> float:
    return 0.0 if cost is None else cost.seconds * min(cost.spread, default=1.0)


def _least(costs: DeviceCosts) -> float:
    """Seconds for a frame at the least."""
    return min(map(_quickest, costs.network)) + _quickest(costs.decode) + _quickest(costs.encode)


def _usual(costs: DeviceCosts) -> float:
    return sum(cost.seconds for cost in costs.parts.values())


def _busy(costs: DeviceCosts) -> float:
    """Seconds for each frame of the batches that take the least."""
    each_s = min(_quickest(cost) / count for count, cost in enumerate(costs.network, 1))
    return each_s + _quickest(costs.decode) + _quickest(costs.encode)
