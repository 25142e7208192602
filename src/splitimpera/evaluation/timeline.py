"""When each frame of a plan is where, without torch: from costs and payload sizes alone.

`timeline` runs a plan whose payload sizes are known; `run.evaluate` steps through one, since what a further hop sends
may depend on what an earlier one lost.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
import numpy.typing as npt

from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.cost.spending import energy_j, fits
from splitimpera.evaluation.pipeline import serve
from splitimpera.evaluation.remembered import Remembered
from splitimpera.evaluation.service import Seconds, Service, service_of
from splitimpera.evaluation.sharing import machines
from splitimpera.evaluation.stages import NOTHING_SENT, Sent, Stage, crossing, joined, over_all, took
from splitimpera.evaluation.token_timeline import TokenTimeline
from splitimpera.net.directions import mean_rate_bps
from splitimpera.net.replication import mostly
from splitimpera.records.costs import DeviceCosts
from splitimpera.records.device import Device
from splitimpera.records.exits import GOES_ON
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.traffic import Deliveries, Frames, Workload


def timeline(
    plan: Plan,
    workload: Workload,
    costs: Sequence[DeviceCosts],
    sizes: Sequence[IntArray],
    element_bytes: Sequence[int],
    rng: np.random.Generator,
    replications: int = 1,
    workers: int = 1,
    remembered: Remembered | None = None,
    leaving: Sequence[IntArray | None] = (),
) -> Timeline | TokenTimeline:
    """A plan's whole timeline, of frames or of requests to a language model.

    Args:
        costs: one entry a device.
        sizes: The payload's bytes for each hop, frame by frame; repeated where there are more frames, shape (n,).
        element_bytes: The size of an element for each hop, which no packet cuts.
        rng: the randomness of all links and devices.
        workers: how many replications are simulated side by side.
        remembered: what links did in the timelines before.
        leaving: At which of each device's early exits frames leave, -1 where at none; repeated as sizes are. None, or
            left out: it has no exits.
    """
    if workload.tokens is not None:
        return TokenTimeline.of(plan, workload, costs, sizes, rng.spawn(replications))
    found = Timeline(plan, workload, costs, rng.spawn(replications), workers, remembered)

    def every(of_samples: IntArray) -> IntArray:
        return np.broadcast_to(np.resize(of_samples, found.now_s.shape[1]), found.now_s.shape)

    exits = [None if at is None else every(at) for at in (*leaving, *[None] * (len(plan.devices) - len(leaving)))]
    for hop_sizes, element, at in zip(sizes, element_bytes, exits[:-1], strict=True):
        found.compute(at)
        found.send(every(hop_sizes), element)
    found.compute(exits[-1])
    return found


LONG_S = 2e-3
"""Transfers that take longer are simulated side by side."""


class Timeline:
    """A plan's frames on their way, once a replication; arrays of shape (replications, frames).

    A device takes decode + its layers + encode for each frame, one at a time, or as many as wait, in order of arrival;
    a full queue may drop frames. What it takes is drawn from the spread of its costs, by each replication's own
    randomness, which is not the links': a setting that differs in the link alone has the same draws. Every sender has a
    first device of its own and shares all else, as `sharing` says. Frames with responses are done when these are back:
    along the hops, or directly, delay + bits / rate after the last device is through, without loss or queue.
    One that leaves at an early exit is done there, but for the response over the hops that it has passed, and takes
    nothing of what follows.

    Attributes:
        now_s: The time that each frame has reached; NaN once it was dropped, or has left at an early exit.
        left_at: at which of the plan's early exits each frame left; -1: at none.
        left_s: The time when it did; NaN where it did not.
        response_s: what the responses of all hops have taken so far, or a direct one takes.
        alive: whether it can still be responded to.
        first_s: When the first device was done with each frame; NaN where it was dropped.
        services: the service times of each device so far, by its name.
    """

    def __init__(
        self,
        plan: Plan,
        workload: Workload,
        costs: Sequence[DeviceCosts],
        rngs: Sequence[np.random.Generator],
        workers: int = 1,
        remembered: Remembered | None = None,
    ) -> None:
        self.plan = plan
        self.workload = workload
        self.costs = costs
        self.rngs = rngs
        self.workers = workers
        self.remembered = remembered
        self.due: Frames = workload.all_frames()  # their sizes are the plan's, not these
        shape = (len(rngs), len(self.due.ready_s))
        self.now_s: FloatArray = np.broadcast_to(self.due.ready_s, shape)
        self.left_at: IntArray = np.full(shape, GOES_ON)
        self.left_s: FloatArray = np.full(shape, np.nan)
        self.first_s: FloatArray = self.now_s
        self.response_s: FloatArray = np.zeros(shape)
        self.alive: npt.NDArray[np.bool_] = np.ones(shape, dtype=bool)
        self._along_bytes = workload.along_bytes(len(plan.hops))
        self.stages: list[Stage] = []
        self.sent: list[tuple[Sent, ...]] = []  # of each hop, one entry a replication
        self.payload_bytes = 0.0
        self.crossing: list[tuple[float, float]] = []  # of each hop, the payload and packets of a frame that it carries
        self.energy_j: float | None = 0.0
        self.cannot_run: list[str] = []
        self.services: dict[str, Service] = {}
        self._device_rngs = [rng.spawn(len(plan.devices)) for rng in rngs]
        self._parts_s: dict[str, Seconds] = {}
        self._estimates: list[str] = []
        self._spans: list[tuple[str, FloatArray, Seconds]] = []  # parts with a queue, and what else they contain
        self._place = 0
        of_senders = machines(plan.devices, workload.senders)
        sender = np.zeros(shape[1], dtype=np.int64) if self.due.sender is None else self.due.sender
        self._machines = [of_device[sender] for of_device in of_senders]  # of each device, the one of each frame
        self._sharing = [int(np.bincount(of_device).max()) for of_device in of_senders]

    def compute(self, leaving: IntArray | None = None) -> None:
        """The next device's work on every frame: decode, its layers, encode.

        Args:
            leaving: at which of the device's early exits each frame leaves, shape (replications, frames); -1: at none.
                None: it has no exits.
        """
        place = self._place
        device, costs = self.plan.devices[place], self.costs[place]
        machine = self._machines[place]
        queues = [machine == each for each in range(machine.max() + 1)] if machine.any() else [slice(None)]
        arrived, left = self.now_s, np.empty(self.now_s.shape)
        streams = [of_devices[place] for of_devices in self._device_rngs]
        # the draws of first devices are one after another, those of all others in the order of the frames
        senders, gone = self.workload.senders if place == 0 else 1, self.gone
        comes = None if leaving is None and not gone.any() else ~gone
        service = service_of(costs, streams, arrived.shape[1], senders, leaving, comes)
        for replication, arrival_s in enumerate(arrived):
            for queue in queues:
                each_s = service.of(replication, queue)
                left[replication, queue] = serve(arrival_s[queue], each_s, device.queue, device.queue_frames)
        self._check_memory(device, costs.memory_bytes)
        parts = {f"{device.name}: {name}": cost for name, cost in costs.parts.items()}
        self._estimates += [name for name, cost in parts.items() if cost.how != "measured"]
        self._spans.append((f"{device.name}: queue", np.where(gone, 0.0, took(arrived, left)), service.together_s[0]))
        self._parts_s |= {f"{device.name}: queue": 0.0} | dict(zip(parts, service.parts_s.values(), strict=True))
        busy_s = np.broadcast_to(service.quickest_s, len(left))
        share = np.isfinite(left).mean(1) if device.queue != "wait" else np.isfinite(arrived).mean(1)
        busy_s = busy_s * self._sharing[place]
        self.stages.append(Stage(device.name, busy_s, share, device.queue != "wait", 1 - gone.mean(1)))
        if place == 0:
            self._spend(device, float(np.mean(service.together_s[0])), 0.0, 0.0)
            self.first_s = left
        self.services[device.name] = service
        self.alive &= np.isfinite(left) | gone
        self.now_s = left
        if leaving is not None:
            leaves = (leaving >= 0) & np.isfinite(left)
            before = sum(len(self.plan.exits_on(earlier)) for earlier in range(place))
            self.left_at = np.where(leaves, before + leaving, self.left_at)
            self.left_s = np.where(leaves, left, self.left_s)
            self.now_s = np.where(leaves, np.nan, left)
        direct_s = self.workload.direct_s(len(self.plan.hops))
        if direct_s and place == len(self.plan.hops):
            self.response_s = np.where(np.isfinite(self.now_s), direct_s, 0.0)

    def send(self, sizes: IntArray, element_bytes: int) -> tuple[Sent, ...]:
        """The next hop of every frame.

        Args:
            sizes: the payload's bytes, shape (replications, frames); of those that left early any number.
            element_bytes: the size of an element, which no packet cuts.
        """
        hop = self.plan.hops[self._place]
        machine, to = self._machines[self._place : self._place + 2]  # each of the next has a link of its own
        self._place += 1
        complete = np.where(np.isinf(self.now_s), np.inf, np.nan)  # what never came goes no further
        gone = bool(self.gone.any())
        counts = [np.isfinite(now_s).sum() for now_s in self.now_s]
        orders = [np.argsort(now_s, kind="stable")[:count] for now_s, count in zip(self.now_s, counts, strict=True)]

        def transfer(replication: int) -> Sent:
            order = orders[replication]
            if not len(order):
                return Sent(order, NOTHING_SENT)
            onto = to[order]
            parts = [order[onto == link] for link in np.unique(onto)] if to.any() else [order]
            return joined([Sent(part, over_link(number, replication, part)) for number, part in enumerate(parts)])

        def over_link(number: int, replication: int, order: IntArray) -> Deliveries:
            ready = self.now_s[replication, order]
            frames = Frames(
                ready_s=ready,
                size_bytes=sizes[replication, order],
                deadline_s=np.maximum(self.due.deadline_s[order], ready),  # where the device is late already
                element_bytes=element_bytes,
                sender=np.unique(machine[order], return_inverse=True)[1],
                response_bytes=self._along_bytes,
                asked=self.workload.deadline_s is not None,
            )
            key = self.plan.id, self._place, replication, number
            run = (self.remembered or Remembered()).transfer(key, hop, frames, self.rngs[replication])
            return over_all(run, ready, self.due.ready_s[[0, -1]]) if gone else run

        begun_s = time.perf_counter()
        runs = [transfer(0)]
        # compiled transports let go of the interpreter; short ones would only wait for it
        if self.workers > 1 and time.perf_counter() - begun_s > LONG_S:
            with ThreadPoolExecutor(self.workers) as pool:
                runs += pool.map(transfer, range(1, len(orders)))
        else:
            runs += map(transfer, range(1, len(orders)))
        for replication, sent in enumerate(runs):
            order, run = sent.order, sent.deliveries
            complete[replication, order] = run.complete_s
            self.alive[replication, order] &= run.arrived
            if self._along_bytes:
                self.alive[replication, order] &= ~np.isnan(run.response_s)
                self.response_s[replication, order] += np.nan_to_num(run.response_s - run.complete_s)
        wire_bytes = np.array([sent.deliveries.wire_bytes.mean() if len(sent.order) else 0.0 for sent in runs])
        self._sent(hop, wire_bytes, complete, np.array(counts) / sizes.shape[1])
        self.payload_bytes += float(np.where(self.gone, 0, sizes).mean())
        self.crossing.append(crossing(sizes, runs))
        self.sent.append(tuple(runs))
        self.now_s = complete
        return self.sent[-1]

    def _sent(self, hop: Hop, wire_bytes: FloatArray, complete_s: FloatArray, share: FloatArray) -> None:
        gone = self.gone
        coming = 1 - gone.mean(1)
        self._spans.append((hop.link.name, np.where(gone, 0.0, took(self.now_s, complete_s)), 0.0))
        self._parts_s[hop.link.name] = 0.0
        airtime_s = wire_bytes * 8 / mean_rate_bps(hop.link)
        self.stages.append(Stage(hop.link.name, airtime_s * self._sharing[self._place], share, coming=coming))
        if len(self.sent) == 0:
            spent = float((wire_bytes * coming).mean()), float((airtime_s * coming).mean())
            self._spend(self.plan.devices[0], 0.0, *spent)

    @property
    def gone(self) -> npt.NDArray[np.bool_]:
        """Which frames left at an early exit, shape (replications, frames)."""
        return self.left_at >= 0

    @property
    def done_s(self) -> FloatArray:
        """When each frame was done where it left, or at the end; NaN for a frame that was dropped."""
        return np.where(self.gone, self.left_s, self.now_s)

    @property
    def latency_s(self) -> FloatArray:
        """From each frame's due time to its response; NaN for a frame that was dropped."""
        return self.done_s + self.response_s - self.due.ready_s

    @property
    def on_time(self) -> npt.NDArray[np.bool_]:
        """Whether each frame is done by the workload's deadline."""
        on_time: npt.NDArray[np.bool_] = self.latency_s <= (self.due.deadline_s - self.due.ready_s)[None]
        return on_time

    @property
    def in_hand(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Of which frames the first device has an exit's answer, and has it by the deadline, (replications, frames)."""
        has = np.isfinite(self.first_s) & bool(self.plan.exits_on(0))
        return has, has & (self.first_s <= self.due.deadline_s[None])

    @property
    def lost_packet_rate(self) -> FloatArray:
        """The share of data packets that the links lost, shape (replications,)."""
        lost, packets = self._packets()
        return lost / np.maximum(packets, 1)

    @property
    def mean_lost_packet_rate(self) -> float:
        """The same over all replications."""
        lost, packets = self._packets()
        return float(lost.sum() / packets.sum()) if packets.sum() else 0.0

    @property
    def dropped_frames(self) -> FloatArray:
        """The share of frames that full queues dropped, shape (replications,)."""
        dropped: FloatArray = np.isnan(self.done_s).mean(1)
        return dropped

    @property
    def sustained_fps(self) -> FloatArray:
        """Responses a second that all stages keep up with, shape (replications,)."""
        with np.errstate(divide="ignore"):  # what only forwards takes no time, and nothing does where nothing comes
            sustained: FloatArray = np.min([1 / (stage.busy_s * stage.coming) for stage in self.stages], axis=0)
        for link, runs in zip(self.stages[1::2], self.sent, strict=True):
            for replication, run in enumerate(sent.deliveries for sent in runs):
                if not run.stable:
                    # the transport itself cannot keep up: what came out of it is what it sustains
                    span_s = float(np.ptp(run.complete_s))
                    coming = np.broadcast_to(link.coming, len(runs))[replication]
                    frames = (len(run.complete_s) - 1) / coming / self.workload.senders
                    sustained[replication] = min(sustained[replication], frames / span_s if span_s > 0 else np.inf)
        return sustained

    @property
    def stable(self) -> bool:
        """False where, in most replications, work arrives faster than some stage can do it."""
        stable = np.ones(len(self.rngs), dtype=bool)
        for stage, load in zip(self.stages, self._load(), strict=True):
            stable &= stage.drops | (load <= 1)
        for runs in self.sent:
            stable &= [sent.deliveries.stable for sent in runs]
        return mostly(stable.tolist())

    @property
    def utilisation(self) -> dict[str, float]:
        """The busy share of each stage; one that drops frames is never more than busy."""
        loads = zip(self.stages, self._load(), strict=True)
        return {stage.name: float((np.minimum(load, 1) if stage.drops else load).mean()) for stage, load in loads}

    @property
    def busiest_stage(self) -> str:
        shares = self.utilisation
        return max(shares, key=lambda name: shares[name])

    @property
    def parts_s(self) -> dict[str, float]:
        """Mean seconds of a frame in each part; they add up to the mean latency of the frames that have one."""
        spans = self._all_spans()
        finished = np.isfinite(self.latency_s)
        if not finished.any():
            return {name: float(np.mean(time_s)) for name, time_s in self._parts_s.items()}

        def mean_s(time_s: Seconds) -> float:
            return time_s if isinstance(time_s, float) else float(time_s[finished].mean())

        parts = {name: mean_s(time_s) for name, time_s in self._parts_s.items()}
        return parts | {name: mean_s(times_s) - mean_s(contained_s) for name, times_s, contained_s in spans}

    @property
    def frame_parts_s(self) -> dict[str, FloatArray]:
        """Seconds of each frame in each part, (replications, frames) each; they add up to its latency."""
        parts = {name: np.broadcast_to(time_s, self.now_s.shape) for name, time_s in self._parts_s.items()}
        return parts | {name: times_s - contained_s for name, times_s, contained_s in self._all_spans()}

    @property
    def device_quantiles_s(self) -> dict[str, tuple[float, float]]:
        """Median and 95th percentile of what each device takes for a frame, without any queue."""
        return {name: service.quantiles_s for name, service in self.services.items()}

    @property
    def estimates(self) -> tuple[str, ...]:
        """The names of those parts whose time was not measured on the machine that has it."""
        return tuple(self._estimates)

    def _all_spans(self) -> list[tuple[str, FloatArray, Seconds]]:
        if self.workload.response_bytes and self.plan.hops:
            return [*self._spans, ("response", self.response_s, 0.0)]
        return self._spans

    def _load(self) -> list[FloatArray]:
        return [stage.busy_s * self.workload.fps * stage.share for stage in self.stages]

    def _packets(self) -> tuple[FloatArray, FloatArray]:
        """Lost and all packets, each (replications,)."""
        counts = np.zeros((2, len(self.rngs)))
        for replication, sent in chain.from_iterable(map(enumerate, self.sent)):
            counts[:, replication] += sent.deliveries.lost_packets.sum(), sent.deliveries.packets.sum()
        return counts[0], counts[1]

    def _check_memory(self, device: Device, needed_bytes: int) -> None:
        place, last = self._place, len(self.plan.hops)
        part = "the network" if not last else "the head" if place == 0 else "the tail"
        if 0 < place < last:
            part = f"its part, up to cut {self.plan.hops[place].cut},"
        reason = fits(device, needed_bytes, part)
        self.cannot_run += [] if reason is None else [reason]

    def _spend(self, device: Device, busy_s: float, wire_bytes: float, airtime_s: float) -> None:
        spent_j = energy_j(device, busy_s, wire_bytes, airtime_s)
        self.energy_j = None if spent_j is None or self.energy_j is None else self.energy_j + spent_j
