"""The rounding of a latent to a few bits, in a way that gradients pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from splitimpera.core.errors import ScenarioError


class Quantiser(nn.Module):
    """Bounds a latent that is never negative to [0, high] and rounds it to the 2^bits levels 0, step, ..., high.

    While training, `high` follows the batches' maxima (exponential mean, a tenth of the new one), and the gradient
    passes as if nothing had been rounded (straight through; Bengio et al., 2013); afterwards it is fixed. Zero, what a
    receiver fills in for lost values, is a level.

    Args:
        bits: 1 to 16; None: nothing is bounded or rounded.
    """

    high: Tensor

    def __init__(self, bits: int | None) -> None:
        super().__init__()
        if bits is not None and not 1 <= bits <= 16:
            raise ScenarioError(f"a latent is written in 1 to 16 bits, not {bits}", where="bits")
        self.bits = bits
        self.register_buffer("high", torch.tensor(0.0, dtype=torch.float64))

    def forward(self, latent: Tensor) -> Tensor:
        if self.bits is None:
            return latent
        if self.training:
            seen = latent.detach().max().cpu().to(self.high)
            self.high.copy_(torch.where(self.high > 0, torch.lerp(self.high, seen, 0.1), seen))
        high = float(self.high)
        step = (high or 1.0) / (2**self.bits - 1)
        bounded = latent.clamp(0, high)
        rounded = torch.round(bounded / step) * step
        passed: Tensor = bounded + (rounded - bounded).detach()
        return passed
