"""Deployed runs whose truth is known, held against the design: what is right is called right, what is off is named."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from conftest import ROOT
from deployed import (
    LOCAL,
    RAW,
    SCENARIO,
    SPLIT_TCP,
    SPLIT_UDP,
    designed,
    frame_lines,
    gate,
    logged,
    write_log,
)

from splitimpera.cost.profiles import write_profile
from splitimpera.deploy.frame_log import read_log
from splitimpera.report import read
from splitimpera.report.verified import Verification, verification_schema
from splitimpera.verification.calibration import calibrated
from splitimpera.verification.comparing import matched, verify
from splitimpera.verification.predicted import predict

MS = 1e-3


def changed(path, to, change):
    """A copy of a log whose frames are changed one by one."""
    run, lines = read_log(path)
    given = run.model_dump(exclude={"schema_version"})
    return write_log(to, [line.model_copy(update=change(line)) for line in lines], **given)


def by_key(found):
    return {part.key: part for part in found.parts}


def by_name(found):
    return {one.name: one for one in found.quantities}


@pytest.mark.parametrize("plan", [SPLIT_TCP, SPLIT_UDP, LOCAL, RAW])
def test_a_run_as_it_was_predicted_is_called_right(plan, tmp_path):
    found = verify(gate(), [logged(tmp_path / "run.jsonl", plan)])
    assert found.agrees
    assert found.headline.startswith("The prediction holds: frames take ")
    assert found.findings == found.warnings == []
    assert found.distribution.distance < 0.05
    assert all(abs(part.difference_s) < 0.15 * MS for part in found.parts if part.within is None)
    assert all(check.met for check in found.requirements)


@pytest.mark.parametrize(("part", "words"), [
    ("server", "The layers on server take 3.0"),
    ("device", "The layers on camera take 8.0"),
    ("encode", "Encoding takes 1.2"),
    ("decode", "Decoding takes 1.2"),
    ("link", "The link, there and back, takes 6.1"),
    ("server_wait", "Frames wait 1"),
    ("rest", "What no other part accounts for takes 1"),
])  # fmt: skip
def test_a_part_that_takes_a_millisecond_more_is_named_with_its_figure(part, words, tmp_path):
    found = verify(gate(), [logged(tmp_path / "run.jsonl", add={part: MS})])
    assert [key for key, one in by_key(found).items() if one.off and one.within is None] == [part]
    assert by_key(found)[part].difference_s == pytest.approx(MS, abs=0.05 * MS)
    assert by_key(found)[part].share == pytest.approx(1, abs=0.05)
    (told,) = found.findings
    assert told.startswith(words)
    assert re.search(r"\(\+(0\.9[5-9]|1\.0\d) ms\): (9[5-9]|100) % of the difference|more than the whole", told)
    assert not found.agrees
    assert "latency p50" in found.headline
    assert by_name(found)["latency_p50"].measured == pytest.approx(
        by_name(found)["latency_p50"].predicted + MS, abs=0.1 * MS
    )


def test_parts_that_are_off_come_in_the_order_of_their_differences(tmp_path):
    more = {"device": 2 * MS, "server": MS, "link": -0.6 * MS}
    found = verify(gate(), [logged(tmp_path / "run.jsonl", add=more)])
    assert [told.split(" take")[0] for told in found.findings] == [
        "The layers on camera",
        "The layers on server",
        "The link, there and back,",
    ]
    shares = {key: part.share for key, part in by_key(found).items()}
    assert shares["device"] == pytest.approx(2 / 2.4, abs=0.03)
    assert shares["server"] == pytest.approx(1 / 2.4, abs=0.03)
    assert shares["link"] is None  # it goes against the whole
    assert "(-0.6" in found.findings[2]
    assert "%" not in found.findings[2]


@pytest.mark.parametrize("plan", [SPLIT_TCP, LOCAL])
def test_the_parts_add_up_to_the_latency(plan, tmp_path):
    *_, prediction, found = matched(gate(), [logged(tmp_path / "run.jsonl", plan)])
    for times in (prediction, found):
        parts = sum(values for key, values in times.parts_s.items() if key not in ("up", "back"))
        known = times.answered
        np.testing.assert_allclose(parts[known], times.latency_s[known], atol=1e-9)
        if plan != LOCAL:
            both = times.parts_s["up"] + times.parts_s["back"]
            np.testing.assert_allclose(both[known], times.parts_s["link"][known], atol=1e-9)


def test_the_timeline_once_more_is_that_of_the_design():
    results = read(gate())
    for name in (SPLIT_TCP, SPLIT_UDP, LOCAL, RAW):
        entry = results.by_id[name]
        redone = predict(gate(), results, entry, 50, np.array([1.0])).redone
        for metric, value in redone.items():
            assert value == pytest.approx(entry.metrics[metric], rel=1e-9)


@pytest.mark.slow
def test_so_it_is_with_presets_of_which_the_file_keeps_means_alone(tmp_path):
    scenario = SCENARIO.replace("{name: camera}, {name: server}", DEVICES).replace("[uint8, float32]", "[uint8]")
    folder = designed(scenario)
    results = read(folder)
    entry = results.by_id[SPLIT_TCP]
    redone = predict(folder, results, entry, 50, np.array([1.0]))
    assert redone.redone["latency_p50"] == pytest.approx(entry.metrics["latency_p50"], rel=1e-3)
    lines = frame_lines(folder, SPLIT_TCP, 151)
    found = verify(folder, [write_log(tmp_path / "run.jsonl", lines)])
    assert found.agrees, found.headline
    assert found.warnings[-1].startswith("The times of camera in the design are a preset's")


DEVICES = "{name: camera, preset: cortex-m7}, {name: server, preset: laptop-cpu}"


def test_the_distribution_is_shown_as_it_is(tmp_path):
    path = logged(tmp_path / "run.jsonl", add={"device": 5 * MS})
    _, lines = read_log(path)
    latency_s = np.sort([line.response_s - line.due_s for line in lines[1:]])
    of = verify(gate(), [path]).distribution
    assert of.measured_s[0] == pytest.approx(latency_s[0], rel=1e-4)
    assert of.measured_s[of.shares.index(0.5)] == pytest.approx(np.median(latency_s), rel=1e-4)
    assert of.distance > 0.9
    assert all(low <= middle <= high for low, middle, high in zip(of.low_s, of.predicted_s, of.high_s, strict=True))


def test_several_logs_are_one_run_each_without_its_first_frame(tmp_path):
    paths = [logged(tmp_path / f"{seed}.jsonl", frames=120, seed=seed) for seed in (1, 2)]
    slow = [
        changed(path, tmp_path / f"slow{path.name}", lambda line: {} if line.frame else later(line, 3.0))
        for path in paths
    ]
    found = verify(gate(), slow)
    assert found.agrees
    assert [(log.frames, log.compared) for log in found.logs] == [(120, 119)] * 2
    assert found.outcomes == {"ok": 238}
    assert max(found.frames.latency_s) < 1
    assert "first frame of each log is left out" in found.left_out


def test_logs_that_differ_from_each_other_are_told(tmp_path):
    paths = [logged(tmp_path / f"{seed}.jsonl", frames=120, seed=seed, add={"device": seed * MS}) for seed in (0, 3)]
    (told,) = (warning for warning in verify(gate(), paths).warnings if "differ from each other" in warning)
    assert "from 14.6" in told
    assert "to 17." in told


def later(line, more_s):
    """A frame whose layers on the device take longer."""
    return {"head_s": line.head_s + more_s, "sent_s": line.sent_s + more_s, "response_s": line.response_s + more_s}


def test_lost_packets_stand_beside_the_predicted_share_with_their_unit(tmp_path):
    found = verify(gate(), [logged(tmp_path / "run.jsonl", SPLIT_UDP)])
    one = by_name(found)["lost_packet_rate"]
    low, high = one.interval
    assert low < one.measured < high
    assert (one.level, one.unit) == (0.99, "blocks of 12 consecutive frames")
    assert one.predicted == pytest.approx(0.02, abs=0.003)
    worse = changed(
        tmp_path / "run.jsonl",
        tmp_path / "worse.jsonl",
        lambda line: {"lost_packets": 1} if line.frame % 10 == 0 and line.outcome == "ok" else {},
    )
    found = verify(gate(), [worse])
    assert by_name(found)["lost_packet_rate"].agrees is False
    assert "off in packets lost" in found.headline


def test_frames_that_nothing_came_back_of_count_as_lost_late_and_wrong(tmp_path):
    path = logged(tmp_path / "run.jsonl", SPLIT_UDP)
    gone = {"outcome": "lost", "response_s": None, "predicted": None, "server_s": None, "run_s": None}
    worse = changed(path, tmp_path / "worse.jsonl", lambda line: gone if line.frame % 5 == 0 else {})
    before, found = (by_name(verify(gate(), [log])) for log in (path, worse))
    assert found["frames_lost"].measured == pytest.approx(0.2, abs=0.01)
    assert found["frames_lost"].agrees is found["deadline_misses"].agrees is False
    assert found["accuracy"].measured == pytest.approx(0.8 * before["accuracy"].measured, abs=0.01)
    assert found["latency_p50"].measured == pytest.approx(before["latency_p50"].measured, rel=0.01)


def test_accuracy_counts_samples_and_not_frames(tmp_path):
    found = verify(gate(), [logged(tmp_path / "run.jsonl")])
    one = by_name(found)["accuracy"]
    assert one.measured == 0.9
    assert "on the 90 samples that were sent" in one.note
    low, high = one.interval
    assert high - low == pytest.approx(2 * 2.58 * (0.9 * 0.1 / 90) ** 0.5, rel=0.1)
    wrong = changed(tmp_path / "run.jsonl", tmp_path / "wrong.jsonl", lambda line: {"predicted": (line.label + 1) % 3})
    assert by_name(verify(gate(), [wrong]))["accuracy"].agrees is False
    nothing = changed(tmp_path / "run.jsonl", tmp_path / "nothing.jsonl", lambda _: {"label": None})
    assert "accuracy" not in by_name(verify(gate(), [nothing]))


def test_requirements_are_held_against_the_run(tmp_path):
    path = logged(tmp_path / "run.jsonl", add={"link": 2.0})
    found = {check.requirement.metric: check for check in verify(gate(), [path]).requirements}
    assert (found["latency_p95"].predicted_met, found["latency_p95"].met) == (True, False)
    assert found["latency_p95"].measured == pytest.approx(2.015, rel=0.01)
    assert found["accuracy"].met
    assert found["fps"].met  # all is answered, only late
    slow = changed(path, tmp_path / "slow.jsonl", lambda line: {"due_s": line.due_s * 2, "begun_s": line.due_s * 2}
                   | {"response_s": line.due_s * 2 + 0.02, "sent_s": None})  # fmt: skip
    check = {check.requirement.metric: check for check in verify(gate(), [slow]).requirements}["fps"]
    assert (check.met, check.note) == (None, "the run offered 10 frames a second only")


@pytest.mark.parametrize(("changes", "words"), [
    ({"fps": 10.0}, "The run sent 10 frames a second, the design 20."),
    ({"fps": None}, "The run sent each frame as soon as the one before was through"),
    ({"engine": "onnx", "threads": 2}, "another engine onnxruntime (design: eager), another number of threads 2"),
    ({"machine": "another"}, "On camera the run had another machine another (design: here)."),
    ({"deadline_s": 0.2}, "The run's deadline was 200 ms, the design's 50 ms."),
])  # fmt: skip
def test_what_weakens_the_comparison_is_said(changes, words, tmp_path):
    found = verify(gate(), [logged(tmp_path / "run.jsonl", **changes)])
    assert any(words in warning for warning in found.warnings), found.warnings


def test_a_device_without_layers_has_no_engine(tmp_path):
    found = verify(gate(), [logged(tmp_path / "run.jsonl", RAW, engine="none", machine="camera")])
    assert found.warnings == []


def test_a_short_log_and_a_late_start_are_said(tmp_path):
    found = verify(gate(), [logged(tmp_path / "short.jsonl", frames=60)])
    assert found.warnings == ["59 answered frames are few: it takes 100 for a p95 and 500 for a p99."]
    late = np.zeros(601)
    late[::8] = 4 * MS
    found = verify(gate(), [logged(tmp_path / "late.jsonl", add={"device_wait": late})])
    assert any(
        "The pace was not kept: 12.6 % of the frames were begun more than 1 ms late" in w for w in found.warnings
    )


@pytest.mark.slow
def test_a_run_without_responses_in_its_scenario_is_told_so(tmp_path):
    scenario = SCENARIO.replace(", response: 64 B", "").replace("[uint8, float32]", "[uint8]")
    folder = designed(scenario)
    lines = frame_lines(folder, SPLIT_TCP, 151, add={"link": 2 * MS})
    found = verify(folder, [write_log(tmp_path / "run.jsonl", lines)])
    assert any("The scenario simulates no response" in warning for warning in found.warnings)
    assert found.findings[0].startswith("The link, there and back, takes")


@pytest.mark.slow
def test_a_preset_or_profile_that_is_gone_is_made_up_for(tmp_path):
    results, entry, logs, _, found = matched(gate(), [logged(tmp_path / "run.jsonl")])
    write_profile(calibrated(results, entry, logs, found)["camera"], tmp_path / "camera.json")
    devices = "{name: camera, profile: camera.json}, {name: server}"
    scenario = SCENARIO.replace("{name: camera}, {name: server}", devices).replace("[uint8, float32]", "[uint8]")
    folder = designed(scenario, {"camera.json": (tmp_path / "camera.json").read_text()})
    lines = frame_lines(folder, SPLIT_TCP, 151)
    (folder / "camera.json").unlink()
    found = verify(folder, [write_log(tmp_path / "run.jsonl", lines)])
    assert found.agrees, found.headline
    assert any("What the design knew of camera cannot be read any more" in warning for warning in found.warnings)


def test_what_is_written_reads_back_and_is_documented(tmp_path):
    found = verify(gate(), [logged(tmp_path / "run.jsonl")])
    assert Verification.model_validate_json(found.to_json()) == found
    schema = (ROOT / "docs" / "verification.schema.json").read_text()
    assert schema == verification_schema(), "docs/verification.schema.json is stale"
    document = (ROOT / "docs" / "verify.md").read_text()
    assert [key for key in json.loads(found.to_json()) if f"`{key}`" not in document] == []


def test_many_frames_are_drawn_as_the_slowest_of_each_few(tmp_path):
    lines = frame_lines(gate(), LOCAL, 200)
    many = [replace_frame(lines[place % 200], place) for place in range(5001)]
    found = verify(gate(), [write_log(tmp_path / "run.jsonl", many, plan=LOCAL)])
    assert found.frames.of_each == 3
    assert len(found.frames.latency_s) == 1667
    assert max(found.frames.latency_s) == pytest.approx(max(found.distribution.measured_s), rel=1e-4)


def replace_frame(line, place):
    shift_s = place / 20 - line.due_s
    times = {name: getattr(line, name) + shift_s for name in ("due_s", "begun_s", "response_s")}
    return line.model_copy(update={"frame": place, **times})
