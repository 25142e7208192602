"""Scores summed up label by label while batches pass: as much memory for a million samples as for one."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from splitimpera.core.array_types import FloatArray
from splitimpera.core.errors import DataError


@dataclass(eq=False)
class RunningSums:
    """Sums of scores over samples.

    Attributes:
        shape: Number of scores and of points.
        counts: Number of samples of each label; None is the label of those that have none, or a negative one.
        sums: Sums over the samples of each label, float64 (scores, points).
    """

    shape: tuple[int, int]
    counts: dict[int | None, int] = field(default_factory=dict)
    sums: dict[int | None, FloatArray] = field(default_factory=dict)

    def add(self, values: FloatArray, labels: Tensor | None) -> None:
        """Add samples: scores (samples, scores, points), labels (samples,) or None."""
        if labels is None:
            self._add(None, len(values), values.sum(0))
            return
        known = labels.cpu().numpy()
        for label in np.unique(known):
            of_label = values[known == label]
            self._add(int(label) if label >= 0 else None, len(of_label), of_label.sum(0))

    def merge(self, other: RunningSums) -> None:
        """Add what another has summed up."""
        for label, count in other.counts.items():
            self._add(label, count, other.sums[label])

    def _add(self, label: int | None, count: int, total: FloatArray) -> None:
        self.counts[label] = self.counts.get(label, 0) + count
        self.sums[label] = self.sums[label] + total if label in self.sums else total

    def labels(self) -> list[int]:
        """The labels of all samples that have one, ascending."""
        return sorted(label for label in self.counts if label is not None)

    def samples(self, wanted: Collection[int] | None = None) -> int:
        """Number of samples of the wanted labels; None: of all."""
        return sum(self.counts[label] for label in self._of(wanted))

    def mean(self, wanted: Collection[int] | None = None) -> FloatArray:
        """Mean scores over the samples of the wanted labels, (scores, points); None: over all."""
        total = np.sum([self.sums[label] for label in self._of(wanted)], axis=0)
        return np.asarray(total / self.samples(wanted), dtype=np.float64)

    def _of(self, wanted: Collection[int] | None) -> list[int | None]:
        return [label for label in self.counts if wanted is None or label in wanted]

    def plain(self) -> dict[str, Any]:
        """What JSON can write; sums as base64 of little-endian float64, so that every bit comes back, NaN too."""
        sums = np.array([self.sums[label] for label in self.counts], dtype="<f8")
        return {
            "shape": list(self.shape),
            "labels": list(self.counts),
            "counts": list(self.counts.values()),
            "sums": b64encode(sums.tobytes()).decode(),
        }

    @classmethod
    def of_batch(cls, plain: Any, shape: tuple[int, int], samples: int, labels: Tensor | None) -> RunningSums:
        """What `plain` returned for a batch of these samples.

        Raises:
            DataError: it is damaged, or of another batch.
        """
        try:
            found = dict(zip(plain["labels"], map(int, plain["counts"]), strict=True))
            sums = np.frombuffer(b64decode(plain["sums"]), dtype="<f8").reshape(len(found), *plain["shape"])
        except (KeyError, TypeError, ValueError) as failure:
            raise DataError(f"sums of a batch are damaged ({type(failure).__name__})", hint="leave them out") from None
        expected = (
            {None: samples} if labels is None else Counter(label if label >= 0 else None for label in labels.tolist())
        )
        if found != expected or tuple(plain["shape"]) != shape:
            raise DataError("sums of a batch belong to other samples, scores or points", hint="leave them out")
        return cls(shape, found, dict(zip(found, sums.astype(np.float64), strict=True)))
