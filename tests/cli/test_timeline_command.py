"""`splitimpera timeline`: a page beside the log, an account in the terminal, and mistakes in words."""

from __future__ import annotations

import pytest
from cli.test_cli import here
from deploy.small_bundle import make_bundle
from report.made_run import frame_lines, plain_line, plain_lines, run_line, write_run

from splitimpera.deploy import device_run
from splitimpera.deploy.adaptive_client import AdaptiveClient
from splitimpera.deploy.frame_clock import FrameClock
from splitimpera.deploy.sources import open_source


@pytest.fixture
def log(tmp_path):
    return write_run(tmp_path / "run.jsonl", run_line(), frame_lines(80))


def test_a_log_becomes_a_page_and_an_account(log, tmp_path):
    ran = here("timeline", log)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "of 2400 frames answered within 100 ms" in ran.stdout
    assert "1 switch, 1 fallback, 1 return" in " ".join(ran.stdout.split())
    assert f"Written: {log.parent / 'timeline.html'}" in ran.stdout
    assert (log.parent / "timeline.html").read_text().startswith("<!doctype html>")
    other = tmp_path / "pages" / "else.html"
    assert here("timeline", log, "--out", other).returncode == 0
    assert other.read_bytes() == (log.parent / "timeline.html").read_bytes()


def test_what_a_client_of_several_plans_writes_is_shown(tmp_path):
    """Nobody is there to serve, so that the device answers."""
    bundle, lines = make_bundle(tmp_path), []
    with AdaptiveClient(bundle, [("127.0.0.1", 1)], insecure=True) as client:
        source = open_source("samples", bundle)
        first = device_run.run_line(client, source, 100.0, 1.0)
        device_run.DeviceRun(client, source, FrameClock(100.0, 20), 1.0, told=lines.append).run()
    ran = here("timeline", write_run(tmp_path / "run.jsonl", first, lines))
    assert ran.returncode == 0
    assert "100 % of 20 frames answered within 1 s" in ran.stdout
    assert "Answers (mode prefer-server): 100 % by the device." in ran.stdout


def test_a_run_that_was_killed_within_a_line_is_shown(tmp_path):
    log = write_run(tmp_path / "run.jsonl", plain_line(), plain_lines())
    log.write_text(log.read_text()[:-20])
    ran = here("timeline", log)
    assert ran.returncode == 0
    assert "of 399 frames" in ran.stdout


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        (None, [], "run.jsonl' does not exist"),
        ("", [], "run.jsonl': the log is empty"),
        ("{}\n", [], "run.jsonl', line 1: bundle: Field required"),
        ("\x00\xff", [], "run.jsonl', line 1"),
        ("first", [], "run.jsonl': the run has no frames; it ended before its first frame was through"),
        ("first", ["--out", "run.jsonl"], "--out: "),
        ("first", ["--out", "."], "--out"),
        ("first", ["--out", "run.jsonl/page.html"], "--out"),
    ],
)
def test_mistakes_are_told_in_words(content, arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "run.jsonl"
    if content == "first":
        write_run(log, run_line(), [])
    elif content is not None:
        log.write_text(content)
    before = log.read_bytes() if log.exists() else None
    ran = here("timeline", "run.jsonl", *arguments)
    assert ran.returncode == 2
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "timeline.html").exists()
    assert before is None or log.read_bytes() == before
