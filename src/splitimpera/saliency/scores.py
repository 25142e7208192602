"""Scores of a point of the network: how much of the decision passes through it.

Each is computed from the activations A at the point (K channels, P positions) and the gradient G of the target with
respect to them: some sample by sample (`SCORES`), some over all samples together (`STATISTICS`). All come out of the
same forward and backward pass, in bounded memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from splitimpera.core.registry import Registry
from splitimpera.models.accelerators import to_float64
from splitimpera.records.graph import TensorSpec

Formula = Callable[[Tensor, Tensor], Tensor]
"""(A, G), both of shape (samples, K, *positions) -> one number a sample, float32 (samples,)."""


@dataclass(frozen=True)
class Score:
    """A score, sample by sample.

    Where several tensors cross, it is that of all their elements together, as if they were one.

    Attributes:
        formula: What it is for one tensor, before `finish`.
        weight: How much a tensor of K channels and P positions counts in the mean over tensors; None: they add up.
        finish: What is done in the end.
    """

    formula: Formula
    weight: Callable[[int, int], int] | None
    finish: Callable[[Tensor], Tensor] = Tensor.clone

    def __call__(self, a: Tensor, g: Tensor) -> Tensor:
        """The score of one tensor, float32 (samples,)."""
        return self.finish(self.formula(a, g))

    def together(self, found: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> Tensor:
        """The score of several tensors, from what the formula says of each, and their channels and positions."""
        if len(found) == 1:
            return self.finish(found[0])
        weights = [1.0] * len(found)
        if self.weight is not None:
            given = [self.weight(*size) for size in sizes]
            weights = [one / sum(given) for one in given]
        return self.finish(torch.stack([one * weight for one, weight in zip(found, weights, strict=True)]).sum(0))


SCORES: Registry[Score] = Registry("score")


def _score(
    name: str, weight: Callable[[int, int], int] | None, finish: Callable[[Tensor], Tensor] = Tensor.clone
) -> Callable[[Formula], Formula]:
    """Register a formula."""

    def kept(formula: Formula) -> Formula:
        SCORES.register(name)(Score(formula, weight, finish))
        return formula

    return kept


def _elements(channels: int, positions: int) -> int:
    return channels * positions


def _channels(channels: int, positions: int) -> int:
    return channels


@_score("cs", _elements)
def cumulative_saliency_score(a: Tensor, g: Tensor) -> Tensor:
    """Cumulative saliency (Cunico et al., I-SPLIT, ICPR 2022; Capogrosso et al., Split-Et-Impera, DDECS 2023).

        alpha_k = mean over p of G_kp
        L(p)    = ReLU( (1/K) * sum over k of alpha_k * A_kp )
        CS      = mean over p of L(p)

    Where several tensors cross it is the mean of L over all elements: K at each position of each tensor. Grad-CAM sums
    over channels where this takes the mean; maps are not normalised.
    """
    alpha = g.flatten(2).mean(2, keepdim=True).transpose(1, 2)
    maps = torch.bmm(alpha, a.flatten(2)).relu_()
    return maps.mean((1, 2)).float() / a.shape[1]


@_score("gradient_activation", _elements)
def gradient_activation_score(a: Tensor, g: Tensor) -> Tensor:
    """Mean of |G * A| over all elements."""
    return (g * a).abs_().flatten(1).mean(1).float()


@_score("taylor", _channels)
def taylor_score(a: Tensor, g: Tensor) -> Tensor:
    """Mean over channels of |mean over positions of G * A| (Molchanov et al., ICLR 2017, without normalisation)."""
    return (g * a).flatten(2).mean(2).abs_().mean(1).float()


@_score("fisher", None)
def fisher_score(a: Tensor, g: Tensor) -> Tensor:
    """Half the sum over channels of (sum over positions of G * A) squared (Theis et al., 2018)."""
    return (g * a).flatten(2).sum(2).square_().sum(1).float() / 2


@_score("pooling_loss", None, Tensor.abs)
def pooling_loss_score(a: Tensor, g: Tensor, side: int = 4) -> Tensor:
    """|sum of G * (A - code(A))|: the target's first-order change when a code of A takes the place of A. Ours.

    The code keeps one value for each patch of `side` positions a dimension, as many as the papers' bottleneck of two
    strides keeps. Meant to show what a split there costs; measured, it does not (docs/validation.md).
    """
    product = (g * a).flatten(1).sum(1)
    kept = (
        (_patch_sums(g, side) * _patch_sums(a, side) / _patch_sums(torch.ones_like(a[:1, :1]), side)).flatten(1).sum(1)
    )
    return (product - kept).float()


class Statistic(Protocol):
    """A score of all samples together, fed batch by batch."""

    def update(self, a: Tensor, g: Tensor, logits: Tensor) -> None:
        """(A, G) as for a `Score`, and the network's logits (samples, classes)."""

    def value(self, *others: Self) -> float:
        """What all samples come to, of the tensor whose statistic this is and those that cross with it."""


