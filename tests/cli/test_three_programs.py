"""From the tiers example to sensor, gateway and cloud as programs on loopback, and back, by the example's own lines."""

from __future__ import annotations

import json
import re
from functools import partial

import pytest
from conftest import ROOT
from test_two_programs import command, program, ran

from splitimpera.deploy.frame_log import read_log

pytestmark = pytest.mark.alone

FRAMES = 40
EXAMPLE = (ROOT / "examples" / "tiers" / "scenario.yaml").read_text()
LINES = re.findall(r"^#   (splitimpera .*)", EXAMPLE, re.MULTILINE)
CLOUD, GATEWAY = "127.0.0.1:7434", "127.0.0.1:7433"


def test_the_documents_have_the_same_lines():
    page = (ROOT / "docs" / "deploy.md").read_text()
    assert [line for line in LINES if line.split("  ")[0] not in page] == []


@pytest.mark.slow
def test_the_examples_lines_design_export_serve_infer_and_verify_three_machines(tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    assert [line.split()[1] for line in LINES] == ["design", "export", "keys", "serve", "serve", "infer", "verify"]
    design, export, keys, cloud, gateway, infer, verify = LINES
    run = partial(ran, folder=tmp_path)
    run(f"{design} --no-explore --replications 2")
    exported = run(export)
    assert [name for name in ("sensor", "gateway", "cloud") if f"{name} needs manifest.json" not in exported] == []
    assert "The prediction leaves out" not in exported
    run(keys)
    with program(command(cloud, **{CLOUD: "127.0.0.1:0"}), tmp_path) as cloud_address:
        words = command(gateway, **{GATEWAY: "127.0.0.1:0", CLOUD: cloud_address})
        with program(words, tmp_path) as address:
            assert f"frames: {FRAMES}" in run(infer, **{GATEWAY: address, "100": str(FRAMES)})
    begin, frames = read_log(tmp_path / "run.jsonl")
    assert begin.secure == "dtls"
    assert [frame.outcome for frame in frames] == ["ok"] * FRAMES
    assert [len(frame.hops) for frame in frames] == [1] * FRAMES
    said = run(verify)
    named = ("radio, there and", "layers on gateway", "uplink, there and", "layers on cloud")
    assert [part for part in named if part not in said] == []
    parts = {
        part["name"]: part for part in json.loads((tmp_path / "runs/tiers/verification.json").read_text())["parts"]
    }
    uplink = parts["uplink, there and back"]
    assert 0 < uplink["measured"]["mean_s"] < 0.02 < uplink["predicted"]["mean_s"]  # loopback lacks 10 ms each way
