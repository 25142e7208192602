"""Runs of a design with early exits whose truth is known: times as the true mixture, and who left where."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from deployed import designed, run_line

from splitimpera.core.errors import DataError
from splitimpera.deploy.answering import AnsweredBy, Mode
from splitimpera.deploy.frame_log import FrameLine, line_of
from splitimpera.report import read
from splitimpera.report.html.verification_page import verification_html
from splitimpera.report.verified_words import outcomes_text
from splitimpera.verification.anew import write_anew
from splitimpera.verification.calibration import calibrated
from splitimpera.verification.comparing import compared, matched, verify
from splitimpera.verification.predicted import predict

pytestmark = pytest.mark.slow

MS = 1e-3
NETWORK = """
import torch
from torch import nn

torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
    nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
).eval()

def network():
    return net

def data():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(300, 1, 16, 16, generator=generator) + 3 * torch.randn(300, 1, 1, 1, generator=generator)
    with torch.no_grad():
        return x, net(x).argmax(1)
"""
SCENARIO = """
name: early
network: {model: "early.py:network"}
data: {source: "early.py:data", validation: 40 %, test: 20 %}
devices: [{name: camera, preset: raspberry-pi-4, slowdown: 100}, {name: server, preset: laptop-cpu}]
links: [{name: radio, rate: 1 Mbit/s, delay: 20 ms, loss: 4 %, mtu: 300 B}]
workload: {fps: 10, response: 64 B, deadline: 95 ms}
plans: {cuts: ["2"], codecs: [uint8], transports: [tcp, udp]}
exits: {at: ["0", "2"], train: {epochs: 10}, threshold: 0.7}
requirements: [accuracy >= 40 %, latency_p95 <= 10 s]
"""
TCP, UDP = "EE-SC2-uint8-tcp", "EE-SC2-uint8-udp"
SIZE, FRAMES, SAMPLES = 512, 601, 120


@cache
def early():
    return designed(SCENARIO, {"early.py": NETWORK})


def frame_lines(plan, deadline_s=None, left=None):
    """What a log says of so many frames, drawn from the design's timeline with randomness of their own.

    Args:
        deadline_s: At which the last exit's answer stands in.
        left: At which exit frames leave instead, by their number.
    """
    entry = read(early()).by_id[plan]
    other = read(early()).model_copy(update={"seed": 1002})
    found = predict(early(), other, entry, FRAMES + 1, np.array([float(SIZE)]), None)
    cuts = [exit.cut for exit in entry.exits]
    wrong = round(10 * (1 - entry.metrics["accuracy"]))
    for frame in range(FRAMES):
        of = {key: values[0, frame] for key, values in found.parts_s.items()}
        due_s = frame / 10
        begun_s, at = due_s + of["device_wait"], int(found.left_at[0, frame] if left is None else left(frame))
        told = {
            **{"frame": frame, "sample": frame % SAMPLES, "due_s": due_s, "begun_s": begun_s, "head_s": of["device"]},
            **{"label": 0, "predicted": int(frame % SAMPLES % 10 < wrong)},
        }
        if at >= 0:
            done_s = begun_s + of["device"] + 1e-5
            yield FrameLine(**told, outcome="ok", exit=cuts[at], response_s=done_s, confidence=0.9)
            continue
        ready_s = begun_s + of["device"] + of["encode"]
        told |= {"encode_s": of["encode"], "sent_s": ready_s + 1e-5, "payload_bytes": SIZE}
        told["packets"] = int(found.packets[0, frame]) or 2
        latency_s = found.latency_s[0, frame]
        if not np.isfinite(latency_s) or latency_s > (deadline_s or np.inf):
            yield FrameLine(**told, outcome="stood-in", exit=cuts[-1])
            continue
        inside_s = sum(of[key] for key in ("server_wait", "decode", "server", "rest"))
        assembled_s = max(1e-3, of["up"] - 0.0225)
        yield FrameLine(
            **told,
            **{"outcome": "ok", "response_s": ready_s + of["link"] + inside_s, "assembled_s": assembled_s},
            **{"queued_s": of["server_wait"], "decode_s": of["decode"], "run_s": of["server"], "batch": 1},
            **{"server_s": assembled_s + inside_s, "lost_packets": int(found.lost[0, frame])},
        )


def logged(path, plan=TCP, deadline_s=None, left=None, mode=None):
    carrier = plan.rpartition("-")[2]
    first = run_line(plan, carrier=carrier, transport=carrier, schema_version=5, fps=10.0, deadline_s=deadline_s)
    lines = list(frame_lines(plan, deadline_s, left))
    if mode is not None:
        first = first.model_copy(update={"mode": mode})
        lines = [
            line.model_copy(
                update={
                    **{"plan": plan, "sent_by": plan if line.payload_bytes else None},
                    "answered_by": AnsweredBy.SERVER if line.exit is None else AnsweredBy.DEVICE,
                }
            )
            for line in lines
        ]
    path.write_text(line_of(first) + "".join(map(line_of, lines)))
    return path


def by_name(found):
    return {one.name: one for one in found.quantities}


def test_a_run_as_it_was_predicted_is_called_right(tmp_path):
    found = verify(early(), [logged(tmp_path / "run.jsonl")])
    assert found.agrees, found.headline
    assert found.drift == []
    of_device = [part for part in found.parts if part.key in ("device_wait", "device", "encode", "rest")]
    assert all(abs(part.measured.mean_s - part.predicted.mean_s) < 0.5 * MS for part in of_device)
    numbers, entry = by_name(found), read(early()).by_id[TCP]
    for exit in entry.exits:
        rate = numbers[f"left_at_cut_{exit.cut}"]
        assert rate.predicted == exit.share
        assert rate.interval[0] < rate.measured < rate.interval[1]
        assert "frames that leave early, behind" in rate.note
    assert numbers["payload_bytes"].measured == SIZE
    assert numbers["payload_bytes"].agrees
    assert "frames_lost" not in numbers
    measured_s = sum(part.measured.mean_s for part in found.parts if part.within is None)
    latency_s = [line.response_s - line.due_s for line in frame_lines(TCP)][1:]
    assert measured_s == pytest.approx(np.mean(latency_s))
    page = verification_html(found)
    assert all(f"left at cut {exit.cut}" in page for exit in entry.exits)


def test_the_simulated_frames_are_the_mixture_of_the_design():
    results = read(early())
    for plan in (TCP, UDP, "EE-LC"):
        entry = results.by_id[plan]
        found = predict(early(), results, entry, FRAMES, np.array([float(SIZE)]), None)
        shares = [float((found.left_at == place).mean()) for place in range(len(entry.exits))]
        assert shares == pytest.approx([exit.share for exit in entry.exits], abs=0.01)
        assert found.redone["latency_p50"] == pytest.approx(entry.metrics["latency_p50"], rel=0.05)
        assert found.redone["latency_p95"] == pytest.approx(entry.metrics["latency_p95"], rel=0.25)


def test_fewer_frames_that_leave_are_told(tmp_path):
    found = verify(early(), [logged(tmp_path / "run.jsonl", left=lambda frame: 0 if frame % SAMPLES == 5 else -1)])
    assert not found.agrees
    assert by_name(found)["left_at_cut_1"].agrees is False
    assert "left at cut 1" in found.headline


@pytest.mark.parametrize("plan", [TCP, UDP])
def test_answers_that_stood_in_are_counted_beside_the_designs(plan, tmp_path):
    path = logged(tmp_path / "run.jsonl", plan, deadline_s=0.095)
    found = verify(early(), [path])
    stood = by_name(found)["stood_in"]
    lines = list(frame_lines(plan, 0.095))[1:]
    assert stood.measured == pytest.approx(np.mean([line.outcome == "stood-in" for line in lines]), abs=0.005)
    assert stood.measured > 0
    assert stood.agrees
    entry = read(early()).by_id[plan]
    assert stood.predicted == pytest.approx(entry.stood_in, abs=0.03)
    assert by_name(found)["accuracy"].predicted == entry.metrics["on_time_accuracy"]
    assert "answered by an early exit, for no response came in time" in outcomes_text(found)
    assert any("got the answer of their last early exit" in warning for warning in found.warnings)


def test_a_run_that_chose_its_server_has_its_early_frames_as_well(tmp_path):
    found = verify(early(), [logged(tmp_path / "run.jsonl", mode=Mode.PREFER_SERVER)])
    plain = verify(early(), [logged(tmp_path / "plain.jsonl")])
    assert by_name(found)["left_at_cut_1"] == by_name(plain)["left_at_cut_1"]
    assert by_name(found)["latency_p50"].measured == by_name(plain)["latency_p50"].measured


def test_profiles_and_scenarios_are_made_of_runs_without_exits(tmp_path):
    results, entry, logs, prediction, found = matched(early(), [logged(tmp_path / "run.jsonl")])
    with pytest.raises(DataError, match="has early exits, profiles are made of runs whose frames all go the whole way"):
        calibrated(results, entry, logs, found)
    with pytest.raises(DataError, match="has early exits, a scenario is made anew of runs of plans without"):
        write_anew(tmp_path / "anew", results, entry, logs, prediction, [])
    assert compared(results, entry, logs, prediction, found).anew == ""
