"""A scenario resolved once: comparable, picklable, and with a digest of all that it depends on."""

from __future__ import annotations

import pickle

import pytest
from conftest import SCENARIOS

import splitimpera as sei
from splitimpera.core.errors import RequirementError

EXAMPLES = SCENARIOS

SCENARIO = """
network: {model: digits-vgg16, weights: w.pt}
data: {source: "mine.py:data"}
devices: [{name: camera, preset: cortex-m4}, {name: server}]
links: [{trace: rates.csv, delay: 2 ms}]
workload: {fps: 20}
requirements: [latency_p95 <= 1 s]
"""

RATES = "time_s,rate_bps\n0,1e6\n"


def written(folder, changes=()):
    folder.mkdir()
    files = {
        "s.yaml": SCENARIO,
        "w.pt": "weights",
        "mine.py": "def data(): ...",
        "rates.csv": "time_s,rate_bps\n0,1e6\n",
    }
    for name, content in (files | dict(changes)).items():
        (folder / name).write_text(content)
    return sei.resolve(folder / "s.yaml")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: "/".join(path.parts[1:]))
def test_a_setting_survives_pickling(path):
    setting = sei.resolve(path)
    copy = pickle.loads(pickle.dumps(setting))
    assert copy == setting
    assert copy.digest == setting.digest
    assert sei.resolve(sei.load_scenario(path)) == setting


def test_the_digest_is_of_the_contents_wherever_they_lie(tmp_path):
    here, there = written(tmp_path / "here"), written(tmp_path / "there")
    assert here.digest == there.digest
    assert len(here.digest) == 64
    assert [name for name, _ in here.files] == ["w.pt", "mine.py"]


@pytest.mark.parametrize(
    "change",
    [
        {"s.yaml": SCENARIO.replace("fps: 20", "fps: 21")},
        {"w.pt": "other weights"},
        {"mine.py": "def data(): pass"},
        {"rates.csv": "time_s,rate_bps\n0,2e6\n"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_changes_the_digest(tmp_path, change):
    assert written(tmp_path / "a").digest != written(tmp_path / "b", change).digest


def test_files_are_read_once_and_kept(tmp_path):
    setting = written(tmp_path / "a")
    (tmp_path / "a" / "rates.csv").unlink()
    assert setting.link.trace.rate_bps == (1e6,)
    assert setting.link.delay_s == 0.002


def test_what_the_scenario_cannot_measure_is_refused_before_the_run(tmp_path):
    spending = SCENARIO.replace("requirements", "objective: energy\nrequirements").replace("preset: cortex-m4", "")
    with pytest.raises(RequirementError, match="energy"):
        written(tmp_path / "a", {"s.yaml": spending})
