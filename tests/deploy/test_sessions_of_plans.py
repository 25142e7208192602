"""A session may send frames of any plan of its bundle; what lies before the privacy floor is taken of none."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest
from memory_sessions import pair
from small_bundle import make_bundle, network, samples
from test_server import Guest

from splitimpera.codec.framing import Kind
from splitimpera.core.errors import BundleError
from splitimpera.deploy.connection import connect
from splitimpera.deploy.datagrams import listen_datagrams, open_datagrams
from splitimpera.deploy.halves import device_half
from splitimpera.deploy.messages import MAGIC, Hello, Reason, Refusal, Response, Status, result_of
from splitimpera.deploy.server import Server
from splitimpera.deploy.sessions import Limits, Pace
from splitimpera.records.traffic import Payload


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundle"))


def served(bundle, work, plans=None, **options):
    """Run `work(server)` in a loop with a server of all plans."""

    async def run():
        async with Server(bundle, plans, **options) as server:
            return await work(server)

    return asyncio.run(run())


def with_floor(bundle, floor):
    """A bundle as no file says it: what writes and reads manifests refuses plans before the floor."""
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"floor": floor}))


async def sent(connection, half, frame, x):
    """Send a frame of a plan; a future of what becomes of it."""
    connection.hop, future = half.hop, Future()
    connection.send(frame, half(x).payload, 2.0, asyncio.get_running_loop().time() + 5, future.set_result)
    return asyncio.wrap_future(future)


def checked(bundle, exchanges, inputs):
    assert [exchange.response.status for exchange in exchanges] == [Status.OK] * len(inputs)
    specs = tuple(entry.spec for entry in bundle.manifest.result)
    found = [result_of(exchange.response.tensors, specs)[0] for exchange in exchanges]
    np.testing.assert_allclose(found, network(inputs), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("transport", ["tcp", "udp", "udp-arq"])
def test_frames_of_two_plans_alternate_in_one_session(tmp_path, transport):
    bundle, x = make_bundle(tmp_path, transport=transport, deadline_s=2.0), samples()

    async def work(server):
        address = await server.start("127.0.0.1", 0)
        halves = [device_half(bundle, plan) for plan in ("sc", "rc")]
        hello = Hello(bytes.fromhex(bundle.manifest.bundle))
        connection = await connect(*address, halves[0].hop, hello, None, Limits())
        found = [await sent(connection, halves[frame % 2], frame, x[frame]) for frame in range(10)]
        checked(bundle, await asyncio.gather(*found), x[:10])
        # and the same numbers once more, each of the other plan
        found = [await sent(connection, halves[1 - frame % 2], frame, x[10 + frame]) for frame in range(10)]
        checked(bundle, await asyncio.gather(*found), x[10:])
        await connection.close()

    served(bundle, work)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_one_may_greet_another_plan_of_the_bundle(tmp_path, monkeypatch, transport):
    monkeypatch.setattr("splitimpera.deploy.datagram_listener.ANEW_S", 0.02)
    bundle, x = make_bundle(tmp_path, transport=transport, deadline_s=2.0), samples()

    async def work(server):
        address = await server.start("127.0.0.1", 0)
        halves = [device_half(bundle, plan) for plan in ("sc", "rc")]
        hello = Hello(bytes.fromhex(bundle.manifest.bundle))
        connection = await connect(*address, halves[0].hop, hello, None, Limits())
        found = [await sent(connection, halves[0], 0, x[0])]
        await asyncio.sleep(0.05)  # a hello of the same plan would begin a new session now
        connection.session.send(Kind.HELLO, halves[1].hop.number, 0, Payload(hello.to_bytes()))
        found += [await sent(connection, halves[frame % 2], frame, x[frame]) for frame in range(1, 6)]
        checked(bundle, await asyncio.gather(*found), x[:6])
        assert connection.failure is None
        assert server.bundles.newest.sessions == 1
        await connection.close()

    served(bundle, work)


def test_datagrams_of_each_plan_have_the_size_that_is_its_own():
    sizes = {1: 64, 2: 500}
    payloads = {number: Payload(bytes([number]) * 1000, 4) for number in sizes}

    async def work():
        came, opened = [], []

        def accept(session):
            opened.append(session)
            session.on_message = took

        def took(message):
            came.append(message.frame)
            if message.frame.id.kind == Kind.HELLO:
                opened[0].settle(Limits(), lambda number: Pace(sizes[number]))
                opened[0].send(Kind.WELCOME, 1, 0, Payload(b"w"))

        listener = await listen_datagrams("127.0.0.1", 0, None, Limits(), accept, Pace(1))
        session = await open_datagrams(*listener.address, None, Limits(), lambda number: Pace(sizes[number]))
        session.send(Kind.HELLO, 1, 0, Payload(MAGIC + bytes(40)))
        async with asyncio.timeout(5):
            while not session.greeted:
                await asyncio.sleep(0.001)
            packets = [session.send(Kind.FRAME, number, 7, payloads[number]) for number in sizes]
            while len(came) < 3:
                await asyncio.sleep(0.001)
        session.close()
        await listener.close()
        return packets, came

    packets, came = asyncio.run(work())
    assert packets == [16, 2]
    assert [frame.data for frame in came[1:]] == [payloads[1].data, payloads[2].data]


def test_a_hello_for_a_plan_or_bundle_that_is_not_here_ends_the_session(bundle):
    async def work(server):
        for changes, number, reason in (({}, 1, Reason.PLAN), ({"bundle": bytes(32)}, None, Reason.PROTOCOL)):
            guest = Guest(server, bundle)
            assert (await guest.greet()).id.kind == Kind.WELCOME
            guest.number = guest.number if number is None else number
            assert Refusal.from_bytes((await guest.greet(**changes)).data).reason is reason
            await asyncio.sleep(0.001)
            assert guest.session.closed

    served(bundle, work)


def test_gaps_are_filled_with_the_frame_before_of_the_same_plan(tmp_path):
    bundle = make_bundle(tmp_path, codec="float32+last", transport="udp")
    raw = device_half(bundle, "rc")

    async def work(server):
        guest, x = Guest(server, bundle, carrier="udp"), samples()
        await guest.greet()
        guest.send(x[0])
        first = (await guest.response())[1]
        guest.session.send(Kind.FRAME, raw.hop.number, 1, raw(x[1]).payload)
        assert (await guest.response())[1].status is Status.OK
        guest.session.gaps = ((0, len(guest.half(x[0]).payload.data)),)
        guest.send(x[5], 2)  # of which nothing is left
        assert (await guest.response())[1].tensors == first.tensors

    served(bundle, work)


def test_what_lies_before_the_floor_is_refused_and_never_run(bundle):
    async def work(server):
        assert [half.plan.id for half in server.halves.values()] == ["sc"]
        raw = Guest(server, bundle, "rc")
        answer = Refusal.from_bytes((await raw.greet()).data)
        assert answer.reason is Reason.FLOOR
        assert "privacy floor" in answer.text
        sly = Guest(server, bundle)  # it greets for a plan that is allowed, and sends another
        assert (await sly.greet()).id.kind == Kind.WELCOME
        data = raw.half(samples()[0]).payload.data
        assert Refusal.from_bytes((await sly.ask(Kind.FRAME, data, raw.number)).data).reason is Reason.FLOOR
        await asyncio.sleep(0.001)
        assert raw.session.closed
        assert sly.session.closed
        good = Guest(server, bundle)
        await good.greet()
        good.send(samples()[0])
        assert (await good.response())[1].status is Status.OK

    served(with_floor(bundle, 1), work)


def test_a_bundle_of_nothing_but_plans_before_the_floor_is_not_served(bundle):
    with pytest.raises(BundleError, match="privacy floor of 2 layers"):
        Server(with_floor(bundle, 2))
    with pytest.raises(BundleError, match="privacy floor of 1 layers"):
        Server(with_floor(bundle, 1), ["rc"])


def test_frames_of_a_plan_that_is_not_served_are_answered(bundle):
    async def work(server):
        guest, raw = Guest(server, bundle), device_half(bundle, "rc")
        await guest.greet()
        data = raw(samples()[0]).payload.data
        answer = Response.from_bytes((await guest.ask(Kind.FRAME, data, raw.hop.number)).data)
        assert answer.status is Status.DAMAGED

    served(bundle, work, ["sc"])


def test_sessions_know_what_their_bundle_needs(bundle):
    async def work(server):
        session, there = pair("udp")
        server.accept(there, b"", True)
        half = device_half(bundle, "sc")
        session.send(Kind.HELLO, half.hop.number, 0, Payload(Hello(bytes.fromhex(bundle.manifest.bundle)).to_bytes()))
        while not session.came:
            await asyncio.sleep(0)
        assert there.limits.most_bytes < Limits().most_bytes
        assert there.pace_of(half.hop.number).packet_bytes == half.hop.packet_bytes
        assert there.pace_of(1) == there.pace_of(half.hop.number)

    served(bundle, work)
