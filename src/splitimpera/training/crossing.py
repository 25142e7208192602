"""The tensors that cross a cut, many samples at a time, and how well what is compressed of them comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows it by)
from torch import Tensor

from splitimpera.models.accelerators import to_float64
from splitimpera.records.graph import TensorSpec

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class Crossing:
    """What crosses a cut, samples stacked as the network does.

    Attributes:
        specs: The tensors that cross.
        coded: Which of them a bottleneck compresses.
    """

    specs: tuple[TensorSpec, ...]
    coded: tuple[bool, ...]

    @property
    def _dims(self) -> list[int]:
        return [spec.batch_dim or 0 for spec in self.specs]

    def take(self, tensors: Tensors, rows: Tensor) -> Tensors:
        """Some of the samples."""
        return tuple(a.index_select(dim, rows.to(a.device)) for a, dim in zip(tensors, self._dims, strict=True))

    def joined(self, batches: Sequence[Tensors]) -> Tensors:
        """Several batches in one."""
        return tuple(map(torch.cat, zip(*batches, strict=True), self._dims))

    def sums(self, tensors: Tensors) -> Tensor:
        """For each tensor that is compressed: how many elements, their sum and that of their squares; (compressed, 3)
        in float64, which can be added over batches."""
        exact = map(to_float64, compress(tensors, self.coded))
        return torch.stack([torch.stack([a.new_tensor(a.numel()), a.sum(), a.square().sum()]).cpu() for a in exact])

    def variances(self, sums: Tensor, like: Tensors) -> Tensors:
        """The variance of each that is compressed, in the type of `like` and where it lies."""
        mean, square = sums[:, 1] / sums[:, 0], sums[:, 2] / sums[:, 0]
        exact = (square - mean.square()).clamp_min(1e-12)
        wanted = compress(like, self.coded)
        return tuple(variance.to(a.dtype).to(a.device) for variance, a in zip(exact, wanted, strict=True))

    def error(self, tensors: Tensors, decoded: Tensors, variances: Tensors) -> Tensor:
        """The mean squared error of each that is compressed as a share of its variance; their mean."""
        pairs = zip(compress(tensors, self.coded), compress(decoded, self.coded), variances, strict=True)
        return torch.stack([F.mse_loss(made, a) / variance for a, made, variance in pairs]).mean()
