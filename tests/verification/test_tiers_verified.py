"""Runs of designs for three machines whose truth is known: every hop is held to its own prediction."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from deployed import designed, run_line

from splitimpera.core.errors import DataError
from splitimpera.deploy.frame_log import FrameLine, HopLine, line_of
from splitimpera.report import read
from splitimpera.report.verified_figures import verification_figures
from splitimpera.verification.calibration import calibrated
from splitimpera.verification.comparing import matched, verify
from splitimpera.verification.predicted import predict

pytestmark = pytest.mark.slow

MS = 1e-3
SCENARIO = """
name: tiers
network: {model: "mine.py:network"}
data: {source: "mine.py:data", validation: 40 %, test: 30 %}
devices:
- {name: sensor, preset: raspberry-pi-4}
- {name: gateway, preset: raspberry-pi-4}
- {name: cloud, preset: laptop-cpu}
links:
- {name: radio, rate: 5 Mbit/s, delay: 2 ms, loss: 2 %, mtu: 300 B, transports: [udp]}
- {name: fibre, rate: 50 Mbit/s, delay: 4 ms, transports: [tcp]}
workload: {fps: 20, response: 64 B}
plans: {cuts: [1, 2], codecs: [uint8], transports: [tcp]}
requirements: [accuracy >= 60 %, latency_p95 <= 1 s, fps >= 20]
"""
PLAN = "SC1-uint8-udp-SC2-uint8-tcp"
FORWARDED = SCENARIO.replace("[udp]", "[tcp]").replace("[1, 2]", "[1]").replace("loss: 2 %, mtu: 300 B, ", "")
FRAMES = 601


@cache
def tiers(scenario=SCENARIO):
    return designed(scenario)


def frame_lines(add=None, plan=PLAN, sizes=(8 * 7 * 7, 4 * 5 * 5), scenario=SCENARIO):
    """What a log says of so many frames, drawn from the design's timeline with randomness of their own."""
    results = read(tiers(scenario))
    entry = results.by_id[plan]
    other = results.model_copy(update={"seed": 1001})
    found = predict(tiers(scenario), other, entry, FRAMES + 1, np.array(sizes[:1]), None, [np.array(sizes[1:])])
    parts = {key: values[0].copy() for key, values in found.parts_s.items()}
    for key, more_s in (add or {}).items():
        parts[key] = parts[key] + more_s
    for frame in range(FRAMES):
        of = {key: values[frame] for key, values in parts.items()}
        due_s = frame / 20
        begun_s = due_s + of["device_wait"]
        ready_s = begun_s + of["device"] + of["encode"]
        told = {
            **{"frame": frame, "sample": frame % 90, "due_s": due_s, "begun_s": begun_s, "head_s": of["device"]},
            **{"encode_s": of["encode"], "sent_s": ready_s + 1e-4, "payload_bytes": sizes[0]},
            **{"packets": int(found.packets[0, frame]), "label": 0, "predicted": 0 if frame % 10 else 1},
        }
        if not np.isfinite(found.latency_s[0, frame]):
            yield FrameLine(**told | {"predicted": None}, outcome="lost")
            continue
        there_s = sum(of[key] for key in ("server_wait_2", "decode_2", "server_2"))
        assembled_s = [max(0.0, of["up"] - 2.5 * MS), max(0.0, of["up_2"] - 4.3 * MS)]
        away_s = of["link_2"] + there_s
        inside_s = sum(of[key] for key in ("server_wait", "decode", "server", "encode_2", "rest")) + away_s
        hop = HopLine(
            **{"encode_s": of["encode_2"], "away_s": away_s, "payload_bytes": sizes[1], "packets": 1},
            **{"lost_packets": 0, "missing_bytes": 0, "assembled_s": assembled_s[1], "queued_s": of["server_wait_2"]},
            **{"decode_s": of["decode_2"], "run_s": of["server_2"], "server_s": assembled_s[1] + there_s, "batch": 1},
        )
        lost = int(found.lost[0, frame])
        yield FrameLine(
            **told,
            **{"outcome": "ok", "response_s": ready_s + of["link"] + inside_s, "lost_packets": lost},
            **{"missing_bytes": lost * 252, "assembled_s": assembled_s[0], "queued_s": of["server_wait"]},
            **{"decode_s": of["decode"], "run_s": of["server"], "server_s": assembled_s[0] + inside_s, "batch": 1},
            hops=(hop,),
        )


def logged(path, add=None, plan=PLAN, **of):
    carrier = plan.split("-")[2]
    first = run_line(plan, carrier=carrier, transport=carrier, schema_version=4)
    path.write_text(line_of(first) + "".join(map(line_of, frame_lines(add, plan, **of))))
    return path


def test_a_run_over_three_machines_as_it_was_predicted_is_called_right(tmp_path):
    found = verify(tiers(), [logged(tmp_path / "run.jsonl")])
    assert found.agrees, found.headline
    assert found.findings == []
    assert all(abs(part.difference_s) < 0.15 * MS for part in found.parts if part.within is None)
    names = [part.name for part in found.parts if part.within is None]
    assert names == [
        *("waiting on sensor", "layers on sensor", "encoding on sensor", "radio, there and back"),
        *("waiting on gateway", "decoding on gateway", "layers on gateway", "encoding on gateway"),
        *("fibre, there and back", "waiting on cloud", "decoding on cloud", "layers on cloud", "the rest"),
    ]
    measured_s = sum(part.measured.mean_s for part in found.parts if part.within is None)
    latency_s = [line.response_s - line.due_s for line in frame_lines() if line.outcome == "ok"]
    assert measured_s == pytest.approx(np.mean(latency_s[1:]))  # the first one warms up
    payload = next(one for one in found.quantities if one.name == "payload_bytes")
    assert payload.agrees
    assert set(verification_figures(found)) == {"distributions", "parts", "frames"}


def test_a_gateway_that_forwards_neither_decodes_nor_encodes(tmp_path):
    of = {"plan": "SC1-uint8-tcp-SC1-uint8-tcp", "sizes": (8 * 7 * 7, 8 * 7 * 7), "scenario": FORWARDED}
    found = verify(tiers(FORWARDED), [logged(tmp_path / "run.jsonl", **of)])
    assert found.agrees, found.headline
    predicted = {part.key: part.predicted.mean_s for part in found.parts}
    assert predicted["decode"] == predicted["server"] == predicted["encode_2"] == 0 < predicted["link_2"]


@pytest.mark.parametrize(("part", "words"), [
    ("server_2", "The layers on cloud take"),
    ("link_2", "The link fibre, there and back, takes"),
    ("encode_2", "Encoding on gateway takes"),
    ("link", "The link radio, there and back, takes"),
    ("decode", "Decoding on gateway takes"),
    ("rest", "What no other part accounts for takes"),
])  # fmt: skip
def test_a_hop_that_takes_a_millisecond_more_is_named(part, words, tmp_path):
    found = verify(tiers(), [logged(tmp_path / "run.jsonl", {part: MS})])
    assert [one.key for one in found.parts if one.off and one.within is None] == [part]
    (told,) = found.findings
    assert told.startswith(words)
    drifted = [one.key for one in found.drift]
    assert drifted in ([part], ["round_trip"], []) or part == "rest"
    assert found.anew == ""


def test_profiles_are_made_of_two_machines_alone(tmp_path):
    results, entry, logs, _, found = matched(tiers(), [logged(tmp_path / "run.jsonl")])
    with pytest.raises(DataError, match="has 3 machines, profiles are made of runs of one or two"):
        calibrated(results, entry, logs, found)
