"""What a device makes of a cost that was measured here; measured profiles of other devices will answer the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from splitimpera.machines import Device
from splitimpera.scenario import DeviceSection


def build_device(section: DeviceSection, folder: Path) -> Device:
    """A scenario's device, its preset and radio looked up, its profile read."""
    return Device(section.name, section.time_factor)


@dataclass(frozen=True)
class Cost:
    """A part of a plan's work on one frame, as measured on this machine."""

    measured_s: float


def time_on(device: Device, cost: Cost) -> float:
    """Seconds that `device` needs: the measured time by its time factor."""
    return cost.measured_s * device.time_factor
