"""The rounding of latents to a few bits, in a way that gradients pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from splitimpera.core.errors import ScenarioError


class Quantiser(nn.Module):
    """Bounds latents that are never negative to [0, high] and rounds them to the 2^bits levels 0, step, ..., high.

    Each latent has a `high` of its own.

    While training, `high` follows the batches' maxima (exponential mean, a tenth of the new one), and the gradient
    passes as if nothing had been rounded (straight through; Bengio et al., 2013); afterwards it is fixed. Zero, what a
    receiver fills in for lost values, is a level.

    Args:
        bits: 1 to 16; None: nothing is bounded or rounded.
        rounded: which of the tensors are latents; the others are handed on as they are.
    """

    high: Tensor

    def __init__(self, bits: int | None, rounded: Sequence[bool] = (True,)) -> None:
        super().__init__()
        if bits is not None and not 1 <= bits <= 16:
            raise ScenarioError(f"a latent is written in 1 to 16 bits, not {bits}", where="bits")
        self.bits = bits
        self.rounded = tuple(rounded)
        shape = () if len(self.rounded) == 1 else (len(self.rounded),)
        self.register_buffer("high", torch.zeros(shape, dtype=torch.float64))

    @property
    def highs(self) -> tuple[float | None, ...]:
        """`high` of each latent; None for a tensor that is not rounded."""
        levels = self.high.reshape(-1).tolist()
        return tuple(
            level if own and self.bits is not None else None for level, own in zip(levels, self.rounded, strict=True)
        )

    def forward(self, *latents: Tensor) -> tuple[Tensor, ...]:
        if self.bits is None:
            return latents
        return tuple(
            _rounded(latent, high, self.bits, self.training) if own else latent
            for latent, high, own in zip(latents, self.high.reshape(-1), self.rounded, strict=True)
        )


def _rounded(latent: Tensor, high: Tensor, bits: int, training: bool) -> Tensor:
    """A latent rounded to its levels, the largest of which follows it while training."""
    if training:
        seen = latent.detach().max().cpu().to(high)
        high.copy_(torch.where(high > 0, torch.lerp(high, seen, 0.1), seen))
    largest = float(high)
    step = (largest or 1.0) / (2**bits - 1)
    bounded = latent.clamp(0, largest)
    rounded = torch.round(bounded / step) * step
    passed: Tensor = bounded + (rounded - bounded).detach()
    return passed
