"""Transports by name, and one call that simulates a workload."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from splitimpera.core.registry import Registry
from splitimpera.net.arq import ArqLink
from splitimpera.net.tcp import LINUX_RENO, TcpLink
from splitimpera.net.udp import UdpLink
from splitimpera.records.link import Link
from splitimpera.records.traffic import Deliveries, Transport, Workload

TRANSPORTS: Registry[Callable[[Link, np.random.Generator], Transport]] = Registry("transport")
TRANSPORTS.register("tcp")(TcpLink)
TRANSPORTS.register("tcp-cubic")(TcpLink)
TRANSPORTS.register("tcp-reno")(partial(TcpLink, parameters=LINUX_RENO))
TRANSPORTS.register("udp")(UdpLink)
TRANSPORTS.register("udp-arq")(ArqLink)
TRANSPORTS.register("udp-interleaved")(partial(UdpLink, interleaved=True))


def check(link: Link, workload: Workload, transport: str, runs: int = 1) -> None:
    """Refuse what cannot be simulated, before anything is: a link that does not fit, and too much work.

    Args:
        workload, transport: The arguments of `simulate`.
        runs: how often it is asked for.

    Raises:
        SplitImperaError: as `simulate`.
    """
    over = TRANSPORTS[transport](link, np.random.default_rng(0))
    if hasattr(over, "check"):  # one of another package may have none
        over.check(workload.all_frames(), runs)


def simulate(link: Link, workload: Workload, transport: str, rng: np.random.Generator) -> Deliveries:
    """What a link does to the frames of a workload.

    Args:
        workload: The frames, with `frame_bytes` above 0 or `frame_sizes`.
        transport: "tcp" (which is "tcp-cubic"), "tcp-reno", "udp", "udp-interleaved" or "udp-arq".
        rng: all randomness; the same seed gives the same deliveries.

    Raises:
        UnknownNameError: there is no such transport.
        SimulationError: the workload has no frame size, the link leaves no room for data, or it is too much work.

    Example:
        >>> link = Link(rate_bps=1e6, delay_s=0.01, loss=0.5)
        >>> frames = Workload(fps=10, frames=1000, frame_bytes=4000, element_bytes=4)
        >>> sent = simulate(link, frames, "udp", np.random.default_rng(0))
        >>> sent.complete_s.shape, 0.45 < sent.lost_packet_rate < 0.55
        ((1000,), True)
        >>> first = sent.erased[0]  # the byte ranges of the first frame that never came
        >>> all(0 <= start < end <= 4000 for start, end in first)
        True
    """
    return TRANSPORTS[transport](link, rng).transfer(workload.all_frames())
