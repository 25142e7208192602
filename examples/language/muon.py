"""An optimizer of matrices whose steps are orthogonal: what is rare in gradients moves as far as what is frequent.

K. Jordan et al.: Muon, an optimizer for hidden layers in neural networks, 2024 (kellerjordan.github.io/posts/muon).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the odd polynomial that brings singular values from (0, 1] near to 1, as published."""
ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """Gradient descent on matrices (rows, columns) with Nesterov's momentum, each step made orthogonal.

    A step of a matrix with more rows than columns is longer by the square root of their ratio, so that steps of all
    shapes change what comes out alike.
    """

    def __init__(self, matrices: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for matrix in group["params"]:
                by_shape.setdefault(matrix.shape, []).append(matrix)
            for (rows, columns), matrices in by_shape.items():
                wanted = torch.stack([self._wanted(matrix, group["momentum"]) for matrix in matrices])
                size = group["lr"] * max(1, rows / columns) ** 0.5
                for matrix, direction in zip(matrices, orthogonal(wanted), strict=True):
                    matrix.sub_(direction, alpha=size)

    def _wanted(self, matrix: Tensor, momentum: float) -> Tensor:
        """Where a matrix is to go: its gradient, led by the mean of those before."""
        assert matrix.grad is not None
        mean = self.state[matrix].setdefault("mean", torch.zeros_like(matrix))
        mean.lerp_(matrix.grad, 1 - momentum)
        return matrix.grad.lerp(mean, momentum)


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices (k, rows, columns) with singular values near 1, unchanged singular vectors, as Newton and Schulz do."""
    a, b, c = COEFFICIENTS
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ROUNDS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x if wide else x.mT
