"""The curve over the cuts, and the cuts that it recommends. Pure: numbers in, numbers out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from splitimpera.records import Candidate, Cut, FloatArray


@dataclass(frozen=True, eq=False)
class SaliencyCurve:
    """Cumulative saliency at the single-tensor cuts of a network, in their order.

    Attributes:
        cuts: the cuts' indices.
        names: the layers behind which they lie.
        cs: CS, a mean over pictures, shape (points,).
        bytes: what crosses there, float32 for one frame, shape (points,).
        per_class: for each class (by its label) the CS of that class's pictures, shape (points,).
        on_curve: False for points of the classifier, whose value is known but which the curve leaves out.
        pictures: over how many pictures the mean goes.
    """

    cuts: tuple[int, ...]
    names: tuple[str, ...]
    cs: FloatArray
    bytes: tuple[int, ...]
    per_class: dict[int, FloatArray]
    on_curve: tuple[bool, ...]
    pictures: int

    @property
    def maxima(self) -> tuple[int, ...]:
        """Positions (not cut indices) of the strict local maxima of log10 CS."""
        return self._on_whole_curve(local_maxima)

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The cuts worth a plan, in their order: the local maxima and the global one."""
        reasons: dict[int, list[str]] = {}
        for position in self.maxima:
            reasons.setdefault(position, []).append("local maximum of CS")
        for position in self._on_whole_curve(global_maximum):
            reasons.setdefault(position, []).append("global maximum of CS")
        return tuple(
            Candidate(self.cuts[position], self.names[position], tuple(reasons[position]))
            for position in sorted(reasons)
        )

    def at_cut(self, index: int) -> float | None:
        """CS at a cut; None where several tensors cross, or the input, or the result."""
        return float(self.cs[self.cuts.index(index)]) if index in self.cuts else None

    def _on_whole_curve(self, find: Callable[[FloatArray], tuple[int, ...]]) -> tuple[int, ...]:
        positions = [position for position, on in enumerate(self.on_curve) if on]
        found = find(np.log10(np.maximum(self.cs[positions], 1e-300)))
        return tuple(positions[place] for place in found)


def local_maxima(curve: FloatArray) -> tuple[int, ...]:
    """Positions of the strict local maxima of a curve, shape (points,).

    An end is no maximum, since it has only one neighbour; nor is a plateau, where no point is better than both of its
    neighbours.
    """
    inner = range(1, len(curve) - 1)
    return tuple(i for i in inner if curve[i] > curve[i - 1] and curve[i] > curve[i + 1])


def global_maximum(curve: FloatArray) -> tuple[int, ...]:
    """Position of the largest value, the last point aside (little is left to compute behind it).

    () for a curve of fewer than two points.
    """
    return (int(np.argmax(curve[:-1])),) if len(curve) > 1 else ()


def curve_points(cuts: Sequence[Cut]) -> tuple[list[Cut], list[bool]]:
    """The cuts at which CS is taken, and whether each belongs to the curve.

    CS is taken where a single tensor crosses, input and result aside. The curve itself has convolutions, pools and
    blocks: maps and tokens. Vectors (the classifier's linear layers) belong to it only where there is nothing else.
    """
    single = [cut for cut in cuts[1:-1] if cut.single and cut.tensors[0].dtype.startswith(("float", "bfloat"))]
    mapped = [len(cut.tensors[0].shape) > 1 for cut in single]
    seen = set[str]()
    points, on_curve = [], []
    for cut, is_map in zip(single, mapped, strict=True):
        if cut.crossing[0] not in seen:  # two cuts with the same tensor are one point
            points.append(cut)
            on_curve.append(is_map or not any(mapped))
        seen.add(cut.crossing[0])
    return points, on_curve
