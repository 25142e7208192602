from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from splitimpera.training.temperature import HOTTEST, calibrated, calibration_error, nats


def drawn(temperature, samples=4000):
    """Logits, and labels drawn as their softmax at a temperature says."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (samples, 5))
    chances = np.exp(log_softmax(logits / temperature, axis=1))
    return logits, (chances.cumsum(axis=1) < rng.uniform(size=(samples, 1))).sum(axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_labels_were_drawn_with_is_found(temperature):
    found = calibrated(*drawn(temperature))
    assert found.temperature == pytest.approx(temperature, rel=0.06)
    assert found.loss[1] <= found.loss[0]
    assert found.error[1] < 0.02
    if temperature != 1:
        assert found.error[0] > 0.05


def test_the_loss_is_the_negative_logarithm():
    logits, labels = drawn(1.0, 50)
    assert nats(logits, labels) == pytest.approx(-log_softmax(logits, axis=1)[np.arange(50), labels].mean())
    assert nats(1e4 * logits, labels) >= 0


def test_samples_that_are_all_right_leave_it_finite():
    found = calibrated(np.eye(3), np.arange(3))
    assert 1 / HOTTEST * 0.99 <= found.temperature <= 0.1
    assert np.isfinite(found.loss).all()


def test_the_error_of_bins():
    logits = np.log([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10)
    labels = np.array([0] * 5 + [1] * 5 + [0] * 6 + [1] * 4)
    assert calibration_error(logits, labels) == pytest.approx(0.2)
