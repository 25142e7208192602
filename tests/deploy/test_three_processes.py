"""Sensor, gateway and cloud as three processes on loopback, encrypted on both hops."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from test_operations import PROGRAM, UNITS, command
from tier_bundle import make_tiers

from splitimpera.deploy.frame_log import read_log
from splitimpera.deploy.keys import make_keys

pytestmark = pytest.mark.alone

COMMAND = (sys.executable, "-m", "splitimpera")
KEYS = ("--keys", "keys")


def serving(folder, *options, how="encrypted", bundle="bundle"):
    return running([*COMMAND, "serve", bundle, "--listen", "127.0.0.1:0", *options], folder, how)


@contextmanager
def running(words, folder, how):
    """A server; yields its process and its address. One that was killed is not asked how it ended."""
    process = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        found = re.fullmatch(rf"serving \S.* at (\S+) by TCP and UDP, {how}\n", line)
        assert found, line + process.stderr.read()
        yield process, found[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def inferred(folder, address, plan, log, *more, bundle="bundle"):
    words = ("infer", bundle, *more, "--server", address, *KEYS, "--input", "samples", "--plan", plan, "--log", log)
    run = subprocess.run(
        [*COMMAND, *words, "--frames", "20", "--fps", "50"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return run, read_log(folder / log)[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a bundle and keys."""
    folder = tmp_path_factory.mktemp("tiers")
    make_tiers(folder / "bundle", finishes=True)
    make_tiers(folder / "short")
    make_tiers(folder / "direct", finishes=True, direct=True)
    make_keys(folder / "keys")
    return folder


@pytest.mark.slow
def test_a_run_over_three_machines_and_what_is_left_when_the_last_one_is_gone(folder):
    with serving(folder, *KEYS) as (cloud, cloud_address):
        middle = ("--machine", "gateway", "--next", cloud_address)
        with serving(folder, *KEYS, *middle, "-v", how=f"encrypted, on to {cloud_address}") as (gateway, address):
            for plan in ("each", "past"):
                run, lines = inferred(folder, address, plan, f"{plan}.jsonl")
                assert "accuracy: 100 % of 20" in run.stdout
                assert [line.outcome for line in lines] == ["ok"] * 20
                assert [len(line.hops) for line in lines] == [1] * 20
                for line in lines:
                    (hop,) = line.hops
                    assert line.server_s > hop.away_s > hop.server_s > hop.run_s > 0
            first = json.loads((folder / "each.jsonl").read_text().splitlines()[0])
            assert (first["schema_version"], first["secure"]) == (4, "tls")
            cloud.send_signal(signal.SIGKILL)
            time.sleep(0.2)
            run, lines = inferred(folder, address, "each", "alone.jsonl")
            assert "accuracy: 100 % of 20" in run.stdout
            assert [(line.outcome, line.hops) for line in lines] == [("ok", ())] * 20
            gateway.send_signal(signal.SIGTERM)
            events = [json.loads(line) for line in gateway.stderr.read().splitlines()]
            assert {"joined", "not joined", "next machine", "stopped"} <= {event["event"] for event in events}


@pytest.mark.slow
def test_the_device_finishes_what_no_other_machine_can(folder):
    with serving(folder, *KEYS, bundle="short") as (cloud, cloud_address):
        middle = ("--machine", "gateway", "--next", cloud_address)
        how = f"encrypted, on to {cloud_address}"
        with serving(folder, *KEYS, *middle, how=how, bundle="short") as (_, address):
            cloud.send_signal(signal.SIGKILL)
            time.sleep(0.2)
            _, lines = inferred(folder, address, "each", "plain.jsonl", bundle="short")
            assert {line.outcome for line in lines} == {"unreachable"}
            mode = ("--mode", "prefer-server", "--deadline", "500 ms")
            run, lines = inferred(folder, address, "each", "mode.jsonl", *mode, bundle="short")
            assert "accuracy: 100 % of 20" in run.stdout
            assert {line.answered_by for line in lines} == {"device"}


