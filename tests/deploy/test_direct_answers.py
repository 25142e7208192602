"""Answers that go from the last machine directly to the device, with all machines in one loop or on loopback."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import numpy as np
import pytest
from memory_sessions import pair
from small_bundle import samples
from test_client import running
from test_forwarding import Fibre, answer, joined
from test_server import Guest
from tier_bundle import GATEWAY, make_tiers, network

from splitimpera.codec.framing import Kind
from splitimpera.core.errors import LinkError
from splitimpera.deploy import ways
from splitimpera.deploy.adaptive_client import AdaptiveClient
from splitimpera.deploy.answer_session import AnswerSession
from splitimpera.deploy.client import Client
from splitimpera.deploy.connection import Exchange
from splitimpera.deploy.device_run import DeviceRun, run_line
from splitimpera.deploy.forwarding import NextMachine
from splitimpera.deploy.frame_clock import FrameClock
from splitimpera.deploy.frame_log import line_of, read_log
from splitimpera.deploy.messages import Answers, Hello, Reason, Refusal, Response, Status, Welcome, result_of
from splitimpera.deploy.server import Server
from splitimpera.deploy.sessions import Limits
from splitimpera.deploy.sources import open_source
from splitimpera.records.traffic import Payload

KEY, OTHER = bytes(range(16)), bytes(16)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_tiers(tmp_path_factory.mktemp("direct") / "bundle", direct=True)


@pytest.fixture(scope="module")
def finishing(tmp_path_factory):
    return make_tiers(tmp_path_factory.mktemp("direct") / "bundle", direct=True, finishes=True)


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


class Taker(Guest):
    """Who takes answers, and sends nothing."""

    def __init__(self, server, bundle, plan="each", token=b"", place=-1):
        super().__init__(server, bundle, plan, token=token)
        self.number = bundle.manifest.plan(plan).hops[place].number

    async def take(self, key=KEY, **changes):
        """The reason why it may not; None: it may."""
        said = await self.greet(key=key, answers=Answers.TAKEN, **changes)
        return Refusal.from_bytes(said.data).reason if said.id.kind == Kind.REFUSAL else None


async def sensor(gateway, bundle, plan="each", key=KEY):
    guest = Guest(gateway, bundle, plan)
    welcome = await guest.greet(key=key, answers=Answers.WANTED)
    assert welcome.id.kind == Kind.WELCOME
    await joined(gateway)
    return guest


# Which way an answer goes ---------------------------------------------------------------------------------------------


def test_the_answer_goes_to_the_session_of_its_key_and_a_word_along_the_way(bundle, tiers):
    async def work(gateway, cloud, fibre):
        taker, x = Taker(cloud, bundle), samples()[3]
        assert await taker.take() is None
        guest = await sensor(gateway, bundle)
        word = await answer(guest, x, 7)
        number, response = await taker.response()
        assert (number, response.status) == (7, Status.OK)
        np.testing.assert_allclose(result_of(response.tensors, taker.specs)[0], network(x[None])[0], rtol=1e-5)
        assert (word.status, word.tensors) == (Status.DIRECT, b"")
        (onward,) = word.hops
        assert (onward.response.status, onward.response.run_s) == (Status.DIRECT, response.run_s)
        assert not any(own.sent for own in gateway._forwarding._of.values())

    tiers(bundle, work)


def test_a_plan_whose_gateway_only_forwards_is_answered_likewise(bundle, tiers):
    async def work(gateway, cloud, fibre):
        taker = Taker(cloud, bundle, "past")
        assert await taker.take() is None
        guest = await sensor(gateway, bundle, "past")
        assert (await answer(guest, samples()[0], 1)).status is Status.DIRECT
        assert (await taker.response())[1].status is Status.OK

    tiers(bundle, work)


def test_without_a_session_that_takes_it_the_answer_comes_along_the_way(bundle, tiers):
    async def work(gateway, cloud, fibre):
        guest, x = await sensor(gateway, bundle), samples()[3]
        assert (await answer(guest, x, 0)).status is Status.OK
        taker = Taker(cloud, bundle)
        assert await taker.take() is None
        assert (await answer(guest, x, 1)).status is Status.DIRECT
        taker.session.close()
        await asyncio.sleep(0.01)
        response = await answer(guest, x, 2)
        assert response.status is Status.OK
        np.testing.assert_allclose(result_of(response.tensors, guest.specs)[0], network(x[None])[0], rtol=1e-5)
        assert len(cloud._answers) == 0

    tiers(bundle, work)


def test_a_session_that_takes_nothing_more_loses_no_answer(bundle, tiers):
    async def work(gateway, cloud, fibre):
        taker = Taker(cloud, bundle)
        assert await taker.take() is None
        guest = await sensor(gateway, bundle)
        taker.there.refuses = True
        assert (await answer(guest, samples()[0])).status is Status.OK

    tiers(bundle, work)


def test_what_is_no_answer_comes_along_the_way(bundle, tiers):
    async def work(gateway, cloud, fibre):
        taker = Taker(cloud, bundle)
        assert await taker.take() is None
        guest = await sensor(gateway, bundle)
        assert (await answer(guest, samples()[0])).status is Status.DIRECT
        busy = await answer(guest, samples()[0], 1)
        assert (busy.status, busy.hops[0].response.status) == (Status.BUSY, Status.BUSY)
        assert [number for number, _ in [await taker.response()]] == [0]
        assert taker.session.came == []

    tiers(bundle, work, rate_limit_hz=1.0)


def test_what_the_gateway_finishes_comes_along_the_way(finishing, tiers):
    async def work(gateway, cloud, fibre):
        taker = Taker(cloud, finishing)
        assert await taker.take() is None
        guest = await sensor(gateway, finishing)
        fibre.cut()
        response = await answer(guest, samples()[0])
        assert (response.status, response.hops) == (Status.OK, [])

    tiers(finishing, work)


def test_frames_of_one_number_are_not_under_way_at_once(bundle, tiers):
    async def work(gateway, cloud, fibre):
        taker = Taker(cloud, bundle)
        assert await taker.take() is None
        guest = await sensor(gateway, bundle)
        for _ in range(2):
            guest.send(samples()[0], 5)
        said = [(await guest.response())[1].status for _ in range(2)]
        assert set(said) <= {Status.DAMAGED, Status.DIRECT}
        assert Status.DIRECT in said
        assert (await answer(guest, samples()[0], 5)).status is Status.DIRECT

    tiers(bundle, work)


# Who may take what ----------------------------------------------------------------------------------------------------


def test_a_foreign_key_gets_nothing_of_others_answers(bundle, tiers):
    async def work(gateway, cloud, fibre):
        takers = {key: Taker(cloud, bundle) for key in (KEY, OTHER)}
        for key, taker in takers.items():
            assert await taker.take(key) is None
        guests = {key: await sensor(gateway, bundle, key=key) for key in (KEY, OTHER)}
        for key, guest in guests.items():
            assert (await answer(guest, samples()[0], key[1])).status is Status.DIRECT
        for key, taker in takers.items():
            assert (await taker.response())[0] == key[1]
            assert taker.session.came == []
        alone = await sensor(gateway, bundle, key=bytes([9] * 16))
        assert (await answer(alone, samples()[0], 4)).status is Status.OK
        assert [taker.session.came for taker in takers.values()] == [[], []]

    tiers(bundle, work)


def test_a_key_has_one_session_the_first(bundle, tiers):
    async def work(gateway, cloud, fibre):
        first, second = Taker(cloud, bundle), Taker(cloud, bundle)
        assert await first.take() is None
        assert await second.take() is Reason.PROTOCOL
        guest = await sensor(gateway, bundle)
        assert (await answer(guest, samples()[0])).status is Status.DIRECT
        assert (await first.response())[1].status is Status.OK
        assert second.session.came == []
        assert len(cloud._answers) == 1

    tiers(bundle, work)


def test_who_is_not_let_in_holds_no_key(bundle, tiers):
    async def work(gateway, cloud, fibre):
        assert await Taker(cloud, bundle, token=b"right").take() is Reason.TOKEN
        assert await Taker(cloud, bundle).take(bundle=bytes(32)) is Reason.BUNDLE
        assert await Taker(gateway, bundle, place=0).take() is Reason.PLAN
        assert len(cloud._answers) == len(gateway._answers) == 0
        assert await Taker(cloud, bundle, token=b"right").take(token=b"right") is None

    tiers(bundle, work)


def test_no_more_keys_are_held_than_there_may_be_clients(bundle, tiers):
    async def work(gateway, cloud, fibre):
        said = [await Taker(cloud, bundle).take(bytes([number] * 16)) for number in range(5)]
        assert said == [None, None, None, Reason.BUSY, Reason.BUSY]
        assert len(cloud._answers) == 3

    tiers(bundle, work, clients=3)


@pytest.mark.parametrize("answers", [Answers.TAKEN, Answers.WANTED])
def test_a_session_keeps_its_key(bundle, tiers, answers):
    async def work(gateway, cloud, fibre):
        guest = Taker(cloud, bundle)
        for key, kind in ((KEY, Kind.WELCOME), (KEY, Kind.WELCOME), (OTHER, Kind.REFUSAL)):
            assert (await guest.greet(key=key, answers=answers)).id.kind == kind
        await asyncio.sleep(0.01)
        assert len(cloud._answers) == 0

    tiers(bundle, work)


def test_who_takes_answers_sends_no_frames(bundle, tiers):
    async def work(gateway, cloud, fibre):
        taker = Taker(cloud, bundle)
        assert await taker.take() is None
        said = await taker.ask(Kind.FRAME, b"x")
        assert Refusal.from_bytes(said.data).reason is Reason.PROTOCOL

    tiers(bundle, work)


def test_where_answers_come_along_the_way_there_are_no_keys(tmp_path, tiers):
    given = make_tiers(tmp_path / "bundle")

    async def work(gateway, cloud, fibre):
        assert await Taker(cloud, given).take() is Reason.PROTOCOL
        said = await Guest(gateway, given, "each").greet(key=KEY, answers=Answers.WANTED)
        assert Refusal.from_bytes(said.data).reason is Reason.PROTOCOL

    tiers(given, work)


def test_whatever_is_said_of_keys_is_answered_and_holds_nothing_when_its_sender_is_gone(bundle, tiers):
    """Hellos with a byte or two of another value, a few bytes more or less, keys of others."""
    random = np.random.default_rng(5)

    async def work(gateway, cloud, fibre):
        here = Taker(cloud, bundle)
        assert await here.take() is None
        for _ in range(150):
            guest = Taker(cloud, bundle)
            hello = Hello(bytes.fromhex(bundle.manifest.bundle), key=KEY, answers=random.choice(list(Answers)))
            data = bytearray(hello.to_bytes())
            for place in random.integers(len(data), size=random.integers(3)):
                data[place] = random.integers(256)
            data = bytes(data[: len(data) - random.integers(3)]) + bytes(random.integers(2))
            said = await guest.ask(Kind.HELLO, data)
            assert said.id.kind in (Kind.WELCOME, Kind.REFUSAL)
            assert len(cloud._answers) <= 2
            guest.session.close()
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        assert len(cloud._answers) == 1
        guest = await sensor(gateway, bundle)
        assert (await answer(guest, samples()[0])).status is Status.DIRECT
        assert (await here.response())[1].status is Status.OK

    tiers(bundle, work)


@pytest.mark.parametrize("change", [b"", b"\0", b"\3" + KEY, b"\1" + KEY[1:], b"\1" + KEY + b"\0"])
def test_a_hello_has_a_key_or_none(change):
    data = Hello(bytes(32), token=b"t").to_bytes() + change
    if change:
        with pytest.raises(LinkError):
            Hello.from_bytes(data)
    else:
        assert Hello.from_bytes(data).answers is None
    assert "0102" not in repr(Hello(bytes(32), key=KEY, answers=Answers.TAKEN))


# The device's end -----------------------------------------------------------------------------------------------------


def awaiting(bundle, work):
    """Run `work(session, there, found)` with a session whose server's end is moved by hand; frame 3 is awaited."""

    async def run():
        here, there = pair()
        session, found, said = AnswerSession(here, bundle.manifest.plan("each").hops[-1]), [], []
        welcome = Payload(Welcome(1, 1 << 20, 16).to_bytes())
        there.on_message = lambda message: there.send(Kind.WELCOME, message.frame.id.plan, 0, welcome)
        await session.greet(Hello(bytes(32)), Limits())
        give_up_s = asyncio.get_running_loop().time() + 0.05
        sent = Exchange(10, 1, 1.0, None, None)
        session.expect(3, give_up_s, lambda: sent, lambda *told: found.append(told), said.append)
        assert session.waits()
        await work(session, there, found)
        assert said == ([WORD.response] if found[0][1] else [])
        assert not session.waits()

    asyncio.run(run())


