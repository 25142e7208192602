"""What a design says of a plan's frames, one by one: its timeline once more, from what the results file records.

No network is run. The times of this machine lie in the file with all their samples, profiles and presets are where the
scenario says, and each part is held to the mean that the file has of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from zlib import crc32

import numpy as np

from splitimpera.codec.codec_names import parsed
from splitimpera.codec.framing import IP_UDP_HEADER_BYTES, packet_count
from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.core.errors import DataError, SplitImperaError
from splitimpera.cost.devices import build_device
from splitimpera.cost.measured_times import measurements_from
from splitimpera.cost.work import LayerWork, Work
from splitimpera.evaluation.costing import plan_costs
from splitimpera.evaluation.heads import Places
from splitimpera.evaluation.run import frames_for
from splitimpera.evaluation.timeline import Timeline
from splitimpera.net.links import build_link
from splitimpera.net.udp import payload_bytes
from splitimpera.net.workloads import build_workload
from splitimpera.records.costs import Cost, DeviceCosts
from splitimpera.records.device import Device, Roofline
from splitimpera.records.exits import GOES_ON
from splitimpera.records.link import Link
from splitimpera.records.plan import Exit, Hop, Plan
from splitimpera.records.traffic import Workload
from splitimpera.report.schema import PlanEntry, Results
from splitimpera.scenario import DeviceSection, Scenario, load_run
from splitimpera.verification.frame_times import Bools, FrameTimes, of_hop
from splitimpera.verification.matching import WARM_UP

ENOUGH_FRAMES = 5000
MOST_REPLICATIONS = 200
ELEMENT_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True, eq=False)
class Prediction(FrameTimes):
    """Simulated frames, arrays of shape (replications, frames); the first of each sender left out.

    Attributes:
        scenario: That of the design.
        plan: The plan that was simulated.
        workload: The workload of the scenario.
        redone: Metrics of the design's own frames, simulated once more, by name.
        on_time: Whether each has its response by its deadline.
        left_at: At which of the plan's early exits each left; -1: at none.
        stood_in: Whether the answer of its last early exit stood in for a response that was lost or late.
        lost, packets: Packets of each; 0 of one that was not sent.
        warnings: What of the design could not be read again.
    """

    scenario: Scenario
    plan: Plan
    workload: Workload
    redone: Mapping[str, float]
    on_time: Bools
    left_at: IntArray
    stood_in: Bools
    lost: IntArray
    packets: IntArray
    dropped: Bools
    warnings: tuple[str, ...]

    @property
    def left(self) -> Bools:
        """Whether each left early."""
        left: Bools = self.left_at != GOES_ON
        return left

    @property
    def link(self) -> Link | None:
        """The first one."""
        return self.plan.hops[0].link if self.plan.hops else None

    @property
    def stages(self) -> tuple[list[str], list[str]]:
        """Names of the plan's devices and links."""
        return [device.name for device in self.plan.devices], [hop.link.name for hop in self.plan.hops]


