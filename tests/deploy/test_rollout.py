"""Bundles come and go while clients send frames: every one is answered; what is broken changes nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import subprocess
import sys
from contextlib import suppress
from itertools import groupby

import numpy as np
import pytest
from small_bundle import make_bundle, network, samples
from test_server import Guest

from splitimpera.codec.framing import Kind
from splitimpera.core.errors import BundleError, LinkError
from splitimpera.deploy.connection import connect
from splitimpera.deploy.halves import device_half
from splitimpera.deploy.messages import Hello, Reason, Refusal, Status, result_of
from splitimpera.deploy.metrics import Metrics
from splitimpera.deploy.rollout import Rollout, named_bundles
from splitimpera.deploy.server import Server
from splitimpera.deploy.sessions import Limits

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Two of the same network, with codecs of their own."""
    folder = tmp_path_factory.mktemp("bundles")
    return {
        name: make_bundle(folder / name, codec=codec, transport="tcp", deadline_s=5.0, name=name)
        for name, codec in (("a", "float32"), ("b", "float16"))
    }


def pointed(pointer, *names):
    """Write the file whole, as an operator has to."""
    new = pointer.with_suffix(".new")
    new.write_text("".join(f"{name}\n" for name in names))
    new.replace(pointer)


async def until(true, seconds=10.0):
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


def id_of(bundle):
    return bundle.manifest.bundle


def test_a_server_holds_bundles_and_lets_go_of_them(bundles):
    async def work():
        metrics = Metrics()
        async with Server(bundles["a"], metrics=metrics) as server:
            old, stranger = Guest(server, bundles["a"]), Guest(server, bundles["b"])
            await old.greet()
            refused = Refusal.from_bytes((await stranger.greet()).data)
            assert (refused.reason, refused.text) == (Reason.BUNDLE, f"the bundle here is {id_of(bundles['a'])[:16]}")
            server.add(await server.load(bundles["b"]))
            assert metrics.bundles._value.get() == 2
            new = Guest(server, bundles["b"])
            assert (await new.greet()).id.kind == Kind.WELCOME
            server.drain(id_of(bundles["a"]))
            late = Guest(server, bundles["a"])
            refused = Refusal.from_bytes((await late.greet()).data)
            assert refused.reason is Reason.BUNDLE
            assert refused.text.endswith(f"is being replaced by {id_of(bundles['b'])[:16]}")
            for guest in (old, new):  # both are answered, each by its own
                guest.send(samples()[0])
                (logits,) = result_of((await guest.response())[1].tensors, guest.specs)
                np.testing.assert_allclose(logits, network(samples()[:1])[0], atol=0.02)
            old.session.close()
            await until(lambda: len(list(server.bundles)) == 1)
            assert metrics.bundles._value.get() == 1
            assert server.bundle is bundles["b"]

    asyncio.run(work())


def test_who_stays_too_long_is_told_and_every_frame_is_answered(bundles):
    async def work():
        async with Server(bundles["a"]) as server:
            guest = Guest(server, bundles["a"])
            await guest.greet()
            server.add(await server.load(bundles["b"]))
            server.drain(id_of(bundles["a"]), patience_s=0.3)
            frame, kinds, statuses = 0, [], []
            while not guest.session.closed:
                with suppress(LinkError):  # it was closed a moment ago
                    guest.send(samples()[0], frame := frame + 1)
                    answer = await guest.next()
                    kinds.append(answer.id.kind)
                    if answer.id.kind == Kind.RESPONSE:
                        statuses.append(Status(answer.data[0]))
                await asyncio.sleep(0.002)
            assert kinds[-1] == Kind.REFUSAL or guest.session.came[-1].frame.id.kind == Kind.REFUSAL
            assert set(statuses) <= {Status.OK, Status.STOPPING}
            assert statuses.count(Status.OK) > 10
            await until(lambda: len(list(server.bundles)) == 1)

    asyncio.run(work())


