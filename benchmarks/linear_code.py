"""A closed-form bottleneck: principal components of a tensor's channels, weighted with gradients. Nothing is trained.

It compresses worse than a trained bottleneck can, and costs one pass: good to compare cuts by, before any training.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, prod

import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows it by)
from torch import Tensor, nn

SIDES = (1, 2, 4)
"""Sides of the patches whose means may be sent."""
_RIDGE = 1e-3


class LinearCode(nn.Module):
    """Means over patches of positions, then a few linear functions of the channels; and back.

    Args:
        encoder: (latent channels, K).
        decoder: (K, latent channels).
        mean: what is taken off in front, and put back, (K,).
        side: Side of a patch, in positions; patches at the far edges are smaller. 1: nothing is merged.

    `forward` takes (N, K, *positions) and returns what decoding the code gives, of the same shape.
    """

    encoder: Tensor
    decoder: Tensor
    mean: Tensor

    def __init__(self, encoder: Tensor, decoder: Tensor, mean: Tensor, side: int = 1) -> None:
        super().__init__()
        self.register_buffer("encoder", encoder)
        self.register_buffer("decoder", decoder)
        self.register_buffer("mean", mean[:, None])
        self.side = side

    def forward(self, a: Tensor) -> Tensor:
        pooled = _pooled(a, self.side)
        decoded = self.decoder @ (self.encoder @ (pooled.flatten(2) - self.mean)) + self.mean
        decoded = decoded.reshape(pooled.shape)
        if self.side > 1:
            decoded = F.interpolate(decoded, scale_factor=float(self.side), mode="bilinear", align_corners=False)
            decoded = decoded[..., : a.shape[2], : a.shape[3]]
        return decoded


@dataclass
class Moments:
    """What a `LinearCode` follows from, as sums over samples and patches, in float64.

    With W = E[g g^T], g the gradient summed over a patch, the code keeps what minimises E[e^T W e] of the error e of
    the patches' means: principal components on the axes W^(1/2). To first order, and where errors do not depend on
    gradients, that changes what is differentiated least. Ours. A thousandth of W's mean eigenvalue is added to it, so
    that it can be inverted.

    Args:
        side: Side of the patches.

    Example:
        >>> moments = Moments()
        >>> a = torch.tensor([[3.0, 1.0, 0.0], [-3.0, -1.0, 0.0], [1.0, -3.0, 0.0], [-1.0, 3.0, 0.0]])[..., None]
        >>> moments.add(a, torch.tensor([1.0, 0.0, 5.0])[None, :, None].expand_as(a))
        >>> moments.code(1)(a)[:, 0, 0].round()  # the channel that the result depends on
        tensor([ 3., -3.,  1., -1.])
    """

    side: int = 1
    count: int = 0
    _sums: tuple[Tensor, ...] = field(default=())

    def add(self, a: Tensor, g: Tensor) -> None:
        """Take samples in.

        Args:
            a, g: a tensor and the gradient with respect to it, (N, K, *positions) each.
        """
        rows, slopes = (
            x.flatten(2).movedim(1, -1).flatten(0, 1).double()
            for x in (_pooled(a, self.side), _pooled(g, self.side, summed=True))
        )
        sums = rows.sum(0), rows.T @ rows, slopes.T @ slopes
        self._sums = tuple(map(torch.add, self._sums, sums)) if self._sums else sums
        self.count += len(rows)

    def code(self, latent_channels: int) -> LinearCode:
        """The code with so many latent channels, at most as many as there are channels.

        Raises:
            ValueError: nothing was taken in.
        """
        if not self.count:
            raise ValueError("moments of no sample")
        total, squares, slopes = (x / self.count for x in self._sums)
        values, vectors = torch.linalg.eigh(slopes)
        values = values.clamp_min(0)
        values = values + _RIDGE * values.mean().clamp_min(1e-12)
        axes = vectors * values.sqrt() @ vectors.T
        back = vectors / values.sqrt() @ vectors.T
        _, components = torch.linalg.eigh(axes @ (squares - torch.outer(total, total)) @ axes)  # ascending
        kept = components.flip(1)[:, :latent_channels]
        return LinearCode((kept.T @ axes).float(), (back @ kept).float(), total.float(), self.side)


def latent_channels(channels: int, positions: tuple[int, ...], elements: int, side: int) -> int:
    """How many latent channels a code of at most so many elements has; 0 where there is none with such patches.

    >>> [latent_channels(16, (8, 8), 64, side) for side in (1, 2, 4)]
    [1, 4, 16]
    """
    if side > 1 and (len(positions) != 2 or min(positions) < side):
        return 0
    return min(channels, elements // prod(ceil(size / side) for size in positions))


def _pooled(x: Tensor, side: int, summed: bool = False) -> Tensor:
    if side == 1:
        return x
    divisor = 1 if summed else None
    return F.avg_pool2d(x, side, ceil_mode=True, count_include_pad=False, divisor_override=divisor)
