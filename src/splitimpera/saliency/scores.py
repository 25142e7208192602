"""Scores of a point of the network: how much of the decision passes through it.

Each is computed per picture from the activations A at the point (K channels, P positions) and the gradient G of the
target with respect to them. All come out of the same forward and backward pass.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from splitimpera.plugins import Registry
from splitimpera.records import TensorSpec

Score = Callable[[Tensor, Tensor], Tensor]
"""(A, G), both of shape (pictures, K, *positions) -> one number a picture, float32 (pictures,)."""

SCORES: Registry[Score] = Registry("score")


@SCORES.register("cs")
def cumulative_saliency_score(a: Tensor, g: Tensor) -> Tensor:
    """Cumulative saliency (Cunico et al., I-SPLIT, ICPR 2022; Capogrosso et al., Split-Et-Impera, DDECS 2023).

        alpha_k = mean over p of G_kp
        L(p)    = ReLU( (1/K) * sum over k of alpha_k * A_kp )
        CS      = mean over p of L(p)

    Grad-CAM sums over channels where this takes the mean; maps are not normalised.
    """
    alpha = g.flatten(2).mean(2, keepdim=True).transpose(1, 2)
    maps = torch.bmm(alpha, a.flatten(2)).relu_()
    return maps.mean((1, 2)).float() / a.shape[1]


@SCORES.register("gradient_activation")
def gradient_activation_score(a: Tensor, g: Tensor) -> Tensor:
    """Mean of |G * A| over all elements."""
    return (g * a).abs_().flatten(1).mean(1).float()


@SCORES.register("taylor")
def taylor_score(a: Tensor, g: Tensor) -> Tensor:
    """Mean over channels of |mean over positions of G * A| (Molchanov et al., ICLR 2017, without normalisation)."""
    return (g * a).flatten(2).mean(2).abs_().mean(1).float()


@SCORES.register("fisher")
def fisher_score(a: Tensor, g: Tensor) -> Tensor:
    """Half the sum over channels of (sum over positions of G * A) squared (Theis et al., 2018)."""
    return (g * a).flatten(2).sum(2).square_().sum(1).float() / 2


@SCORES.register("pooling_loss")
def pooling_loss_score(a: Tensor, g: Tensor, side: int = 4) -> Tensor:
    """|sum of G * (A - code(A))|: the target's first-order change when a code of A takes the place of A. Ours.

    The code keeps one value for each patch of `side` positions a dimension, as many as the papers' bottleneck of two
    strides keeps; what it forgets and the decision needs is what a split there costs.
    """
    product = (g * a).flatten(1).sum(1)
    kept = (
        (_patch_sums(g, side) * _patch_sums(a, side) / _patch_sums(torch.ones_like(a[:1, :1]), side)).flatten(1).sum(1)
    )
    return (product - kept).abs_().float()


def _patch_sums(x: Tensor, side: int) -> Tensor:
    """Sums over patches of `side` positions in each dimension; smaller ones at the far edges."""
    for dim in range(2, x.ndim):
        x = nn.functional.pad(x, (0, 0) * (x.ndim - 1 - dim) + (0, -x.shape[dim] % side))
        x = x.reshape(*x.shape[:dim], -1, side, *x.shape[dim + 1 :]).sum(dim + 1)
    return x


def by_channel(tensor: Tensor, spec: TensorSpec) -> Tensor:
    """-> (pictures, K, *positions), whatever the layout: maps (N, K, H, W), tokens (N, T, K) or vectors (N, K)."""
    if spec.batch_dim is None:
        tensor = tensor[None]
    elif spec.batch_dim != 0:
        tensor = tensor.movedim(spec.batch_dim, 0)
    if tensor.ndim <= 2:
        return tensor.reshape(len(tensor), -1, 1)
    return tensor if spec.channel_dim == 0 else tensor.movedim(1 + spec.channel_dim, 1)
