"""What a client of several plans makes of servers that die, links that go away and many at once.

Each case drives frames at a rate, does its harm in the middle, and holds what became of every frame to the promises:
each has an outcome, at least 99 % have an answer within the deadline, and the policy's plan is back within 2 s.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from splitimpera.deploy.adaptive_client import AdaptiveClient
from splitimpera.deploy.emulated_link import ChangingLink, EmulatedLink
from splitimpera.deploy.keys import make_keys
from splitimpera.deploy.security import ClientSecurity
from splitimpera.records.link import Trace

sys.path.insert(0, str(Path(__file__).parents[1] / "deploy"))
from small_bundle import make_bundle, samples

pytestmark = [pytest.mark.slow, pytest.mark.alone]
FPS, DEADLINE_S, BACK_S = 20.0, 0.2, 2.0


@pytest.fixture(scope="module", params=["tcp", "udp"])
def made(request, tmp_path_factory):
    """A bundle, and keys beside it."""
    folder = tmp_path_factory.mktemp("chaos")
    bundle = make_bundle(folder / "bundle", transport=request.param)
    make_keys(folder / "keys")
    return folder, bundle


def security(folder):
    keys = folder / "keys"
    return ClientSecurity(keys / "authority.pem", keys / "client.pem", keys / "client.key", server_name="localhost")


class ServerProcess:
    """`splitimpera serve`, to be killed and started again at one port."""

    def __init__(self, folder):
        self.folder, self.port, self.process = folder, 0, None

    def start(self):
        command = [sys.executable, "-m", "splitimpera", "serve", "bundle", "--keys", "keys"]
        command += ["--listen", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.port = int(re.search(r"127\.0\.0\.1:(\d+)", line).group(1))

    def send(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    @property
    def address(self):
        return "127.0.0.1", self.port


@contextmanager
def server(folder):
    process = ServerProcess(folder)
    process.start()
    try:
        yield process
    finally:
        process.kill()


def run(client, seconds, harm=(), fps=FPS):
    """Frames at a rate for so long; `harm`: what is done, and when. Returns what became of each, and when it began."""
    x, begun_s, found, harm = samples(), monotonic(), [], sorted(harm, key=lambda one: one[0])
    for frame in range(round(seconds * fps)):
        due_s = begun_s + frame / fps
        while harm and monotonic() - begun_s >= harm[0][0]:
            threading.Thread(target=harm.pop(0)[1]).start()
        time.sleep(max(due_s - monotonic(), 0.0))
        found.append((frame / fps, client.submit(x[frame % len(x)], DEADLINE_S)))
    return [(at_s, future.result(10)) for at_s, future in found]


def check(found, returned_s, share=0.99):
    """Hold it to the promises; `returned_s`: when the harm was over."""
    in_time = [one.outcome == "ok" and one.latency_s <= DEADLINE_S + 0.005 for _, one in found]
    back = [at_s for at_s, one in found if at_s >= returned_s and one.answered.by == "server"]
    late = [(at_s, one.outcome, one.answered.reason) for (at_s, one), ok in zip(found, in_time, strict=True) if not ok]
    assert np.mean(in_time) >= share, late
    assert min(back) - returned_s <= BACK_S
    after = [one for at_s, one in found if at_s >= returned_s + BACK_S]
    assert after
    assert np.mean([one.answered.by == "server" for one in after]) > 0.9


def test_a_server_that_is_killed_and_started_again(made):
    folder, bundle = made
    with server(folder) as there, AdaptiveClient(bundle, [there.address], security=security(folder)) as client:
        back_s, begun_s = [], monotonic()

        def restart():
            there.start()
            back_s.append(monotonic() - begun_s)

        found = run(client, 12, [(2.0, there.kill), (4.0, restart)])
        check(found, back_s[0])


def test_a_server_that_stands_still_for_5_s(made):
    folder, bundle = made
    with server(folder) as there, AdaptiveClient(bundle, [there.address], security=security(folder)) as client:
        stop, go = lambda: there.send(signal.SIGSTOP), lambda: there.send(signal.SIGCONT)
        check(run(client, 12, [(2.0, stop), (7.0, go)]), 7.0)


def through(trace, there):
    return EmulatedLink(there.address, ChangingLink(trace, np.random.default_rng(0)))


def test_a_link_that_is_gone_for_3_s(made):
    folder, bundle = made
    trace = Trace("gone", (0.0, 3.0, 6.0), 60.0, rate_bps=(1e7, 0.0, 1e7), delay_s=(0.01,) * 3)
    with (
        server(folder) as there,
        through(trace, there) as relay,
        AdaptiveClient(bundle, [relay.address], security=security(folder)) as client,
    ):
        check(run(client, 12), 6.0)


def test_a_link_that_loses_up_to_60_percent_and_is_well_again(made):
    folder, bundle = made
    loss = (0.0, 0.2, 0.4, 0.6, 0.4, 0.2, 0.0)
    trace = Trace("lossy", tuple(2.0 * each for each in range(7)), 60.0, delay_s=(0.01,) * 7, loss=loss)
    with (
        server(folder) as there,
        through(trace, there) as relay,
        AdaptiveClient(bundle, [relay.address], security=security(folder)) as client,
    ):
        check(run(client, 18), 12.0)


def test_the_wall_clock_is_of_no_account(made, monkeypatch):
    folder, bundle = made
    offset, real = [0.0], time.time
    monkeypatch.setattr(time, "time", lambda: real() + offset[0])
    with server(folder) as there, AdaptiveClient(bundle, [there.address], security=security(folder)) as client:
        found = run(
            client, 4, [(1.0, lambda: offset.__setitem__(0, 86400.0)), (2.5, lambda: offset.__setitem__(0, -86400.0))]
        )
    assert [one.answered.by for _, one in found] == ["server"] * len(found)


def test_200_clients_that_come_at_once(made):
    folder, bundle = made
    count, x, found, failures = 200, samples(), [], []
    gate = threading.Barrier(count)

    def one():
        client = AdaptiveClient(bundle, [there.address], security=security(folder))
        gate.wait()
        try:
            with client:
                found.extend(client.infer(x[0], 5.0) for _ in range(3))
        except Exception as failure:
            failures.append(failure)

    with server(folder) as there:
        threads = [threading.Thread(target=one) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    assert failures == []
    assert len(found) == 3 * count
    in_time = [each.outcome == "ok" for each in found]
    assert np.mean(in_time) >= 0.99


def test_nothing_is_left_open_after_all_that():
    assert len(list(Path("/proc/self/fd").iterdir())) < 100
