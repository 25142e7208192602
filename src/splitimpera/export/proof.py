"""What a bundle's parts compute in their engines, held against the network in PyTorch, sample by sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from splitimpera.bundle.manifest import PlanEntry, ProofEntry, Span, spans
from splitimpera.bundle.opened import Bundle
from splitimpera.core.array_types import Array, Row
from splitimpera.core.errors import BundleError
from splitimpera.core.progress import Track
from splitimpera.core.units import format_fraction
from splitimpera.deploy.halves import DeviceHalf, Received, ServerHalf, device_half, server_half
from splitimpera.evaluation.batches import unstack
from splitimpera.evaluation.testbed import Testbed
from splitimpera.models.datasets import Samples

EQUAL = 0.995
"""The least share of equal predictions with which a bundle is written."""
ROUNDING = 1e-6
"""How far, as a share of the largest value, a codec may be off that is lossless but for the last bit."""
CLOSE = 0.01
"""As a share of the largest logit: results that differ by more are not the same, however close the best two are."""
LOSSLESS_SAMPLES = 64
"""How many samples are looked at to tell whether a codec is lossless."""


@dataclass
class Compared:
    """Results beside those they should be: of each sample some numbers, not its logits.

    Attributes:
        answers: Class that was found.
        same: Whether it is the class that should be found.
        gaps: Largest difference of any logit; infinite where one is no number.
        margins: How far the best two logits are apart that should be found.
        largest: The largest of these logits, without its sign.
    """

    answers: list[int] = field(default_factory=list)
    same: list[bool] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    largest: list[float] = field(default_factory=list)

    def add(self, wanted: Array, found: Array) -> None:
        """Take the logits of one more sample."""
        should, is_ = (np.asarray(logits, np.float64).ravel() for logits in (wanted, found))
        best = np.sort(should)[-2:]
        gap = float(np.abs(should - is_).max())
        self.answers.append(int(is_.argmax()))
        self.same.append(bool(should.argmax() == is_.argmax()))
        self.gaps.append(gap if np.isfinite(gap) else float("inf"))
        self.margins.append(float(best[-1] - best[0]) if len(best) > 1 else float("inf"))
        self.largest.append(float(np.abs(should).max()))

    def __len__(self) -> int:
        return len(self.same)

    @property
    def difference(self) -> float:
        """The largest of any value."""
        return max(self.gaps)

    @property
    def equal(self) -> float:
        """Share of samples with the same answer."""
        return float(np.mean(self.same))

    @property
    def as_good_as_equal(self) -> float:
        """The same, with the samples whose best two logits are closer than results differ by rounding."""
        undecided = np.array(self.margins) < min(self.difference, CLOSE * max(self.largest))
        return float((np.array(self.same) | undecided).mean())

    def right(self, labels: Array) -> float:
        """Share of samples whose answer is the label."""
        return float((np.array(self.answers) == labels).mean())


@dataclass(frozen=True)
class Proven:
    """What came of a bundle's plan.

    Attributes:
        parts: Its programs alone, in batches where frames stack.
        whole: All of it, codec included, frame by frame.
        seconds: The programs' time for one frame, all machines together: the median.
    """

    plan: str
    parts: Compared
    whole: Compared
    lossless: bool
    accuracy: float
    seconds: float

    def entry(self, float_version: Proven | None = None) -> ProofEntry:
        """What the manifest says of it."""
        return ProofEntry(
            plan=self.plan,
            samples=len(self.whole),
            lossless=self.lossless,
            largest_difference=self.whole.difference,
            equal=self.whole.equal,
            accuracy=self.accuracy,
            seconds=self.seconds,
            float_accuracy=None if float_version is None else float_version.accuracy,
            float_seconds=None if float_version is None else float_version.seconds,
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
                raise BundleError(
                    f"{what} give the network's answer for {format_fraction(share)} of {len(compared)} "
                    f"validation samples, at least {format_fraction(EQUAL)} are needed; results differ by up to "
                    f"{compared.difference:.3g}. Nothing was written",
                    hint="try the other engine ('--engine torch'), and report the network for which this happens",
                )


def prove(bundle: Bundle, plan: str, testbed: Testbed, samples: Samples, track: Track[Any], what: str) -> Proven:
    """Run all samples through both halves of a bundle, and through the network.

    Args:
        testbed: With the network, and the plan's bottleneck: that is what the halves are compared with.
        samples: The validation part.
        what: What is done, for whoever watches.

    Raises:
        BundleError: the halves do not run.
    """
    halves = _Halves(bundle, plan)
    parts, whole, gaps, seconds = Compared(), Compared(), _Gaps(), list[float]()
    size = testbed.chunk(hop.cut for hop in halves.entry.hops)
    frames = _references(testbed, halves.entry, samples, size)
    for rows, references in track(frames, what, -(-len(samples) // size)):
        for reference, tensors, direct in zip(references, *halves.directly(rows), strict=True):
            parts.add(reference, direct)
            if len(parts) <= LOSSLESS_SAMPLES:
                gaps.look(halves.device, tensors)
        for reference, row in zip(references, rows, strict=True):
            result, taken_s = halves.frame(row)
            whole.add(reference, result)
            seconds.append(taken_s)
    accuracy = whole.right(samples.labels.numpy())
    return Proven(halves.entry.id, parts, whole, gaps.none, accuracy, float(np.median(seconds)))


class _Halves:
    """Both halves of a plan; of one on the device alone, the one."""

    def __init__(self, bundle: Bundle, plan: str) -> None:
        self.device: DeviceHalf = device_half(bundle, plan)
        self.entry: PlanEntry = self.device.plan
        self.server: ServerHalf | None = server_half(bundle, plan) if self.entry.hops else None

    def frame(self, row: Row) -> tuple[Array, float]:
        """One frame's logits by all that the bundle has, and the seconds that its programs took."""
        coded = self.device(list(row))
        if coded.payload is None or self.server is None:
            assert coded.result is not None
            return coded.result[0], coded.head_s
        predictions = self.server([Received(coded.payload.data)])
        (result,) = predictions.results
        if result is None:
            raise BundleError("the server's half cannot read what the device's half sends")
        return result[0], coded.head_s + predictions.run_s

    def directly(self, rows: list[Row]) -> tuple[list[Row], list[Array]]:
        """What leaves the device for some frames, and the logits that follow from exactly that."""
        sent = self.device.layers(rows)
        results = sent if self.server is None else self.server.layers(sent)
        return sent, [result[0] for result in results]


