"""A transport: CoAP over UDP, one confirmable block after the other (RFC 7252, sections 4.2 and 4.8; RFC 7959).

A block that is not acknowledged in time is sent again, at most four times, each time after twice as long; then the
frame is given up, and the receiver has the blocks before.
"""

from __future__ import annotations

import numpy as np

from splitimpera.net.transports import TRANSPORTS
from splitimpera.records.link import Link
from splitimpera.records.traffic import Deliveries

BLOCK_BYTES = 1024
HEADER_BYTES = 20 + 8 + 12  # IPv4, UDP; CoAP's own header with token, Block1 option and payload marker
ACK_TIMEOUT_S, ACK_RANDOM_FACTOR, MAX_RETRANSMIT = 2.0, 1.5, 4


class CoapLink:
    """A `Transport` over a link with a constant rate, delay and loss, the same both ways."""

    def __init__(self, link: Link, rng: np.random.Generator) -> None:
        self.link = link
        self.rng = rng

    def transfer(self, frames):
        """Send all frames in the order in which they are ready; one waits until the one before it is through."""
        found, free_s = [None] * len(frames.ready_s), -np.inf
        for place in np.argsort(frames.ready_s, kind="stable"):
            found[place] = self._frame(max(float(frames.ready_s[place]), free_s), int(frames.size_bytes[place]))
            free_s = found[place][-1]
        columns = [np.array(column) for column in zip(*found, strict=True)]
        sent_s, first_s, complete_s, packets, lost, again, kept, through_s = columns
        sizes = frames.size_bytes
        gaps = [() if there == size else ((int(there), int(size)),) for there, size in zip(kept, sizes, strict=True)]
        # the response rides on the last acknowledgement
        response_s = np.where((kept == sizes) & (frames.response_bytes > 0), through_s, np.nan)
        wire_bytes = sizes + packets * (HEADER_BYTES + self.link.link_header_bytes)
        return Deliveries(sent_s, complete_s, packets, lost, again, wire_bytes, gaps, kept > 0, first_s, response_s)

    def _frame(self, now_s, size):
        """When one frame is sent, first and last there, its packets, and until when the sender is busy with it."""
        begun_s, first_s, there_s, kept, packets, lost = now_s, np.nan, now_s, 0, 0, 0
        blocks = -(-size // BLOCK_BYTES)
        for block in range(blocks):
            length = min(BLOCK_BYTES, size - block * BLOCK_BYTES)
            wire_s = (length + HEADER_BYTES + self.link.link_header_bytes) * 8 / self.link.rate_bps
            wait_s = ACK_TIMEOUT_S * self.rng.uniform(1.0, ACK_RANDOM_FACTOR)
            for _ in range(MAX_RETRANSMIT + 1):
                packets += 1
                came = self.rng.random() >= self.link.loss
                if came and kept < (block + 1) * BLOCK_BYTES:
                    there_s = now_s + wire_s + self.link.delay_s
                    first_s = there_s if np.isnan(first_s) else first_s
                    kept = min((block + 1) * BLOCK_BYTES, size)
                lost += not came
                if came and self.rng.random() >= self.link.loss:  # its acknowledgement, too
                    now_s += wire_s + 2 * self.link.delay_s
                    break
                now_s += wait_s
                wait_s *= 2
            else:
                break
        return begun_s, first_s, there_s, packets, lost, packets - blocks, kept, now_s


TRANSPORTS.register("udp-coap")(CoapLink)
