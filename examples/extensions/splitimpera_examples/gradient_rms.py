"""A score: the root mean square of the gradient, whatever the activations are."""

from __future__ import annotations

import torch

from splitimpera.saliency.scores import SCORES, Score


def mean_square(a, g):
    """(A, G), each (samples, K, *positions) -> float32 (samples,)."""
    return g.square().flatten(1).mean(1).float()


# Where several tensors cross, each counts by its number of elements; the root is taken in the end.
SCORES.register("gradient_rms")(Score(mean_square, lambda channels, positions: channels * positions, torch.sqrt))
