"""A live server beside hostile peers: it never stops, holds bounded memory, and serves others as before."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from beside_attacks import good_clients, measured, served
from deploy.small_bundle import make_bundle

from splitimpera.deploy.keys import make_keys
from splitimpera.deploy.security import ClientSecurity

MESSAGES = 100_000
BEFORE_S, ATTACK_S = 2.0, 6.0
NOISE_S = 0.005
"""A 99th percentile below this is one that the system's scheduler makes."""
GROWTH_BYTES = 100_000_000
"""300 connections that never greet, of 150 kB each (buffers of 80 kB, TLS the rest), 1024 datagram sessions of 10 kB,
64 DTLS handshakes of 60 kB, and what the allocator keeps: twice that."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a bundle and keys."""
    folder = tmp_path_factory.mktemp("hostile")
    make_bundle(folder / "bundle", codec="uint8+zstd")
    make_keys(folder / "keys")
    return folder


@pytest.mark.slow
def test_a_hundred_thousand_hostile_messages_beside_good_clients(place, capsys):
    from splitimpera.bundle.opened import open_bundle

    files = make_keys(place / "flood")
    token = files.token.read_text().strip()
    trust = ("--certificate", files.server, "--key", files.server_key, "--authority", files.authority)
    security = ClientSecurity(files.authority, files.client, files.client_key, token)
    bundle = open_bundle(place / "bundle")
    with (
        served(place, place / "bundle", "--insecure") as plain,
        served(place, place / "bundle", *trust, "--token-file", files.token) as secure,
        good_clients(bundle, plain, secure, security) as clients,
    ):
        measured(clients, 1.0)  # warm
        before_s = measured(clients, BEFORE_S)
        assert [client.faults for client in clients] == [[]] * len(clients)
        told = {
            "bundle": str(place / "bundle"),
            "keys": str(place / "flood"),
            "token": token,
            "plain": plain.port,
            "secure": secure.port,
            "seconds": ATTACK_S - 1,
            "seed": 14,
            "scale": 1.0,
        }
        idle = [server.resident_bytes for server in (plain, secure)]
        held = []
        script = Path(__file__).with_name("peer_attacks.py")
        attack = subprocess.Popen([sys.executable, script, json.dumps(told)], stdout=subprocess.PIPE, text=True)
        try:
            beside_s = measured(
                clients, ATTACK_S, lambda: held.append([server.resident_bytes for server in (plain, secure)])
            )
            output, _ = attack.communicate(timeout=20)
        finally:
            attack.kill()
            attack.wait()
        assert attack.returncode == 0
        found = json.loads(output)
        sent = sum(found["sent"].values())
        growth = [max(column) - start for column, start in zip(zip(*held, strict=True), idle, strict=True)]
        later = [max(column) - max(column[: len(column) // 2]) for column in zip(*held, strict=True)]
        with capsys.disabled():
            print(f"\n{sent} hostile messages: {found}")
            print(f"growth {[g / 1e6 for g in growth]} MB, in the second half {[g / 1e6 for g in later]} MB")
            print("p99 before", {k: round(v * 1e3, 2) for k, v in before_s.items()})
            print("p99 beside", {k: round(v * 1e3, 2) for k, v in beside_s.items()})
            print("cpu", [server.cpu_s for server in (plain, secure)])
            for server in (plain, secure):
                print(server.errors.read_text()[-3000:])
        assert [client.faults for client in clients] == [[]] * len(clients)
        assert sent >= MESSAGES
        for carrier, found_s in beside_s.items():
            assert found_s <= 2 * max(before_s[carrier], NOISE_S), (carrier, before_s, beside_s)
        assert max(growth) <= GROWTH_BYTES, growth
    for server in (plain, secure):
        assert server.errors.read_text() == ""
