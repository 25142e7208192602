"""What a bundle's parts compute in their engines, held against the network in PyTorch, sample by sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from splitimpera.bundle.manifest import PlanEntry, spans
from splitimpera.bundle.opened import Bundle
from splitimpera.bundle.proof_entry import ProofEntry
from splitimpera.bundle.segments import Span
from splitimpera.core.array_types import Row
from splitimpera.core.errors import BundleError
from splitimpera.core.progress import Track
from splitimpera.core.units import format_fraction
from splitimpera.deploy.halves import (
    MiddleHalf,
    Passed,
    Received,
    ReceivingHalf,
    device_half,
    receiving_halves,
)
from splitimpera.evaluation.batches import unstack
from splitimpera.evaluation.testbed import Testbed
from splitimpera.export.exit_proof import ExitProof
from splitimpera.models.datasets import Samples
from splitimpera.records.traffic import Codec
from splitimpera.tasks.quality import value_of
from splitimpera.tasks.sameness import Comparison
from splitimpera.tasks.task import numbers_of

EQUAL = 0.995
"""The least share of equal predictions with which a bundle is written."""
ROUNDING = 1e-6
"""How far, as a share of the largest value, a codec may be off that is lossless but for the last bit."""
LOSSLESS_SAMPLES = 64
"""How many samples are looked at to tell whether a codec is lossless."""


@dataclass(frozen=True)
class Proven:
    """What came of a bundle's plan.

    Attributes:
        parts: Its programs alone, in batches where frames stack.
        whole: All of it, codec included, frame by frame.
        metric: What answers are judged by; `quality`: that of `whole`.
        seconds: The programs' time for one frame, all machines together: the median.
        exits: What becomes of frames at early exits, which count for `quality` alone, and are shut for all else; None:
            there are none.
    """

    plan: str
    parts: Comparison
    whole: Comparison
    lossless: bool
    metric: str
    quality: float
    seconds: float
    exits: ExitProof | None = None

    @property
    def accuracy(self) -> float | None:
        """Share of right answers, where that is what they are judged by."""
        return self.quality if self.metric == "accuracy" else None

    def entry(self, float_version: Proven | None = None) -> ProofEntry:
        """What the manifest says of it."""
        return ProofEntry(
            plan=self.plan,
            samples=len(self.whole),
            lossless=self.lossless,
            largest_difference=self.whole.difference,
            equal=self.whole.equal,
            accuracy=self.accuracy,
            quality=self.quality,
            seconds=self.seconds,
            float_accuracy=None if float_version is None else float_version.accuracy,
            float_quality=None if float_version is None else float_version.quality,
            float_seconds=None if float_version is None else float_version.seconds,
            left=[] if self.exits is None else self.exits.left,
        )

    def check(self) -> None:
        """Refuse programs, or programs with a lossless codec, whose answers are not the network's.

        Raises:
            BundleError: with the share of equal predictions.
        """
        kinds = {"the programs": self.parts} | ({"programs and codec": self.whole} if self.lossless else {})
        for what, compared in kinds.items():
            share = compared.as_good_as_equal
            if share < EQUAL or not np.isfinite(compared.difference):
                found = f"{format_fraction(share)} of {len(compared)} validation samples"
                if compared.words != "equal predictions":
                    found = f"{len(compared)} validation samples with {format_fraction(share)} {compared.words}"
                raise BundleError(
                    f"{what} give the network's answer for {found}, at least {format_fraction(EQUAL)} are needed; "
                    f"results differ by up to {compared.difference:.3g}. Nothing was written",
                    where=f"plan '{self.plan}'",
                    hint="try the other engine ('--engine torch'), and report the network for which this happens",
                )
        if self.exits is not None:
            self.exits.check(self.plan)


def prove(
    bundle: Bundle, plan: str, testbed: Testbed, samples: Samples, track: Track[Any], what: str, ends: int | None = None
) -> Proven:
    """Run all samples through all halves of a bundle's plan, and through the network.

    Args:
        testbed: With the network, and the plan's bottleneck: that is what the halves are compared with.
        samples: The validation part.
        what: What is done, for whoever watches.
        ends: Place of a machine in the middle that finishes the frames by itself; None: the last one does.

    Raises:
        BundleError: the halves do not run.
    """
    halves, task = _Halves(bundle, plan, ends), testbed.task
    parts, whole, gaps, seconds = task.sameness(), task.sameness(), _Gaps(), list[float]()
    size, counts = testbed.chunk(hop.cut for hop in halves.entry.hops), []
    frames = _references(testbed, halves.run, samples, size)
    exits = None if halves.opened is None or ends is not None else ExitProof(halves.opened, testbed)
    for rows, references in track(frames, what, -(-len(samples) // size)):
        early: list[Row | None] = [None] * len(rows) if exits is None else exits.take(rows)
        for reference, (*crossing, direct) in zip(references, halves.directly(rows), strict=True):
            parts.take(reference, direct, task.answer(direct))
            if len(parts) <= LOSSLESS_SAMPLES:
                gaps.look(halves.codecs, crossing)
        for reference, row, left in zip(references, rows, early, strict=True):
            outputs, response, taken_s = halves.frame(row)
            answer = response if halves.responds else task.answer(response)
            (target,) = samples.targets.rows([len(whole)])
            counts.append(task.quality.count(left, target) if left else numbers_of(task, outputs, target))
            whole.take(reference, outputs, answer)
            seconds.append(taken_s)
    quality = value_of(task.quality, task.quality.vectors(np.array(counts)))
    metric = task.quality.name
    return Proven(halves.entry.id, parts, whole, gaps.none, metric, quality, float(np.median(seconds)), exits)


class _Halves:
    """All halves of a plan in the order of the frames' way; of one on the device alone, the one.

    Attributes:
        device: With its early exits shut.
        opened: The same with them; None: it has none.
    """

    def __init__(self, bundle: Bundle, plan: str, ends: int | None = None) -> None:
        device = device_half(bundle, plan)
        self.device, self.opened = replace(device, exits=None), None if device.exits is None else device
        self.entry: PlanEntry = self.device.plan
        machines = self.entry.machines[1:] if ends is None else self.entry.machines[1 : ends + 1]
        self.others = [receiving_halves(bundle, [plan], machine)[self.entry.id] for machine in machines]
        if ends is not None:
            self.others[-1] = _alone_of(self.others[-1])
        self.codecs: list[Codec] = [half.codec for half in self.others]
        # what runs, and with which bottlenecks
        hops = self.entry.hops[: len(self.others)]
        self.run = self.entry.model_copy(update={"hops": hops, "machines": self.entry.machines[: len(hops) + 1]})

    @property
    def responds(self) -> bool:
        """Whether the halves know the task, and their responses are its answers."""
        return self.device.responding.task is not None

    def frame(self, row: Row) -> tuple[Row, Row, float]:
        """One frame's outputs and response by all that the bundle has, and the seconds that its programs took."""
        coded = self.device(list(row))
        payload, outputs, result, taken_s = coded.payload, coded.outputs, coded.result, coded.head_s
        for half in self.others:
            found = half([Received(b"" if payload is None else payload.data)])
            taken_s += found.run_s
            if isinstance(found, Passed):
                (payload,) = found.payloads
            else:
                (result,), (outputs,) = found.results, found.outputs
        if outputs is None or result is None:
            raise BundleError("a machine's half cannot read what the one in front of it sends")
        return outputs, result, taken_s

    def directly(self, rows: list[Row]) -> Iterator[tuple[Row, ...]]:
        """Of some frames what leaves each machine where no codec is in between; the outputs last."""
        left = [self.device.layers(rows)]
        for half in self.others:
            left.append(half.layers(left[-1]))
        return zip(*left, strict=True)


