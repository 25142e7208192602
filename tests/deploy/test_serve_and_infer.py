"""`splitimpera serve` and `splitimpera infer`, two processes on loopback."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from small_bundle import make_bundle, samples

from splitimpera.cli import infer, terminal
from splitimpera.cli.trust import client_security, is_loopback, server_security
from splitimpera.core.errors import LinkError
from splitimpera.deploy.device_run import Tally
from splitimpera.deploy.frame_log import FrameLine, read_log
from splitimpera.deploy.keys import make_keys

pytestmark = pytest.mark.alone

COMMAND = (sys.executable, "-m", "splitimpera")
KEYS = ("--keys", "keys")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a bundle and keys."""
    folder = tmp_path_factory.mktemp("deployed")
    make_bundle(folder / "bundle")
    make_keys(folder / "keys")
    return folder


def ran(folder, *arguments, code=0, **options):
    run = subprocess.run([*COMMAND, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, **options)
    assert run.returncode == code, run.stderr
    return run


@contextmanager
def serving(folder, *options):
    """A server; yields its process and its address, and ends it in an orderly way."""
    command = [*COMMAND, "serve", "bundle", "--listen", "127.0.0.1:0", *options]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"serving sc, rc at (\S+) by TCP and UDP, (not )?encrypted\n", line)
        assert found, process.stderr.read()
        yield process, found[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def test_a_run_from_end_to_end_encrypted(folder):
    with serving(folder, *KEYS, "--metrics", "127.0.0.1:0", "-v") as (process, address):
        place = re.fullmatch(r"metrics at (http://\S+)/metrics\n", process.stdout.readline())[1]
        for page in ("healthz", "readyz"):
            with urllib.request.urlopen(f"{place}/{page}") as answer:
                assert answer.read() == b"OK\n"
        with pytest.raises(HTTPError, match="404"):
            urllib.request.urlopen(f"{place}/other")
        run = ran(
            *(folder, "infer", "bundle", "--server", address, *KEYS, "--input", "samples"),
            *("--frames", "30", "--fps", "100", "--log", "log.jsonl", "--deadline", "1 s"),
        )
        with urllib.request.urlopen(f"{place}/metrics") as answer:
            figures = answer.read().decode()
        process.send_signal(signal.SIGTERM)
        events = [json.loads(line) for line in process.stderr.read().splitlines()]
    assert "frames: 30\n" in run.stdout
    assert "accuracy: 100 % of 30" in run.stdout
    assert "deadline misses: 0 (0 %)" in run.stdout
    assert re.search(r"latency p50 / p95 / p99: \S+ [mu]s / \S+ [mu]s / \S+ [mu]s", run.stdout)
    first, lines = read_log(folder / "log.jsonl")
    assert (first.secure, first.carrier, first.deadline_s, first.fps) == ("tls", "tcp", 1.0, 100.0)
    assert [line.outcome for line in lines] == ["ok"] * 30
    assert 'splitimpera_frames_total{status="ok"} 30.0' in figures
    assert "splitimpera_latency_seconds_count 30.0" in figures
    assert 'splitimpera_latency_seconds_bucket{le="0.0001"}' in figures
    assert [event["event"] for event in events] == ["listening", "session", "session closed", "stopped"]
    assert events[2]["frames"] == 30


@pytest.mark.slow
def test_a_client_without_the_certificate_is_turned_away(folder, tmp_path):
    make_keys(tmp_path / "others")
    with serving(folder, *KEYS) as (_, address):
        strange = ("--keys", tmp_path / "others")
        run = ran(folder, "infer", "bundle", "--server", address, *strange, "--input", "samples", code=2)
        assert "certificate" in run.stderr
        run = ran(folder, "infer", "bundle", "--server", address, "--insecure", "--input", "samples", code=2)
        assert "frames: " not in run.stdout
        ran(folder, "infer", "bundle", "--server", address, *KEYS, "--input", "samples", "--frames", "2")


@pytest.mark.slow
def test_a_token_in_place_of_a_certificate(folder, tmp_path):
    (tmp_path / "token").write_text("another")
    with serving(folder, *KEYS, "--token-file", "keys/token") as (_, address):
        start = ("infer", "bundle", "--server", address, *KEYS, "--input", "samples", "--json")
        run = ran(folder, *start, "--token-file", "keys/token")
        assert json.loads(run.stdout)["outcomes"] == {"ok": 20}
        run = ran(folder, *start, "--token-file", tmp_path / "token", code=2)
        assert "the token is not the one" in run.stderr


@pytest.mark.slow
def test_insecure_and_from_standard_input(folder):
    piped = folder / "piped.npy"
    np.save(piped, samples(3))
    with serving(folder, "--insecure", "--batch", "4", "--batch-wait", "1 ms") as (_, address), piped.open() as stdin:
        start = ("infer", "bundle", "--server", address, "--insecure", "--json")
        run = ran(folder, *start, "--input", "-", stdin=stdin)
        assert json.loads(run.stdout)["frames"] == 3


def test_a_plan_of_the_device_alone(folder):
    run = ran(folder, "infer", "bundle", "--plan", "lc", "--input", "samples", "--json")
    assert json.loads(run.stdout) | {"p50_s": 0, "p95_s": 0, "p99_s": 0} == {
        **{"plan": "lc", "carrier": "none", "secure": "none", "frames": 20, "outcomes": {"ok": 20}},
        **{"p50_s": 0, "p95_s": 0, "p99_s": 0, "payload_bytes": 0, "packets": 0, "told_packets": 0, "lost_packets": 0},
        **{"missed": None, "accuracy": 1.0},
    }


@pytest.mark.slow
def test_ctrl_c_ends_with_the_summary(folder):
    with serving(folder, "--insecure") as (_, address):
        start = [*COMMAND, "infer", "bundle", "--server", address, "--insecure", "--input", "samples"]
        command = [*start, "--fps", "50", "--frames", "10000", "--log", "cut.jsonl"]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        log = folder / "cut.jsonl"
        while not (log.exists() and log.read_text().count("\n") > 3):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in error
    assert "frames: " in out
    assert read_log(log)[0].plan == "sc"


@pytest.mark.slow
def test_a_server_that_stops_ends_the_client_with_a_word(folder):
    with serving(folder, "--insecure") as (server, address):
        start = [*COMMAND, "infer", "bundle", "--server", address, "--insecure", "--input", "samples"]
        command = [*start, "--fps", "50", "--frames", "10000", "--log", "stopped.jsonl"]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        log = folder / "stopped.jsonl"
        while not (log.exists() and log.read_text().count("\n") > 3):
            assert process.poll() is None
        server.send_signal(signal.SIGTERM)
        out, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert error.startswith("error: ")
    assert "Traceback" not in error
    assert "frames: " in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("serve", "none", "--listen", "127.0.0.1:0", "--insecure"), "is no bundle"),
        (("serve", "--listen", "127.0.0.1:0", "--insecure"), "BUNDLE: no bundle is named"),
        (("serve", "bundle", "--watch", "x", "--listen", "127.0.0.1:0", "--insecure"), "exclude each other"),
        (("serve", "--watch", "x", "--listen", "127.0.0.1:0", "--insecure"), "the file of bundles 'x' does not exist"),
        (("serve", "bundle", "--rate-limit", "0", "--listen", "127.0.0.1:0", "--insecure"), "frames/s is expected"),
        (("serve", "bundle", "--drain", "2 h", "--listen", "127.0.0.1:0", "--insecure"), "--drain: "),
        (("serve", "bundle", "--listen", "127.0.0.1", "--plan", "x", "--insecure"), "no plan 'x'"),
        (("serve", "bundle", "--listen", "nowhere:x", "--insecure"), "--listen: 'nowhere:x' is no address"),
        (("serve", "bundle", "--listen", "0.0.0.0:0", "--insecure"), "--insecure: anybody who reaches 0.0.0.0"),
        (("serve", "bundle", "--listen", "127.0.0.1:0", "--insecure", *KEYS), "does not go with certificates"),
        (("serve", "bundle", "--listen", "127.0.0.1:0", "--insecure", "--batch-wait", "5"), "--batch-wait: "),
        (("serve", "bundle", "--listen", "127.0.0.1:0", "--insecure", "--queue-policy", "x"), "no queue policy"),
        (("serve", "bundle", "--listen", "127.0.0.1:0"), "'splitimpera keys FOLDER' makes them"),
        (("infer", "bundle", "--server", "h:1", "--input", "samples"), "'splitimpera keys FOLDER' makes them"),
        (("infer", "bundle", "--input", "samples"), "--server: this plan needs a server"),
        (("infer", "bundle", "--input", "x", "--plan", "lc"), "--input: 'x' is no source"),
        (("infer", "bundle", "--input", "samples", "--plan", "lc", "--fps", "0"), "--fps: "),
        (("infer", "bundle", "--input", "samples", "--plan", "lc", "--queue-policy", "x"), "--queue-policy: "),
        (("infer", "bundle", "--input", "samples", "--plan", "lc", "--log", "bundle"), "--log: "),
    ],
)
def test_what_cannot_be_is_said_in_one_line(folder, arguments, words, capsys, monkeypatch):
    from splitimpera.cli.app import run

    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["splitimpera", *arguments])
    assert run() == 2
    assert words in capsys.readouterr().err


