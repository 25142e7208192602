"""From a scenario to two running programs and back, by the lines of docs/deploy.md, encrypted, on loopback."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from conftest import ROOT

from splitimpera.deploy.frame_log import read_log

pytestmark = pytest.mark.alone

FRAMES = 500
LINES = re.search(r"## First on one machine.*?```sh\n(.*?)```", (ROOT / "docs/deploy.md").read_text(), re.DOTALL)


def command(line, **changes):
    """A line of the guide as arguments, without its comment."""
    words = line.split("#")[0].split()[1:]
    return [sys.executable, "-m", "splitimpera", *(changes.get(word, word) for word in words)]


def ran(line, folder, **changes):
    """What a line of the guide says, run in a folder."""
    done = subprocess.run(
        command(line, **changes), cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, (line, done.stdout, done.stderr)
    return done.stdout


@contextmanager
def program(words, folder):
    """A server until the block ends; yields the address that it has taken, and has it end as it should."""
    server = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        said = server.stdout.readline()
        address = re.findall(r"127\.0\.0\.1:\d+", said)[0]
        assert not address.endswith(":0")
        assert "encrypted" in said
        yield address
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
        server.stdout.close()


@pytest.mark.slow
def test_the_guides_lines_design_export_serve_infer_and_verify(tmp_path):
    from browser import CHROMIUM, open_page

    (tmp_path / "examples").symlink_to(ROOT / "examples")
    lines = {line.split()[1]: line for line in LINES.group(1).splitlines()}
    assert [*lines] == ["design", "export", "keys", "serve", "infer", "verify"]

    def run(name, **changes):
        return ran(lines[name], tmp_path, **changes)

    run("design")
    assert "accuracy" in run("export")
    run("keys")
    (port,) = re.findall(r"127\.0\.0\.1:\d+", lines["serve"])
    with program(command(lines["serve"], **{port: "127.0.0.1:0"}), tmp_path) as address:
        assert f"frames: {FRAMES}" in run("infer", **{port: address})
    begin, frames = read_log(tmp_path / "run.jsonl")
    assert begin.secure == "tls"
    assert len(frames) == FRAMES
    assert {frame.outcome for frame in frames} == {"ok"}
    assert "latency p50" in run("verify")
    results = tmp_path / "runs" / "raspberry_pi"
    verification = json.loads((results / "verification.json").read_text())
    assert verification["schema_version"] == 2
    if CHROMIUM is not None:
        assert open_page(results / "verify.html", tmp_path).errors == []