def reply(there, frame=3, status=Status.OK):
    there.send(Kind.RESPONSE, 0, frame, Payload(Response(status, tensors=b"1234").to_bytes()))


WORD = Exchange(10, 1, 2.0, Response(Status.DIRECT), 5.0)


@pytest.mark.parametrize("word_first", [False, True])
def test_word_and_answer_may_come_in_any_order(bundle, word_first):
    async def work(session, there, found):
        if word_first:
            session.came_along(3, WORD)
        reply(there)
        for frame in (3, 4):  # twice, and of one that was never sent
            reply(there, frame)
        await asyncio.sleep(0.01)
        session.came_along(3, WORD)
        ((exchange, direct),) = found
        assert direct
        assert (exchange.response.tensors, exchange.sent_s) == (b"1234", 2.0 if word_first else 1.0)

    awaiting(bundle, work)


def test_an_answer_along_the_way_is_one(bundle):
    async def work(session, there, found):
        along = Exchange(10, 1, 2.0, Response(Status.OK, tensors=b"1234"), 5.0)
        session.came_along(3, along)
        reply(there)
        await asyncio.sleep(0.01)
        assert found == [(along, False)]

    awaiting(bundle, work)


@pytest.mark.parametrize("nonsense", [None, b"", b"\xff" * 32])
def test_what_is_no_answer_is_none_by_that_session(bundle, nonsense):
    async def work(session, there, found):
        if nonsense is None:
            for status in set(Status) - {Status.OK}:
                reply(there, status=status)
        else:
            there.send(Kind.RESPONSE, 0, 3, Payload(nonsense))
        await asyncio.sleep(0.01)
        assert found == []
        assert session.session.closed is (nonsense is not None)
        session.came_along(3, Exchange(10, 1, 2.0, None, None))
        assert found[0][0].response is None

    awaiting(bundle, work)


