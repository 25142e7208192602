"""Confidence made honest: one temperature that a classifier's logits are divided by.

Source: C. Guo et al., "On calibration of modern neural networks", ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from splitimpera.core.array_types import Array, FloatArray, IntArray
from splitimpera.records.exits import confidences

BINS = 15
HOTTEST = 100.0
"""A temperature lies between 1 / this and this: of samples that are all answered rightly none would be low enough."""


@dataclass(frozen=True)
class Calibrated:
    """What a temperature does to a classifier's confidence, on the samples that it was fitted to.

    Attributes:
        temperature: what logits are divided by.
        loss: mean negative logarithm of the right class's probability, before and after, in nats.
        error: the expected calibration error, before and after: how far confidence and share of right answers lie
            apart, a mean over samples.
    """

    temperature: float
    loss: tuple[float, float]
    error: tuple[float, float]


def calibrated(logits: Array, labels: IntArray) -> Calibrated:
    """The temperature that makes the right classes most probable.

    Args:
        logits: (samples, classes).
        labels: the right classes, (samples,).

    Example:
        >>> logits = 10 * np.eye(2)[[0, 1, 0, 0]]  # very sure, and wrong in one of four cases
        >>> found = calibrated(logits, np.array([0, 1, 0, 1]))
        >>> round(found.temperature, 2), [round(loss, 2) for loss in found.loss]
        (9.1, [2.5, 0.56])
    """
    from scipy.optimize import minimize_scalar

    exact = np.asarray(logits, dtype=np.float64)

    def loss(log_temperature: float) -> float:
        return nats(exact / np.exp(log_temperature), labels)

    bound = float(np.log(HOTTEST))
    found = minimize_scalar(loss, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-6})
    before, after = loss(0.0), float(found.fun)
    temperature = float(np.exp(found.x)) if after < before else 1.0
    errors = (calibration_error(exact / by, labels) for by in (1.0, temperature))
    first, last = errors
    return Calibrated(temperature, (before, min(before, after)), (first, last))


def nats(logits: FloatArray, labels: IntArray) -> float:
    """Mean negative logarithm of the right class's probability."""
    highest = logits.max(axis=1)
    sums = np.log(np.exp(logits - highest[:, None]).sum(axis=1)) + highest
    return float((sums - logits[np.arange(len(labels)), labels]).mean())


def calibration_error(logits: Array, labels: IntArray) -> float:
    """The expected calibration error, over bins of equal width.

    Example:
        >>> round(calibration_error(np.log([[0.8, 0.2], [0.8, 0.2]]), np.array([0, 1])), 3)
        0.3
    """
    confidence, answers = confidences(logits)
    gaps = confidence - (answers == labels)
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    return float(np.abs(np.bincount(bins, weights=gaps, minlength=BINS)).sum() / len(labels))