def predict(
    folder: Path,
    results: Results,
    entry: PlanEntry,
    frames: int,
    sizes: FloatArray,
    result_bytes: int | None = None,
    further: Sequence[FloatArray] = (),
) -> Prediction:
    """Simulate a plan as its design did.

    Args:
        folder: That of the results.
        frames: How many frames of each sender, the first included.
        sizes: Payloads of frames that were sent, in bytes, whose variation the simulated ones take over; their mean is
            the design's. None: all are alike.
        result_bytes: Mean size of what a response carries; None: that of the network's result.
        further: Payloads on each hop after the first one.

    Raises:
        SplitImperaError: what the scenario records cannot be used.
    """
    scenario = load_run(folder / "results.json").scenario
    warnings: list[str] = []
    devices = [_device(section, scenario.folder, entry, warnings) for section in scenario.devices[: len(entry.devices)]]
    sections = enumerate(scenario.links[: len(entry.hops)])
    links = [build_link(section, scenario.folder, f"links[{place}]") for place, section in sections]
    hops = tuple(
        Hop(hop.cut, hop.codec, hop.transport, link, hop.bottleneck)
        for hop, link in zip(entry.hops, links, strict=True)
    )
    plan = Plan(entry.id, tuple(devices), hops, tuple(Exit(exit.cut, tuple(exit.thresholds)) for exit in entry.exits))
    asked = build_workload(scenario.workload, results.cuts[-1].bytes if result_bytes is None else result_bytes)
    own = frames_for(asked, results.samples.validation)
    costs = plan_costs(plan, _Recorded(results), measurements_from(results.measurements.model_dump()))
    payloads, leaving = _payloads(entry, [sizes, *further]), _leaving(plan, entry, results)

    def simulated(workload: Workload, costs: Sequence[DeviceCosts], replications: int) -> Timeline:
        # the same randomness as the design's: see `studies.trial`
        rng = np.random.default_rng([results.seed, crc32(entry.id.encode())])
        found = Timeline(plan, workload, costs, rng.spawn(replications))

        def of_all(values: IntArray) -> IntArray:
            return np.broadcast_to(np.resize(values, found.now_s.shape[1]), found.now_s.shape)

        exits = [None if of_samples is None else of_all(of_samples) for of_samples in leaving]
        for hop, of_this, at in zip(hops, payloads, exits, strict=False):
            found.compute(at)
            found.send(of_all(of_this), _element_bytes(hop))
        found.compute(exits[-1])
        return found

    replications = len(entry.latency_p95_replications_s)
    again = simulated(own, costs, replications)
    held = _held_to(entry, costs, again)
    if held != tuple(costs):
        again = simulated(own, held, replications)
    latency_s = again.latency_s[np.isfinite(again.latency_s)]
    redone = dict(zip(("latency_p50", "latency_p95"), map(float, np.percentile(latency_s, (50, 95))), strict=True))
    more = min(MOST_REPLICATIONS, max(replications, -(-ENOUGH_FRAMES // frames)))
    found = simulated(replace(own, frames=frames), held, more)
    after = slice(WARM_UP * own.senders, None)
    answered = np.where(found.alive, found.latency_s, np.nan)
    lost, packets = _packets(found, payloads)
    on_time = found.on_time & found.alive
    return Prediction(
        latency_s=answered[:, after],
        parts_s={name: values[:, after] for name, values in _parts(found).items()},
        scenario=scenario,
        plan=plan,
        workload=own,
        redone=redone,
        on_time=on_time[:, after],
        left_at=found.left_at[:, after],
        stood_in=(found.in_hand[1] & ~on_time)[:, after],
        lost=lost[:, after],
        packets=packets[:, after],
        dropped=np.isnan(found.done_s)[:, after],
        warnings=tuple(warnings),
    )


def _device(section: DeviceSection, folder: Path, entry: PlanEntry, warnings: list[str]) -> Device:
    try:
        return build_device(section, folder)
    except SplitImperaError as error:
        p50_s, p95_s = entry.device_p50_s[section.name], entry.device_p95_s[section.name]
        ratio = p95_s / p50_s if p50_s > 0 else 1.0
        warnings.append(
            f"What the design knew of {section.name} cannot be read any more ({error.problem}): the spread of its "
            "times is that of their p50 and p95."
        )
        known = Roofline(section.name, 1e9, 1e9, 1e-6, 0, 0.0, "", p95_ratio=max(1.0, ratio))
        return Device(section.name, roofline=known, queue=section.queue, queue_frames=section.queue_frames)


@dataclass(frozen=True)
class _Recorded:
    """A network as results describe it; what they do not say of it, `_held_to` makes up for."""

    results: Results

    @property
    def last(self) -> int:
        return self.results.cuts[-1].index

    def work(
        self, start: int, end: int, arriving: float = 0.0, leaving: float = 0.0, batch: int = 1, heads: Places = ()
    ) -> Work:
        layers = self.results.layers[start:end]
        works = tuple(LayerWork(layer.macs, 4 * layer.parameters, 2 * layer.bytes) for layer in layers)
        return Work(start, end, self.last, works, 0, 0, 0, (), arriving, leaving, batch)

    def coded(self, cut: int, ratio: float = 0.0) -> tuple[int, int]:
        entry = next(entry for entry in self.results.cuts if entry.index == cut)
        return round(entry.bytes / (ratio or 1.0)), entry.shapes[0][0] if entry.shapes[0] else 1


def _held_to(entry: PlanEntry, costs: Sequence[DeviceCosts], found: Timeline) -> tuple[DeviceCosts, ...]:
    """Costs whose means are those that the results have of each part."""
    means_s = found.parts_s

    def held(device: str, part: str, cost: Cost) -> Cost:
        name = f"{device}: {part}"
        mean_s, wanted_s = means_s.get(name, 0.0), entry.parts_s.get(name)
        if wanted_s is None or not np.isfinite(mean_s) or mean_s <= 0 or abs(wanted_s - mean_s) <= 1e-9 * mean_s:
            return cost
        return replace(cost, seconds=cost.seconds * wanted_s / mean_s)

    def layers(place: int, cost: DeviceCosts) -> tuple[tuple[Cost, ...], tuple[Cost, ...]]:
        if cost.leaving and not place:
            return _held_exits(entry, cost, found)
        device = entry.devices[place]
        return tuple(held(device, "network", each) for each in cost.network), cost.leaving

    kept = []
    for place, (device, cost) in enumerate(zip(entry.devices, costs, strict=True)):
        network, leaving = layers(place, cost)
        decode = None if cost.decode is None else held(device, "decode", cost.decode)
        encode = None if cost.encode is None else held(device, "encode", cost.encode)
        kept.append(replace(cost, network=network, leaving=leaving, decode=decode, encode=encode))
    return tuple(kept)


def _held_exits(entry: PlanEntry, cost: DeviceCosts, found: Timeline) -> tuple[tuple[Cost, ...], tuple[Cost, ...]]:
    """The layers of a first device whose frames may leave: those of each exit held to the median latency of what left
    there, and all of them so that the mean over all frames is that of the results, whatever heads take.
    """
    part = f"{entry.devices[0]}: network"
    took_s, wanted_s, leaving = found.frame_parts_s[part], entry.parts_s.get(part), list[Cost]()
    gone_s = 0.0
    for index, (exit, each) in enumerate(zip(entry.exits, cost.leaving, strict=False)):
        here = found.left_at == index
        ratio = exit.latency_s[2] / float(np.median(found.latency_s[here])) if here.any() and exit.latency_s else 1.0
        gone_s += ratio * float(took_s[here].sum())
        leaving.append(replace(each, seconds=each.seconds * ratio))
    on_s = float(took_s[found.left_at == GOES_ON].sum())
    rest_s = 0.0 if wanted_s is None else wanted_s * took_s.size - gone_s
    ratio = rest_s / on_s if on_s > 0 and rest_s > 0 else 1.0
    whole = tuple(replace(each, seconds=each.seconds * ratio) for each in cost.network)
    return whole, tuple(leaving)


def _leaving(plan: Plan, entry: PlanEntry, results: Results) -> list[IntArray | None]:
    """At which exit of each device samples leave: as many as the design says, in any order."""
    samples, before, found = results.samples.validation, 0, list[IntArray | None]()
    order = np.random.default_rng(results.seed).permutation(samples)
    for place in range(len(plan.devices)):
        of_samples, exits = np.full(samples, GOES_ON), plan.exits_on(place)
        shares = np.cumsum([0.0, *(exit.share for exit in entry.exits)])[before : before + len(exits) + 1]
        for index, (start, end) in enumerate(pairwise(np.rint(shares * samples).astype(int))):
            of_samples[order[start:end]] = index
        before += len(exits)
        found.append(of_samples if exits else None)
    return found


def payload_of_sent(entry: PlanEntry) -> float | None:
    """Mean payload of the frames that are sent, where the design's is that of all frames; None: it is not known."""
    mean, sent = entry.metrics.get("payload_bytes"), 1 - sum(exit.share for exit in entry.exits)
    return mean if mean is None or not entry.exits or sent <= 0 else mean / sent


def _payloads(entry: PlanEntry, sizes: Sequence[FloatArray]) -> list[IntArray]:
    """Of each hop the payloads that vary as measured ones do, in all as large as the design says."""
    mean = payload_of_sent(entry) or 0.0
    known = [each if len(each) and each.any() and each.mean() > 0 else np.array([1.0]) for each in sizes]
    whole = sum(each.mean() for each in known)
    return [np.maximum(np.rint(each * mean / whole), 1).astype(np.int64) for each in known]


def _element_bytes(hop: Hop) -> int:
    codec = parsed(hop.codec)
    if "rans-packets" in codec.modifiers:
        return hop.link.mtu_bytes - IP_UDP_HEADER_BYTES - hop.link.app_header_bytes
    return 1 if {"rans", "zstd"} & set(codec.modifiers) else ELEMENT_BYTES.get(codec.base, 1)


def _parts(found: Timeline) -> dict[str, FloatArray]:
    devices = [device.name for device in found.plan.devices]
    # what a machine does not do, it takes no time for: one that only forwards neither decodes nor encodes
    of = defaultdict(lambda: np.zeros(found.now_s.shape), found.frame_parts_s)
    parts = {"device_wait": of[f"{devices[0]}: queue"], "device": of[f"{devices[0]}: network"]}
    for number, (hop, device, server) in enumerate(zip(found.plan.hops, devices, devices[1:], strict=False), 1):
        up, back = of[hop.link.name], _back(found, number)
        of_this = {"encode": of[f"{device}: encode"], "link": up + back, "up": up, "back": back}
        of_this |= {"server_wait": of[f"{server}: queue"], "decode": of[f"{server}: decode"]}
        of_this["server"] = of[f"{server}: network"]
        parts |= {of_hop(name, number): values for name, values in of_this.items()}
    return parts | {"rest": np.zeros(found.now_s.shape)}


def _back(found: Timeline, hop: int) -> FloatArray:
    """How long each frame's response takes over a hop, counted from 1; a direct one counts as the first's."""
    if found.workload.direct_s(len(found.plan.hops)):
        return found.response_s if hop == 1 else np.zeros(found.now_s.shape)
    back_s = np.zeros(found.now_s.shape)
    for replication, sent in enumerate(found.sent[hop - 1]):
        run = sent.deliveries
        back_s[replication, sent.order] = np.nan_to_num(run.response_s - run.complete_s)
    return back_s


def _packets(found: Timeline, payloads: Sequence[IntArray]) -> tuple[IntArray, IntArray]:
    """Of each frame that was sent over UDP how many packets never came in time, and how many it has."""
    lost, packets = np.zeros((2, *found.now_s.shape), dtype=np.int64)
    for hop, sent, of_this in zip(found.plan.hops, found.sent, payloads, strict=False):
        if not hop.transport.startswith("udp"):
            continue
        carried, sizes = payload_bytes(hop.link, _element_bytes(hop)), np.resize(of_this, found.now_s.shape[1])
        for replication, run in enumerate(sent):
            lost[replication, run.order] += packet_count(run.deliveries.missing_bytes, carried)
            packets[replication, run.order] += packet_count(sizes[run.order], carried)
    return lost, packets


def unstable(entry: PlanEntry) -> None:
    """Refuse a plan whose latency is without bounds: there is nothing to compare with.

    Raises:
        DataError: it is one.
    """
    if not entry.stable or entry.latency_quantiles_s is None:
        raise DataError(
            f"the design calls plan '{entry.id}' unstable: frames come faster than they can be processed",
            hint="verify a plan that it calls feasible, or design again at a lower frame rate",
        )
