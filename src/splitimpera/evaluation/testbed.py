"""A network, its data and its workload, with what several plans share: programs, calibrated codecs, measured times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from splitimpera.codec.elements import picture_scale
from splitimpera.codec.registry import Calibration, make_codec
from splitimpera.cost.devices import Cost
from splitimpera.cost.measure import measure_s, measure_together_s
from splitimpera.errors import SplitImperaError
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.datasets import Dataset, Samples
from splitimpera.partition.cutter import segment
from splitimpera.records import Array, Codec, Cut, Plan, Workload

T = TypeVar("T")
Part = Literal["validation", "test"]
Row = tuple[Array, ...]
"""The tensors of one frame that cross a cut."""

CHUNK = 128
CALIBRATION_PICTURES = 256
KEPT_BYTES = 1 << 30


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
        self._programs: dict[tuple[int, int], Callable[..., tuple[Tensor, ...]]] = {}
        self._calibrations: dict[int, Calibration] = {}
        self._codecs: dict[tuple[int, str], Codec] = {}
        self._costs: dict[tuple[object, ...], Cost] = {}
        self._kept: tuple[tuple[Part, int], list[Row]] | None = None

    @property
    def last(self) -> int:
        """The cut that only the result crosses."""
        return len(self.graph.cuts) - 1

    def samples(self, part: Part) -> Samples:
        return self.data.validation if part == "validation" else self.data.test

    def run(self, start: int, end: int, rows: Iterable[Row], finish: Callable[[Row], T]) -> list[T]:
        """Run the layers between two cuts on many frames, a bounded number at a time.

        Args:
            rows: for each frame the tensors that cross `start`.
            finish: what to keep of the tensors that cross `end`.
        """
        program, first, last = self._program(start, end), self.graph.cuts[start], self.graph.cuts[end]
        chunk = CHUNK if all(spec.batch_dim is not None for cut in (first, last) for spec in cut.tensors) else 1
        kept: list[T] = []
        iterator = iter(rows)
        with torch.inference_mode():
            while batch := list(islice(iterator, chunk)):
                made = program(*_stack(batch, first))
                kept += [finish(row) for row in _unstack(made, last, len(batch))]
        return kept

    def crossing(self, part: Part, cut: int) -> list[Row]:
        """What crosses a cut, for each picture; kept for plans at the same cut, which differ in what follows."""
        if self._kept is not None and self._kept[0] == (part, cut):
            return self._kept[1]
        rows = self.run(0, cut, self.inputs(self.samples(part)), _own)
        if rows and sum(tensor.nbytes for tensor in rows[0]) * len(rows) <= KEPT_BYTES:
            self._kept = (part, cut), rows
        return rows

    def inputs(self, samples: Samples) -> Iterator[Row]:
        for x in samples.inputs:
            yield (x.numpy(),)

    def codec(self, cut: int, name: str) -> Codec:
        """A codec for what crosses a cut, calibrated on training pictures."""
        if (cut, name) not in self._codecs:
            try:
                self._codecs[cut, name] = make_codec(name, self._calibration(cut))
            except SplitImperaError as error:
                raise error.at(f"codec '{name}' at cut {cut} ({self.graph.cuts[cut].name})") from None
        return self._codecs[cut, name]

    def measure_segments(self, plans: Iterable[Plan], budget_s: float = 2.0) -> None:
        """Time every run of layers that some plans need, in turn, so that their times compare."""
        wanted: dict[tuple[int, int], None] = {}
        for plan in plans:
            ends = [0, *(hop.cut for hop in plan.hops), self.last]
            wanted |= dict.fromkeys(pairwise(ends))
        missing = [pair for pair in wanted if ("segment", *pair) not in self._costs]
        if missing:
            with torch.inference_mode():
                times = measure_together_s([self._one_frame(*pair) for pair in missing], budget_s=budget_s)
            self._costs |= {("segment", *pair): Cost(time) for pair, time in zip(missing, times, strict=True)}

    def segment_cost(self, start: int, end: int) -> Cost:
        """The time of one frame through the layers between two cuts."""
        with torch.inference_mode():
            return self._cost(("segment", start, end), lambda: measure_s(self._one_frame(start, end)))

    def _one_frame(self, start: int, end: int) -> Callable[[], object]:
        program, stacked = self._program(start, end), _stack([self._example(start)], self.graph.cuts[start])
        return lambda: program(*stacked)

    def encode_cost(self, cut: int, name: str) -> Cost:
        codec, row = self.codec(cut, name), self._example(cut)
        return self._cost(("encode", cut, name), lambda: measure_s(lambda: codec.encode(row), budget_s=0.02))

    def decode_cost(self, cut: int, name: str) -> Cost:
        codec = self.codec(cut, name)
        data = codec.encode(self._example(cut)).data
        return self._cost(("decode", cut, name), lambda: measure_s(lambda: codec.decode(data), budget_s=0.02))

    def _cost(self, key: tuple[object, ...], measure: Callable[[], float]) -> Cost:
        if key not in self._costs:
            self._costs[key] = Cost(measure())
        return self._costs[key]

    def _program(self, start: int, end: int) -> Callable[..., tuple[Tensor, ...]]:
        if (start, end) not in self._programs:
            cuts = self.graph.cuts
            self._programs[start, end] = segment(self.graph, cuts[start], cuts[end])
        return self._programs[start, end]

    def _calibration(self, cut: int) -> Calibration:
        if cut not in self._calibrations:
            samples = self.data.calibration().take(slice(CALIBRATION_PICTURES))
            rows = self.run(0, cut, self.inputs(samples), tuple)
            pixels = self.data.pixels if cut == 0 else None
            self._calibrations[cut] = Calibration(
                specs=self.graph.cuts[cut].tensors,
                tensors=tuple(np.stack(tensors) for tensors in zip(*rows, strict=True)),
                pictures=picture_scale(pixels.mean, pixels.std) if pixels else None,
            )
        return self._calibrations[cut]

    def _example(self, cut: int) -> Row:
        return tuple(tensor[0] for tensor in self._calibration(cut).tensors)


def _own(row: Row) -> Row:
    """The same tensors apart from their batch, which then need not be kept."""
    return tuple(tensor.copy() for tensor in row)


def _stack(rows: Sequence[Row], cut: Cut) -> tuple[Tensor, ...]:
    """Frames -> the batch that a program takes."""
    tensors = []
    for spec, frames in zip(cut.tensors, zip(*rows, strict=True), strict=True):
        if spec.batch_dim is None:
            (frame,) = frames
            tensors.append(torch.from_numpy(np.ascontiguousarray(frame)))
        else:
            tensors.append(torch.from_numpy(np.stack(frames)).movedim(0, spec.batch_dim))
    return tuple(tensors)


def _unstack(tensors: Sequence[Tensor], cut: Cut, frames: int) -> Iterator[Row]:
    """What a program made -> frames."""
    arrays = [
        tensor.numpy()[None] if spec.batch_dim is None else tensor.movedim(spec.batch_dim, 0).numpy()
        for tensor, spec in zip(tensors, cut.tensors, strict=True)
    ]
    for frame in range(frames):
        yield tuple(array[frame] for array in arrays)
