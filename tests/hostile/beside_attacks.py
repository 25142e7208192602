"""Servers in processes of their own, and well-behaved clients beside what attacks them."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from deploy.small_bundle import samples

from splitimpera.deploy.client import Client


class Served:
    """A server's process.

    Attributes:
        address: "host:port".
    """

    def __init__(self, process, address, errors):
        self.process, self.address, self.errors = process, address, errors

    @property
    def port(self):
        return int(self.address.rpartition(":")[2])

    @property
    def resident_bytes(self):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    @property
    def cpu_s(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100


@contextmanager
def served(folder, bundle, *options):
    """`splitimpera serve`, until the end of the block; it has to end in an orderly way then."""
    command = [sys.executable, "-m", "splitimpera", "serve", str(bundle), "--listen", "127.0.0.1:0", *map(str, options)]
    with (folder / f"server-{time.monotonic_ns()}.txt").open("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            line = process.stdout.readline()
            found = re.search(r" at (\S+) by TCP and UDP", line)
            assert found, Path(errors.name).read_text()
            server = Served(process, found[1], Path(errors.name))
            yield server
            assert process.poll() is None, server.errors.read_text()
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, server.errors.read_text()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


class GoodClient:
    """One that sends frames at a steady rate and keeps what became of them.

    Attributes:
        latencies_s: Of each frame, from when it was due.
        faults: What became of those that were not answered well.
    """

    FPS = 20

    def __init__(self, bundle, address, security, carrier):
        self.client = Client(bundle, address, "sc", security=security, insecure=security is None)
        self.client.hop = self.client.hop.model_copy(update={"transport": carrier})
        self.carrier = carrier if security is None else {"tcp": "tls", "udp": "dtls"}[carrier]
        self.latencies_s, self.faults = [], []
        self._inputs = samples()

    def run(self, ended, phase_s):
        """Send frames until that is set."""
        due_s, number, pending = time.monotonic() + phase_s, 0, []
        while not ended.is_set():
            time.sleep(max(due_s - time.monotonic(), 0))
            future = self.client.submit(self._inputs[number % len(self._inputs)], 2.0, since_s=due_s)
            pending.append((due_s, future))
            due_s, number = due_s + 1 / self.FPS, number + 1
        for due_s, future in pending:
            try:
                found = future.result(10)
            except Exception as failure:
                self.faults.append(repr(failure))
                continue
            if found.outcome != "ok" or found.lost_packets:
                self.faults.append((found.outcome, found.lost_packets))
            else:
                self.latencies_s.append(found.response_s - due_s)


ECHO = """
import socket
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    sock, _ = server.accept()
    while data := sock.recv(1 << 16):
        sock.sendall(data)
"""


class Echo:
    """What bare echoes between two processes take beside all this: the machine's own share of a latency.

    A frame goes from the client's thread to its session's, to the server's loop, to its program and back: six turns.
    """

    carrier, FPS, ECHOES = "echo", GoodClient.FPS, 3

    def __init__(self, sock):
        self.sock, self.latencies_s, self.faults = sock, [], []

    def run(self, ended, phase_s):
        """As `GoodClient.run`."""
        due_s = time.monotonic() + phase_s
        while not ended.is_set():
            time.sleep(max(due_s - time.monotonic(), 0))
            for _ in range(self.ECHOES):
                self.sock.sendall(bytes(600))
                left = 600
                while left:
                    left -= len(self.sock.recv(left))
            self.latencies_s.append(time.monotonic() - due_s)
            due_s += 1 / self.FPS


@contextmanager
def echoing():
    """An `Echo` with its process."""
    process = subprocess.Popen([sys.executable, "-c", ECHO], stdout=subprocess.PIPE, text=True)
    try:
        with socket.create_connection(("127.0.0.1", int(process.stdout.readline()))) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield Echo(sock)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def client_of(bundle, server, security, carrier="tcp"):
    """A single one."""
    client = GoodClient(bundle, server.address, security, carrier)
    with client.client:
        yield client


@contextmanager
def good_clients(bundle, plain, secure, security):
    """One by each carrier."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    opened = []
    try:
        for server, known in ((plain, None), (secure, security)):
            for carrier in ("tcp", "udp"):
                opened.append(GoodClient(bundle, server.address, known, carrier))
                opened[-1].client.open()
        yield opened
    finally:
        for client in opened:
            client.client.close()
        sys.setswitchinterval(before)


@contextmanager
def busy(clients):
    """All clients send frames meanwhile; afterwards each has its latencies and faults."""
    ended, threads = threading.Event(), []
    for place, client in enumerate(clients):
        client.latencies_s, client.faults = [], []
        threads.append(threading.Thread(target=client.run, args=(ended, place / len(clients) / client.FPS)))
        threads[-1].start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def slowest_s(clients):
    """The 99th percentile of each one's latencies, by carrier."""
    return {client.carrier: float(np.percentile(client.latencies_s or [np.inf], 99)) for client in clients}
