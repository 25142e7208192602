"""A network, its data and its workload, with what several plans share: programs, calibrated codecs, measured times."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from splitimpera.codec.codecs import PACKET_BYTES, Calibration, make_codec
from splitimpera.codec.elements import image_scale
from splitimpera.core.arrays import Array, FloatArray
from splitimpera.core.errors import CutError, ModelError, SplitImperaError
from splitimpera.cost.devices import Cost, codec_cost, measured_here, network_cost
from splitimpera.cost.timing import measure_s, measure_together_s
from splitimpera.cost.work import NetworkWork, Work, part_work, with_batch
from splitimpera.graph.finite import check_finite
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.datasets import Dataset, Samples
from splitimpera.models.imports import telling
from splitimpera.partition.cutter import segment as segment_of
from splitimpera.records.device import Device
from splitimpera.records.graph import TensorSpec
from splitimpera.records.plan import Plan
from splitimpera.records.traffic import Codec, Payload, Workload
from splitimpera.training.trained import TrainedSplit

T = TypeVar("T")
Part = Literal["validation", "test"]
Row = tuple[Array, ...]
"""The tensors of one frame that cross a cut."""
Segment = tuple[int, int, float, float]
"""From which cut to which, and the ratios of the bottlenecks there, 0 for none."""

CHUNK = 128
CALIBRATION_PICTURES = 256
KEPT_BYTES = 1 << 30


@runtime_checkable
class Batched(Protocol):
    """Rows that come stacked."""

    def batches(self, size: int) -> Iterator[Row]:
        """At most `size` frames at a time, stacked in front."""
        ...


@dataclass(frozen=True, eq=False)
class Pictures:
    """The inputs of some samples as rows; what the whole network makes of them must be finite."""

    samples: Samples

    def __iter__(self) -> Iterator[Row]:
        for x in self.samples.inputs:
            yield (x.numpy(),)

    def batches(self, size: int) -> Iterator[Row]:
        for x in torch.split(self.samples.inputs, size):
            yield (x.numpy(),)


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
        self._times_s: dict[tuple[object, ...], float] = {}
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
            rows: for each frame the tensors that cross `start`; where they are `Batched`, they are taken so.
            finish: what to keep of the tensors that cross `end`.
            arriving, leaving: the ratios of the bottlenecks at `start` and `end`, whose latents cross then; 0: none.

        Raises:
            ModelError: the network's answers to `Pictures` are not finite, or it cannot be run.
        """
        program = self._program((start, end, arriving, leaving))
        first, last = self._specs(start, arriving), self._specs(end, leaving)
        chunk = CHUNK if self.graph.stacks((*first, *last)) else 1
        kept: list[T] = []
        whole = isinstance(rows, Pictures) and end == self.last
        if isinstance(rows, Batched) and chunk > 1:
            batches = (_tensors(stacked, first) for stacked in rows.batches(chunk))
        else:
            batches = (_stack(some, first) for some in batched(rows, chunk))
        with torch.inference_mode():
            for batch in batches:
                with telling(ModelError, "the network cannot be run"):
                    made = program(*batch)
                if whole:
                    check_finite(self.graph, batch, made)
                kept += [finish(row) for row in _unstack(made, last)]
        return kept

    def crossing(self, part: Part, cut: int, ratio: float = 0.0) -> list[Row]:
        """What crosses a cut, for each picture; kept for plans at the same cut, which differ in what follows."""
        if self._kept is not None and self._kept[0] == (part, cut, ratio):
            return self._kept[1]
        rows = self.run(0, cut, self.inputs(self.samples(part)), _own, leaving=ratio)
        if rows and sum(tensor.nbytes for tensor in rows[0]) * len(rows) <= KEPT_BYTES:
            self._kept = (part, cut, ratio), rows
        return rows

    def payloads(self, part: Part, cut: int, name: str, ratio: float, packet_bytes: int) -> list[Payload]:
        """What crosses a cut, for each picture, as a codec writes it; kept for plans that differ in the link alone."""
        key = (part, cut, name, ratio, packet_bytes)
        if self._coded is None or self._coded[0] != key:
            codec = self.codec(cut, name, ratio, packet_bytes)
            self._coded = key, [codec.encode(row) for row in self.crossing(part, cut, ratio)]
        return self._coded[1]

    def kept_predictions(self, key: Hashable, make: Callable[[], FloatArray]) -> FloatArray:
        """What `make` gives, kept for plans that answer the same way; a few numbers a picture."""
        if key not in self._answers:
            self._answers[key] = make()
        return self._answers[key]

    def inputs(self, samples: Samples) -> Pictures:
        return Pictures(samples)

    def codec(self, cut: int, name: str, ratio: float = 0.0, packet_bytes: int = PACKET_BYTES) -> Codec:
        """A codec for what crosses a cut, calibrated on training pictures.

        Args:
            ratio: of the bottleneck there, whose latent crosses then; 0: none.
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

    def measure_segments(self, plans: Iterable[Plan], budget_s: float = 2.0) -> None:
        """Time every run of layers that some plans need, in turn, so that their times compare."""
        wanted: dict[tuple[Segment, int], None] = {}
        for plan in plans:
            places = [(0, 0.0), *((hop.cut, hop.bottleneck) for hop in plan.hops), (self.last, 0.0)]
            for device, ((start, arriving), (end, leaving)) in zip(plan.devices, pairwise(places), strict=True):
                if measured_here(device):
                    wanted |= {((start, end, arriving, leaving), batch): None for batch in {1, device.batch}}
        missing = [key for key in wanted if ("network", *key) not in self._times_s]
        if missing:
            with torch.inference_mode():
                times = measure_together_s([self._frames(*key) for key in missing], budget_s=budget_s)
            self._times_s |= {("network", *key): time for key, time in zip(missing, times, strict=True)}

    def network_cost(
        self, device: Device, start: int, end: int, arriving: float = 0.0, leaving: float = 0.0, batch: int = 1
    ) -> Cost:
        """What a device takes for the layers between two cuts, and the bottlenecks' parts there.

        Args:
            arriving, leaving: the ratios of the bottlenecks at `start` and `end`; 0: none.
            batch: how many frames are run together.
        """
        segment = (start, end, arriving, leaving)

        def here() -> float:
            with torch.inference_mode():
                return self._time(("network", segment, batch), lambda: measure_s(self._frames(segment, batch)))

        return network_cost(device, self.work(*segment, batch=batch), here)

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

    def codec_cost(
        self,
        device: Device,
        direction: Literal["encode", "decode"],
        cut: int,
        name: str,
        ratio: float = 0.0,
        packet_bytes: int = PACKET_BYTES,
    ) -> Cost:
        """What a device takes to write one frame that crosses a cut, or to read it."""
        codec, row = self.codec(cut, name, ratio, packet_bytes), self._example(cut, ratio)

        def here() -> float:
            data = codec.encode(row).data
            work = (lambda: codec.encode(row)) if direction == "encode" else (lambda: codec.decode(data))
            key = (direction, cut, name, ratio, packet_bytes)
            return self._time(key, lambda: measure_s(work, budget_s=0.02))

        specs = self._specs(cut, ratio)
        channels = sum(spec.shape[spec.channel_dim] for spec in specs if spec.channel_dim < len(spec.shape))
        return codec_cost(device, name, direction, sum(tensor.nbytes for tensor in row), here, channels)

    def _time(self, key: tuple[object, ...], measure: Callable[[], float]) -> float:
        if key not in self._times_s:
            self._times_s[key] = measure()
        return self._times_s[key]

    def _frames(self, segment: Segment, batch: int) -> Callable[[], object]:
        """A call that runs a segment on so many frames; one by one where the network cannot stack them."""
        start, _, arriving, _ = segment
        program, specs, row = self._program(segment), self._specs(start, arriving), self._example(start, arriving)
        if self.graph.stacks(specs):
            stacked = _stack([row] * batch, specs)
            return lambda: program(*stacked)
        single = _stack([row], specs)
        return lambda: [program(*single) for _ in range(batch)]

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
            behind = self._split(start, arriving)
            return lambda latent: tuple(tree_leaves(behind.predict(latent)))
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
            samples = self.data.calibration().take(slice(CALIBRATION_PICTURES))
            rows = self.run(0, cut, self.inputs(samples), tuple, leaving=ratio)
            pixels = self.data.pixels if cut == 0 else None
            self._calibrations[cut, ratio] = Calibration(
                specs=self._specs(cut, ratio),
                tensors=tuple(np.stack(tensors) for tensors in zip(*rows, strict=True)),
                images=image_scale(pixels.mean, pixels.std) if pixels else None,
            )
        return self._calibrations[cut, ratio]

    def _example(self, cut: int, ratio: float) -> Row:
        return tuple(tensor[0] for tensor in self._calibration(cut, ratio).tensors)


def batched(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """At most `size` at a time."""
    iterator = iter(rows)
    while some := list(islice(iterator, size)):
        yield some


def _own(row: Row) -> Row:
    """The same tensors apart from their batch, which then need not be kept."""
    return tuple(tensor.copy() for tensor in row)


def _stack(rows: Sequence[Row], specs: Sequence[TensorSpec]) -> tuple[Tensor, ...]:
    """Frames -> the batch that a program takes."""
    if all(spec.batch_dim is not None for spec in specs):
        return _tensors(tuple(np.stack(frames) for frames in zip(*rows, strict=True)), specs)
    (row,) = rows
    return tuple(
        torch.from_numpy(
            np.ascontiguousarray(frame if spec.batch_dim is None else np.expand_dims(frame, spec.batch_dim))
        )
        for spec, frame in zip(specs, row, strict=True)
    )


def _tensors(stacked: Row, specs: Sequence[TensorSpec]) -> tuple[Tensor, ...]:
    """Arrays with the frames in front -> the batch that a program takes."""
    return tuple(
        torch.from_numpy(array).movedim(0, spec.batch_dim or 0) for array, spec in zip(stacked, specs, strict=True)
    )


def _unstack(tensors: Sequence[Tensor], specs: Sequence[TensorSpec]) -> Iterator[Row]:
    """What a program made -> frames."""
    arrays = [
        tensor.numpy()[None] if spec.batch_dim is None else tensor.movedim(spec.batch_dim, 0).numpy()
        for tensor, spec in zip(tensors, specs, strict=True)
    ]
    yield from zip(*arrays, strict=True)
