"""What was measured, as profiles: they read back, and the next design predicts what was measured."""

from __future__ import annotations

import numpy as np
import pytest
from cli.test_cli import here
from deployed import LOCAL, RAW, SCENARIO, SPLIT_TCP, designed, gate, logged

from splitimpera.core.errors import DataError
from splitimpera.cost.profiles import read_profile, write_profile
from splitimpera.deploy.frame_log import read_log
from splitimpera.report import read
from splitimpera.verification.calibration import calibrated
from splitimpera.verification.comparing import matched, verify

MS = 1e-3


def profiles(path):
    results, entry, logs, _, found = matched(gate(), [path])
    return calibrated(results, entry, logs, found)


def test_each_machine_has_what_it_ran_and_nothing_else(tmp_path):
    path = logged(tmp_path / "run.jsonl", add={"device": 2 * MS, "server": MS})
    _, lines = read_log(path)
    camera, server = profiles(path).values()
    (head,), (tail,) = camera.paced.cuts, server.paced.cuts
    assert (head.cut, head.tail_s, head.tail_samples_s) == (1, None, ())
    assert head.head_samples_s == tuple(line.head_s for line in lines[1:])
    assert head.head_s == np.median(head.head_samples_s)
    assert (tail.cut, tail.head_s, tail.head_samples_s) == (1, None, ())
    assert tail.tail_samples_s == tuple(line.run_s for line in lines[1:])
    assert (camera.machine, camera.engine, camera.threads, camera.paced.fps) == ("here", "eager", 1, 20.0)
    # the head's layers add up to it; those behind the cut were scaled with it: 9 ms before, 7 of them in front of it
    seconds = [layer.seconds for layer in camera.layers]
    assert sum(seconds[:1]) == pytest.approx(head.head_s)
    assert sum(seconds) == pytest.approx(head.head_s * 9 / 7, rel=0.02)
    assert sum(layer.seconds for layer in server.layers[1:]) == pytest.approx(tail.tail_s)


@pytest.mark.parametrize(("plan", "cuts"), [(LOCAL, [(3, True)]), (RAW, [(0, True), (0, False)])])
def test_so_it_is_without_a_hop_and_with_the_input_sent(plan, cuts, tmp_path):
    found = profiles(logged(tmp_path / "run.jsonl", plan, frames=100))
    assert [(one.cuts[0].cut, one.cuts[0].head_s is not None) for one in found.values()] == cuts
    assert all(len(one.layers) == 3 for one in found.values())
    assert [len(one.codecs) for one in found.values()] == ([0] if plan == LOCAL else [1, 1])


def test_a_half_with_a_bottleneck_is_kept_with_its_ratio(tmp_path):
    results, entry, logs, _, found = matched(gate(), [logged(tmp_path / "run.jsonl", frames=100)])
    camera, server = calibrated(results, entry.model_copy(update={"bottleneck": 16.0}), logs, found).values()
    assert [one.cuts[0].bottleneck for one in (camera, server)] == [16.0, 16.0]
    write_profile(camera, tmp_path / "profile.json")
    assert read_profile(tmp_path / "profile.json") == camera
    # how large the latent is, nobody says: so the codec takes what it took, whatever its size
    assert (camera.codecs[0].encode_per_byte_s, server.codecs[0].decode_per_byte_s) == (0, 0)


def test_few_frames_make_no_profile(tmp_path):
    with pytest.raises(DataError, match="28 frames were measured, a profile needs 30 or more"):
        profiles(logged(tmp_path / "run.jsonl", frames=29))


@pytest.mark.slow
def test_a_design_with_these_profiles_predicts_what_was_measured(tmp_path):
    path = logged(tmp_path / "run.jsonl", add={"device": 2 * MS, "server": MS, "encode": 0.3 * MS, "decode": 0.4 * MS})
    assert not verify(gate(), [path]).agrees
    run = here("verify", gate(), path, "--out", tmp_path / "out", "--calibrate", tmp_path / "profile.json")
    assert run.returncode == 0
    assert "devices: [{name: camera, profile: " in run.stdout
    files = {name: (tmp_path / name).read_text() for name in ("profile.json", "profile-server.json")}
    devices = "{name: camera, profile: profile.json}, {name: server, profile: profile-server.json}"
    scenario = SCENARIO.replace("{name: camera}, {name: server}", devices)
    folder = designed(scenario, files)
    entry = read(folder).by_id[SPLIT_TCP]
    _, lines = read_log(path)
    of_device = np.median([line.head_s + line.encode_s for line in lines[1:]])
    of_server = np.median([line.decode_s + line.run_s for line in lines[1:]])
    assert entry.device_p50_s["camera"] == pytest.approx(of_device, rel=0.01)
    assert entry.device_p50_s["server"] == pytest.approx(of_server, rel=0.01)
    assert entry.estimates == []
    again = verify(folder, [path])
    assert again.agrees
    assert again.findings == []
    # what was not run is an estimate, and said to be one
    assert "camera: network" in read(folder).by_id[LOCAL].estimates


def test_the_command_writes_all_files(tmp_path):
    path = logged(tmp_path / "run.jsonl", frames=120)
    run = here("verify", gate(), path, "--out", tmp_path / "out", "--calibrate", tmp_path / "profile.json")
    assert run.returncode == 0, run.stderr
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"verification.json", "verify.html"}
    assert read_profile(tmp_path / "profile.json").cuts[0].tail_s is None
    assert read_profile(tmp_path / "profile-server.json").cuts[0].head_s is None
    assert "The prediction holds" in run.stdout
    assert "layers on server" in run.stdout
