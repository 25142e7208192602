"""`splitimpera serve` and `splitimpera infer --prompt`, two processes on loopback."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from small_language import PROMPT, make_language_bundle, unsplit

from splitimpera.cli.prompts import prompts_of
from splitimpera.core.errors import DataError, printable
from splitimpera.deploy.keys import make_keys
from splitimpera.deploy.token_log import is_token_log, read_token_log

pytestmark = pytest.mark.alone

COMMAND = (sys.executable, "-m", "splitimpera")
KEYS = ("--keys", "keys")
TEXT = bytes(PROMPT).decode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deployed")
    make_language_bundle(folder / "bundle")
    make_keys(folder / "keys")
    (folder / "prompts.txt").write_text(f"{TEXT}\n\nanother\n")
    return folder


def ran(folder, *arguments, code=0):
    run = subprocess.run([*COMMAND, *arguments], cwd=folder, capture_output=True, timeout=60, check=False)
    assert run.returncode == code, run.stderr
    return run


@contextmanager
def serving(folder, *options):
    command = [*COMMAND, "serve", "bundle", "--listen", "127.0.0.1:0", *KEYS, *options]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        found = re.fullmatch(r"serving .* at (\S+) by TCP and UDP, encrypted\n", process.stdout.readline())
        assert found, process.stderr.read()
        yield found[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_text_comes_as_it_is_written_and_a_log_says_when(folder):
    with serving(folder) as address:
        way = ("infer", "bundle", "--server", address, *KEYS, "--tokens", "10")
        written = ran(folder, *way, "--prompt", TEXT, "--plan", "sc5", "--log", "run.jsonl").stdout
        summary = json.loads(ran(folder, *way, "--prompts", "prompts.txt", "--frames", "3", "--json").stdout)
    text = printable(bytes(unsplit(PROMPT, 10)).decode(errors="replace"))
    assert written.decode().startswith(f"{text}\nplan sc5 by tcp, tls\nrequests: 1, 10 tokens\nfirst token p50 / p95: ")
    assert (summary["requests"], summary["tokens"], summary["failed"]) == (3, 30, 0)
    assert is_token_log(folder / "run.jsonl")
    run, (line,) = read_token_log(folder / "run.jsonl")
    assert (run.plan, run.carrier, run.secure, run.most_tokens) == ("sc5", "tcp", "tls", 10)
    assert (line.prompt, len(line.token_s), line.failure) == (len(PROMPT), 10, None)
    assert 0 < line.ttft_s < 5
    assert line.tpot_s == pytest.approx(sum(line.gaps_s) / 9)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--prompt", "x" * 100, "--plan", "lc"), b"beyond the context of 48"),
        (("--prompt", "x", "--plan", "sc5"), b"plan 'sc5' needs a server"),
        (("--input", "samples"), b"--input: this option is for frames"),
    ],
)
def test_what_cannot_be_asked_is_said(folder, options, problem):
    errors = ran(folder, "infer", "bundle", *options, code=2).stderr
    assert errors.startswith(b"error: ")
    assert problem in errors


def test_prompts_that_are_none(folder):
    assert prompts_of(None, folder / "prompts.txt") == [TEXT, "another"]
    (folder / "empty.txt").write_text("\n")
    (folder / "latin.txt").write_bytes(b"\xe9\n")
    for given, problem in (
        ((None, None), "--prompt: a language model writes behind a prompt"),
        (("x", folder / "prompts.txt"), "exclude each other"),
        ((None, folder / "empty.txt"), "the file has no prompt"),
        ((None, folder / "latin.txt"), "no text in UTF-8"),
        ((None, folder / "nothing.txt"), "nothing.txt"),
    ):
        with pytest.raises(DataError, match=problem):
            prompts_of(*given)


def test_logs_that_are_none(folder):
    for content, problem in (
        (b"", "the log is empty"),
        (b'{"kind": "tokens"}\n', "line 1: schema_version|line 1: bundle"),
        (b"\xff\n", "line 1"),
    ):
        (folder / "bad.jsonl").write_bytes(content)
        with pytest.raises(DataError, match=problem):
            read_token_log(folder / "bad.jsonl")


def test_a_room_that_is_too_small_is_said(folder):
    errors = ran(folder, "serve", "bundle", "--listen", "127.0.0.1:0", *KEYS, "--cache-memory", "1 kB", code=2).stderr
    assert b"--cache-memory" in errors