def test_one_that_drains_can_be_taken_back(bundles):
    async def work():
        async with Server(bundles["a"]) as server:
            guest = Guest(server, bundles["a"])
            await guest.greet()
            (first,) = server.bundles
            server.add(await server.load(bundles["b"]))
            server.drain(id_of(bundles["a"]), patience_s=0.05)
            server.add(await server.load(bundles["a"]))
            assert server.bundles.newest is first
            await asyncio.sleep(0.15)
            guest.send(samples()[0])
            assert (await guest.response())[1].status is Status.OK
            server.drain(id_of(bundles["b"]))
            with pytest.raises(BundleError, match="the only one that takes clients in; add another one first"):
                server.drain(id_of(bundles["a"]))
            with pytest.raises(BundleError, match="is not served; those here are"):
                server.drain("0" * 64)

    asyncio.run(work())


class Device:
    """A client that sends frames without end, and goes on to another bundle when its own is named no more."""

    def __init__(self, bundles, address, place):
        self.bundles, self.address, self.place = bundles, address, place
        self.wanted, self.served = "a", []
        self.sent = self.answered = 0
        self.others = []

    async def run(self, ended):
        while not ended.is_set():
            name = self.wanted
            bundle = self.bundles[name]
            half, hello = device_half(bundle), Hello(bytes.fromhex(id_of(bundle)))
            connection = await connect(*self.address, half.hop, hello, None, Limits())
            while name == self.wanted and not ended.is_set():
                await self.ask(connection, half, name)
            await connection.close()

    async def ask(self, connection, half, name):
        loop = asyncio.get_running_loop()
        told, x = loop.create_future(), samples()[self.sent % 20]
        connection.send(self.sent, half(x).payload, 5.0, loop.time() + 5, told.set_result)
        self.sent += 1
        response = (await told).response
        assert response is not None
        self.answered += 1
        if response.status is not Status.OK:
            self.others.append(response.status)
            return
        specs = tuple(entry.spec for entry in self.bundles[name].manifest.result)
        np.testing.assert_allclose(result_of(response.tensors, specs)[0], network(x[None])[0], atol=0.02)
        self.served.append(name)


def test_no_frame_goes_without_an_answer_from_a_to_b_and_back(tmp_path, bundles):
    pointer = tmp_path / "bundles.txt"
    pointed(pointer, bundles["a"].path)

    async def work():
        async with Server(bundles["a"]) as server:
            address = await server.start("127.0.0.1", 0)
            rollout = Rollout(server, pointer, drain_s=5.0, check_s=0.02)
            following = asyncio.create_task(rollout.run())
            devices, ended = [Device(bundles, address, place) for place in range(4)], asyncio.Event()
            running = [asyncio.create_task(device.run(ended)) for device in devices]
            await until(lambda: all(len(device.served) > 5 for device in devices))
            for name, other in (("b", "a"), ("a", "b")):
                pointed(pointer, bundles[name].path)
                await until(lambda name=name: id_of(server.bundle) == id_of(bundles[name]))
                for place, device in enumerate(devices):  # one after the other, while the old one still answers
                    counts = [len(each.served) for each in devices]
                    device.wanted = name
                    await until(lambda counts=counts: all(len(devices[i].served) > counts[i] + 3 for i in range(4)))
                    assert devices[-1].served[-1] == (name if place == len(devices) - 1 else other)
                await until(lambda: len(list(server.bundles)) == 1)
            ended.set()
            await asyncio.gather(*running)
            following.cancel()
            return devices

    for device in asyncio.run(work()):
        assert device.sent == device.answered == len(device.served)
        assert [name for name, _ in groupby(device.served)] == ["a", "b", "a"]


