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
from splitimpera.records.plan import Hop
from splitimpera.verification.frame_times import Bools, FrameTimes, of_hop
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
        left: Whether each left at an early exit.
        handed_s: From the end of encoding, as timed, until the last byte was with the system; NaN where not known.
    """

    lines: tuple[FrameLine, ...]
    starts: tuple[int, ...]
    lost: IntArray
    packets: IntArray
    left: Bools
    handed_s: FloatArray

    def having(self, wanted: Callable[[FrameLine], bool]) -> Bools:
        """Of which frames something is true."""
        return np.array([wanted(line) for line in self.lines], dtype=bool)

    @property
    def through_s(self) -> FloatArray:
        """From when each frame was due until the device was through with it; infinite where it never began."""
        begun = [(line, np.inf if line.begun_s is None else line.begun_s - line.due_s) for line in self.lines]
        done_s = [begun_s + (line.head_s or 0.0) + (line.encode_s or 0.0) for line, begun_s in begun]
        return np.array(done_s, dtype=np.float64)

    @property
    def typical_bytes(self) -> FloatArray:
        """Size of each frame's payloads that were sent, of all hops together."""
        sizes = [sum(sent_bytes(line)) for line in self.lines if line.sent_s is not None]
        return np.array(sizes, dtype=np.float64)


def sent_bytes(line: FrameLine) -> list[int]:
    """Size of a frame's payload on each hop."""
    return [line.payload_bytes, *(hop.payload_bytes for hop in line.hops)]


def measured(logs: Sequence[Log], hops: Sequence[Hop], result_bytes: int, direct_s: float = 0.0) -> Measured:
    """The frames of some logs.

    Args:
        hops: Of the plan; in the proportion of each one's link the time is split that is left of round trips.
        result_bytes: Size of the network's result.
        direct_s: What the design has for the way back of a direct answer. That of frames whose answer came so counts as
            the first link's, and no other link has a way back then.
    """
    lines = tuple(chain.from_iterable(log.compared for log in logs))
    of = {name: _column(lines, name) for name in (*_TIMES, "due_s")}
    done = np.array([line.outcome in ANSWERED for line in lines])
    latency_s = np.where(done, of["response_s"] - of["due_s"], np.nan)
    ready_s = of["begun_s"] + of["head_s"] + np.nan_to_num(of["encode_s"])
    parts_s = {"device_wait": of["begun_s"] - of["due_s"], "device": of["head_s"]}
    if not hops:
        parts_s["rest"] = of["response_s"] - ready_s
    else:
        first = {name: of[name] for name in _ON_MACHINES} | {"encode_s": of["encode_s"]}
        ways = [first | {"away_s": of["response_s"] - ready_s}, *_further(lines, len(hops) - 1)]
        parts_s |= _parts(ways, [_share_there(hop.link, result_bytes) for hop in hops])
        directly = np.array([line.direct for line in lines])
        if directly.any():
            there_s = first_packet_s(hops[0].link)
            shares = [there_s / (there_s + direct_s) if there_s + direct_s > 0 else 0.5] + [1.0] * (len(hops) - 1)
            past = _parts(_without_words(ways, [_share_there(hop.link, 0) for hop in hops]), shares)
            parts_s |= {key: np.where(directly, times_s, parts_s[key]) for key, times_s in past.items()}
    left = np.array([line.exit is not None and line.outcome == "ok" for line in lines], dtype=bool)
    if left.any():  # nothing of what follows, but for what is left over
        own = {key: parts_s[key] for key in ("device_wait", "device")} | {"rest": of["response_s"] - of["begun_s"]}
        own["rest"] = own["rest"] - of["head_s"]
        parts_s = {key: np.where(left, own.get(key, 0.0), values) for key, values in parts_s.items()}
    known = done & np.isfinite(sum(parts_s.values()))
    counted = [line.lost_packets is not None and line.packets > 0 and line.outcome in ANSWERED for line in lines]
    sending = [place for place, hop in enumerate(hops) if len(hops) == 1 or hop.transport.startswith("udp")]
    packets = [
        [(line.lost_packets or 0, line.packets), *((hop.lost_packets, hop.packets) for hop in line.hops)]
        for line in lines
    ]
    lost, sent = (
        np.array([sum(each[place][kind] for place in sending if place < len(each)) for each in packets])
        for kind in (0, 1)
    )
    return Measured(
        latency_s,
        {name: np.where(known, values, np.nan) for name, values in parts_s.items()},
        lines,
        tuple(np.cumsum([0, *(len(log.compared) for log in logs[:-1])]).tolist()),
        np.where(counted, lost, -1),
        np.where(counted, sent, -1),
        left,
        of["sent_s"] - ready_s,
    )


_ON_MACHINES = ("assembled_s", "queued_s", "decode_s", "run_s", "server_s")
_TIMES = ("begun_s", "head_s", "encode_s", "sent_s", "response_s", *_ON_MACHINES)


def _further(lines: Sequence[FrameLine], hops: int) -> list[dict[str, FloatArray]]:
    """What machines in the middle say of each hop after the first one; NaN of frames that did not go so far."""
    names = (*_ON_MACHINES, "encode_s", "away_s")
    return [
        {
            name: np.array([getattr(line.hops[place], name) if place < len(line.hops) else np.nan for line in lines])
            for name in names
        }
        for place in range(hops)
    ]


def _without_words(ways: Sequence[dict[str, FloatArray]], shares: Sequence[float]) -> list[dict[str, FloatArray]]:
    """The ways of frames whose answer came directly, as if the word of it took no time on its way back.

    Args:
        ways, shares: As `_parts` has them, with the share that is there of what a first packet and a word travel.
    """
    found: list[dict[str, FloatArray]] = []
    behind_s: FloatArray = np.zeros(1)  # what words took on hops behind, which a machine's own time contains
    for way, share in zip(ways[:0:-1], shares[:0:-1], strict=True):
        word_s = (1 - share) * (way["away_s"] - way["server_s"])
        server_s, away_s = way["server_s"] - behind_s, way["away_s"] - behind_s - word_s
        found.insert(0, way | {"server_s": server_s, "away_s": away_s})
        behind_s = behind_s + word_s
    return [ways[0] | {"server_s": ways[0]["server_s"] - behind_s}, *found]


def _parts(ways: Sequence[dict[str, FloatArray]], shares: Sequence[float]) -> dict[str, FloatArray]:
    """The parts of all hops.

    Args:
        ways: Of each hop the times of the machine behind it, what coding took in front of it, and how long it was
            until the response was back there (`away_s`).
        shares: Of what each link takes, the share that is there.
    """
    parts_s: dict[str, FloatArray] = {}
    rest_s: FloatArray = np.zeros(1)
    for hop, (way, share) in enumerate(zip(ways, shares, strict=True), 1):
        travel_s = way["away_s"] - way["server_s"]
        working_s = way["queued_s"] + way["decode_s"] + way["run_s"]
        if hop < len(ways):
            working_s = working_s + ways[hop]["encode_s"] + ways[hop]["away_s"]
        rest_s = rest_s + (way["server_s"] - way["assembled_s"]) - working_s
        found = {
            "encode": way["encode_s"],
            "link": travel_s + way["assembled_s"],
            "up": way["assembled_s"] + share * travel_s,
            "back": (1 - share) * travel_s,
            "server_wait": way["queued_s"],
            "decode": way["decode_s"],
            "server": way["run_s"],
        }
        parts_s |= {of_hop(name, hop): values for name, values in found.items()}
    return parts_s | {"rest": rest_s}


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
