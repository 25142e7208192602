"""Three machines in one loop, over sessions in memory: frames go on, answers come back, and without who is away."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from time import monotonic

import numpy as np
import pytest
from memory_sessions import pair
from small_bundle import samples
from test_server import Guest, Held
from tier_bundle import GATEWAY, make_tiers, network

from splitimpera.codec.framing import Kind
from splitimpera.core.errors import UnreachableError
from splitimpera.deploy import forwarding, ways
from splitimpera.deploy.connection import Connection
from splitimpera.deploy.forwarding import NextMachine
from splitimpera.deploy.messages import Status, result_of
from splitimpera.deploy.server import Server


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_tiers(tmp_path_factory.mktemp("tiers"))


@pytest.fixture(scope="module")
def finishing(tmp_path_factory):
    return make_tiers(tmp_path_factory.mktemp("tiers"), finishes=True)


class Fibre:
    """What joins gateway and cloud.

    Attributes:
        ends: The gateway's end of each session so far.
    """

    def __init__(self, cloud):
        self.cloud, self.up, self.ends = cloud, True, []

    async def connect(self, host, port, hop, hello, security, limits, watch=None):
        assert (host, port) == ("cloud", 1)
        if not self.up:
            raise UnreachableError("the cloud is away")
        here, there = pair("tcp" if hop.transport == "tcp" else "udp")
        self.ends.append(here)
        self.cloud.accept(there)
        connection = Connection(here, hop, watch)
        await connection.greet(hello, limits)
        return connection

    def cut(self):
        """End all sessions, and let none begin."""
        self.up = False
        for end in self.ends:
            end.close()


@pytest.fixture
def tiers(monkeypatch):
    """Run `work(gateway, cloud, fibre)` in a loop with both servers."""

    def run(bundle, work, **of_cloud):
        async def both():
            async with Server(bundle, **of_cloud) as cloud:
                fibre = Fibre(cloud)
                monkeypatch.setattr(ways, "connect", fibre.connect)
                next_machine = NextMachine(("cloud", 1))
                async with Server(bundle, machine=GATEWAY, next_machine=next_machine) as gateway:
                    return await work(gateway, cloud, fibre)

        return asyncio.run(both())

    return run


async def answer(guest, x, frame=0, **more):
    guest.send(x, frame, **more)
    number, response = await guest.response()
    assert number == frame
    return response


async def joined(gateway):
    """Wait until all of the gateway's clients have their sessions with the cloud."""
    async with asyncio.timeout(5):
        while not all(own.way.open for own in gateway._forwarding._of.values()):
            await asyncio.sleep(0.001)


def test_a_frame_goes_on_and_its_answer_comes_back(bundle, tiers):
    async def work(gateway, cloud, fibre):
        guest, x = Guest(gateway, bundle, "each"), samples()[3]
        await guest.greet()
        response = await answer(guest, x, 7)
        assert response.status is Status.OK
        np.testing.assert_allclose(result_of(response.tensors, guest.specs)[0], network(x[None])[0], rtol=1e-5)
        (onward,) = response.hops
        there = onward.response
        here_s = response.assembled_s + response.queued_s + response.decode_s + response.run_s
        assert response.total_s >= here_s + onward.encode_s + onward.away_s > onward.away_s
        assert onward.away_s >= there.total_s >= there.queued_s + there.decode_s + there.run_s > 0
        assert (onward.payload_bytes, onward.packets) == (4 * 2 * 4 * 4, 1)
        assert there.onward is None

    tiers(bundle, work)


def test_a_gateway_without_layers_hands_on_what_came(bundle, tiers):
    async def work(gateway, cloud, fibre):
        guest, x = Guest(gateway, bundle, "past"), samples()[0]
        await guest.greet()
        response = await answer(guest, x)
        assert response.status is Status.OK
        assert response.run_s == response.decode_s == response.hops[0].encode_s == 0
        assert response.hops[0].payload_bytes == len(guest.half(x).payload.data)

    tiers(bundle, work)


def test_gaps_are_filled_at_the_gateway(bundle, tiers):
    async def work(gateway, cloud, fibre):
        guest = Guest(gateway, bundle, "filled", "udp")
        await guest.greet()
        guest.session.gaps = ((0, 8),)
        response = await answer(guest, samples()[0], time_left_s=0.1)
        assert response.status is Status.OK
        assert (response.missing_bytes, response.hops[0].response.missing_bytes) == (8, 0)

    tiers(bundle, work)


