"""Transports by name, and one call that simulates a workload."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from splitimpera.errors import SimulationError
from splitimpera.net.tcp import TcpLink
from splitimpera.net.udp import UdpLink
from splitimpera.plugins import Registry
from splitimpera.records import Deliveries, Frames, Link, Transport, Workload

TRANSPORTS: Registry[Callable[[Link, np.random.Generator], Transport]] = Registry("transport")
TRANSPORTS.register("tcp")(TcpLink)
TRANSPORTS.register("udp")(UdpLink)


def simulate(link: Link, workload: Workload, transport: str, rng: np.random.Generator) -> Deliveries:
    """What a link does to frames of one size that are due at a fixed rate.

    Args:
        workload: with `frame_bytes` above 0.
        transport: "tcp" or "udp".
        rng: all randomness; the same seed gives the same deliveries.

    Raises:
        UnknownNameError: there is no such transport.
        SimulationError: the workload has no frame size, or the link leaves no room for data.
    """
    if workload.frame_bytes < 1:
        raise SimulationError("0 is out of range, it must be 1 or more", where="frame_bytes")
    frames = Frames(
        ready_s=workload.due_s(),
        size_bytes=np.full(workload.frames, workload.frame_bytes, dtype=np.int64),
        deadline_s=workload.deadlines_s(),
        atom_bytes=workload.atom_bytes,
    )
    return TRANSPORTS[transport](link, rng).transfer(frames)
