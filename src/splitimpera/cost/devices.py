"""What a device makes of a cost that was measured here; measured profiles of other devices will answer the same."""

from __future__ import annotations

from dataclasses import dataclass

from splitimpera.records import Device


@dataclass(frozen=True)
class Cost:
    """A part of a plan's work on one frame, as measured on this machine."""

    measured_s: float


def time_on(device: Device, cost: Cost) -> float:
    """Seconds that `device` needs: the measured time by its time factor."""
    return cost.measured_s * device.time_factor
