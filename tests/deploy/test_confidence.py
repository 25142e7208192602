"""How sure an answer is: the probability of the class that was found."""

from __future__ import annotations

import numpy as np
import pytest

from splitimpera.deploy.judging import confidence


@pytest.mark.parametrize(("scores", "expected"), [
    ([[2.0, 2.0, 2.0, 2.0]], 0.25),
    ([[1000.0, 0.0]], 1.0),
    ([[-1000.0, -1000.0 + np.log(3)]], 0.75),
    ([0.2, 0.7, 0.1], 0.7),
    ([0.2, 0.7, 0.2], round(float(np.exp(0.7) / (2 * np.exp(0.2) + np.exp(0.7))), 4)),
    ([3.0], 1.0),
    ([], None),
    ([np.nan, 1.0], None),
    ([np.inf, 1.0], None),
])  # fmt: skip
def test_the_probability_of_the_largest_score(scores, expected):
    assert confidence(np.array(scores, dtype=np.float32)) == pytest.approx(expected, abs=1e-4)
