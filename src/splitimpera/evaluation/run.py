"""evaluate(plan, testbed, rng) -> Evaluation: one path for LC, RC, SC and any number of hops."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from splitimpera.cost.devices import Cost, time_on
from splitimpera.evaluation.latency import served_s
from splitimpera.evaluation.quality import Classification, Quality
from splitimpera.evaluation.testbed import Part, Row, Testbed
from splitimpera.machines import Device
from splitimpera.net.registry import TRANSPORTS
from splitimpera.net.replication import mostly
from splitimpera.net.udp import IP_UDP_HEADER_BYTES
from splitimpera.net.ways import mean_rate_bps
from splitimpera.records import (
    ByteRange,
    Codec,
    Deliveries,
    Evaluation,
    FloatArray,
    Frames,
    Hop,
    Payload,
    Plan,
)

CLASSIFICATION = Classification()


def evaluate(
    plan: Plan,
    testbed: Testbed,
    rng: np.random.Generator,
    part: Part = "validation",
    seeds: int = 1,
    quality: Quality = CLASSIFICATION,
) -> Evaluation:
    """Simulate a plan's frames through devices and links, and answer each with the values that arrived.

    Frame i shows picture i modulo the number of pictures; there are at least as many frames as pictures. A frame of
    which nothing came is a wrong answer, and so is one with a gap that its codec cannot bear.

    Several senders have a first device each and share all else. Where the workload has an answer, it goes back over
    every hop, and a frame is done when its sender has it; one whose answer is lost counts as wrong.

    Args:
        part: which part of the data the pictures come from.
        rng: the randomness of all links; every seed draws from a child of its own.
        seeds: how often the links are simulated. What does not depend on them is computed once.
        quality: what makes an answer good; the evaluation's `accuracy` is its value.

    Returns:
        An evaluation with `latency_s` of shape (seeds, frames); all other numbers are means over seeds and frames. It
        is stable unless most seeds are not.

    Raises:
        SplitImperaError: a codec or link that does not fit.
    """
    return _Run(plan, testbed, rng.spawn(seeds), part, quality).evaluation()


class _Run:
    """One plan's frames on their way, once a seed; arrays of shape (seeds, frames).

    `now_s` is where in time each frame is, `content` which of the rows it carries, `alive` whether it can still be
    answered.
    """

    def __init__(
        self, plan: Plan, testbed: Testbed, rngs: Sequence[np.random.Generator], part: Part, quality: Quality
    ) -> None:
        self.plan = plan
        self.testbed = testbed
        self.rngs = rngs
        self.part = part
        self.quality = quality
        self.samples = testbed.samples(part)
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
        self.busy_s: list[FloatArray] = []  # of each stage, for one frame of every sender it serves, shape (seeds,)
        self.deliveries: list[tuple[Deliveries, ...]] = []  # of each hop, one entry a seed
        self.payload_bytes = 0.0

    def evaluation(self) -> Evaluation:
        testbed = self.testbed
        rows: Iterable[Row] = testbed.inputs(self.samples)
        start, arriving = 0, None
        for device, leaving in zip(self.plan.devices, self.plan.hops, strict=False):
            self._compute(device, start, leaving.cut, arriving, leaving)
            codec = testbed.codec(*_coding(leaving))
            if arriving is None:
                payloads = testbed.payloads(self.part, *_coding(leaving))
            else:
                payloads = testbed.run(start, leaving.cut, rows, codec.encode, **_bottlenecks(arriving, leaving))
            rows = self._send(leaving, codec, payloads)
            start, arriving = leaving.cut, leaving
        self._compute(self.plan.devices[-1], start, testbed.last, arriving, None)
        targets, places = self.samples.labels.numpy(), iter(self.shown)
        counts = testbed.run(
            start,
            testbed.last,
            rows,
            lambda row: self.quality.count(row[0], targets[next(places)]),
            **_bottlenecks(arriving, None),
        )
        return self._summary(np.array(counts), np.array([self.quality.count_lost(target) for target in targets]))

    def _compute(self, device: Device, start: int, end: int, arriving: Hop | None, leaving: Hop | None) -> None:
        """One device's work on every frame: decode, its layers, encode."""
        parts: dict[str, Cost] = {}
        if arriving is not None:
            parts[f"{device.name}: decode"] = self.testbed.decode_cost(*_coding(arriving))
        parts[f"{device.name}: network"] = self.testbed.segment_cost(start, end, **_bottlenecks(arriving, leaving))
        if leaving is not None:
            parts[f"{device.name}: encode"] = self.testbed.encode_cost(*_coding(leaving))
        times = {part: time_on(device, cost) for part, cost in parts.items()}
        service = sum(times.values())
        own = arriving is None and self.due.sender is not None  # every sender has a first device of its own
        queues = [self.due.sender == sender for sender in range(self.workload.senders)] if own else [slice(None)]
        left = np.empty(self.now_s.shape)
        for seed, arrival_s in enumerate(self.now_s):
            for queue in queues:
                left[seed, queue] = served_s(arrival_s[queue], service)
        self.parts_s |= {f"{device.name}: queue": float(np.mean(left - self.now_s) - service)} | times
        self.busy_s.append(np.full(len(left), service * (1 if own else self.workload.senders)))
        self.now_s = left

    def _send(self, hop: Hop, codec: Codec, payloads: Sequence[Payload]) -> Iterator[Row]:
        """One hop of every frame; returns the rows that the next device works on."""
        sizes = np.array([len(payload.data) for payload in payloads], dtype=np.int64)[self.content]
        complete = np.empty(sizes.shape)
        orders = [np.argsort(now_s, kind="stable") for now_s in self.now_s]

        def transfer(seed: int) -> Deliveries:
            order = orders[seed]
            ready = self.now_s[seed, order]
            frames = Frames(
                ready_s=ready,
                size_bytes=sizes[seed, order],
                deadline_s=np.maximum(self.due.deadline_s[order], ready),  # where the device is late already
                atom_bytes=payloads[0].atom_bytes,
                sender=None if self.due.sender is None else self.due.sender[order],
                answer_bytes=self.workload.answer_bytes,
            )
            return TRANSPORTS[hop.transport](hop.link, self.rngs[seed]).transfer(frames)

        # compiled transports let go of the interpreter, so that seeds run side by side
        with ThreadPoolExecutor(min(len(orders), os.cpu_count() or 1)) as pool:
            runs = tuple(pool.map(transfer, range(len(orders))))
        # frames of one content with the same gap share one row behind the whole ones, whichever seed damaged them
        damaged: dict[tuple[int, tuple[ByteRange, ...]], int] = {}
        for seed, (order, sent) in enumerate(zip(orders, runs, strict=True)):
            complete[seed, order] = sent.complete_s
            self.alive[seed, order] &= sent.arrived
            if self.workload.answer_bytes:
                self.alive[seed, order] &= ~np.isnan(sent.answered_s)
                self.back_s[seed, order] += np.nan_to_num(sent.answered_s - sent.complete_s)
            for frame, erased in zip(order, sent.erased, strict=True):
                if not erased:
                    continue
                if not survives(codec, int(sizes[seed, frame]), erased):
                    self.alive[seed, frame] = False
                elif self.alive[seed, frame]:
                    key = (int(self.content[seed, frame]), erased)
                    self.content[seed, frame] = damaged.setdefault(key, len(payloads) + len(damaged))
        self.shown = self.shown[[*range(len(payloads)), *(source for source, _ in damaged)]]
        self.parts_s[hop.link.name] = float(np.mean(np.maximum(complete - self.now_s, 0)))
        wire_bytes = np.array([sent.wire_bytes.mean() for sent in runs]) * self.workload.senders
        self.busy_s.append(wire_bytes * 8 / mean_rate_bps(hop.link))
        self.payload_bytes += float(sizes.mean())
        self.deliveries.append(runs)
        self.now_s = complete

        def received() -> Iterator[Row]:
            for payload in payloads:
                yield codec.decode(payload.data)
            for source, erased in damaged:
                yield codec.decode(payloads[source].data, erased)

        return received()

    def _summary(self, counts: FloatArray, lost_counts: FloatArray) -> Evaluation:
        """`counts`: of each row, if it is answered; `lost_counts`: of each picture, if it is not."""
        latency_s = self.now_s + self.back_s - self.due.ready_s
        limit_s = (self.due.deadline_s - self.due.ready_s)[None]
        of_pictures = self._of_pictures(counts, lost_counts, self.alive)
        on_time = self._of_pictures(counts, lost_counts, self.alive & (latency_s <= limit_s))
        sent = [run for runs in self.deliveries for run in runs]
        packets = sum(int(run.packets.sum()) for run in sent)
        lost = sum(int(run.lost_packets.sum()) for run in sent)
        slowest = np.max(self.busy_s, axis=0)
        sustained_fps = 1 / slowest
        stable = slowest * self.workload.fps <= 1
        for runs in self.deliveries:
            for seed, run in enumerate(runs):
                if not run.stable:
                    # the transport itself cannot keep up: what came out of it is what it sustains
                    span_s = float(np.ptp(run.complete_s))
                    frames = (len(run.complete_s) - 1) / self.workload.senders
                    through = frames / span_s if span_s > 0 else np.inf
                    sustained_fps[seed] = min(sustained_fps[seed], through)
                    stable[seed] = False
        if self.workload.answer_bytes and self.plan.hops:
            self.parts_s["answer"] = float(self.back_s.mean())
        return Evaluation(
            plan=self.plan,
            accuracy=self.quality.value(of_pictures.sum(0)),
            accuracy_ci=self.quality.interval(of_pictures),
            on_time_accuracy=self.quality.value(on_time.sum(0)),
            latency_s=latency_s,
            parts_s=self.parts_s,
            payload_bytes=self.payload_bytes,
            lost_packet_rate=lost / packets if packets else 0.0,
            fps=float(sustained_fps.mean()),
            stable=mostly(stable.tolist()),
        )

    def _of_pictures(self, counts: FloatArray, lost_counts: FloatArray, alive: np.ndarray[Any, Any]) -> FloatArray:
        """The numbers of each picture, means over the frames that show it, shape (pictures, k)."""
        of_frames = np.where(alive[..., None], counts[self.content], lost_counts[self.pictures])
        pictures = self.pictures.ravel()
        sums = [np.bincount(pictures, weights=column) for column in of_frames.reshape(len(pictures), -1).T]
        return np.array(sums).T / np.bincount(pictures)[:, None]


def survives(codec: Codec, size: int, erased: Sequence[ByteRange]) -> bool:
    """Whether a codec can decode a payload of `size` bytes with gaps."""
    own: Callable[[int, Sequence[ByteRange]], bool] | None = getattr(codec, "survives", None)
    return codec.tolerates_loss if own is None else own(size, erased)


def _coding(hop: Hop) -> tuple[int, str, float, int]:
    """A hop's codec, as the testbed wants it: a datagram has room for so many bytes."""
    return hop.cut, hop.codec, hop.bottleneck, hop.link.mtu_bytes - IP_UDP_HEADER_BYTES - hop.link.app_header_bytes


def _bottlenecks(arriving: Hop | None, leaving: Hop | None) -> dict[str, float]:
    return {
        "arriving": arriving.bottleneck if arriving else 0.0,
        "leaving": leaving.bottleneck if leaving else 0.0,
    }