def test_every_client_has_a_session_of_its_own_there(bundle, tiers):
    async def work(gateway, cloud, fibre):
        guests = [Guest(gateway, bundle, plan) for plan in ("each", "past", "each")]
        for guest in guests:
            await guest.greet()
        responses = await asyncio.gather(*(answer(guest, samples()[1]) for guest in guests))
        assert [response.status for response in responses] == [Status.OK] * 3
        assert len(fibre.ends) == len(cloud._clients) == 3
        guests[0].session.close()
        async with asyncio.timeout(5):
            while len(cloud._clients) > 2:
                await asyncio.sleep(0.001)
        assert (await answer(guests[1], samples()[1], 1)).status is Status.OK

    tiers(bundle, work)


def test_what_the_next_machine_refuses_is_passed_on(bundle, tiers):
    async def work(gateway, cloud, fibre):
        guest = Guest(gateway, bundle, "each")
        await guest.greet()
        assert (await answer(guest, samples()[0])).status is Status.OK
        busy = await answer(guest, samples()[0], 1)
        assert busy.status is Status.BUSY
        assert 0.5 < busy.retry_s <= 1.0
        assert busy.hops[0].response.status is Status.BUSY
        assert busy.tensors == b""

    tiers(bundle, work, rate_limit_hz=1.0)


def test_what_is_left_of_a_deadline_goes_along(bundle, tiers):
    async def work(gateway, cloud, fibre):
        came, take = [], cloud._dispatch.take

        def taken(waiting):
            came.append(waiting.message.frame.time_left_s)
            take(waiting)

        cloud._forwarding._dispatch.take = taken
        guest = Guest(gateway, bundle, "each")
        await guest.greet()
        await answer(guest, samples()[0], 0, time_left_s=3.0)
        await answer(guest, samples()[0], 1)
        assert 2.0 < came[0] < 3.0
        assert came[1] == float("inf")
        late = await answer(guest, samples()[0], 2, time_left_s=0.0)
        assert late.status is Status.LATE
        assert late.hops == []

    tiers(bundle, work)


def test_where_the_next_machine_is_away_that_is_told_at_once(bundle, tiers):
    async def work(gateway, cloud, fibre):
        fibre.up = False
        guest = Guest(gateway, bundle, "each")
        await guest.greet()
        begun_s = monotonic()
        for frame in range(3):
            response = await answer(guest, samples()[0], frame)
            assert response.status is Status.UNREACHABLE
            assert response.hops == []
        assert monotonic() - begun_s < 0.5
        fibre.up = True
        await joined(gateway)
        assert (await answer(guest, samples()[0], 9)).status is Status.OK

    tiers(bundle, work)


def test_with_the_layers_for_it_the_gateway_finishes_what_cannot_go_on(finishing, tiers):
    async def work(gateway, cloud, fibre):
        guest, x = Guest(gateway, finishing, "each"), samples()[2]
        await guest.greet()
        assert len((await answer(guest, x)).hops) == 1
        fibre.cut()
        for frame in (1, 2):
            response = await answer(guest, x, frame)
            assert (response.status, response.hops) == (Status.OK, [])
            np.testing.assert_allclose(result_of(response.tensors, guest.specs)[0], network(x[None])[0], rtol=1e-5)
        fibre.up = True
        await joined(gateway)
        assert len((await answer(guest, x, 3)).hops) == 1

    tiers(finishing, work)


@pytest.mark.parametrize("finishes", [False, True])
def test_frames_that_are_there_when_it_goes_away_are_not_lost(bundle, finishing, tiers, finishes):
    given = finishing if finishes else bundle

    async def work(gateway, cloud, fibre):
        held = Held(cloud)
        guest, x = Guest(gateway, given, "each"), samples()[2]
        await guest.greet()
        guest.send(x)
        await held.busy()
        fibre.cut()
        number, response = await guest.response()
        held.gate.set()
        assert number == 0
        assert response.status is (Status.OK if finishes else Status.UNREACHABLE)

    tiers(given, work)


