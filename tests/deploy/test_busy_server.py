"""What a server says that has more to do than it can, over sessions in memory."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from time import sleep

import pytest
from small_bundle import make_bundle, samples
from test_server import Guest, Held

from splitimpera.deploy.messages import Status
from splitimpera.deploy.metrics import Metrics
from splitimpera.deploy.server import Server

TAKES_S = 0.03


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundle"))


def served(bundle, work, **options):
    async def run():
        async with Server(bundle, ["sc"], **options) as server:
            return await work(server)

    return asyncio.run(run())


def slowed(server):
    """The server's program takes `TAKES_S` from now on."""
    (half,) = server.halves.values()
    program = half.layers.program

    def slow(tensors):
        sleep(TAKES_S)
        return program(tensors)

    object.__setattr__(half, "layers", replace(half.layers, program=slow))


def test_what_cannot_be_in_time_is_told_at_once_with_when_to_return(bundle):
    metrics = Metrics()

    async def work(server):
        slowed(server)
        guest, x = Guest(server, bundle), samples()[0]
        await guest.greet()
        guest.send(x)
        await guest.response()  # it knows now how long the program takes
        held = Held(server)
        guest.send(x, 1)
        await held.busy()
        for frame in (2, 3):
            guest.send(x, frame, time_left_s=10.0)
        guest.send(x, 4, time_left_s=2 * TAKES_S)  # three are before it
        frame, busy = await guest.response()
        assert (frame, busy.status, busy.tensors) == (4, Status.BUSY, b"")
        assert 0.1 <= busy.retry_s < 1.0
        assert not held.gate.is_set()  # nothing else has been answered
        held.gate.set()
        answers = dict([await guest.response() for _ in range(3)])
        assert {response.status for response in answers.values()} == {Status.OK}
        assert sorted(answers) == [1, 2, 3]
        assert metrics.frames.labels("busy")._value.get() == 1
        assert metrics.plan_frames.labels("sc")._value.get() == 5

    served(bundle, work, metrics=metrics)


def test_what_comes_alone_is_run_however_little_time_it_has(bundle):
    async def work(server):
        slowed(server)
        guest = Guest(server, bundle)
        await guest.greet()
        for frame in range(3):
            guest.send(samples()[0], frame, time_left_s=TAKES_S / 2)
            assert (await guest.response())[1].status is Status.OK

    served(bundle, work)


def test_a_full_queue_says_when_to_return_as_well(bundle):
    async def work(server):
        slowed(server)
        guest, x = Guest(server, bundle), samples()[0]
        await guest.greet()
        guest.send(x)
        await guest.response()
        held = Held(server)
        guest.send(x, 1)
        await held.busy()
        for frame in range(2, 7):
            guest.send(x, frame)
        frame, full = await guest.response()
        assert (frame, full.status) == (2, Status.FULL)
        assert full.retry_s >= 4 * TAKES_S
        held.gate.set()
        assert {(await guest.response())[1].status for _ in range(5)} == {Status.OK}

    served(bundle, work, queue=4)


def test_a_server_told_how_many_frames_a_client_may_send_says_when_to_return(bundle):
    async def work(server):
        guest, other = Guest(server, bundle), Guest(server, bundle)
        await guest.greet()
        await other.greet()
        for frame in range(8):
            guest.send(samples()[0], frame)
        other.send(samples()[0])
        answers = [(await guest.response())[1] for _ in range(8)]
        busy = [answer for answer in answers if answer.status is Status.BUSY]
        assert len(busy) == 5
        assert all(0.1 <= answer.retry_s <= 0.4 for answer in busy)
        assert (await other.response())[1].status is Status.OK

    served(bundle, work, rate_limit_hz=3.0)
