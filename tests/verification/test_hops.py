"""Runs over more than two machines: every hop has its parts, and they add up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from deployed import run_line, write_log

from splitimpera.core.errors import DataError
from splitimpera.deploy.frame_log import FrameLine, HopLine, line_of, read_log
from splitimpera.records.link import Link
from splitimpera.records.plan import Hop
from splitimpera.verification.cautions import _shortened
from splitimpera.verification.findings import compared_parts, findings
from splitimpera.verification.frame_times import FrameTimes
from splitimpera.verification.matching import Log, _read, _whole_ways
from splitimpera.verification.measured import measured

MS = 1e-3
DEVICES, LINKS = ["sensor", "gateway", "cloud"], ["radio", "fibre"]
HOPS = (
    Hop(1, "uint8", "udp", Link("radio", rate_bps=1e6, delay_s=0.002)),
    Hop(2, "uint8", "tcp", Link("fibre", rate_bps=1e9, delay_s=0.005)),
)


def frame(number, **changes):
    """20 ms on its way: 3 on the sensor, 2 on either link and way, 4 at the gateway, 5 at the cloud."""
    due_s = number / 20
    hop = HopLine(
        **{"encode_s": 0.2 * MS, "away_s": 10 * MS, "payload_bytes": 50, "packets": 1, "lost_packets": 0},
        **{"missing_bytes": 0, "assembled_s": 0.4 * MS, "queued_s": 0.1 * MS, "decode_s": 0.3 * MS, "run_s": 4.5 * MS},
        **{"server_s": 5.4 * MS, "batch": 1},
    )
    given = {
        **{"frame": number, "sample": number, "outcome": "ok", "due_s": due_s, "begun_s": due_s + 0.1 * MS},
        **{"head_s": 2.5 * MS, "encode_s": 0.4 * MS, "sent_s": due_s + 3.1 * MS, "response_s": due_s + 22 * MS},
        **{"payload_bytes": 300, "packets": 3, "lost_packets": 1, "missing_bytes": 100, "assembled_s": 1.5 * MS},
        **{
            "queued_s": 0.2 * MS,
            "decode_s": 0.3 * MS,
            "run_s": 2.5 * MS,
            "server_s": 15 * MS,
            "batch": 1,
            "hops": (hop,),
        },
    }
    return FrameLine(**given | changes)


def log_of(*lines):
    return Log(Path("run.jsonl"), run_line("SC1-uint8-udp"), lines)


def test_the_way_back_of_direct_answers_is_the_first_links():
    lines = [frame(number, direct=True) for number in range(5)]
    found = measured([log_of(*lines)], HOPS, 40, direct_s=0.01)
    halves = ("up", "back")
    whole = sum(values for key, values in found.parts_s.items() if key.removesuffix("_2") not in halves)
    np.testing.assert_allclose(whole, found.latency_s)
    np.testing.assert_allclose(found.parts_s["link_2"], found.parts_s["up_2"])
    np.testing.assert_allclose(found.parts_s["up_2"], 0.4 * MS + (10 - 5.4) * MS / 2, rtol=0.01)
    np.testing.assert_array_equal(found.parts_s["back_2"], 0)
    first_s = 0.002 + 8 * 1502 / 1e6
    travels_s = found.parts_s["link"] - 1.5 * MS
    np.testing.assert_allclose(found.parts_s["back"], travels_s * 0.01 / (0.01 + first_s))
    along = measured([log_of(*map(frame, range(5)))], HOPS, 40, direct_s=0.01)
    np.testing.assert_allclose(found.parts_s["rest"], along.parts_s["rest"])
    both = measured([log_of(*lines[:2], *map(frame, range(2, 5)))], HOPS, 40, direct_s=0.01)
    for key, values in both.parts_s.items():
        np.testing.assert_array_equal(values[:1], found.parts_s[key][:1])
        np.testing.assert_array_equal(values[1:], along.parts_s[key][1:])


def test_a_direct_answer_whose_word_was_lost_is_one():
    lines = [frame(number, direct=True, hops=()) for number in range(3)]
    assert _whole_ways(log_of(*lines), 1) == log_of(*lines)


def test_the_parts_of_every_hop_add_up_to_the_latency():
    found = measured([log_of(*map(frame, range(5)))], HOPS, 40)
    whole = sum(
        values
        for key, values in found.parts_s.items()
        if key.rpartition("_")[0] not in ("up", "back") and key not in ("up", "back")
    )
    np.testing.assert_allclose(whole, found.latency_s)
    np.testing.assert_allclose(found.latency_s, 22 * MS)
    first = {key: values[0] / MS for key, values in found.parts_s.items()}
    assert first["link"] == pytest.approx(22 - 3 - 15 + 1.5)
    assert first["link_2"] == pytest.approx(10 - 5.4 + 0.4)
    assert first["up_2"] + first["back_2"] == pytest.approx(first["link_2"])
    assert first["encode_2"] == pytest.approx(0.2)
    assert first["server_wait_2"] == pytest.approx(0.1)
    assert (first["server"], first["server_2"]) == pytest.approx((2.5, 4.5))
    assert first["rest"] == pytest.approx((15 - 1.5 - 3.0 - 10.2) + (5.4 - 0.4 - 4.9))


def test_payloads_are_those_of_all_hops_and_losses_those_over_udp():
    found = measured([log_of(*map(frame, range(3)))], HOPS, 40)
    assert found.typical_bytes.tolist() == [350, 350]
    assert (found.lost.tolist(), found.packets.tolist()) == ([1, 1], [3, 3])


def test_a_part_of_a_later_hop_is_named_with_its_machines():
    def times(more_s=0.0):
        parts = {
            key: np.full((1, 40), 2 * MS)
            for key in ("device_wait", "device", "encode", "link", "server_wait", "decode", "server", "rest")
        }
        parts |= {f"{key}_2": np.full((1, 40), MS) for key in ("encode", "link", "server_wait", "decode", "server")}
        parts["server_2"] = parts["server_2"] + more_s
        return FrameTimes(sum(parts.values()), parts)

    after = times(3 * MS)
    flat = FrameTimes(after.latency_s[0], {key: values[0] for key, values in after.parts_s.items()})
    parts = compared_parts(times(), flat, DEVICES, LINKS)
    assert [part.key for part in parts if part.off] == ["server_2"]
    names = [part.name for part in parts]
    assert names[:4] == ["waiting on sensor", "layers on sensor", "encoding on sensor", "radio, there and back"]
    assert names[-2:] == ["layers on cloud", "the rest"]
    (told,) = findings(parts, times(), DEVICES, LINKS)
    assert told.startswith("The layers on cloud take 4 ms where 1 ms were predicted (+3.00 ms)")


def test_a_frame_that_the_middle_finished_did_not_go_the_way_of_the_design():
    log = _whole_ways(log_of(frame(0), frame(1, hops=()), frame(2), frame(3, outcome="unreachable", hops=())), 1)
    assert [line.outcome for line in log.frames] == ["ok", "lost", "ok", "unreachable"]
    assert log.frames[1].response_s is None
    assert log.shortened == 1
    (told,) = _shortened([log])
    assert told.startswith("A machine in the middle finished 1 of the frames by itself")
    found = measured([log], HOPS, 40)
    assert np.isfinite(found.latency_s).tolist() == [False, True, False]


def test_more_hops_than_the_plan_has_are_no_log_of_it():
    with pytest.raises(DataError, match="frame 0 went on over 1 hops, the plan has 0 of them"):
        _whole_ways(log_of(frame(0)), 0)


def test_hops_are_written_and_read(tmp_path):
    line = frame(0)
    path = write_log(tmp_path / "run.jsonl", [line, frame(1)], plan="SC1-uint8-udp")
    assert read_log(path)[1][0] == line
    assert '"hops"' not in line_of(frame(0, hops=()))


@pytest.mark.parametrize(("changes", "words"), [
    ({"away_s": -1.0}, "hops.away_s is -1 s"),
    ({"run_s": 1e12}, "run_s is 1e"),
    ({"lost_packets": 9}, "9 of 1 packets are lost"),
])  # fmt: skip
def test_what_cannot_be_is_refused_in_hops_as_well(tmp_path, changes, words):
    line = frame(0)
    bad = line.model_copy(update={"hops": (line.hops[0].model_copy(update=changes),)})
    with pytest.raises(DataError, match=words):
        _read(write_log(tmp_path / "run.jsonl", [bad], plan="SC1-uint8-udp"))
