"""evaluate(plan, testbed, rng) -> Evaluation: one path for LC, RC, SC and any number of hops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from splitimpera.cost.devices import Cost, time_on
from splitimpera.evaluation.accuracy import wilson_interval
from splitimpera.evaluation.latency import served_s
from splitimpera.evaluation.testbed import Part, Row, Testbed
from splitimpera.net.registry import TRANSPORTS
from splitimpera.records import Codec, Deliveries, Device, Evaluation, Frames, Hop, Payload, Plan


def evaluate(plan: Plan, testbed: Testbed, rng: np.random.Generator, part: Part = "validation") -> Evaluation:
    """Simulate a plan's frames through devices and links, and answer each with the values that arrived.

    Frame i shows picture i modulo the number of pictures; there are at least as many frames as pictures. A frame of
    which nothing came is a wrong answer, and so is one with a gap that its codec cannot bear.

    Args:
        part: which part of the data the pictures come from.
        rng: the randomness of all links.

    Raises:
        SplitImperaError: a codec or link that does not fit.
    """
    return _Run(plan, testbed, rng, part).evaluation()


class _Run:
    """One plan's frames on their way.

    `now_s` is where in time each frame is, `content` which of the rows it carries, `alive` whether it can still be
    answered.
    """

    def __init__(self, plan: Plan, testbed: Testbed, rng: np.random.Generator, part: Part) -> None:
        self.plan = plan
        self.testbed = testbed
        self.rng = rng
        self.samples = testbed.samples(part)
        self.workload = replace(testbed.workload, frames=max(testbed.workload.frames, len(self.samples)))
        self.pictures = np.arange(self.workload.frames) % len(self.samples)
        self.now_s = self.workload.due_s()
        self.content = self.pictures.copy()
        self.alive = np.ones(self.workload.frames, dtype=bool)
        self.parts_s: dict[str, float] = {}
        self.busy_s: list[float] = []  # of each stage, for one frame
        self.deliveries: list[Deliveries] = []
        self.payload_bytes = 0.0

    def evaluation(self) -> Evaluation:
        testbed = self.testbed
        rows, start, arriving = testbed.inputs(self.samples), 0, None
        for device, leaving in zip(self.plan.devices, self.plan.hops, strict=False):
            self._compute(device, start, leaving.cut, arriving, leaving)
            codec = testbed.codec(leaving.cut, leaving.codec)
            payloads = testbed.run(start, leaving.cut, rows, codec.encode)
            rows = self._send(leaving, codec, payloads)
            start, arriving = leaving.cut, leaving
        self._compute(self.plan.devices[-1], start, testbed.last, arriving, None)
        answers = np.array(testbed.run(start, testbed.last, rows, lambda row: int(row[0].argmax())))
        return self._summary(answers)

    def _compute(self, device: Device, start: int, end: int, arriving: Hop | None, leaving: Hop | None) -> None:
        """One device's work on every frame: decode, its layers, encode."""
        parts: dict[str, Cost] = {}
        if arriving is not None:
            parts[f"{device.name}: decode"] = self.testbed.decode_cost(arriving.cut, arriving.codec)
        parts[f"{device.name}: network"] = self.testbed.segment_cost(start, end)
        if leaving is not None:
            parts[f"{device.name}: encode"] = self.testbed.encode_cost(leaving.cut, leaving.codec)
        times = {part: time_on(device, cost) for part, cost in parts.items()}
        service = sum(times.values())
        left = served_s(self.now_s, service)
        self.parts_s |= {f"{device.name}: queue": float(np.mean(left - self.now_s) - service)} | times
        self.busy_s.append(service)
        self.now_s = left

    def _send(self, hop: Hop, codec: Codec, payloads: Sequence[Payload]) -> Iterator[Row]:
        """One hop of every frame; returns the rows that the next device works on."""
        sizes = np.array([len(payload.data) for payload in payloads], dtype=np.int64)[self.content]
        order = np.argsort(self.now_s, kind="stable")
        frames = Frames(self.now_s[order], sizes[order], self.workload.deadlines_s()[order], payloads[0].atom_bytes)
        sent = TRANSPORTS[hop.transport](hop.link, self.rng).transfer(frames)
        back = np.argsort(order, kind="stable")
        complete = sent.complete_s[back]
        self.parts_s[hop.link.name] = float(np.mean(np.maximum(complete - self.now_s, 0)))
        self.busy_s.append(float(sent.wire_bytes.mean()) * 8 / hop.link.rate_bps)
        self.payload_bytes += float(sizes.mean())
        self.deliveries.append(sent)
        self.now_s = complete
        self.alive &= sent.arrived[back]
        damaged = [(int(place), sent.erased[position]) for place, position in enumerate(back) if sent.erased[position]]
        if not codec.tolerates_loss:
            self.alive[[frame for frame, _ in damaged]] = False
            damaged = []
        damaged = [(frame, erased) for frame, erased in damaged if self.alive[frame]]
        sources = [int(self.content[frame]) for frame, _ in damaged]
        for row, (frame, _) in enumerate(damaged, start=len(payloads)):
            self.content[frame] = row

        def received() -> Iterator[Row]:
            for payload in payloads:
                yield codec.decode(payload.data)
            for source, (_, erased) in zip(sources, damaged, strict=True):
                yield codec.decode(payloads[source].data, erased)

        return received()

    def _summary(self, answers: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Evaluation:
        labels = self.samples.labels.numpy()[self.pictures]
        right = (answers[self.content] == labels) & self.alive
        shown = np.bincount(self.pictures)
        accuracy = float((np.bincount(self.pictures, weights=right) / shown).mean())
        packets = sum(int(sent.packets.sum()) for sent in self.deliveries)
        lost = sum(int(sent.lost_packets.sum()) for sent in self.deliveries)
        slowest = max(self.busy_s)
        return Evaluation(
            plan=self.plan,
            accuracy=accuracy,
            accuracy_ci=wilson_interval(accuracy, len(self.samples)),
            latency_s=self.now_s - self.workload.due_s(),
            parts_s=self.parts_s,
            payload_bytes=self.payload_bytes,
            lost_packet_rate=lost / packets if packets else 0.0,
            fps=1 / slowest,
            stable=slowest * self.workload.fps <= 1,
        )
