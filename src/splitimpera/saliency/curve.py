"""The curve over the cuts, and the cuts that it recommends. Pure: numbers in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from splitimpera.core.array_types import FloatArray
from splitimpera.records.graph import Candidate, Cut, TensorSpec


@dataclass(frozen=True, eq=False)
class SaliencyCurve:
    """The scores of a network's cuts, in their order; CS first of all.

    Attributes:
        cuts: Indices of the cuts.
        names: Names of the layers after which they lie.
        scores: Mean of each score over samples, shape (points,); "cs" is always there.
        bytes: Bytes that cross there, for one frame, in the network's own type.
        macs_head: Multiply-accumulates up to there.
        per_class: CS of each class's samples, by its label, shape (points,).
        class_counts: Number of samples of each class, by its label.
        class_names: Names by label; may be empty.
        on_curve: False for points of the classifier, whose value is known but which the curve leaves out.
        samples: Number of samples that the means are over.
        input_bytes: Size of the network's input.
    """

    cuts: tuple[int, ...]
    names: tuple[str, ...]
    scores: dict[str, FloatArray]
    bytes: tuple[int, ...]
    macs_head: tuple[int, ...]
    per_class: dict[int, FloatArray]
    class_counts: dict[int, int]
    class_names: tuple[str, ...]
    on_curve: tuple[bool, ...]
    samples: int
    input_bytes: int

    @property
    def cs(self) -> FloatArray:
        """Cumulative saliency, a mean over samples, shape (points,)."""
        return self.scores["cs"]

    @property
    def log_cs(self) -> FloatArray:
        """log10 CS, as the papers draw it; -300 where CS is 0."""
        return _log10(self.cs)

    @property
    def maxima(self) -> tuple[int, ...]:
        """Positions (not cut indices) of the strict local maxima of log10 CS."""
        return self._places(local_maxima(self.log_cs[self._on]))

    @property
    def dead(self) -> tuple[str, ...]:
        """Layers whose CS is exactly 0 for all samples: nothing there speaks for the target."""
        return tuple(name for name, value in zip(self.names, self.cs, strict=True) if value == 0)

    @property
    def not_finite(self) -> tuple[str, ...]:
        """Layers whose CS is NaN or infinite; they are never candidates."""
        return tuple(name for name, value in zip(self.names, self.cs, strict=True) if not np.isfinite(value))

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The cuts worth a plan, in their order, each with the reasons why."""
        reasons: dict[int, list[str]] = {}
        for position in self.maxima:
            reasons.setdefault(position, []).append("local maximum of CS")
        for position in self._places(global_maximum(self.log_cs[self._on])):
            reasons.setdefault(position, []).append("global maximum of CS")
        for position in self._places(shrinking(np.array(self.bytes)[self._on], self.input_bytes)):
            reasons.setdefault(position, []).append("smallest output so far (CDE)")
        return tuple(
            Candidate(self.cuts[position], self.names[position], tuple(reasons[position]))
            for position in sorted(reasons)
        )

    @property
    def ranking(self) -> tuple[int, ...]:
        """Positions on the curve, best first: by the mean of their ranks in CS (high) and in bytes (low).

        CS alone favours depth, bytes alone favour pools; a split wants both. Ours.
        """
        places = self._on
        by_cs = _ranks(-self.log_cs[places])
        by_bytes = _ranks(np.array(self.bytes, dtype=float)[places])
        return tuple(int(places[i]) for i in np.argsort(by_cs + by_bytes, kind="stable"))

    def of_classes(self, labels: Sequence[int]) -> FloatArray:
        """CS of the samples of a group of classes, shape (points,), from the same pass."""
        weights = np.array([self.class_counts[label] for label in labels], dtype=float)
        curves = np.stack([self.per_class[label] for label in labels])
        return np.asarray(weights @ curves / weights.sum(), dtype=np.float64)

    def class_name(self, label: int) -> str:
        """A class's name, or its label where it has none."""
        return self.class_names[label] if 0 <= label < len(self.class_names) else str(label)

    def at_cut(self, index: int) -> float | None:
        """CS at a cut; None where nothing crosses that it is a mean of, as the input or the result."""
        return float(self.cs[self.cuts.index(index)]) if index in self.cuts else None

    @property
    def _on(self) -> npt.NDArray[np.intp]:
        return np.flatnonzero(self.on_curve)

    def _places(self, found: Sequence[int]) -> tuple[int, ...]:
        return tuple(int(self._on[place]) for place in found)


