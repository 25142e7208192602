"""`splitimpera policy`, from a scenario and from a study."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import ROOT

from splitimpera.records.policy import read_policy
from splitimpera.studies.study_files import read_study

PARTS = """
from training.splits import Tiny, samples_of

def network():
    import torch
    torch.manual_seed(0)
    return Tiny().eval()

def pictures():
    samples = samples_of(300)
    return samples.inputs, samples.labels
"""
SCENARIO = """
name: small
network: {model: "parts.py:network"}
data: {source: "parts.py:pictures", validation: 40 %, test: 30 %}
devices: [{name: camera, preset: cortex-m7}, {name: server, preset: t4}]
links: [{rate: 1 Mbit/s, delay: 5 ms}]
workload: {fps: 10}
plans: {cuts: all, codecs: [uint8, float32], transports: [tcp, udp]}
requirements: [accuracy >= 10 %, latency_p95 <= 40 ms]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "parts.py").write_text(PARTS)
    (tmp_path / "small.yaml").write_text(SCENARIO)
    return tmp_path


def command(*arguments, cwd):
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests"), str(ROOT / "tests" / "training")])
    given = [sys.executable, "-m", "splitimpera", "policy", *map(str, arguments)]
    ran = subprocess.run(given, cwd=cwd, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path})
    return ran.returncode, ran.stdout, ran.stderr


@pytest.mark.slow
def test_a_scenario_becomes_a_policy_and_its_study_another_one(folder):
    over = "rate=0.1..10 Mbit/s in 3, loss=0..5 % in 2"
    code, said, errors = command(
        "small.yaml", "--over", over, "--plans", 2, "--replications", 1, "--workers", 1, cwd=folder
    )
    assert code == 0, errors
    assert "Which plan where" in said
    page = (folder / "policy.html").read_text()
    assert "Together they take" in page
    policy = read_policy((folder / "policy.json").read_bytes())
    assert policy.rates_bps == [1e5, 1e6, 1e7]
    assert (policy.delays_s, policy.losses) == ([], [0.0, 0.05])
    assert len(policy.plans) <= 2
    # what it says of a plan is what the study found
    results = read_study(folder / "policy")
    for cell in results.cells:
        worth = {plan.id: plan.value or 0.0 for plan in results.plans_of(cell.index)}
        assert [plan.values[cell.index] for plan in policy.plans] == [worth[plan.id] for plan in policy.plans]

    # with recordings of the same link, from the study alone
    (folder / "slow.csv").write_text("time_s,rate_bps\n0,100000\n9,10000000\n")
    code, said, errors = command(
        "policy", "--trace", "slow.csv", "--plans", 1, "--memory", "64 MB", "--out", "slow.json", cwd=folder
    )
    assert code == 0, errors
    slow = read_policy((folder / "slow.json").read_bytes())
    assert slow.weights == pytest.approx([0.25, 0.25, 0, 0, 0.25, 0.25])
    assert len(slow.plans) == 1
    assert "slow.csv" in (folder / "slow.html").read_text()
    assert "slow.csv" in slow.prior
    code, _, errors = command("policy", "--over", over, cwd=folder)
    assert (code, "a study has its own link conditions" in errors) == (2, True)
    code, _, errors = command("policy", "--memory", "1 B", "--out", "tiny.json", "--plans", 64, cwd=folder)
    assert (code, "1 B do not hold" in errors) == (2, True)
    assert not (folder / "tiny.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.yaml"], "does not exist"),
        (["."], "results.json"),
        (["small.yaml", "--over", "rate=1..2"], "--over: rate: '1' is not a bit rate"),
        (["small.yaml", "--plans", "0"], "--plans: '0' is not a whole number from 1 to 64"),
        (["small.yaml", "--memory", "much"], "--memory: 'much' is not a size"),
        (["small.yaml", "--trace", "none.up"], "does not exist"),
        (["small.yaml", "--out", "."], "--out"),
        (["small.yaml", "--out", "policy.html"], "is where its page goes"),
    ],
)
def test_mistakes_are_told_in_words(arguments, said, folder):
    code, _, errors = command(*arguments, cwd=folder)
    assert code == 2
    assert said in errors
    assert "Traceback" not in errors
    assert not (folder / "policy.json").exists()
