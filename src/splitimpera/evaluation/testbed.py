"""A network, its data and its workload, with what several plans share: programs and calibrated codecs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from copy import copy
from dataclasses import replace
from typing import Literal, NamedTuple, TypedDict, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from splitimpera.codec.codecs import PACKET_BYTES, Calibration, make_codec
from splitimpera.codec.elements import image_scale
from splitimpera.core.array_types import FloatArray
from splitimpera.core.errors import CutError, ModelError, SplitImperaError
from splitimpera.cost.work import NetworkWork, Work, part_work, with_batch
from splitimpera.evaluation.batches import Batched, Inputs, Row, batched, own, stack, tensors, unstack
from splitimpera.graph.finite import check_finite
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.datasets import Dataset, Samples
from splitimpera.models.imports import telling
from splitimpera.net.udp import IP_UDP_HEADER_BYTES
from splitimpera.partition.cutter import segment as segment_of
from splitimpera.records.graph import TensorSpec
from splitimpera.records.plan import Hop
from splitimpera.records.traffic import Codec, Payload, Workload
from splitimpera.training.trained import TrainedSplit

T = TypeVar("T")
Part = Literal["validation", "test"]
Segment = tuple[int, int, float, float]
"""From which cut to which, and the ratios of the bottlenecks there, 0 for none."""

CHUNK = 128
CALIBRATION_SAMPLES = 256
KEPT_BYTES = 1 << 30


class Coding(NamedTuple):
    """How a hop codes: what crosses, by which codec; a packet has room for so many bytes."""

    cut: int
    codec: str
    bottleneck: float
    packet_bytes: int


def coding_of(hop: Hop) -> Coding:
    room = hop.link.mtu_bytes - IP_UDP_HEADER_BYTES - hop.link.app_header_bytes
    return Coding(hop.cut, hop.codec, hop.bottleneck, room)


class Around(TypedDict):
    """The ratios of the bottlenecks around a run of layers, 0 for none."""

    arriving: float
    leaving: float


def around(arriving: Hop | None, leaving: Hop | None) -> Around:
    """The bottlenecks of the hops on either side of a device."""
    return {"arriving": arriving.bottleneck if arriving else 0.0, "leaving": leaving.bottleneck if leaving else 0.0}


class Testbed:
    """Where plans are tried out.

    Args:
        graph: the traced network, a classifier with logits (N, classes).
        data: `train` (or `validation`) calibrates codecs; plans are judged on `validation`, the chosen one on `test`.
        workload: how many frames, how often.
    """

    __test__ = False  # no test class, whatever pytest makes of the name

    def __init__(self, graph: ModelGraph, data: Dataset, workload: Workload) -> None:
        self.graph = graph
        self.data = data
        self.workload = workload
        self._splits: dict[tuple[int, float], TrainedSplit] = {}
        self._programs: dict[Segment, Callable[..., tuple[Tensor, ...]]] = {}
        self._calibrations: dict[tuple[int, float], Calibration] = {}
        self._codecs: dict[tuple[int, str, float, int], Codec] = {}
        self._answers: dict[Hashable, FloatArray] = {}
        self._network_work = NetworkWork(graph)
        self._works: dict[Segment, Work] = {}
        self._kept: tuple[tuple[Part, int, float], list[Row]] | None = None
        self._coded: tuple[tuple[object, ...], list[Payload]] | None = None

    def with_workload(self, workload: Workload) -> Testbed:
        """The same testbed with other frames; both know what either has computed."""
        other = copy(self)
        other.workload = workload
        return other

    @property
    def last(self) -> int:
        """The cut that only the result crosses."""
        return len(self.graph.cuts) - 1

    def add_split(self, ratio: float, split: TrainedSplit) -> None:
        """Let plans with a bottleneck of this ratio at the split's cut use it."""
        self._splits[split.cut.index, ratio] = split

    def samples(self, part: Part) -> Samples:
        return self.data.validation if part == "validation" else self.data.test

    def run(
        self,
        start: int,
        end: int,
        rows: Iterable[Row],
        finish: Callable[[Row], T],
        *,
        arriving: float = 0.0,
        leaving: float = 0.0,
    ) -> list[T]:
        """Run the layers between two cuts on many frames, a bounded number at a time.

        Args:
            rows: The tensors of each frame that cross `start`; where they are `Batched`, they are taken so.
            finish: what to keep of the tensors that cross `end`.
            arriving, leaving: the ratios of the bottlenecks at `start` and `end`, whose latents cross then; 0: none.

        Raises:
            ModelError: the network's outputs to `Inputs` are not finite, or it cannot be run.
        """
        program = self._program((start, end, arriving, leaving))
        first, last = self._specs(start, arriving), self._specs(end, leaving)
        chunk = CHUNK if self.graph.stacks((*first, *last)) else 1
        kept: list[T] = []
        whole = isinstance(rows, Inputs) and end == self.last
        if isinstance(rows, Batched) and chunk > 1:
            batches = (tensors(stacked, first) for stacked in rows.batches(chunk))
        else:
            batches = (stack(some, first) for some in batched(rows, chunk))
        with torch.inference_mode():
            for batch in batches:
                with telling(ModelError, "the network cannot be run"):
                    made = program(*batch)
                if whole:
                    check_finite(self.graph, batch, made)
                kept += [finish(row) for row in unstack(made, last)]
        return kept

    def crossing(self, part: Part, cut: int, ratio: float = 0.0) -> list[Row]:
        """What crosses a cut, for each sample; kept for plans at the same cut, which differ in what follows."""
        if self._kept is not None and self._kept[0] == (part, cut, ratio):
            return self._kept[1]
        rows = self.run(0, cut, Inputs(self.samples(part)), own, leaving=ratio)
        if rows and sum(tensor.nbytes for tensor in rows[0]) * len(rows) <= KEPT_BYTES:
            self._kept = (part, cut, ratio), rows
        return rows

    def payloads(self, part: Part, cut: int, name: str, ratio: float, packet_bytes: int) -> list[Payload]:
        """What crosses a cut, for each sample, as a codec writes it; kept for plans that differ in the link alone."""
        key = (part, cut, name, ratio, packet_bytes)
        if self._coded is None or self._coded[0] != key:
            codec = self.codec(cut, name, ratio, packet_bytes)
            self._coded = key, [codec.encode(row) for row in self.crossing(part, cut, ratio)]
        return self._coded[1]

    def kept_predictions(self, key: Hashable, make: Callable[[], FloatArray]) -> FloatArray:
        """What `make` gives, kept for plans that predict the same; a few numbers a sample."""
        if key not in self._answers:
            self._answers[key] = make()
        return self._answers[key]

    def codec(self, cut: int, name: str, ratio: float = 0.0, packet_bytes: int = PACKET_BYTES) -> Codec:
        """A codec for what crosses a cut, calibrated on training samples.

        Args:
            ratio: Ratio of the bottleneck there, whose latent crosses then; 0: none.
            packet_bytes: what a packet carries, for codecs that fill packets themselves.
        """
        key = (cut, name, ratio, packet_bytes)
        if key not in self._codecs:
            calibration = replace(self._calibration(cut, ratio), packet_bytes=packet_bytes)
            try:
                self._codecs[key] = make_codec(name, calibration)
            except SplitImperaError as error:
                raise error.at(f"codec '{name}' at cut {cut} ({self.graph.cuts[cut].name})") from None
        return self._codecs[key]

    def work(self, start: int, end: int, arriving: float = 0.0, leaving: float = 0.0, batch: int = 1) -> Work:
        """What the layers between two cuts compute and need, whatever the machine; arguments as above."""
        key = (start, end, arriving, leaving)
        if key not in self._works:
            decoder = (
                part_work(self._split(start, arriving).decoder, *self._specs(start, arriving)) if arriving else None
            )
            encoder = part_work(self._split(end, leaving).encoder, *self._specs(end, 0.0)) if leaving else None
            self._works[key] = self._network_work.between(
                start, end, decoder=decoder, encoder=encoder, arriving=arriving, leaving=leaving
            )
        return with_batch(self._works[key], batch)

    def coded(self, cut: int, ratio: float = 0.0) -> tuple[int, int]:
        """How many bytes of tensors cross a cut, and in how many channels."""
        specs = self._specs(cut, ratio)
        channels = sum(spec.shape[spec.channel_dim] for spec in specs if spec.channel_dim < len(spec.shape))
        return sum(tensor.nbytes for tensor in self.example(cut, ratio)), channels

    def caller(self, segment: Segment, batch: int) -> Callable[[], object]:
        """A call that runs a segment on so many frames; one by one where the network cannot stack them."""
        start, _, arriving, _ = segment
        program, specs, row = self._program(segment), self._specs(start, arriving), self.example(start, arriving)
        if self.graph.stacks(specs):
            stacked = stack([row] * batch, specs)
            return lambda: program(*stacked)
        single = stack([row], specs)
        return lambda: [program(*single) for _ in range(batch)]

    def bottleneck_caller(
        self, part: Literal["encoder", "decoder"], cut: int, ratio: float, batch: int
    ) -> Callable[[], object]:
        """A call that runs a part of a bottleneck on so many frames."""
        partition = self._split(cut, ratio)
        run = partition.encode if part == "encoder" else partition.decoder
        given = 0.0 if part == "encoder" else ratio
        (stacked,) = stack([self.example(cut, given)] * batch, self._specs(cut, given))
        return lambda: run(stacked)

    def _specs(self, cut: int, ratio: float) -> tuple[TensorSpec, ...]:
        return (self._split(cut, ratio).latent,) if ratio else self.graph.cuts[cut].tensors

    def _split(self, cut: int, ratio: float) -> TrainedSplit:
        if (cut, ratio) not in self._splits:
            raise CutError(
                f"no bottleneck of ratio {ratio:g} was trained at cut {cut} ({self.graph.cuts[cut].name})",
                hint="train one with trained_split and hand it to Testbed.add_split",
            )
        return self._splits[cut, ratio]

    def _program(self, segment: Segment) -> Callable[..., tuple[Tensor, ...]]:
        if segment not in self._programs:
            self._programs[segment] = self._made(*segment)
        return self._programs[segment]

    def _made(self, start: int, end: int, arriving: float, leaving: float) -> Callable[..., tuple[Tensor, ...]]:
        if arriving and (leaving or end != self.last):
            raise CutError("a plan has one bottleneck, in front of its last device")
        if arriving:
            partition = self._split(start, arriving)
            return lambda latent: tuple(tree_leaves(partition.predict(latent)))
        program = segment_of(self.graph, self.graph.cuts[start], self.graph.cuts[end])
        if not leaving:
            return program
        before = self._split(end, leaving)
        if before.finetune_head:
            if start:
                raise CutError("a bottleneck whose head has weights of its own needs the whole head on one device")
            return lambda *inputs: (before.encode(before.head(*inputs)[0]),)
        return lambda *crossing: (before.encode(program(*crossing)[0]),)

    def _calibration(self, cut: int, ratio: float) -> Calibration:
        if (cut, ratio) not in self._calibrations:
            samples = self.data.calibration().take(slice(CALIBRATION_SAMPLES))
            rows = self.run(0, cut, Inputs(samples), tuple, leaving=ratio)
            pixels = self.data.pixels if cut == 0 else None
            self._calibrations[cut, ratio] = Calibration(
                specs=self._specs(cut, ratio),
                tensors=tuple(np.stack(tensors) for tensors in zip(*rows, strict=True)),
                images=image_scale(pixels.mean, pixels.std) if pixels else None,
            )
        return self._calibrations[cut, ratio]

    def example(self, cut: int, ratio: float = 0.0) -> Row:
        """What crosses a cut for one frame of the calibration data."""
        return tuple(tensor[0] for tensor in self._calibration(cut, ratio).tensors)