def log10_or_gap(values: Sequence[float] | FloatArray) -> FloatArray:
    """log10 for tables and figures: NaN, a gap, where a value is 0 or less."""
    numbers = np.asarray(values, dtype=np.float64)
    return np.log10(numbers, where=numbers > 0, out=np.full(numbers.shape, np.nan))


def _log10(values: FloatArray) -> FloatArray:
    return np.asarray(np.log10(np.maximum(values, 1e-300)), dtype=np.float64)


def _ranks(values: FloatArray) -> FloatArray:
    """0 for the smallest; equal values share their mean rank."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts + 1) / 2)[places], dtype=np.float64)


def local_maxima(curve: FloatArray) -> tuple[int, ...]:
    """Positions of the strict local maxima of a curve, shape (points,).

    An end is no maximum, since it has only one neighbour; nor is a plateau, where no point is better than both of its
    neighbours.
    """
    inner = range(1, len(curve) - 1)
    return tuple(i for i in inner if curve[i] > curve[i - 1] and curve[i] > curve[i + 1])


def global_maximum(curve: FloatArray) -> tuple[int, ...]:
    """Position of the largest finite value, the last point aside (little is left to compute after it).

    () for a curve of fewer than two points, and where nothing is finite.
    """
    inner = np.where(np.isfinite(curve[:-1]), curve[:-1], -np.inf)
    return (int(np.argmax(inner)),) if len(inner) and np.isfinite(inner).any() else ()


def shrinking(sizes: npt.NDArray[np.int64], input_bytes: int) -> tuple[int, ...]:
    """Positions where less crosses than at every cut before and than the input: what CDE would split at.

    CDE (Sbai et al., SECON 2021) chooses by the size of a layer's output alone.
    """
    found, least = [], float("inf")
    for place, size in enumerate(sizes):
        if size < least:
            found += [place] if size < input_bytes else []
            least = size
    return tuple(found)


def curve_points(cuts: Sequence[Cut]) -> tuple[list[Cut], list[bool]]:
    """The cuts at which CS is taken, and whether each belongs to the curve.

    CS is taken wherever something crosses that `counted` has, input and result aside. The curve itself has
    convolutions, pools and blocks: maps and tokens. Vectors (the classifier's linear layers) belong to it only where
    there is nothing else.
    """
    points: dict[tuple[str, ...], tuple[Cut, bool]] = {}
    for cut in cuts[1:-1]:
        tensors = counted(cut, cuts[0].crossing)
        if tensors:  # two cuts with the same tensors are one point
            points.setdefault(tuple(tensors), (cut, any(len(spec.shape) > 1 for spec in tensors.values())))
    mapped = any(is_map for _, is_map in points.values())
    return [cut for cut, _ in points.values()], [is_map or not mapped for _, is_map in points.values()]


def counted(cut: Cut, given: Sequence[str]) -> dict[str, TensorSpec]:
    """The tensors of a cut over whose elements CS is a mean, by their nodes; all others count as bytes alone.

    These are numbers that are no floats, inputs that only the tail reads, and what is the same for all samples, such as
    a mask.

    Args:
        given: Nodes of the network's inputs.
    """
    return {
        name: spec
        for name, spec in zip(cut.crossing, cut.tensors, strict=True)
        if name not in given and spec.batch_dim is not None and spec.dtype.startswith(("float", "bfloat"))
    }
