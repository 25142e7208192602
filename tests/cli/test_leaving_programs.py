"""From the example of early exits to two programs on loopback, and back, by the example's own lines."""

from __future__ import annotations

import json
import re
from functools import partial

import pytest
from conftest import ROOT
from test_two_programs import command, program, ran

from splitimpera.deploy.frame_log import read_log

pytestmark = pytest.mark.alone

FRAMES = 60
EXAMPLE = (ROOT / "examples" / "exits" / "scenario.yaml").read_text()
LINES = re.findall(r"^#   (splitimpera .*)", EXAMPLE, re.MULTILINE)
SERVER = "127.0.0.1:7433"


def test_the_page_of_exits_has_the_same_lines():
    page = (ROOT / "docs" / "exits.md").read_text()
    assert [line for line in LINES if line.split("  ")[0] not in page] == []


@pytest.mark.slow
def test_the_examples_lines_design_export_serve_infer_and_verify_early_exits(tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    assert [line.split()[1] for line in LINES] == ["design", "export", "keys", "serve", "infer", "verify"]
    design, export, keys, serve, infer, verify = LINES
    run = partial(ran, folder=tmp_path)
    run(f"{design} --no-explore --replications 2")
    assert "leave; the accuracy counts them" in run(export)
    run(keys)
    with program(command(serve, **{SERVER: "127.0.0.1:0"}), tmp_path) as address:
        said = run(infer, **{SERVER: address, "100": str(FRAMES), "2": "20"})
    assert f"frames: {FRAMES}" in said
    assert "left early: " in said
    begin, frames = read_log(tmp_path / "run.jsonl")
    assert begin.schema_version == 5
    left = [frame for frame in frames if frame.exit is not None]
    assert FRAMES / 2 < len(left) < FRAMES
    assert {frame.outcome for frame in frames} == {"ok"}
    assert all(frame.payload_bytes == 0 and frame.server_s is None for frame in left)
    assert all(frame.server_s is not None for frame in frames if frame.exit is None)
    assert "left at cut" in run(verify)
    found = json.loads((tmp_path / "runs/exits/verification.json").read_text())
    rates = [one for one in found["quantities"] if one["name"].startswith("left_at_cut_")]
    assert sum(one["measured"] for one in rates) == pytest.approx(len(left[1:]) / (FRAMES - 1), abs=0.05)
    assert all(one["agrees"] for one in rates)
    assert "stood_in" in [one["name"] for one in found["quantities"]]
