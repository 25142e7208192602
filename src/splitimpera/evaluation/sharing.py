"""Who shares what: many sensors, few gateways, one cloud."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from splitimpera.core.array_types import IntArray
from splitimpera.records.device import Device


def machines(devices: Sequence[Device], senders: int) -> list[IntArray]:
    """Which machine of each device a sender's frames go through.

    Every sender has a first device of its own. From there on machine m sends to machine m modulo the `count` of the
    next device, over that one's link, which all share that send to it.

    Args:
        devices: in the order of the data's way.
        senders: how many first devices there are.

    Returns:
        The number of the machine of each sender, shape (senders,), one entry a device.

    Example:
        >>> tiers = [Device("sensor"), Device("gateway", count=2), Device("cloud")]
        >>> [of_senders.tolist() for of_senders in machines(tiers, 5)]
        [[0, 1, 2, 3, 4], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]]
    """
    found: list[IntArray] = [np.arange(senders)]
    for device in devices[1:]:
        found.append(found[-1] % device.count)
    return found


def most_senders(devices: Sequence[Device], senders: int) -> list[int]:
    """How many senders share the busiest machine of each device.

    >>> most_senders([Device("sensor"), Device("gateway", count=2), Device("cloud")], 5)
    [1, 3, 5]
    """
    return [int(np.bincount(of_senders).max()) for of_senders in machines(devices, senders)]
