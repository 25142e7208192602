"""The benchmarks' emulated link: two namespaces on this machine, joined by a relay."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from namespaces import Ends, Wire, chained, hindrance, joined

pytestmark = [pytest.mark.slow, pytest.mark.alone]


@pytest.fixture(scope="module", autouse=True)
def _able():
    reason = hindrance()
    if reason is not None:
        pytest.skip(f"this machine cannot join namespaces: {reason}")


RECEIVE = """
import json, socket, sys, time
port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
port.bind((sys.argv[1], 9009))
port.settimeout(0.5)
print("ready", flush=True)
came = []
try:
    while True:
        data = port.recv(2000)
        came.append((int.from_bytes(data[:4], "big"), time.monotonic()))
except TimeoutError:
    print(json.dumps(came))
"""
SEND = """
import json, socket, sys, time
port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sent = []
for number in range(200):
    sent.append(time.monotonic())
    port.sendto(number.to_bytes(4, "big") + bytes(468), (sys.argv[1], 9009))
print(json.dumps(sent))
"""


def exchanged(ends: Ends) -> tuple[list[tuple[int, float]], list[float]]:
    """Which datagrams came when, and when each was sent."""
    address = ends.far.address
    with subprocess.Popen(
        ends.far.command([sys.executable, "-c", RECEIVE, address]), stdout=subprocess.PIPE, text=True
    ) as receiver:
        assert receiver.stdout
        assert receiver.stdout.readline() == "ready\n"
        sent = subprocess.run(
            ends.near.command([sys.executable, "-c", SEND, address]), capture_output=True, text=True, check=True
        )
        return json.loads(receiver.communicate(timeout=30)[0]), json.loads(sent.stdout)


def names() -> str:
    return subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout


def test_it_drops_what_it_says_and_is_never_early():
    """500 bytes of IP and 2 of the link take 1.004 ms each at 4 Mbit/s, and 20 ms on the way."""
    with joined(Wire(rate_bps=4e6, delay_s=0.02, loss=0.1, seed=3)) as ends:
        came, sent = exchanged(ends)
    dropped = ends.report.dropped
    assert [number for number, _ in came] == [number for number in range(200) if number not in dropped]
    assert 5 < ends.report.lost == len(dropped) < 50
    assert ends.report.up.packets == 200
    assert ends.report.up.bytes == 200 * 502
    for number, time_s in came:
        assert time_s - sent[0] >= 0.02 + (number + 1) * 502 * 8 / 4e6 - 1e-6


def test_the_same_seed_drops_the_same_packets():
    dropped = []
    for seed in (1, 1, 2):
        with joined(Wire(rate_bps=1e9, delay_s=0.0, loss=0.1, seed=seed)) as ends:
            exchanged(ends)
        dropped.append(ends.report.dropped)
    assert dropped[0] == dropped[1] != dropped[2]


def test_a_chain_has_two_links_of_its_own_and_no_way_past_its_middle():
    """500 bytes of IP and 2 of the link take 1.004 ms at 4 Mbit/s and 4.016 at 1; the middle routes nothing."""
    with chained([Wire(4e6, 0.02, loss=0.1, seed=3), Wire(1e6, 0.001)]) as (radio, uplink):
        assert radio.far.name == uplink.near.name
        assert names().count(radio.near.name.removesuffix("a")) == 3
        came, sent = exchanged(radio)
        there, begun = exchanged(uplink)
        past = f"import socket; socket.create_connection(({uplink.far.address!r}, 9), 1)"
        lost = subprocess.run(radio.near.command([sys.executable, "-c", past]), capture_output=True, text=True)
        assert "Network is unreachable" in lost.stderr
    assert [number for number, _ in came] == [number for number in range(200) if number not in radio.report.dropped]
    assert [number for number, _ in there] == list(range(200))
    assert radio.report.lost > 5
    assert uplink.report.lost == 0
    assert came[-1][1] - sent[0] >= 0.02 + (came[-1][0] + 1) * 502 * 8 / 4e6 - 1e-6
    assert there[-1][1] - begun[0] >= 0.001 + 200 * 502 * 8 / 1e6 - 1e-6
    assert radio.near.name not in names()
    assert uplink.far.name not in names()


def test_nothing_is_left_behind_not_even_after_an_error():
    def fails():
        with joined(Wire(rate_bps=1e6, delay_s=0.0)) as ends:
            made.append(ends)
            started.append(subprocess.Popen(ends.far.command(["sleep", "60"])))
            assert ends.near.name in names()
            raise ZeroDivisionError

    made: list[Ends] = []
    started: list[subprocess.Popen[bytes]] = []
    with pytest.raises(ZeroDivisionError):
        fails()
    assert started[0].wait(10) != 0
    assert made[0].near.name not in names()
    assert made[0].far.name not in names()
