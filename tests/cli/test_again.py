"""A results file is enough to run the same design again; and what a design says where no terminal shows a bar."""

from __future__ import annotations

import json
import re

import pytest
from test_cli import here

pytestmark = pytest.mark.alone

SCENARIO = """
network: {model: "mine.py:network"}
data: {source: "mine.py:data", validation: 40 %, test: 40 %}
devices: [{name: camera, preset: cortex-m4, slowdown: 0.001}, {name: server, preset: laptop-cpu}]
links: [{preset: wifi-5, loss: 2 %}]
workload: {fps: 20, deadline: 30 ms}
plans: {cuts: [1, 2], codecs: [uint8]}
requirements: [accuracy >= 50 %, {prefer: latency_p95 <= 3 ms, weight: 2}]
"""
NETWORK = """
import torch
from torch import nn

torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, 3)
).eval()

def network():
    return net

def data():
    x = torch.randn(60, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return x, net(x).argmax(1)
"""


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A design with a seed and replications of its own."""
    folder = tmp_path_factory.mktemp("first")
    (folder / "mine.py").write_text(NETWORK)
    (folder / "scenario.yaml").write_text(SCENARIO)
    run = here(
        *("design", folder / "scenario.yaml", "--out", folder / "run", "--seed", 3),
        *("--replications", 2, "--no-explore", "-vv"),
    )
    assert run.returncode == 0, run.stderr
    return run, folder / "run"


@pytest.mark.slow
def test_a_design_runs_again_from_its_results_alone(first, tmp_path, monkeypatch):
    _, out = first
    monkeypatch.chdir(tmp_path)
    run = here("design", out / "results.json", "--out", "again", "--no-explore")
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "again" / "plans.csv").read_bytes() == (out / "plans.csv").read_bytes()
    results, again = (json.loads((folder / "results.json").read_text()) for folder in (out, tmp_path / "again"))
    assert again == results
    assert (results["seed"], results["replications"]) == (3, 2)


def test_options_go_before_what_the_results_say(first, tmp_path):
    arguments = "--out", tmp_path, "--no-explore", "--seed", 4, "--replications", 1
    run = here("design", first[1] / "results.json", *arguments)
    assert run.returncode == 0, run.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert (results["seed"], results["replications"]) == (4, 1)
    assert "splitimpera" not in run.stderr  # nothing is logged unless it is wanted


def test_results_are_a_valid_scenario(first):
    run = here("scenario", "check", first[1] / "results.json")
    assert run.returncode == 0, run.stderr
    assert "mine.py:network on mine.py:data, 2 requirements" in run.stdout.replace("\n", " ")


def test_a_folder_of_results_is_told_from_their_file(first):
    run = here("design", first[1])
    assert run.returncode == 2
    assert "is a folder, a scenario file is expected; name '" in run.stderr
    assert "run/results.json' to run that design again" in run.stderr


def test_results_that_somebody_changed_are_refused(first, tmp_path):
    results = json.loads((first[1] / "results.json").read_text())
    results["scenario"]["links"][0]["los"] = 0.1
    (tmp_path / "results.json").write_text(json.dumps(results))
    run = here("design", tmp_path / "results.json", "--out", tmp_path / "out")
    assert run.returncode == 2
    assert "links[0].los: this key is unknown; did you mean 'loss'" in run.stderr
    assert not (tmp_path / "out").exists()


def test_the_report_shows_the_links_numbers(first):
    results = json.loads((first[1] / "results.json").read_text())
    assert results["scenario"]["links"] == [{"preset": "wifi-5", "loss": 0.02}]
    assert results["links"][0]["rate"] == 533e6
    assert "rate 533 Mbit/s" in (first[1] / "report.html").read_text()


def test_without_a_terminal_each_stage_prints_a_line_with_its_time(first):
    run, _ = first
    stages = re.findall(r"^(.+): (?:\d+ min )?[\d.]+ s$", run.stdout, re.MULTILINE)
    assert "Cumulative saliency" in stages
    assert "Simulating the plans" in stages
    assert len(stages) == len(set(stages))
    assert "\x1b" not in run.stdout
    assert "\r" not in run.stdout


def test_what_is_done_is_logged_with_the_time(first):
    run, out = first
    lines = run.stderr.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|DEBUG) splitimpera\.", line) for line in lines)
    said = "\n".join(lines)
    assert "read the scenario 'first0' from" in said.replace(out.parent.name, "first0")
    assert "seed 3, 2 replications" in said
    assert re.search(r"INFO .*Simulating the plans: started, \d+ steps", said)
    assert re.search(r"DEBUG .*Simulating the plans: 1 of \d+ after", said)


@pytest.mark.slow
def test_what_was_measured_is_used_again(tmp_path):
    """Devices without a preset: their times come from the first run's results, and so do all that follows from them."""
    (tmp_path / "mine.py").write_text(NETWORK)
    measured = SCENARIO.replace("preset: cortex-m4, slowdown: 0.001", "slowdown: 5").replace(", preset: laptop-cpu", "")
    measured = measured.replace("cuts: [1, 2]", "cuts: [1]")
    (tmp_path / "scenario.yaml").write_text(measured)
    arguments = tmp_path / "scenario.yaml", "--replications", 2, "--no-explore"
    first = here("design", *arguments, "--out", tmp_path / "a")
    assert first.returncode == 0, first.stderr
    again = here("design", *arguments, "--out", tmp_path / "b", "--measurements", tmp_path / "a" / "results.json")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "b" / "plans.csv").read_bytes() == (tmp_path / "a" / "plans.csv").read_bytes()
    results = json.loads((tmp_path / "b" / "results.json").read_text())
    assert len(results["measurements"]["segments"]) > 2
    # a plan that they lack is not timed beside them, on perhaps another machine
    (tmp_path / "scenario.yaml").write_text(measured.replace("cuts: [1]", "cuts: [2]"))
    other = here("design", *arguments, "--out", tmp_path / "c", "--measurements", tmp_path / "a" / "results.json")
    assert other.returncode == 2
    assert "were not timed" in other.stderr + other.stdout
    assert not (tmp_path / "c" / "results.json").exists()
    wrong = here("design", *arguments, "--out", tmp_path / "c", "--measurements", tmp_path / "scenario.yaml")
    assert (wrong.returncode, "not valid JSON" in wrong.stderr) == (2, True)
