from __future__ import annotations

import numpy as np

from splitimpera.report.tables import sparkline
from splitimpera.saliency.curve import log10_or_gap


def test_a_value_of_zero_is_a_gap_not_a_cliff():
    values = log10_or_gap([0.01, 0.0, 1.0])
    assert values[0] == -2
    assert np.isnan(values[1])
    assert sparkline(values) == "▁ █"


def test_a_flat_curve():
    assert sparkline([3.0, 3.0]) == "▁▁"
