"""What `infer` says of modes, several servers and emulated links, on the command line."""

from __future__ import annotations

import json

import pytest
from hostile.harness import command
from small_bundle import make_bundle
from test_client import running

from splitimpera.deploy.frame_log import read_log


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("modes")
    make_bundle(made / "bundle", transport="udp")
    (made / "link.csv").write_text("time_s,rate_bps,delay_s\n0,1e6,0.01\n")
    return made


def infer(folder, *options):
    """Code, standard output and standard error."""
    return command("infer", folder / "bundle", "--input", "samples", *options)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--mode", "prefer-servr"], "--mode: 'prefer-servr' is none of prefer-device, prefer-server"),
        (["--mode", "server-only"], "--server: this plan needs a server"),
        (["--emulate", "", "--mode", "device-only"], "--emulate: there are 0 servers"),
        (["--server", "127.0.0.1:1", "--server", "127.0.0.1:1", "--insecure"], "is in the list twice"),
        (["--stale", "-1 s"], "--stale: "),
        (["--mode", "prefer-server", "--server", "127.0.0.1:1"], "encrypt"),
    ],
)
def test_what_cannot_be_is_told_with_where(folder, options, told):
    code, _, errors = infer(folder, *options)
    assert code == 2, errors
    assert told in errors


def test_a_server_that_is_away_is_a_warning_where_the_device_answers(folder):
    away = ("--server", "127.0.0.1:1", "--insecure", "--mode", "prefer-server", "--json")
    with pytest.warns(UserWarning, match=r"127\.0\.0\.1:1; the device answers until a server is there"):
        code, told, errors = infer(folder, *away)
    assert code == 0, errors
    assert json.loads(told)["answered_by"] == {"device": 20}


def test_a_run_through_an_emulated_link_says_who_answered(folder, tmp_path):
    bundle = make_bundle(tmp_path / "bundle", transport="udp")
    log = tmp_path / "log.jsonl"
    with running(bundle) as (_, (host, port)):
        code, told, errors = command(
            *("infer", str(tmp_path / "bundle"), "--input", "samples", "--server", f"{host}:{port}", "--insecure"),
            *("--mode", "prefer-server", "--deadline", "1 s", "--emulate", str(folder / "link.csv"), "--log", str(log)),
        )
    assert code == 0, errors
    assert "answered by: server 20" in told
    begin, frames = read_log(log)
    assert begin.mode == "prefer-server"
    assert all(frame.latency_s > 0.02 for frame in frames)
    assert {frame.answered_by for frame in frames} == {"server"}