STATISTICS: Registry[Callable[[], Statistic]] = Registry("score")


@STATISTICS.register("gradient_agreement")
class GradientAgreement:
    """How far the tail treats all samples of a predicted class by one linear function of the channels' sums. Ours.

    With alpha_i the sum of G over positions, for sample i: the sum over classes c of n_c * mean over pairs i, j of c
    of <alpha_i, alpha_j>, over the sum of |alpha_i|^2. 1 where what is left to compute is linear within each class: a
    tail that still has much to decide bears less compression. Classes with one sample have no pair and are left out.
    """

    def __init__(self) -> None:
        self.sums: dict[int, Tensor] = {}
        self.energies: dict[int, float] = {}
        self.counts: dict[int, int] = {}

    def update(self, a: Tensor, g: Tensor, logits: Tensor) -> None:
        alpha = to_float64(g.flatten(2).sum(2))
        classes = logits.argmax(1).to(alpha.device)
        for label in torch.unique(classes).tolist():
            rows = alpha[classes == label]
            self.sums[label] = self.sums.get(label, 0) + rows.sum(0)
            self.energies[label] = self.energies.get(label, 0.0) + float(rows.square().sum())
            self.counts[label] = self.counts.get(label, 0) + len(rows)

    def value(self, *others: Self) -> float:
        common = total = 0.0
        for one in (self, *others):  # the products of vectors that lie side by side add up
            for label, count in one.counts.items():
                if count > 1:
                    energy = one.energies[label]
                    common += (float(one.sums[label].square().sum()) - energy) / (count - 1)
                    total += energy
        return common / total if total else float("nan")


@STATISTICS.register("logit_alignment")
class LogitAlignment:
    """Linear CKA (Kornblith et al., ICML 2019) of the channels' means of A and the logits. Ours as a score of cuts.

    1 where the channels' means already are the decision, up to a rotation. Needs no gradient. NaN where several tensors
    cross, whose products with each other it does not keep.
    """

    def __init__(self) -> None:
        self.count = 0
        self.moments: list[Tensor] = []  # sums of x, z, x x', x z', z z'

    def update(self, a: Tensor, g: Tensor, logits: Tensor) -> None:
        x, z = to_float64(a.flatten(2).mean(2)), to_float64(logits)
        batch = [x.sum(0), z.sum(0), x.T @ x, x.T @ z, z.T @ z]
        self.moments = [old + new for old, new in zip(self.moments, batch, strict=True)] if self.moments else batch
        self.count += len(x)

    def value(self, *others: Self) -> float:
        if others:
            return float("nan")
        x, z, xx, xz, zz = self.moments
        n = self.count
        xx, xz, zz = xx - x.outer(x) / n, xz - x.outer(z) / n, zz - z.outer(z) / n
        return float(xz.square().sum() / (xx.norm() * zz.norm()))


def _patch_sums(x: Tensor, side: int) -> Tensor:
    """Sums over patches of `side` positions in each dimension; smaller ones at the far edges."""
    for dim in range(2, x.ndim):
        x = nn.functional.pad(x, (0, 0) * (x.ndim - 1 - dim) + (0, -x.shape[dim] % side))
        x = x.reshape(*x.shape[:dim], -1, side, *x.shape[dim + 1 :]).sum(dim + 1)
    return x


def by_channel(tensor: Tensor, spec: TensorSpec) -> Tensor:
    """-> (samples, K, *positions), whatever the layout: maps (N, K, H, W), tokens (N, T, K) or vectors (N, K)."""
    if spec.batch_dim is None:
        tensor = tensor[None]
    elif spec.batch_dim != 0:
        tensor = tensor.movedim(spec.batch_dim, 0)
    if tensor.ndim <= 2:
        return tensor.reshape(len(tensor), -1, 1)
    return tensor if spec.channel_dim == 0 else tensor.movedim(1 + spec.channel_dim, 1)
