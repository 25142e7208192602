"""What the logs say of the frames, as the simulator says it of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from splitimpera.codec.framing import HEADER_BYTES, IP_UDP_HEADER_BYTES
from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.deploy.frame_log import FrameLine
from splitimpera.deploy.messages import RESPONSE_BYTES
from splitimpera.records.link import Link
from splitimpera.verification.frame_times import Bools, FrameTimes
from splitimpera.verification.matching import Log

ANSWERED = ("ok", "damaged")
"""Outcomes after which the server had done all its work on what came."""


@dataclass(frozen=True, eq=False)
class Measured(FrameTimes):
    """The compared frames of all logs, one log after the other, arrays of shape (frames,).

    Attributes:
        lines: The same as the logs have them.
        starts: Where each log begins.
        lost, packets: Packets of each frame; -1 where the server did not say.
        handed_s: From the end of encoding, as timed, until the last byte was with the system; NaN where not known.
    """

    lines: tuple[FrameLine, ...]
    starts: tuple[int, ...]
    lost: IntArray
    packets: IntArray
    handed_s: FloatArray

    def having(self, wanted: Callable[[FrameLine], bool]) -> Bools:
        """Of which frames something is true."""
        return np.array([wanted(line) for line in self.lines], dtype=bool)

    @property
    def typical_bytes(self) -> FloatArray:
        """Size of each payload that was sent."""
        return np.array([line.payload_bytes for line in self.lines if line.sent_s is not None], dtype=np.float64)


def measured(logs: Sequence[Log], link: Link | None, result_bytes: int) -> Measured:
    """The frames of some logs.

    Args:
        link: The link of the design, None where the plan has none; in its proportion the time is split that is left of
            round trips.
        result_bytes: Size of the network's result.
    """
    lines = tuple(chain.from_iterable(log.compared for log in logs))
    of = {name: _column(lines, name) for name in (*_TIMES, "due_s")}
    done = np.array([line.outcome in ANSWERED for line in lines])
    latency_s = np.where(done, of["response_s"] - of["due_s"], np.nan)
    ready_s = of["begun_s"] + of["head_s"] + np.nan_to_num(of["encode_s"])
    parts_s = {"device_wait": of["begun_s"] - of["due_s"], "device": of["head_s"]}
    if link is None:
        parts_s["rest"] = of["response_s"] - ready_s
    else:
        inside_s = of["server_s"] - of["assembled_s"]
        working_s = of["queued_s"] + of["decode_s"] + of["run_s"]
        travel_s = of["response_s"] - ready_s - of["server_s"]
        share = _share_there(link, result_bytes)
        parts_s |= {
            "encode": of["encode_s"],
            "link": travel_s + of["assembled_s"],
            "up": of["assembled_s"] + share * travel_s,
            "back": (1 - share) * travel_s,
            "server_wait": of["queued_s"],
            "decode": of["decode_s"],
            "server": of["run_s"],
            "rest": inside_s - working_s,
        }
    known = done & np.isfinite(sum(parts_s.values()))
    counted = [line.lost_packets is not None and line.packets > 0 and line.outcome in ANSWERED for line in lines]
    return Measured(
        latency_s,
        {name: np.where(known, values, np.nan) for name, values in parts_s.items()},
        lines,
        tuple(np.cumsum([0, *(len(log.compared) for log in logs[:-1])]).tolist()),
        np.array([line.lost_packets if count else -1 for line, count in zip(lines, counted, strict=True)]),
        np.array([line.packets if count else -1 for line, count in zip(lines, counted, strict=True)]),
        of["sent_s"] - ready_s,
    )


_TIMES = (
    *("begun_s", "head_s", "encode_s", "sent_s", "response_s"),
    *("assembled_s", "queued_s", "decode_s", "run_s", "server_s"),
)


def _column(lines: Sequence[FrameLine], name: str) -> FloatArray:
    return np.array([np.nan if (value := getattr(line, name)) is None else value for line in lines], dtype=np.float64)


def _share_there(link: Link, result_bytes: int) -> float:
    """Which share of what a frame's first packet and its response travel is the first packet's, on this link."""
    headers = link.link_header_bytes + IP_UDP_HEADER_BYTES
    there_s = first_packet_s(link)
    response = headers + HEADER_BYTES + RESPONSE_BYTES + result_bytes
    down_s = link.delay_s if link.downlink_delay_s is None else link.downlink_delay_s
    back_s = down_s + 8 * response / (link.downlink_rate_bps or link.rate_bps)
    return there_s / (there_s + back_s) if there_s + back_s > 0 else 0.5


def first_packet_s(link: Link) -> float:
    """How long a packet of the largest size takes over an idle link."""
    return link.delay_s + 8 * (link.mtu_bytes + link.link_header_bytes) / link.rate_bps
