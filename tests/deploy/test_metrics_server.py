"""The metrics' port: a few requests at once, and no word of those that come to nothing."""

from __future__ import annotations

import socket
import struct
import time
import urllib.error
import urllib.request
from contextlib import ExitStack

import pytest

from splitimpera.deploy.metrics import MOST_REQUESTS, Metrics, MetricsServer

pytestmark = pytest.mark.alone


@pytest.fixture
def server():
    metrics = Metrics()
    metrics.frames.labels("ok").inc(3)
    server = MetricsServer(metrics, "127.0.0.1", 0, lambda: False)
    yield server
    server.close()


def asked(server, page):
    host, port = server.address
    with urllib.request.urlopen(f"http://{host}:{port}/{page}", timeout=5) as answer:
        return answer.status, answer.read().decode()


def test_figures_and_health(server):
    assert 'splitimpera_frames_total{status="ok"} 3.0' in asked(server, "metrics")[1]
    assert asked(server, "healthz") == (200, "OK\n")
    for page, status in (("readyz", 503), ("others", 404)):
        with pytest.raises(urllib.error.HTTPError) as refused:
            asked(server, page)
        assert refused.value.code == status


@pytest.mark.slow
def test_idle_requests_take_a_few_threads_and_no_more(server):
    with ExitStack() as idle:
        for _ in range(MOST_REQUESTS):
            idle.enter_context(socket.create_connection(server.address))
        with socket.create_connection(server.address, timeout=5) as one_more:
            assert one_more.recv(1) == b""
    ends_s = time.monotonic() + 5
    while True:  # their threads notice a moment later
        try:
            assert asked(server, "healthz")[0] == 200
            break
        except OSError:
            assert time.monotonic() < ends_s
            time.sleep(0.05)


def test_who_goes_away_in_the_middle_leaves_no_traceback(server, capfd):
    with socket.create_connection(server.address) as gone:
        gone.sendall(b"GET /metrics HTTP/1.1\r\n")
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
    assert asked(server, "healthz")[0] == 200
    time.sleep(0.2)
    assert capfd.readouterr().err == ""
