"""Quality against packet loss, from a few samples."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from splitimpera.studies.loss_curve import curve_through


@pytest.mark.parametrize(("metric", "most"), [("accuracy", 1.0), ("rmse", 1.085)])
def test_no_share_exceeds_one(metric, most):
    intact = np.ones((100, 1))
    intact[:4] = 0
    rows = np.arange(8)
    with_loss = intact[rows].copy()
    with_loss[0] = 1  # right by chance: one of these 8 stands for more than the four that are left of 100
    found = SimpleNamespace(
        contributions=with_loss[None], summarise=lambda total: total[..., 0] / 100, quality_metric=metric
    )
    curve = curve_through(None, intact, rows, [found])
    assert curve.quality == pytest.approx([most])
    assert curve.low[0] <= curve.quality[0] <= curve.high[0]
    assert (curve.high[0] == 1) == (metric == "accuracy")
