"""A network, its data and its workload, with what several plans share: programs and calibrated codecs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from itertools import islice
from typing import Literal

import numpy as np
import torch
from torch import Tensor, fx, nn

from splitimpera.codec.codecs import PACKET_BYTES, Calibration, calibrate, codec_from
from splitimpera.codec.constants import Constants
from splitimpera.codec.elements import ElementCodec, image_scale
from splitimpera.core.array_types import FloatArray, Row
from splitimpera.core.errors import ModelError, SplitImperaError
from splitimpera.core.memory import hand_back
from splitimpera.cost.work import NetworkWork, Work, part_work, with_batch
from splitimpera.evaluation.batches import batched, stack, tensors, unstack
from splitimpera.evaluation.codings import Coding as Coding
from splitimpera.evaluation.codings import Provisional, Segment
from splitimpera.evaluation.codings import coding_of as coding_of
from splitimpera.evaluation.codings import route_of as route_of
from splitimpera.evaluation.heads import ExitHeads, Places
from splitimpera.evaluation.programs import Program, Programs
from splitimpera.evaluation.token_blocks import TokenBlocks
from splitimpera.graph.moving import device_of, moved
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.accelerators import mixed, rounding, torch_device, torch_precision
from splitimpera.models.datasets import Dataset, Samples
from splitimpera.models.imports import telling
from splitimpera.models.targets import one_by_one
from splitimpera.records.graph import TensorSpec
from splitimpera.records.spans import NETWORK, Place, Span
from splitimpera.records.traffic import Codec, Workload
from splitimpera.tasks.classification import Classification
from splitimpera.tasks.task import Task
from splitimpera.training.trained import TrainedSplit, weights_of
from splitimpera.training.weight_files import digest

Part = Literal["validation", "test"]

CHUNK = 128
CHUNK_BYTES = 96 << 20
"""What the activations of frames that are run together may take."""
CALIBRATION_SAMPLES, LEAST_SAMPLES = 256, 32
CALIBRATION_BYTES = 8 << 20
"""What may be kept of a cut to calibrate codecs with, beyond `LEAST_SAMPLES`."""
CALIBRATION_CHUNK = 32
LOGITS = TensorSpec("logits", ())


class Testbed:
    """Where plans are tried out.

    Args:
        graph: the traced network.
        data: `train` (or `validation`) calibrates codecs; plans are judged on `validation`, the chosen one on `test`.
        workload: how many frames, how often.
        device: Where the network is run on samples: "auto", "cpu", "cuda" or "mps", as `accelerators.torch_device` has
            them; None: where it lies. What is timed (`caller`, `bottleneck_caller`) always runs where it lies.
        autocast: Mixed precision there: "bfloat16" or "float16"; None: full precision.
        task: What the network is for, fitted to its outputs; None: classification.
        blocks: Where it may be split and what runs on either side, if frames are requests to a language model.

    Raises:
        ScenarioError: this machine has no such device.
        ModelError: the network cannot be moved there, or is no classifier and no task is given.
    """

    __test__ = False  # no test class, whatever pytest makes of the name

    def __init__(
        self,
        graph: ModelGraph,
        data: Dataset,
        workload: Workload,
        device: str | torch.device | None = None,
        autocast: str | torch.dtype | None = None,
        task: Task | None = None,
        blocks: TokenBlocks | None = None,
    ) -> None:
        self.graph = graph
        self.blocks = blocks
        self.data = data
        self.workload = workload
        self.task: Task = Classification().fitted(graph.outputs) if task is None else task
        self.autocast = torch_precision(autocast)
        self._here = Programs(graph)
        there = moved(graph, device_of(graph) if device is None else torch_device(device))
        self._there = self._here if there is graph else Programs(there)
        self.heads = ExitHeads(graph, there)
        self._calibrations: dict[tuple[Place, Place], Calibration] = {}
        self._codecs: dict[tuple[int, str, float, int, Place], Codec] = {}
        self._examples: dict[tuple[int, float], Row] = {}
        self._provisional: dict[Coding, Provisional] = {}
        self._lost: dict[Part, FloatArray] = {}
        self._digest: str | None = None
        self._network_work = NetworkWork(graph)
        self._works: dict[tuple[Segment, Places], Work] = {}

    def with_workload(self, workload: Workload) -> Testbed:
        """The same testbed with other frames; both know what either has computed."""
        other = copy(self)
        other.workload = workload
        return other

    def with_task(self, task: Task) -> Testbed:
        """The same testbed, whose network is for something else."""
        other = copy(self)
        other.task = task
        other._lost = {}
        return other

    def of_samples(self, rows: Tensor) -> Testbed:
        """The same testbed that judges plans on some of the validation samples."""
        other = copy(self)
        other.data = replace(self.data, validation=self.data.validation.take(rows))
        other._lost = {}
        return other

    @property
    def last(self) -> int:
        """The cut that only the result crosses."""
        return len(self.graph.cuts) - 1

    def add_split(self, ratio: float, split: TrainedSplit) -> None:
        """Let plans with a bottleneck of this ratio at the split's cut use it."""
        for programs in {self._here, self._there}:
            programs.add_split(ratio, split)

    def add_exit(self, cut: int, head: nn.Module) -> None:
        """Let plans have an early exit behind a cut; the head is as `ExitHeads.add` takes it."""
        self.heads.add(cut, head)

    def samples(self, part: Part) -> Samples:
        """The samples of a part: "validation", or "test"."""
        return self.data.validation if part == "validation" else self.data.test

    def lost_counts(self, part: Part) -> FloatArray:
        """The quality's numbers of each sample without a response, (samples, k); all plans share them."""
        if part not in self._lost:
            count_lost = self.task.quality.count_lost
            self._lost[part] = np.array([count_lost(target) for target in one_by_one(self.samples(part).targets)])
        return self._lost[part]

    def specs(self, cut: int, ratio: float) -> tuple[TensorSpec, ...]:
        """The tensors that cross a cut, or the latents of the bottleneck there."""
        return self._here.split(cut, ratio).latents if ratio else self.graph.cuts[cut].tensors

    def split(self, cut: int, ratio: float) -> TrainedSplit:
        """The trained split of a bottleneck; CutError where none was added."""
        return self._here.split(cut, ratio)

    def layers(self, span: Span) -> fx.GraphModule:
        """The layers of a span where the network lies, without the parts of the bottlenecks at its ends."""
        return self._here.own_head(span) or self._here.layers(span)

    def chunk(self, cuts: Iterable[int]) -> int:
        """How many frames are run together between some cuts: as many as fit into memory, one where none stack."""
        crossing = [spec for cut in {0, *cuts, self.last} for spec in self.graph.cuts[cut].tensors]
        if not self.graph.stacks(crossing):
            return 1
        return max(1, min(CHUNK, CHUNK_BYTES // max(self.work(0, self.last).activation_bytes, 1)))

    def inputs(self, x: Tensor) -> tuple[Tensor, ...]:
        """What was read of some samples, (n, ...), as the network takes it; one where they do not stack."""
        return tensors(tuple(each.numpy() for each in self.data.validation.tensors(x)), self.specs(0, 0.0))

    def call(self, span: Span, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Run the layers of a span on stacked frames.

        Raises:
            CutError: it lacks a bottleneck, or divides a head with weights of its own.
            ModelError: the network cannot be run.
        """
        return self._on_device(self._there.between(span), batch, self.specs(span.end, span.leaving))

    def encoded(
        self,
        cut: int,
        ratio: float,
        inputs: tuple[Tensor, ...],
        crossing: tuple[Tensor, ...],
        behind: Place = NETWORK,
    ) -> tuple[Tensor, ...]:
        """The latents of a bottleneck, from the network's inputs and what crosses its cut without it."""
        before = self._there.split(cut, ratio)
        if before.finetune_head:
            return self.call(Span(0, cut, 0.0, ratio, behind), inputs)
        return self._on_device(before.encode, crossing, before.latents)

    def look(self, cut: int, crossing: tuple[Tensor, ...]) -> Tensor:
        """The logits that the head behind a cut finds in what crosses it, (n, classes)."""
        return self._on_device(lambda *x: (self.heads.head(cut, there=True)(*x),), crossing, (LOGITS,))[0]

    def _on_device(self, program: Program, batch: tuple[Tensor, ...], made: Sequence[TensorSpec]) -> tuple[Tensor, ...]:
        """What a program makes of a batch, which is moved to its device, and the result back."""
        device = self._there.device
        with torch.inference_mode(), telling(ModelError, "the network cannot be run"):
            with mixed(device, self.autocast):
                found = program(*(tensor.to(device) for tensor in batch))
            # mixed precision leaves narrower types
            return tuple(tensor.to("cpu", getattr(torch, spec.dtype)) for tensor, spec in zip(found, made, strict=True))

    def run(self, start: int, end: int, rows: Iterable[Row], ratio: float = 0.0) -> Iterator[Row]:
        """Run the layers between two cuts on many frames, a bounded number at a time.

        Args:
            rows: The tensors of each frame that cross `start`.
            ratio: Ratio of the bottleneck at `end`, whose latents come out then; 0: none.

        Raises:
            ModelError: the network cannot be run.
        """
        first, last = self.specs(start, 0.0), self.specs(end, ratio)
        for some in batched(rows, self.chunk({start, end})):
            yield from unstack(self.call(Span(start, end, 0.0, ratio), stack(some, first)), last)

    def digest(self, route: Iterable[Coding]) -> str:
        """A digest of the network, and of all that coding on a route follows from."""
        if self._digest is None:
            examples = self.data.calibration().take(slice(CALIBRATION_SAMPLES)).batches(CALIBRATION_CHUNK)
            known = repr((self.data.pixels, torch.__version__, torch.get_num_threads()))
            known += rounding(self._there.device, self.autocast)
            self._digest = digest(weights_of(self.graph), known, *examples)
        splits = [(coding.cut, coding.bottleneck) for coding in route if coding.bottleneck]
        return digest(self._digest, *(self._here.split(*key).parts.state_dict() for key in splits))

    def codec(
        self, cut: int, name: str, ratio: float = 0.0, packet_bytes: int = PACKET_BYTES, behind: Place = NETWORK
    ) -> Codec:
        """A codec for what crosses a cut, calibrated on training samples.

        Args:
            ratio: Ratio of the bottleneck there, whose latents cross then; 0: none.
            packet_bytes: what a packet carries, for codecs that fill packets themselves.
            behind: As `Coding` has it.
        """
        key = (cut, name, ratio, packet_bytes, behind)
        if key not in self._codecs:
            with self._calibrated(cut, name):
                self._codecs[key] = codec_from(self.constants(*key), self.specs(cut, ratio))
        return self._codecs[key]

    def constants(
        self, cut: int, name: str, ratio: float = 0.0, packet_bytes: int = PACKET_BYTES, behind: Place = NETWORK
    ) -> Constants:
        """What such a codec is fixed with; arguments as above."""
        with self._calibrated(cut, name):
            return calibrate(name, replace(self._calibration((cut, ratio), behind), packet_bytes=packet_bytes))

    @contextmanager
    def _calibrated(self, cut: int, name: str) -> Iterator[None]:
        try:
            yield
        except SplitImperaError as error:
            raise error.at(f"codec '{name}' at cut {cut} ({self.graph.cuts[cut].name})") from None

    def work(
        self, start: int, end: int, arriving: float = 0.0, leaving: float = 0.0, batch: int = 1, heads: Places = ()
    ) -> Work:
        """What the layers between two cuts compute and need, whatever the machine; arguments as above.

        Args:
            heads: the cuts on the way behind which the heads of early exits look.
        """
        key = (start, end, arriving, leaving), heads
        if key not in self._works:
            decoder = (
                part_work(self._here.split(start, arriving).decoder, *self.specs(start, arriving)) if arriving else None
            )
            encoder = part_work(self._here.split(end, leaving).encoder, *self.specs(end, 0.0)) if leaving else None
            on_the_way = [self.heads.work(cut) for cut in heads]
            self._works[key] = self._network_work.between(
                start, end, decoder=decoder, encoder=encoder, arriving=arriving, leaving=leaving, heads=on_the_way
            )
        return with_batch(self._works[key], batch)

    def coded(self, cut: int, ratio: float = 0.0) -> tuple[int, int]:
        """How many bytes of tensors cross a cut, and in how many channels."""
        specs = self.specs(cut, ratio)
        channels = sum(spec.shape[spec.channel_dim] for spec in specs if spec.channel_dim < len(spec.shape))
        return sum(tensor.nbytes for tensor in self.example(cut, ratio)), channels

    def caller(self, span: Span, batch: int) -> Callable[[], object]:
        """A call that runs a span on so many frames; one by one where the network cannot stack them."""
        start, arriving = span.start, span.arriving
        program, specs, row = self._here.between(span), self.specs(start, arriving), self.example(start, arriving)
        if self.graph.stacks(specs):
            stacked = stack([row] * batch, specs)
            return lambda: program(*stacked)
        single = stack([row], specs)
        return lambda: [program(*single) for _ in range(batch)]

    def bottleneck_caller(
        self, part: Literal["encoder", "decoder"], cut: int, ratio: float, batch: int
    ) -> Callable[[], object]:
        """A call that runs a part of a bottleneck on so many frames."""
        partition = self._here.split(cut, ratio)
        run = partition.encode if part == "encoder" else partition.decoder
        given = 0.0 if part == "encoder" else ratio
        stacked = stack([self.example(cut, given)] * batch, self.specs(cut, given))
        return lambda: run(*stacked)

    def prepare(self, codings: Iterable[Coding]) -> None:
        """Calibrate codecs, those of all cuts in one pass over the calibration samples, and in one more for each
        bottleneck of whose tail the layers in front are; no examples are kept.
        """
        wanted: dict[Place, dict[Place, list[Coding]]] = {}
        for coding in dict.fromkeys(codings):
            if coding not in self._provisional:
                wanted.setdefault(coding.behind, {}).setdefault((coding.cut, coding.bottleneck), []).append(coding)
        for behind, places in wanted.items():
            rows = self._gathered(places, behind)
            for place, alike in places.items():
                self._calibrate(place, behind, rows.pop(place))
                for coding in alike:
                    self.provisional(coding)
        self._calibrations.clear()
        hand_back()

    def _gathered(self, places: Iterable[Place], behind: Place) -> dict[Place, list[Row]]:
        """What crosses some cuts, or the latents there, for as many calibration samples as may be kept."""
        rows: dict[Place, list[Row]] = {place: [] for place in sorted(places)}
        most = {place: self._examples_of(*place) for place in rows}
        chunk = self.chunk({behind[0], *(cut for cut, _ in rows)})
        for x in self.data.calibration().take(slice(max(most.values(), default=0))).batches(chunk):
            inputs = self.inputs(x)
            at, arriving = behind
            crossing = self.call(Span(0, at, 0.0, arriving), inputs) if arriving else inputs
            for (cut, ratio), found in rows.items():
                if len(found) >= most[cut, ratio]:
                    continue
                crossing = self.call(Span(at, cut, arriving, 0.0, NETWORK if arriving else behind), crossing)
                at, arriving = cut, 0.0
                made = crossing if not ratio else self.encoded(cut, ratio, inputs, crossing, behind)
                room = most[cut, ratio] - len(found)
                found += [tuple(map(np.copy, row)) for row in islice(unstack(made, self.specs(cut, ratio)), room)]
        return rows

    def _calibrate(self, place: Place, behind: Place, rows: list[Row]) -> None:
        cut, ratio = place
        pixels = self.data.pixels if cut == 0 else None
        self._calibrations.clear()  # those of all cuts would fill the memory
        self._calibrations[place, behind] = Calibration(
            specs=self.specs(cut, ratio),
            tensors=tuple(np.stack(tensors) for tensors in zip(*rows, strict=True)),
            images=image_scale(pixels.mean, pixels.std) if pixels else None,
        )
        if behind == NETWORK:
            self._examples[place] = rows[0]
        self._examples.setdefault(place, rows[0])

    def _examples_of(self, cut: int, ratio: float) -> int:
        spec_bytes = sum(spec.bytes for spec in self.specs(cut, ratio))
        return min(CALIBRATION_SAMPLES, max(LEAST_SAMPLES, CALIBRATION_BYTES // max(spec_bytes, 1)))

    def _calibration(self, place: Place, behind: Place = NETWORK) -> Calibration:
        if (place, behind) not in self._calibrations:
            self._calibrate(place, behind, self._gathered([place], behind)[place])
        return self._calibrations[place, behind]

    def example(self, cut: int, ratio: float = 0.0) -> Row:
        """What crosses a cut for one frame of the calibration data, whatever it is made by."""
        if (cut, ratio) not in self._examples:
            self._calibration((cut, ratio))
        return self._examples[cut, ratio]

    def provisional(self, coding: Coding) -> Provisional:
        """What is known of the payloads of a codec from a few samples of the calibration data."""
        if coding not in self._provisional:
            codec = self.codec(*coding)
            inner = getattr(codec, "inner", codec)
            fixed = isinstance(inner, ElementCodec)
            place = coding.cut, coding.bottleneck
            tensors = self._calibration(place, coding.behind).tensors if not fixed else ()
            some = min(len(tensors[0]), LEAST_SAMPLES) if tensors else 0
            rows = [tuple(tensor[each] for tensor in tensors) for each in range(some)] or [self.example(*place)]
            payloads = [codec.encode(row) for row in rows]
            sizes = np.array([len(payload.data) for payload in payloads], dtype=np.int64)
            self._provisional[coding] = Provisional(sizes, fixed, payloads[0].element_bytes)
        return self._provisional[coding]