def test_what_cannot_be_served_is_logged_once_and_changes_nothing(tmp_path, bundles, caplog):
    pointer = tmp_path / "bundles.txt"
    pointed(pointer, bundles["a"].path)
    broken = make_bundle(tmp_path / "broken", name="broken").path
    (broken / "server" / "tail.onnx").write_bytes(b"none")
    lone = make_bundle(tmp_path / "lone", name="lone")

    async def work():
        async with Server(bundles["a"], ["sc"]) as server:
            rollout = Rollout(server, pointer, check_s=0.01)
            following = asyncio.create_task(rollout.run())
            for content in ((broken,), ("nowhere",), (), (lone.path, broken), (tmp_path,)):
                caplog.clear()
                pointed(pointer, *content)
                await until(lambda: caplog.records)
                await asyncio.sleep(0.05)
                (record,) = caplog.records
                assert record.levelno == logging.ERROR
                assert record.event == "bundles not changed"
                assert [id_of(one.bundle) for one in server.bundles] == [id_of(bundles["a"])]
            caplog.clear()
            pointer.unlink()
            await until(lambda: caplog.records)
            assert "does not exist" in caplog.records[0].fields["failure"]
            pointed(pointer, f"{bundles['a'].path}  # the old one", "", "# the new one", lone.path)
            await until(lambda: len(server.bundles.open) == 2)
            assert server.bundle.manifest.bundle == id_of(lone)
            following.cancel()

    with caplog.at_level(logging.WARNING, logger="splitimpera"):
        asyncio.run(work())


def test_a_bundle_that_was_mended_in_its_place_is_taken_when_one_asks(tmp_path, bundles):
    pointer = tmp_path / "bundles.txt"
    pointed(pointer, "new")

    async def work():
        async with Server(bundles["a"]) as server:
            rollout = Rollout(server, pointer, check_s=100.0)
            following = asyncio.create_task(rollout.run())
            rollout.hurry()
            await asyncio.sleep(0.05)
            assert id_of(server.bundle) == id_of(bundles["a"])
            new = make_bundle(tmp_path / "new", name="new")  # paths start from the folder of the file
            rollout.hurry()
            await until(lambda: id_of(server.bundle) == id_of(new))
            following.cancel()

    asyncio.run(work())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"# nothing", "1 to 16 bundles are expected, 0 are named; write one a line"),
        (b"a\n" * 17, "1 to 16 bundles are expected, 17 are named"),
        (b"\xff\xfe", "text in UTF-8 is expected"),
        (b"a\0b", "a path holds a null character"),
        (b"x" * 70_000, "bundles.txt"),
    ],
)
def test_a_file_that_names_no_bundles_is_refused(tmp_path, content, words):
    (tmp_path / "bundles.txt").write_bytes(content)
    with pytest.raises(BundleError) as refused:
        named_bundles(tmp_path / "bundles.txt")
    assert words in str(refused.value)
    json.dumps(str(refused.value))


@pytest.mark.slow
def test_serve_follows_a_file_and_a_signal(tmp_path, bundles):
    pointer = tmp_path / "serving.txt"
    pointed(pointer, bundles["a"].path)
    command = [sys.executable, "-m", "splitimpera"]
    options = ["serve", "--watch", str(pointer), "--listen", "127.0.0.1:0", "--insecure", "--drain", "0 s", "-v"]
    server = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def infer(name, code):
        run = [*command, "infer", str(bundles[name].path), "--server", address, "--insecure", "--input", "samples"]
        ended = subprocess.run(run, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == code, ended.stderr
        return ended.stderr

    def event(name):
        for line in server.stderr:
            if json.loads(line)["event"] == name:
                return

    try:
        address = server.stdout.readline().split(" at ")[1].split()[0]
        infer("a", 0)
        assert "the bundle here is" in infer("b", 2)
        pointed(pointer, bundles["b"].path)
        server.send_signal(signal.SIGHUP)
        event("bundle removed")
        infer("b", 0)
        assert id_of(bundles["b"])[:16] in infer("a", 2)
        pointed(pointer, bundles["a"].path)  # without a signal it takes a second
        event("bundle removed")
        infer("a", 0)
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
        server.stderr.close()