@pytest.mark.parametrize("ends", [False, True])
def test_an_answer_that_never_comes_is_lost(bundle, ends):
    async def work(session, there, found):
        session.came_along(3, WORD)
        if ends:
            there.close()
        await asyncio.sleep(0.01 if ends else 0.08)
        ((exchange, direct),) = found
        assert (exchange.response.status, exchange.response_s, direct) == (Status.DIRECT, None, False)

    awaiting(bundle, work)


def test_a_word_after_the_session_has_ended_is_all_that_comes(bundle):
    async def work(session, there, found):
        there.close()
        await asyncio.sleep(0.01)
        assert found == []  # it may still be answered along the way
        session.came_along(3, WORD)
        assert found[0][0].response_s is None

    awaiting(bundle, work)


# Programs on loopback -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["tcp", "udp"])
def carried(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("carried") / "bundle"
    return make_tiers(folder, direct=True, transports=(request.param,) * 2, deadline_s=2.0)


@pytest.fixture
def machines(carried):
    """Cloud and gateway on loopback, and their addresses."""
    with ExitStack() as stack:
        cloud, there = stack.enter_context(running(carried))
        next_machine = NextMachine(there)
        _, here = stack.enter_context(running(carried, machine=GATEWAY, next_machine=next_machine))
        yield cloud, here, there


def test_a_client_gets_its_answers_directly(carried, machines):
    cloud, here, there = machines
    x = samples()
    with Client(carried, here, "each", insecure=True, answers=there) as client:
        found = [client.infer(x[place]) for place in range(3)]
        found += [one.result(5) for one in [client.submit(x[place]) for place in range(3, 6)]]
        for place, one in enumerate(found):
            assert (one.outcome, one.direct, one.frame) == ("ok", True, place)
            np.testing.assert_allclose(one.result[0], network(x[place : place + 1])[0], rtol=1e-5)
            assert one.begun_s < one.sent_s <= one.response_s
            (onward,) = one.word.result(5).hops
            assert onward.response.run_s == one.response.run_s > 0
        (taker,) = cloud._answers._taking.values()
        taker.session._loop.call_soon_threadsafe(taker.session.close)
        after = [client.infer(x[place]) for place in range(3)]
        assert [(one.outcome, one.answer) for one in after] == [("ok", one.answer) for one in found[:3]]
        assert not after[-1].direct
        assert len(after[-1].response.hops) == 1


def test_the_log_says_which_way_an_answer_came(carried, machines, tmp_path):
    _, here, there = machines
    source = open_source("samples", carried)
    with Client(carried, here, "each", insecure=True, answers=there) as client:
        lines = [run_line(client, source, None, None)]
        tally = DeviceRun(client, source, FrameClock(None, 5, "wait", 1), told=lines.append).run()
    path = tmp_path / "run.jsonl"
    path.write_text("".join(map(line_of, lines)))
    run, frames = read_log(path)
    assert run.schema_version == 6
    assert [(line.outcome, line.direct, len(line.hops)) for line in frames] == [("ok", True, 1)] * 5
    assert all(line.run_s > 0 and line.hops[0].run_s > 0 for line in frames)
    assert (tally.directly, tally.as_json()["directly"]) == (5, 5)


def test_it_is_said_where_direct_answers_come_from_and_of_no_other_plan(bundle):
    with pytest.raises(LinkError, match="come back from 'cloud' directly, and it is not said where that is"):
        Client(bundle, "127.0.0.1:1", "each", insecure=True)
    with pytest.raises(LinkError, match="answers of plan 'lc' come back along the way"):
        Client(bundle, plan="lc", answers="127.0.0.1:1")
    with pytest.raises(LinkError, match="'cloud' is no address"):
        Client(bundle, "127.0.0.1:1", "each", insecure=True, answers="cloud")


def test_direct_answers_take_one_server(finishing):
    servers = ["127.0.0.1:1", "127.0.0.1:2"]
    with pytest.raises(LinkError, match="there are 2 servers, and answers of plan 'each' come back directly"):
        AdaptiveClient(finishing, servers, "each", insecure=True)
    AdaptiveClient(finishing, servers, "two", insecure=True)
    AdaptiveClient(finishing, servers[:1], "each", insecure=True)


def test_a_last_machine_that_is_not_there_is_said_at_once(carried, machines):
    _, here, _ = machines
    with (
        pytest.raises(LinkError, match="cannot be reached"),
        Client(carried, here, "each", insecure=True, answers=("127.0.0.1", 1)),
    ):
        pass
