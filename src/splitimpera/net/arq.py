"""Frames as UDP datagrams that are acknowledged, and sent again when lost as long as they can come in time.

Partially reliable: between UDP, which repairs nothing, and TCP, which repairs everything however late. The receiver
acknowledges each datagram with all that it has (40 bytes with IP and UDP headers, and the app header); the sender
repeats one when a later one is acknowledged, or three halves of the round trip after it was sent, unless it would
arrive after its frame's deadline. A frame is complete when all of it has come; what then still has gaps is used with
them by the deadline, as `udp` counts it.
"""

from __future__ import annotations

import numpy as np

from splitimpera.codec.framing import IP_UDP_HEADER_BYTES, packet_count
from splitimpera.core.errors import SimulationError
from splitimpera.net import kernels
from splitimpera.net.budget import check_work
from splitimpera.net.directions import build_ways
from splitimpera.net.udp import datagrams, deliveries, headers_bytes, payload_bytes
from splitimpera.records.link import Link
from splitimpera.records.traffic import Deliveries, Frames

ACK_BYTES = IP_UDP_HEADER_BYTES + 12


class ArqLink:
    """Acknowledged UDP over a simulated link; a `Transport`."""

    def __init__(self, link: Link, rng: np.random.Generator) -> None:
        self.link = link
        self.rng = rng
        for field, given in (("reorder", link.reorder), ("trace", link.trace is not None)):
            if given:
                raise SimulationError(
                    f"udp-arq is not simulated with {field}", where="transport", hint="use udp, or another link"
                )

    def check(self, frames: Frames, runs: int = 1) -> None:
        """Refuse what `transfer` would, before anything is allocated.

        Raises:
            SimulationError: there are responses, the MTU leaves no room for a single element, or so many runs are too
                much work.
        """
        if frames.response_bytes:
            raise SimulationError("udp-arq simulates no responses", where="response_bytes", hint="leave them out")
        payload = payload_bytes(self.link, frames.element_bytes)
        tries = 1 / ((1 - self.link.loss) * (1 - self.link.downlink_loss))
        check_work(self.link, frames, frames.size_bytes, payload, headers_bytes(self.link), tries=tries, runs=runs)

    def transfer(self, frames: Frames) -> Deliveries:
        """Simulate all frames, which queue for the link in the order in which they are ready.

        Raises:
            SimulationError: as `check`.
        """
        self.check(frames)
        payload = payload_bytes(self.link, frames.element_bytes)
        order = np.argsort(frames.ready_s, kind="stable")
        before = self.rng.bit_generator.state
        packets = int(packet_count(frames.size_bytes, payload).sum())
        room = 2 * packets + 64
        while True:
            ways = build_ways(self.link, self.rng)
            sent = datagrams(self.link, frames, order)
            missing = np.empty(packets, dtype=np.int64)
            if kernels.run_arq(
                ways.ways,
                ways.steps,
                ways.drops,
                ways.waiting,
                sent,
                missing,
                np.zeros(room, kernels.TRANSMISSION),
                payload,
                headers_bytes(self.link),
                self.link.link_header_bytes + ACK_BYTES + self.link.app_header_bytes,
                self.rng,
            ):
                return deliveries(self.link, frames, order, sent, missing, payload)
            room *= 2
            self.rng.bit_generator.state = before