@pytest.mark.slow
def test_answers_come_past_the_gateway(folder):
    with serving(folder, *KEYS, bundle="direct") as (_, cloud_address):
        middle = ("--machine", "gateway", "--next", cloud_address)
        how = f"encrypted, on to {cloud_address}"
        with serving(folder, *KEYS, *middle, how=how, bundle="direct") as (_, address):
            directly = ("--answers", cloud_address)
            for plan in ("each", "past"):
                run, lines = inferred(folder, address, plan, f"direct-{plan}.jsonl", *directly, bundle="direct")
                assert "accuracy: 100 % of 20" in run.stdout
                assert "answers: 20 came directly" in run.stdout
                assert [(line.outcome, line.direct, len(line.hops)) for line in lines] == [("ok", True, 1)] * 20
            mode = ("--mode", "prefer-server", "--deadline", "500 ms")
            run, lines = inferred(folder, address, "each", "along.jsonl", *mode, bundle="direct")
            assert "came directly" not in run.stdout
            assert "warning: answers of plan 'each' come along the way in such a run" in run.stderr
            assert [len(line.hops) for line in lines if line.answered_by == "server"] == [1] * len(lines)
        first = json.loads((folder / "direct-each.jsonl").read_text().splitlines()[0])
        assert (first["schema_version"], first["secure"]) == (6, "tls")


@pytest.mark.slow
def test_what_lacks_for_direct_answers_is_said(folder):
    def refused(*options, plan="each", bundle="direct"):
        words = [*COMMAND, "infer", bundle, "--input", "samples", "--plan", plan, *KEYS, *options]
        run = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120)
        assert run.returncode == 2
        assert "Traceback" not in run.stderr
        return run.stderr

    here, there = ("--server", "127.0.0.1:1"), ("--answers", "127.0.0.1:1")
    assert "--answers: answers of plan 'each' come back from 'cloud' directly" in refused(*here)
    assert "--answers: answers of plan 'two' come back along the way" in refused(*here, *there, plan="two")
    assert "--answers: answers of plan 'each' come back along the way" in refused(*here, *there, bundle="short")
    assert "--answers: runs that choose among plans" in refused(*here, *there, "--mode", "prefer-server")
    assert "--server: there are 2 servers, and answers of plan 'each' come back directly" in refused(*here, *here)
    assert "--answers: 'cloud:one' is no address" in refused(*here, "--answers", "cloud:one")
    assert "cannot be reached" in refused(*here, *there)


@pytest.mark.slow
def test_the_gateways_unit_runs(folder):
    program = folder / "splitimpera"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m splitimpera "$@"\n')
    program.chmod(0o755)
    (folder / "serving.txt").write_text("bundle\n")
    with serving(folder, *KEYS) as (_, cloud_address):
        places = {PROGRAM: program, "/srv/splitimpera/serving.txt": folder / "serving.txt"}
        places |= {"0.0.0.0:7433": "127.0.0.1:0", "127.0.0.1:9433": "127.0.0.1:0", "cloud.example:7433": cloud_address}
        words = command(UNITS[2], replace=places | {"${CREDENTIALS_DIRECTORY}": folder / "keys"})
        with running(words, folder, rf"encrypted, on to {cloud_address}") as (_, address):
            run, lines = inferred(folder, address, "each", "unit.jsonl")
            assert "accuracy: 100 % of 20" in run.stdout
            assert [len(line.hops) for line in lines] == [1] * 20


@pytest.mark.slow
def test_what_a_machine_in_the_middle_lacks_is_said(folder):
    def refused(*options):
        words = [*COMMAND, "serve", "bundle", "--listen", "127.0.0.1:0", *options]
        run = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120)
        assert run.returncode == 2
        assert "Traceback" not in run.stderr
        return run.stderr

    assert "does not end on 'gateway'; say where its next machine is, by --next" in refused(
        *KEYS, "--machine", "gateway"
    )
    assert "the bundle has no part for 'fog'" in refused(*KEYS, "--machine", "fog")
    assert "--next: 'cloud:one' is no address" in refused(*KEYS, "--machine", "gateway", "--next", "cloud:one")
    assert "--insecure: anybody on the way to cloud could read" in refused(
        "--insecure", "--machine", "gateway", "--next", "cloud:7433"
    )
