"""Frames through a chain of stages that each do one frame at a time."""

from __future__ import annotations

import numpy as np

from splitimpera.records import FloatArray


def served_s(arrival_s: FloatArray, service_s: float) -> FloatArray:
    """When each frame leaves a stage that takes `service_s` for each, first come, first served (Lindley's recursion).

    Args:
        arrival_s: when frames come, in any order, shape (frames,).
    """
    order = np.argsort(arrival_s, kind="stable")
    # departure_i = max over j <= i of (arrival_j + (i - j + 1) * service)
    steps = np.arange(1, len(order) + 1) * service_s
    departures: FloatArray = np.maximum.accumulate(arrival_s[order] - steps + service_s) + steps
    left = np.empty(len(order))
    left[order] = departures
    return left
