"""The times of three machines over loopback, as a design of theirs takes them: they add up to what frames took."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from tier_times import times_of_hops

from splitimpera.deploy.frame_log import FrameLine, HopLine
from splitimpera.evaluation.costing import plan_costs
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.measurements import Measurements
from splitimpera.records.plan import Hop, Plan

LAST = 9
DEVICES = Device("sensor"), Device("gateway"), Device("cloud")
RADIO, UPLINK = Link("radio"), Link("uplink")
TOOK_S = 0.020
"""From when a frame was begun until its response was there."""


def line(frame):
    there = {"lost_packets": 0, "missing_bytes": 0, "assembled_s": 0.0, "queued_s": 1e-4, "batch": 1}
    hop = HopLine(
        encode_s=0.001, away_s=0.006, payload_bytes=10, packets=1, decode_s=0.001, run_s=0.002, server_s=0.004, **there
    )
    return FrameLine(
        **{"frame": frame, "sample": frame, "outcome": "ok", "due_s": 0.1 * frame, "begun_s": 0.1 * frame + 0.001},
        **{"head_s": 0.003, "encode_s": 0.001, "sent_s": 0.1 * frame + 0.006, "payload_bytes": 10, "packets": 1},
        **{"response_s": 0.1 * frame + 0.001 + TOOK_S, "decode_s": 0.001, "run_s": 0.004, "server_s": 0.014, **there},
        hops=(hop,),
    )


LINES = [line(frame) for frame in range(3)]


class Bench:
    """As much of a network as costs ask of it where all times are measured."""

    last = LAST

    def work(self, *_, **__):
        return type("Work", (), {"memory_bytes": 0})()

    def coded(self, cut, ratio=0.0):
        return 10, 1


def costs(*hops):
    """What each machine takes for a frame, by the times of these lines alone."""
    plan = Plan("plan", DEVICES, hops)
    segments, codings = times_of_hops(plan, LINES, LAST)
    return plan_costs(plan, Bench(), Measurements(segments=tuple(segments), codings=tuple(codings)))


def seconds(cost):
    return 0.0 if cost is None else cost.seconds


@pytest.mark.parametrize("hops", [
    (Hop(2, "uint8", "tcp", RADIO), Hop(5, "uint8", "tcp", UPLINK)),
    (Hop(0, "uint8", "udp", RADIO), Hop(5, "uint8", "tcp", UPLINK)),
    (Hop(2, "uint8", "tcp", RADIO), Hop(2, "uint8", "tcp", UPLINK)),
    (Hop(2, "uint8", "tcp", RADIO), Hop(2, "uint4", "tcp", UPLINK)),
], ids=["layers on each", "none on the first", "forwards", "codes anew"])  # fmt: skip
def test_all_times_add_up_to_what_a_frame_took(hops):
    found = costs(*hops)
    total_s = sum(seconds(each.network[0]) + seconds(each.decode) + seconds(each.encode) for each in found)
    assert total_s == pytest.approx(TOOK_S)


def test_layers_and_codecs_are_their_own():
    sensor, gateway, cloud = costs(Hop(2, "uint8", "tcp", RADIO), Hop(5, "uint8", "tcp", UPLINK))
    assert [each.network[0].seconds for each in (sensor, gateway, cloud)] == pytest.approx([0.003, 0.004, 0.002])
    assert (sensor.encode.seconds, gateway.encode.seconds) == pytest.approx((0.002, 0.001))
    assert cloud.decode.seconds == pytest.approx(0.006 - 0.002)
    assert gateway.decode.seconds == pytest.approx(0.015 - 0.004 - 0.001 - 0.006)


def test_a_gateway_that_forwards_takes_nothing_in_the_design():
    _, gateway, cloud = costs(Hop(2, "uint8", "tcp", RADIO), Hop(2, "uint8", "tcp", UPLINK))
    assert (gateway.decode, gateway.encode, gateway.network[0].seconds) == (None, None, 0.0)
    assert cloud.decode.seconds == pytest.approx(0.015 - 0.002)