def _alone_of(half: ReceivingHalf) -> ReceivingHalf:
    """What finishes frames on a machine in the middle."""
    assert isinstance(half, MiddleHalf)
    assert half.alone is not None
    return half.alone


class _Gaps:
    """Whether codecs give back what they were given."""

    def __init__(self) -> None:
        self.none = True

    def look(self, codecs: Sequence[Codec], crossing: Sequence[Row]) -> None:
        for codec, tensors in zip(codecs, crossing, strict=True) if self.none else ():
            decoded = codec.decode(codec.encode(tensors).data)
            for given, found in zip(tensors, decoded, strict=True):
                wanted = np.asarray(given, np.complex128)
                most = ROUNDING * float(np.abs(wanted).max(initial=0))
                self.none &= bool((np.abs(wanted - found) <= most).all())


def _references(
    testbed: Testbed, plan: PlanEntry, samples: Samples, size: int
) -> Iterator[tuple[list[Row], list[Row]]]:
    """Samples as rows, `size` at a time, and the network's outputs; with the plan's bottleneck where it has one."""
    bottleneck = any(hop.bottleneck for hop in plan.hops)
    parts = spans(plan, testbed.last) if bottleneck else [Span(0, testbed.last)]
    for x in samples.batches(size):
        batch = testbed.inputs(x)
        rows = list(unstack(batch, testbed.specs(0, 0.0)))
        for span in parts:
            if not span.empty:
                batch = testbed.call(span, batch)
        yield rows, list(unstack(batch, testbed.specs(testbed.last, 0.0)))