def test_keys_stand_for_the_files_in_their_folder(folder):
    keys = folder / "keys"
    server = server_security("0.0.0.0", keys, None, None, None, None, 0)
    assert (server.certificate.parent, server.authority.parent, server.token) == (keys, keys, None)
    client = client_security(keys, None, None, None, keys / "token", "pi", False)
    assert (client.certificate, client.token, client.server_name) == (None, (keys / "token").read_text().strip(), "pi")


def test_insecure_twice_is_meant():
    assert server_security("0.0.0.0", None, None, None, None, None, 2) is None
    with pytest.raises(LinkError, match="how clients prove"):
        server_security("h", None, Path("c"), Path("k"), None, None, 0)


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.2", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("pi", False)]
)
def test_loopback(host, expected):
    assert is_loopback(host) is expected


def test_a_device_needs_no_more_than_its_own_libraries(folder, tmp_path):
    """Images of a folder, and a server asked by TLS, where what a design needs cannot be imported."""
    (tmp_path / "dog").mkdir()
    Image.fromarray(np.full((9, 9), 100, np.uint8)).save(tmp_path / "dog" / "1.png")
    missing = "torch numba scipy sklearn matplotlib plotly jinja2 yaml filelock onnx cv2".split()
    code = f"""
import sys
sys.modules.update(dict.fromkeys({missing}))
from splitimpera.cli.app import app
for source in ("samples", {str(tmp_path)!r}):
    app(["infer", "bundle", "--plan", "lc", "--input", source], standalone_mode=False)
import splitimpera.deploy.server, splitimpera.deploy.metrics, splitimpera.deploy.streams, splitimpera.deploy.datagrams
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert "accuracy: 100 % of 20" in run.stdout
    assert "frames: 1\n" in run.stdout


def test_on_a_terminal_a_table_is_drawn_where_no_frame_waits_for_it(monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=written, force_terminal=True, width=80))
    now_s = [100.0]
    monkeypatch.setattr(infer.time, "monotonic", lambda: now_s[0])
    tally = Tally()
    with infer._shown_live(tally, json=False) as draw:
        begun = len(written.getvalue())
        tally.add(FrameLine(frame=0, sample=0, outcome="ok", due_s=0.0, response_s=0.0123, payload_bytes=9, packets=1))
        for after_s, left_s, drawn in ((0.1, 1.0, False), (0.6, 0.001, False), (0.7, 1.0, True), (3.8, 0.001, True)):
            before = len(written.getvalue())
            now_s[0] = 100.0 + after_s
            draw(left_s)
            assert (len(written.getvalue()) > before) is drawn
        assert "12.3 ms" in written.getvalue()[begun:]
    with infer._shown_live(tally, json=True) as draw:
        before = len(written.getvalue())
        draw(10.0)
        assert len(written.getvalue()) == before


@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits on files")
def test_a_log_whose_disk_is_full_stops_no_frame(folder):
    import resource

    def few_bytes():
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    run = ran(
        *(folder, "infer", "bundle", "--plan", "lc", "--input", "samples", "--frames", "200", "--log", "full.jsonl"),
        *("--json",),
        code=2,
        preexec_fn=few_bytes,
    )
    assert json.loads(run.stdout)["outcomes"] == {"ok": 200}
    assert "Traceback" not in run.stderr
    assert "frames go on without it" in run.stderr
    assert "full.jsonl" in run.stderr.splitlines()[-1]
    _, frames = read_log(folder / "full.jsonl")
    assert 10 < len(frames) < 200
    assert [frame.frame for frame in frames] == list(range(len(frames)))
