from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from splitimpera.machines import Device


@dataclass(frozen=True)
class Cost:
    seconds: float
    how: Literal["measured", "scaled", "estimated"]


def energy_j(device: Device, busy_s: float, wire_bytes: float, airtime_s: float) -> float | None:
    if device.power_w is None:
        return None
    return device.power_w * busy_s
