"""evaluate(plan, testbed, rng) -> Evaluation: one path for LC, RC, SC and any number of hops."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any, TypedDict

import numpy as np

from splitimpera.core.arrays import FloatArray
from splitimpera.cost.devices import Cost, energy_j, fits
from splitimpera.evaluation.damage import DamagedRows, Gap, survives
from splitimpera.evaluation.pipeline import serve
from splitimpera.evaluation.quality import Classification, Quality
from splitimpera.evaluation.testbed import Part, Row, Testbed
from splitimpera.net.directions import mean_rate_bps
from splitimpera.net.replication import mostly
from splitimpera.net.transports import TRANSPORTS
from splitimpera.net.udp import IP_UDP_HEADER_BYTES
from splitimpera.qos.chance import Draws
from splitimpera.records.device import Device
from splitimpera.records.outcome import Evaluation
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.traffic import Codec, Deliveries, Frames, Payload

CLASSIFICATION = Classification()


def evaluate(
    plan: Plan,
    testbed: Testbed,
    rng: np.random.Generator,
    part: Part = "validation",
    replications: int = 1,
    quality: Quality = CLASSIFICATION,
    intervals: bool = True,
) -> Evaluation:
    """Simulate a plan's frames through devices and links, and answer each with the values that arrived.

    Frame i shows picture i modulo the number of pictures; there are at least as many frames as pictures. A frame of
    which nothing came is a wrong answer, and so is one with a gap that its codec cannot bear.

    Several senders have a first device each and share all else. Where the workload has an answer, it goes back over
    every hop, and a frame is done when its sender has it; one whose answer is lost counts as wrong.

    Args:
        part: which part of the data the pictures come from.
        rng: the randomness of all links; every seed draws from a child of its own.
        replications: how often the links are simulated. What does not depend on them is computed once.
        quality: what makes an answer good; the evaluation's `quality` is its value.
        intervals: also say by a bootstrap how sure each metric is.

    Returns:
        An evaluation with `latency_s` of shape (replications, frames); all other numbers are means over
        replications and frames. It is stable unless most replications are not.

    Raises:
        SplitImperaError: a codec or link that does not fit.
    """
    return _Run(plan, testbed, rng.spawn(replications), part, quality, intervals).evaluation()


class _Run:
    """One plan's frames on their way, once a seed; arrays of shape (replications, frames).

    `now_s` is where in time each frame is, NaN once it was dropped; `content` which of the rows it carries, `alive`
    whether it can still be answered.
    """

    def __init__(
        self,
        plan: Plan,
        testbed: Testbed,
        rngs: Sequence[np.random.Generator],
        part: Part,
        quality: Quality,
        intervals: bool = False,
    ) -> None:
        self.plan = plan
        self.testbed = testbed
        self.rngs = rngs
        self.part = part
        self.quality = quality
        self.intervals = intervals
        self.samples = testbed.samples(part)
        self.targets = self.samples.labels.numpy()
        wanted = testbed.workload
        self.workload = replace(
            wanted, frames=max(wanted.frames, len(self.samples)), frame_bytes=wanted.frame_bytes or 1
        )
        self.due = self.workload.all_frames()  # their sizes are the plan's, not these
        shape = (len(rngs), len(self.due.ready_s))
        self.pictures = np.broadcast_to(np.arange(shape[1]) % len(self.samples), shape)
        self.now_s = np.broadcast_to(self.due.ready_s, shape)
        self.back_s = np.zeros(shape)  # the way of the answer
        self.content = self.pictures.copy()
        self.shown = np.arange(len(self.samples))  # which picture each row is of
        self.alive = np.ones(shape, dtype=bool)
        self.parts_s: dict[str, float] = {}
        self.spans: list[tuple[str, FloatArray, float]] = []  # parts that vary, and what else they contain
        self.estimates: list[str] = []
        self.stages: list[Stage] = []
        self.deliveries: list[tuple[Deliveries, ...]] = []  # of each hop, one entry a seed
        self.payload_bytes = 0.0
        self.energy_j: float | None = 0.0
        self.memory_bytes: list[int] = []
        self.cannot_run: list[str] = []

    def evaluation(self) -> Evaluation:
        testbed = self.testbed
        rows: Iterable[Row] = testbed.inputs(self.samples)
        start, arriving = 0, None
        damaged: Iterable[Row] = ()
        for device, leaving in zip(self.plan.devices, self.plan.hops, strict=False):
            self._compute(device, start, leaving.cut, arriving, leaving)
            codec = testbed.codec(*_coding(leaving))
            if arriving is None:
                payloads = testbed.payloads(self.part, *_coding(leaving))
            else:
                rows = chain(rows, damaged)
                payloads = testbed.run(start, leaving.cut, rows, codec.encode, **_bottlenecks(arriving, leaving))
            rows, damaged = self._send(leaving, codec, payloads)
            start, arriving = leaving.cut, leaving
        self._compute(self.plan.devices[-1], start, testbed.last, arriving, None)
        if len(self.plan.hops) > 1:
            return self._summary(self._counts(arriving, chain(rows, damaged), self.shown))
        # what is answered when nothing was lost is the same on every link
        pictures = len(self.samples)
        key = (self.part, self.quality, arriving and _coding(arriving))
        intact = testbed.kept_predictions(key, lambda: self._counts(arriving, rows, self.shown[:pictures]))
        return self._summary(np.concatenate([intact, self._counts(arriving, damaged, self.shown[pictures:])]))

    def _counts(self, arriving: Hop | None, rows: Iterable[Row], shown: Iterable[int]) -> FloatArray:
        """The quality's numbers of the answers that the last device gives, shape (rows, k)."""
        places = iter(shown)
        counts = self.testbed.run(
            arriving.cut if arriving else 0,
            self.testbed.last,
            rows,
            lambda row: self.quality.count(row[0], self.targets[next(places)]),
            **_bottlenecks(arriving, None),
        )
        return np.array(counts).reshape(len(counts), self._lost_counts.shape[1])

    @cached_property
    def _lost_counts(self) -> FloatArray:
        """The quality's numbers of each picture that is not answered, shape (pictures, k)."""
        return np.array([self.quality.count_lost(target) for target in self.targets])

    def _compute(self, device: Device, start: int, end: int, arriving: Hop | None, leaving: Hop | None) -> None:
        """One device's work on every frame: decode, its layers, encode."""
        testbed, first = self.testbed, arriving is None
        around = _bottlenecks(arriving, leaving)
        coding: dict[str, Cost] = {}
        if arriving is not None:
            coding["decode"] = testbed.codec_cost(device, "decode", *_coding(arriving))
        network = [testbed.network_cost(device, start, end, **around)]
        if device.batch > 1:
            most = testbed.network_cost(device, start, end, batch=device.batch, **around)
            step = (most.seconds - network[0].seconds) / (device.batch - 1)
            network += [replace(most, seconds=network[0].seconds + step * more) for more in range(1, device.batch)]
        if leaving is not None:
            coding["encode"] = testbed.codec_cost(device, "encode", *_coding(leaving))
        beside = sum(cost.seconds for cost in coding.values())
        service_s = [cost.seconds + frames * beside for frames, cost in enumerate(network, 1)]
        own = first and self.due.sender is not None  # every sender has a first device of its own
        queues = [self.due.sender == sender for sender in range(self.workload.senders)] if own else [slice(None)]
        arrived, left = self.now_s, np.empty(self.now_s.shape)
        for seed, arrival_s in enumerate(arrived):
            for queue in queues:
                left[seed, queue] = serve(arrival_s[queue], service_s, device.queue, device.queue_frames)
        needed = testbed.work(start, end, **around, batch=device.batch).memory_bytes
        self.memory_bytes.append(needed)
        part = "the network" if first and leaving is None else "the head" if first else "the tail"
        reason = fits(device, needed, part if leaving is None or first else f"its part, up to cut {end},")
        self.cannot_run += [] if reason is None else [reason]
        parts = {f"{device.name}: {name}": cost for name, cost in ({"network": network[0]} | coding).items()}
        self.estimates += [name for name, cost in parts.items() if cost.how != "measured"]
        self.spans.append((f"{device.name}: queue", left - arrived, service_s[0]))
        self.parts_s |= {f"{device.name}: queue": 0.0} | {name: cost.seconds for name, cost in parts.items()}
        # the quickest that it can be, with full batches
        busy_s = np.full(len(left), min(time_s / frames for frames, time_s in enumerate(service_s, 1)))
        share = np.isfinite(left).mean(1) if device.queue != "wait" else np.isfinite(arrived).mean(1)
        sharing = 1 if own else self.workload.senders
        self.stages.append(Stage(device.name, busy_s * sharing, share, device.queue != "wait"))
        if first:
            self._spend(device, service_s[0], 0.0, 0.0)
        self.alive &= np.isfinite(left)
        self.now_s = left

    def _send(self, hop: Hop, codec: Codec, payloads: Sequence[Payload]) -> tuple[Iterable[Row], Iterable[Row]]:
        """One hop of every frame; returns the rows that the next device works on: whole ones, and damaged ones."""
        sizes = np.array([len(payload.data) for payload in payloads], dtype=np.int64)[self.content]
        complete = np.full(sizes.shape, np.nan)
        left = [np.isfinite(now_s).sum() for now_s in self.now_s]
        orders = [np.argsort(now_s, kind="stable")[:count] for now_s, count in zip(self.now_s, left, strict=True)]

        def transfer(seed: int) -> Deliveries:
            order = orders[seed]
            ready = self.now_s[seed, order]
            frames = Frames(
                ready_s=ready,
                size_bytes=sizes[seed, order],
                deadline_s=np.maximum(self.due.deadline_s[order], ready),  # where the device is late already
                element_bytes=payloads[0].element_bytes,
                sender=None if self.due.sender is None else self.due.sender[order],
                response_bytes=self.workload.response_bytes,
            )
            return TRANSPORTS[hop.transport](hop.link, self.rngs[seed]).transfer(frames)

        # compiled transports let go of the interpreter, so that replications run side by side
        with ThreadPoolExecutor(min(len(orders), os.cpu_count() or 1)) as pool:
            runs = tuple(pool.map(transfer, range(len(orders))))
        # frames of one content with the same gap share one row behind the whole ones, whichever seed damaged them
        damaged: dict[Gap, list[tuple[int, int]]] = {}
        for seed, (order, sent) in enumerate(zip(orders, runs, strict=True)):
            complete[seed, order] = sent.complete_s
            self.alive[seed, order] &= sent.arrived
            if self.workload.response_bytes:
                self.alive[seed, order] &= ~np.isnan(sent.response_s)
                self.back_s[seed, order] += np.nan_to_num(sent.response_s - sent.complete_s)
            for frame, erased in zip(order, sent.erased, strict=True):
                if not erased:
                    continue
                if not survives(codec, int(sizes[seed, frame]), erased):
                    self.alive[seed, frame] = False
                elif self.alive[seed, frame]:
                    damaged.setdefault((int(self.content[seed, frame]), erased), []).append((seed, frame))
        gaps = sorted(damaged)
        for row, gap in enumerate(gaps, len(payloads)):
            for place in damaged[gap]:
                self.content[place] = row
        self.shown = self.shown[[*range(len(payloads)), *(source for source, _ in gaps)]]
        self.spans.append((hop.link.name, complete - self.now_s, 0.0))
        self.parts_s[hop.link.name] = 0.0
        wire_bytes = np.array([sent.wire_bytes.mean() for sent in runs])
        airtime_s = wire_bytes * 8 / mean_rate_bps(hop.link)
        share = np.array(left) / sizes.shape[1]
        self.stages.append(Stage(hop.link.name, airtime_s * self.workload.senders, share))
        if not self.deliveries:
            self._spend(self.plan.devices[0], 0.0, float(wire_bytes.mean()), float(airtime_s.mean()))
        self.payload_bytes += float(sizes.mean())
        self.deliveries.append(runs)
        self.now_s = complete
        return (codec.decode(payload.data) for payload in payloads), DamagedRows(codec, payloads, gaps)

    def _spend(self, device: Device, busy_s: float, wire_bytes: float, airtime_s: float) -> None:
        spent_j = energy_j(device, busy_s, wire_bytes, airtime_s)
        self.energy_j = None if spent_j is None or self.energy_j is None else self.energy_j + spent_j

    def _summary(self, counts: FloatArray) -> Evaluation:
        """`counts`: of each row, if it is answered."""
        latency_s = self.now_s + self.back_s - self.due.ready_s
        limit_s = (self.due.deadline_s - self.due.ready_s)[None]
        answered = self._of_pictures(counts, self.alive)
        in_time = self._of_pictures(counts, self.alive & (latency_s <= limit_s))
        of_pictures, on_time = answered.mean(0), in_time.mean(0)
        sent = list(zip(*self.deliveries, strict=True))  # of each seed
        packets, lost = (
            np.array([sum(int(getattr(run, name).sum()) for run in runs) for runs in sent], dtype=np.float64)
            for name in ("packets", "lost_packets")
        )
        lost_rate = lost / np.maximum(packets, 1) if sent else np.zeros(len(latency_s))
        load = [stage.busy_s * self.workload.fps * stage.share for stage in self.stages]  # (stages, replications)
        sustained_fps = 1 / np.max([stage.busy_s for stage in self.stages], axis=0)
        stable = np.all([stage.drops | (share <= 1) for stage, share in zip(self.stages, load, strict=True)], axis=0)
        for runs in self.deliveries:
            for seed, run in enumerate(runs):
                if not run.stable:
                    # the transport itself cannot keep up: what came out of it is what it sustains
                    span_s = float(np.ptp(run.complete_s))
                    frames = (len(run.complete_s) - 1) / self.workload.senders
                    through = frames / span_s if span_s > 0 else np.inf
                    sustained_fps[seed] = min(sustained_fps[seed], through)
                    stable[seed] = False
        if self.workload.response_bytes and self.plan.hops:
            self.spans.append(("response", self.back_s, 0.0))
        # of the same frames that have a latency, so that the parts add up to its mean
        finished = np.isfinite(latency_s)
        for name, times_s, contained_s in self.spans:
            self.parts_s[name] = float(times_s[finished].mean()) - contained_s if finished.any() else 0.0
        # a stage that drops frames is never more than busy; behind the last frame it works on
        busy = [np.minimum(share, 1) if stage.drops else share for stage, share in zip(self.stages, load, strict=True)]
        utilisation = {stage.name: float(share.mean()) for stage, share in zip(self.stages, busy, strict=True)}
        dropped = 1 - np.isfinite(self.now_s).mean(1)
        found = Evaluation(
            plan=self.plan,
            quality=self.quality.value(of_pictures.sum(0)),
            quality_ci=self.quality.interval(of_pictures),
            on_time_quality=self.quality.value(on_time.sum(0)),
            latency_s=latency_s,
            parts_s=self.parts_s,
            estimates=tuple(self.estimates),
            payload_bytes=self.payload_bytes,
            lost_packet_rate=float(lost.sum() / packets.sum()) if packets.sum() else 0.0,
            fps=float(sustained_fps.mean()),
            stable=mostly(stable.tolist()),
            dropped_frames=float(dropped.mean()),
            energy_j=self.energy_j,
            memory_bytes=tuple(self.memory_bytes),
            cannot_run=tuple(self.cannot_run),
            cut_depth=self.plan.hops[0].cut if self.plan.hops else self.testbed.last,
            utilisation=utilisation,
            busiest_stage=max(utilisation, key=lambda name: utilisation[name]),
            quality_metric=self.quality.name,
            contributions=answered,
            on_time_contributions=in_time,
            summarise=self.quality.value,
            of_replications={"fps": sustained_fps, "lost_packet_rate": lost_rate, "dropped_frames": dropped},
        )
        return replace(found, intervals=Draws(found).intervals()) if self.intervals else found

    def _of_pictures(self, counts: FloatArray, alive: np.ndarray[Any, Any]) -> FloatArray:
        """The numbers of each picture, means over the frames that show it, shape (replications, pictures, k)."""
        of_frames = np.where(alive[..., None], counts[self.content], self._lost_counts[self.pictures])
        shown, pictures = self.pictures[0], len(self.samples)
        sums = [
            [np.bincount(shown, weights=column, minlength=pictures) for column in of_seed.T] for of_seed in of_frames
        ]
        return np.moveaxis(np.array(sums), 1, 2) / np.bincount(shown)[:, None]


@dataclass(frozen=True, eq=False)
class Stage:
    """A device or a link as all of the frames' senders share it.

    Attributes:
        busy_s: how long it is busy for one frame of every sender, shape (replications,).
        share: of the frames, those that it gets, or takes, where it drops some.
        drops: whether it drops frames rather than let them wait without end.
    """

    name: str
    busy_s: FloatArray
    share: FloatArray
    drops: bool = False


def _coding(hop: Hop) -> tuple[int, str, float, int]:
    """A hop's codec, as the testbed wants it: a datagram has room for so many bytes."""
    return hop.cut, hop.codec, hop.bottleneck, hop.link.mtu_bytes - IP_UDP_HEADER_BYTES - hop.link.app_header_bytes


class Around(TypedDict):
    """The ratios of the bottlenecks around a run of layers, 0 for none."""

    arriving: float
    leaving: float


def _bottlenecks(arriving: Hop | None, leaving: Hop | None) -> Around:
    return {"arriving": arriving.bottleneck if arriving else 0.0, "leaving": leaving.bottleneck if leaving else 0.0}