class _Gaps:
    """Whether a codec gives back what it was given."""

    def __init__(self) -> None:
        self.none = True

    def look(self, device: DeviceHalf, tensors: Row) -> None:
        if device.codec is None or not self.none:
            return
        decoded = device.codec.decode(device.codec.encode(tensors).data)
        for given, found in zip(tensors, decoded, strict=True):
            wanted = np.asarray(given, np.complex128)
            most = ROUNDING * float(np.abs(wanted).max(initial=0))
            self.none &= bool((np.abs(wanted - found) <= most).all())


def _references(
    testbed: Testbed, plan: PlanEntry, samples: Samples, size: int
) -> Iterator[tuple[list[Row], list[Array]]]:
    """Samples as rows, `size` at a time, and the network's logits; with the plan's bottleneck where it has one."""
    bottleneck = any(hop.bottleneck for hop in plan.hops)
    segments = spans(plan, testbed.last) if bottleneck else [Span(0, testbed.last)]
    for x in samples.batches(size):
        batch = testbed.inputs(x)
        rows = list(unstack(batch, testbed.specs(0, 0.0)))
        for segment in segments:
            if not segment.empty:
                batch = testbed.call(segment, batch)
        yield rows, [row[0] for row in unstack(batch, testbed.specs(testbed.last, 0.0))]
