"""What has drifted, as the scenario of the next design: it predicts what was measured, and changes nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from cli.test_cli import here
from deployed import LOCAL, SPLIT_TCP, SPLIT_UDP, gate, logged
from test_drift import after, changed

from splitimpera.core.errors import DataError, OutputError
from splitimpera.cost.profiles import read_profile
from splitimpera.deploy.frame_log import read_log
from splitimpera.scenario import load_scenario
from splitimpera.verification.anew import write_anew
from splitimpera.verification.comparing import compared, matched

MS = 1e-3


def anew(path, folder):
    results, entry, logs, prediction, found = matched(gate(), [path])
    drifted = compared(results, entry, logs, prediction, found).drift
    files = write_anew(folder, results, entry, logs, prediction, drifted)
    return files, load_scenario(files[0]), load_scenario(gate() / "results.json")


@pytest.mark.slow
def test_a_machine_that_has_changed_gets_a_profile_of_the_frames_since(tmp_path):
    path = logged(tmp_path / "run.jsonl", add={"device": after(200, 5 * MS)})
    files, scenario, before = anew(path, tmp_path / "next")
    assert [file.name for file in files] == ["scenario.yaml", "profile-camera.json"]
    _, lines = read_log(path)
    (head,) = read_profile(files[1]).paced.cuts
    assert set(head.head_samples_s) <= {line.head_s for line in lines[199:]}
    assert head.head_s == pytest.approx(np.median([line.head_s for line in lines[200:]]), rel=0.01)
    assert scenario.devices[0].profile == files[1]
    assert scenario.devices[1] == before.devices[1]
    assert scenario.name == "gate-anew"
    for section in ("network", "data", "links", "workload", "plans", "requirements"):
        assert getattr(scenario, section) == getattr(before, section)
    assert scenario.folder == before.folder


@pytest.mark.slow
def test_a_link_that_has_changed_has_its_new_delay_and_loss(tmp_path):
    files, scenario, before = anew(logged(tmp_path / "a.jsonl", add={"link": after(200, 8 * MS)}), tmp_path / "a")
    assert [file.name for file in files] == ["scenario.yaml"]
    assert scenario.links[0].delay == pytest.approx(before.links[0].delay + 4 * MS, abs=0.2 * MS)
    assert (scenario.links[0].rate, scenario.links[0].loss) == (before.links[0].rate, 0.02)
    assert scenario.devices == before.devices

    def lossy(line):
        return {"lost_packets": 1, "missing_bytes": 252} if line.outcome == "ok" and line.frame > 99 else {}

    lossy_log = changed(logged(tmp_path / "b.jsonl", SPLIT_UDP), lossy)
    _, scenario, _ = anew(lossy_log, tmp_path / "b")
    told = [line.lost_packets / line.packets for line in read_log(lossy_log)[1] if line.frame > 99 and line.packets]
    assert scenario.links[0].loss == pytest.approx(np.mean(told), rel=0.05)
    assert scenario.links[0].delay == before.links[0].delay


@pytest.mark.slow
def test_a_plan_without_a_link_gives_a_profile(tmp_path):
    files, scenario, _ = anew(logged(tmp_path / "a.jsonl", LOCAL, add={"device": after(1, 9 * MS)}), tmp_path / "a")
    assert scenario.devices[0].profile == files[1]


@pytest.mark.parametrize("more", [{}, {"server_wait": after(100, 5 * MS)}, {"device": after(100, 5 * MS)[::-1]}])
def test_nothing_that_measurements_mend_is_refused(more, tmp_path):
    with pytest.raises(DataError, match="nothing has drifted that a design takes into account"):
        anew(logged(tmp_path / "run.jsonl", add=more), tmp_path / "next")
    assert not (tmp_path / "next").exists()


def test_few_frames_since_and_a_scenario_that_is_there_are_refused(tmp_path):
    with pytest.raises(DataError, match="25 frames are known since the last change, a design needs 30 or more"):
        anew(logged(tmp_path / "late.jsonl", add={"device": after(576, 5 * MS)}), tmp_path / "late")
    path = logged(tmp_path / "run.jsonl", add={"device": after(100, 5 * MS)})
    anew(path, tmp_path)
    before = (tmp_path / "scenario.yaml").read_bytes()
    with pytest.raises(OutputError, match=r"scenario\.yaml' exists already"):
        anew(path, tmp_path)
    assert (tmp_path / "scenario.yaml").read_bytes() == before


def test_the_command_tells_drift_and_writes_the_scenario(tmp_path):
    path = logged(tmp_path / "run.jsonl", add={"device": after(200, 5 * MS)})
    run = here("verify", gate(), path, "--out", tmp_path / "out", "--anew", tmp_path / "next")
    assert run.returncode == 0, run.stderr
    assert "Drift: The layers on camera take 1.7 times as long as predicted" in run.stdout
    assert f"splitimpera design {tmp_path / 'next' / 'scenario.yaml'}" in run.stdout
    assert yaml.safe_load((tmp_path / "next" / "scenario.yaml").read_text())["name"] == "gate-anew"
    again = here("verify", gate(), path, "--out", tmp_path / "out", "--anew", tmp_path / "next")
    assert again.returncode == 2
    assert "Traceback" not in again.stderr


@pytest.mark.slow
def test_the_next_design_predicts_what_was_measured(tmp_path):
    more = {"device": after(1, 3 * MS), "link": after(1, 6 * MS), "server": after(1, 2 * MS)}
    path = logged(tmp_path / "run.jsonl", add=more)
    (scenario, *_), *_ = anew(path, tmp_path / "next")
    run = here("design", scenario, "--out", tmp_path / "designed", "--no-explore")
    assert run.returncode == 0, run.stderr
    results, entry, logs, prediction, found = matched(tmp_path / "designed", [path])
    again = compared(results, entry, logs, prediction, found)
    assert entry.id == SPLIT_TCP
    assert [one for one in again.drift if one.key in ("device", "server", "round_trip", "goodput")] == []
    assert entry.device_p50_s["camera"] == pytest.approx(np.median(found.parts_s["device"]), abs=0.5 * MS)
