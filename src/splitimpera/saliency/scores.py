"""Scores of a point of the network: how much of the decision passes through it.

Cumulative saliency (Cunico et al., I-SPLIT, ICPR 2022; Capogrosso et al., Split-Et-Impera, DDECS 2023). For one
picture, activations A (K channels, positions p) and their gradient:

    alpha_k = mean over p of ds/dA_k
    L(p)    = ReLU( (1/K) * sum over k of alpha_k * A_k(p) )
    CS      = mean over p of L(p)

Grad-CAM sums over channels where this takes the mean; maps are not normalised.
"""

from __future__ import annotations

import torch
from torch import Tensor

from splitimpera.records import TensorSpec


def cumulative_saliency_of(activation: Tensor, gradient: Tensor, spec: TensorSpec) -> Tensor:
    """CS of each picture at one point.

    Args:
        activation, gradient: of the same shape, as `spec` tells; maps (N, K, H, W), tokens (N, T, K) or vectors (N, K).

    Returns:
        float32 (N,).
    """
    a, g = _by_channel(activation, spec), _by_channel(gradient, spec)
    alpha = g.mean(2, keepdim=True).transpose(1, 2)
    maps = torch.bmm(alpha, a).relu_()
    return maps.mean((1, 2)).float() / a.shape[1]


def _by_channel(tensor: Tensor, spec: TensorSpec) -> Tensor:
    """-> (N, K, positions), whatever the layout."""
    if spec.batch_dim is None:
        tensor = tensor[None]
    elif spec.batch_dim != 0:
        tensor = tensor.movedim(spec.batch_dim, 0)
    if tensor.ndim == 2:
        return tensor[:, :, None]
    if tensor.ndim == 1:
        return tensor[:, None, None]
    return tensor.movedim(1 + spec.channel_dim, 1).flatten(2)