def test_a_frame_is_finished_here_while_that_can_still_be_in_time(finishing, tiers):
    async def work(gateway, cloud, fibre):
        held = Held(cloud)
        guest, x = Guest(gateway, finishing, "each"), samples()[2]
        await guest.greet()
        begun_s = monotonic()
        response = await answer(guest, x, time_left_s=0.4)
        held.gate.set()
        assert (response.status, response.hops) == (Status.OK, [])
        assert 0.2 < monotonic() - begun_s < 0.4

    tiers(finishing, work)


def test_a_frame_with_gaps_whose_time_is_over_is_left_to_the_next_machine(tmp_path, tiers):
    both = make_tiers(tmp_path, finishes=True, transports=("udp", "udp"))

    async def work(gateway, cloud, fibre):
        held = Held(cloud)
        guest = Guest(gateway, both, "each", "udp")
        await guest.greet()
        guest.session.gaps = ((0, 8),)
        guest.send(samples()[0], time_left_s=0.05)
        await held.busy()
        await asyncio.sleep(0.1)  # nobody asks for it by now
        held.gate.set()
        _, response = await guest.response()
        assert (response.status, len(response.hops)) == (Status.OK, 1)

    tiers(both, work)


def test_a_client_that_leaves_takes_its_frames_along(bundle, tiers):
    async def work(gateway, cloud, fibre):
        held = Held(cloud)
        guest = Guest(gateway, bundle, "each")
        await guest.greet()
        guest.send(samples()[0])
        await held.busy()
        guest.session.close()
        async with asyncio.timeout(5):
            while gateway._forwarding._of or not fibre.ends[0].closed:
                await asyncio.sleep(0.001)
        held.gate.set()

    tiers(bundle, work)


def test_a_gateway_that_stops_waits_for_what_is_away(bundle, tiers):
    async def work(gateway, cloud, fibre):
        held = Held(cloud)
        guest = Guest(gateway, bundle, "each")
        await guest.greet()
        guest.send(samples()[0])
        await held.busy()
        stopping = asyncio.create_task(gateway.stop())
        await asyncio.sleep(0.02)
        assert not stopping.done()
        held.gate.set()
        _, response = await guest.response()
        assert response.status is Status.OK
        await stopping

    tiers(bundle, work)


def test_what_is_more_than_may_be_away_finds_no_room(bundle, tiers):
    async def work(gateway, cloud, fibre):
        held, guest = Held(cloud), Guest(gateway, bundle, "each")
        await guest.greet()
        gateway._forwarding._limits = replace(gateway.limits, most_frames=3)
        for frame in range(4):
            guest.send(samples()[0], frame)
            await asyncio.sleep(0.01)
        frame, full = await guest.response()
        assert (frame, full.status, full.hops) == (3, Status.FULL, [])
        held.gate.set()
        assert [(await guest.response())[1].status for _ in range(3)] == [Status.OK] * 3

    tiers(bundle, work)


def test_who_it_is_for_the_next_machine_is_what_the_gateway_says(bundle, tiers):
    """The hello that goes on names the bundle, and bears the token of the gateway, not that of the client."""

    async def work(gateway, cloud, fibre):
        hellos, accept = [], cloud.accept

        def accepted(there, *more):
            accept(there, *more)
            inner = there.on_message

            def heard(message):
                if message.frame.id.kind is Kind.HELLO:
                    hellos.append(message.frame.data)
                inner(message)

            there.on_message = heard

        cloud.accept = accepted
        guest = Guest(gateway, bundle, "each")
        await guest.greet(token=b"of the client")
        await joined(gateway)
        await answer(guest, samples()[0])
        assert len(hellos) == 1
        assert bytes.fromhex(bundle.manifest.bundle) in hellos[0]
        assert b"of the client" not in hellos[0]

    tiers(bundle, work)


def test_it_is_not_waited_for_ever(bundle, tiers, monkeypatch):
    monkeypatch.setattr(forwarding, "ANSWER_S", 0.1)

    async def work(gateway, cloud, fibre):
        held, guest = Held(cloud), Guest(gateway, bundle, "each")
        await guest.greet()
        response = await answer(guest, samples()[0])
        held.gate.set()
        assert response.status is Status.UNREACHABLE

    tiers(bundle, work)
