"""The example whose link changes, by the lines at its head, on loopback with an emulated link."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys

import pytest
from conftest import ROOT

from splitimpera.deploy.frame_log import read_log

pytestmark = pytest.mark.alone

EXAMPLE = ROOT / "examples" / "digits" / "adaptive.yaml"
LINES = re.findall(r"^#   (splitimpera .*)$", EXAMPLE.read_text().replace("\\\n#    ", ""), re.MULTILINE)


def command(line, **changes):
    """A line as arguments."""
    words = shlex.split(line)[1:]
    return [sys.executable, "-m", "splitimpera", *(changes.get(word, word) for word in words)]


def test_the_page_of_adaptation_has_the_same_lines():
    page = " ".join((ROOT / "docs" / "adaptation.md").read_text().replace("\\\n", " ").split())
    assert [line for line in LINES if " ".join(line.split()) not in page] == []


@pytest.mark.slow
def test_the_example_switches_falls_back_and_returns(tmp_path):
    from browser import CHROMIUM, open_page

    (tmp_path / "examples").symlink_to(ROOT / "examples")
    lines = {line.split()[1]: line for line in LINES}
    assert [*lines] == ["design", "policy", "export", "keys", "serve", "infer", "timeline"]
    # fewer conditions than the example's, for the sake of time
    (over,) = re.findall(r'"(rate=.*?)"', lines["policy"])
    few = {over: "rate=0.05..5 Mbit/s in 5, delay=10..25 ms in 2, loss=0..2 % in 2"}

    def run(name, **changes):
        done = subprocess.run(
            command(lines[name], **changes), cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, (name, done.stdout, done.stderr)
        return done.stdout

    for name in ("design", "policy", "export", "keys"):
        run(name, **few)
    (port,) = re.findall(r"127\.0\.0\.1:\d+", lines["serve"])
    server = subprocess.Popen(
        command(lines["serve"], **{port: "127.0.0.1:0"}), cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    try:
        (real,) = re.findall(r"127\.0\.0\.1:\d+", server.stdout.readline())
        told = run("infer", **{port: real})
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
        server.stdout.close()
    for words in ("answered by: server", "fallback at 16.", "return at ", "frames: 800"):
        assert words in told, told
    begin, frames = read_log(tmp_path / "run.jsonl")
    assert (begin.mode, len(frames)) == ("prefer-server", 800)
    in_time = [frame.latency_s is not None and frame.latency_s <= 0.1 for frame in frames]
    assert sum(in_time) / len(frames) >= 0.99
    switched = {frame.move.after: frame.due_s for frame in frames if frame.move and frame.move.cause == "switch"}
    assert any(7.5 < at_s < 12 or at_s > 20 for at_s in switched.values()), switched
    assert {"RC-uint8-udp", "SC03-b128-uint8-udp"} <= {frame.plan for frame in frames}
    (back,) = [frame.due_s for frame in frames if frame.move is not None and frame.move.cause == "return"]
    assert back - 19 <= 2
    assert sum(frame.predicted == frame.label for frame in frames) / len(frames) > 0.93
    assert run("timeline")
    if CHROMIUM is not None:
        assert open_page(tmp_path / "timeline.html", tmp_path).errors == []
