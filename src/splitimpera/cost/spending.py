"""What a device has and spends: memory and joules."""

from __future__ import annotations

from splitimpera.core.units import format_bytes
from splitimpera.records.device import Device


def memory_bytes(device: Device) -> int | None:
    """What a network may fill; None: no limit is known."""
    if device.memory_bytes is None and device.roofline is not None:
        return device.roofline.memory_bytes
    return device.memory_bytes


def power_w(device: Device) -> float | None:
    """Drawn while computing; None: not known."""
    if device.power_w is None and device.roofline is not None:
        return device.roofline.power_w
    return device.power_w


def fits(device: Device, needed_bytes: int, part: str = "its part") -> str | None:
    """Why a part of the network does not fit a device's memory, in words; None where it does.

    Args:
        needed_bytes: weights and activations.
        part: what the words call it ("the head").
    """
    limit = memory_bytes(device)
    if limit is None or needed_bytes <= limit:
        return None
    return (
        f"{part} needs {format_bytes(needed_bytes)} of weights and activations, {device.name} has {format_bytes(limit)}"
    )


def energy_j(device: Device, busy_s: float, wire_bytes: float, airtime_s: float) -> float | None:
    """What a device spends on a frame; None where it does something whose power is not known.

    Args:
        busy_s: how long it computes.
        wire_bytes, airtime_s: what it sends, and for how long; 0 where it sends nothing.
    """
    computing, radio = power_w(device), device.radio
    if (busy_s and computing is None) or ((wire_bytes or airtime_s) and radio is None):
        return None
    spent = busy_s * (computing or 0.0)
    return spent + wire_bytes * radio.joule_per_byte + airtime_s * radio.power_w if radio is not None else spent
