"""The server half over sessions in memory: greetings, queues, batches, deadlines, an orderly end."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from math import inf
from time import monotonic

import numpy as np
import pytest
from memory_sessions import pair
from small_bundle import make_bundle, middle, network, samples, weights

from splitimpera.codec.framing import FrameId, Kind, ReceivedFrame
from splitimpera.core.errors import BundleError, LinkError
from splitimpera.deploy.batching import deadline
from splitimpera.deploy.halves import device_half
from splitimpera.deploy.messages import Hello, Reason, Refusal, Response, Status, Welcome, result_of
from splitimpera.deploy.server import Server
from splitimpera.deploy.sessions import Message
from splitimpera.records.traffic import Payload


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundle"))


class Guest:
    """A client that speaks the protocol by hand."""

    def __init__(self, server, bundle, plan="sc", carrier="tcp", token=b""):
        self.session, there = pair(carrier)
        self.bundle = bundle
        self.half = device_half(bundle, plan)
        self.number = self.half.hop.number
        self.specs = tuple(entry.spec for entry in bundle.manifest.result)
        server.accept(there, token)
        self.there = there

    async def next(self):
        async with asyncio.timeout(5):
            while not self.session.came:
                await asyncio.sleep(0)
        return self.session.came.pop(0).frame

    async def ask(self, kind, data, number=None, frame=0, **more):
        self.session.send(kind, self.number if number is None else number, frame, Payload(data), **more)
        return await self.next()

    async def greet(self, **changes):
        hello = replace(Hello(bytes.fromhex(self.bundle.manifest.bundle)), **changes)
        return await self.ask(Kind.HELLO, hello.to_bytes())

    def send(self, x, frame=0, **more):
        self.session.send(Kind.FRAME, self.number, frame, self.half(x).payload, **more)

    async def response(self):
        answer = await self.next()
        assert answer.id.kind == Kind.RESPONSE
        return answer.id.frame, Response.from_bytes(answer.data)


class Held:
    """Keeps a server's program waiting, so that frames queue up behind it."""

    def __init__(self, server):
        (self.half, *_) = server.halves.values()
        self.layers = self.half.layers
        self.gate = threading.Event()
        self.batches = []

        def program(tensors):
            self.batches.append(len(tensors[0]))
            assert self.gate.wait(5)
            return self.layers.program(tensors)

        object.__setattr__(self.half, "layers", replace(self.layers, program=program))

    async def busy(self):
        async with asyncio.timeout(5):
            while not self.batches:
                await asyncio.sleep(0.001)


def served(bundle, work, **options):
    """Run `work(server)` in a loop with a server."""

    async def run():
        async with Server(bundle, ["sc"], **options) as server:
            return await work(server)

    return asyncio.run(run())


def test_a_frame_comes_back_as_what_the_network_says_of_it(bundle):
    async def work(server):
        guest, x = Guest(server, bundle), samples()[3]
        answer = await guest.greet()
        assert answer.id.kind == Kind.WELCOME
        assert Welcome.from_bytes(answer.data).most_frames == 16
        guest.send(x, frame=7)
        frame, response = await guest.response()
        assert (frame, response.status, response.batch) == (7, Status.OK, 1)
        assert response.total_s >= response.assembled_s + response.queued_s + response.decode_s + response.run_s > 0
        (logits,) = result_of(response.tensors, guest.specs)
        np.testing.assert_allclose(logits, network(x[None])[0], rtol=1e-5)

    served(bundle, work)


@pytest.mark.parametrize(
    ("changes", "number", "token", "reason"),
    [
        ({"bundle": bytes(32)}, None, b"", Reason.BUNDLE),
        ({"lowest": 2, "highest": 3}, None, b"", Reason.VERSION),
        ({}, 1, b"", Reason.PLAN),
        ({"token": b"wrong"}, None, b"right", Reason.TOKEN),
        ({}, None, b"right", Reason.TOKEN),
    ],
)
def test_clients_that_do_not_belong_here_are_told_why_and_get_nothing(bundle, changes, number, token, reason):
    async def work(server):
        guest = Guest(server, bundle, token=token)
        guest.number = guest.number if number is None else number
        answer = await guest.greet(**changes)
        assert answer.id.kind == Kind.REFUSAL
        assert Refusal.from_bytes(answer.data).reason is reason
        await asyncio.sleep(0.001)
        assert guest.session.closed

    served(bundle, work)


def test_one_who_is_not_let_in_does_not_learn_which_bundle_is_here(bundle):
    async def work(server):
        answer = await Guest(server, bundle, token=b"right").greet(bundle=bytes(32))
        assert Refusal.from_bytes(answer.data).reason is Reason.TOKEN

    served(bundle, work)


@pytest.mark.parametrize(("kind", "data"), [(Kind.FRAME, b"x"), (Kind.RESPONSE, b""), (Kind.HELLO, b"nonsense")])
def test_who_does_not_greet_first_is_turned_away(bundle, kind, data):
    async def work(server):
        guest = Guest(server, bundle)
        answer = await guest.ask(kind, data)
        assert Refusal.from_bytes(answer.data).reason is Reason.PROTOCOL

    served(bundle, work)


def test_a_hello_that_comes_twice_is_welcomed_twice(bundle):
    async def work(server):
        guest = Guest(server, bundle, carrier="udp")
        assert [(await guest.greet()).id.kind for _ in range(2)] == [Kind.WELCOME, Kind.WELCOME]

    served(bundle, work)


def test_no_more_clients_than_may_be_there(bundle):
    async def work(server):
        guests = [Guest(server, bundle) for _ in range(2)]
        assert (await guests[0].greet()).id.kind == Kind.WELCOME
        assert Refusal.from_bytes((await guests[1].greet()).data).reason is Reason.BUSY
        guests[0].session.close()
        await asyncio.sleep(0.001)
        assert (await Guest(server, bundle).greet()).id.kind == Kind.WELCOME

    served(bundle, work, clients=1)


def test_frames_of_several_clients_are_run_together(bundle):
    async def work(server):
        held, guests, x = Held(server), [Guest(server, bundle) for _ in range(5)], samples()
        for guest in guests:
            await guest.greet()
        guests[0].send(x[0])
        await held.busy()
        for place, guest in enumerate(guests[1:], 1):
            guest.send(x[place], frame=place)
        await asyncio.sleep(0.01)
        held.gate.set()
        answers = [await guest.response() for guest in guests]
        assert held.batches == [1, 4]
        assert [response.batch for _, response in answers] == [1, 4, 4, 4, 4]
        logits = [result_of(response.tensors, guests[0].specs)[0] for _, response in answers]
        np.testing.assert_allclose(logits, network(x[:5]), rtol=1e-5)

    served(bundle, work, batch=4)


@pytest.mark.parametrize(("frames", "wait_s", "batches"), [(3, 10.0, [3]), (2, 0.3, [2]), (2, 0.0, [1, 1])])
def test_a_batch_that_is_full_starts_at_once_and_another_after_its_time(bundle, frames, wait_s, batches):
    async def work(server):
        held, guest = Held(server), Guest(server, bundle)
        held.gate.set()
        await guest.greet()
        begun_s = monotonic()
        for frame in range(frames):
            guest.send(samples()[frame], frame)
            if wait_s == 0:
                await guest.response()
        if wait_s:
            answers = [await guest.response() for _ in range(frames)]
            assert all(response.status is Status.OK for _, response in answers)
            assert monotonic() - begun_s >= (0.0 if frames == 3 else wait_s)
        assert held.batches == batches

    served(bundle, work, batch=3, batch_wait_s=wait_s)


@pytest.mark.parametrize(("policy", "dropped"), [("drop-oldest", [1, 2]), ("drop-newest", [3, 4])])
def test_the_queue_drops_what_its_policy_says(bundle, policy, dropped):
    async def work(server):
        held, guest = Held(server), Guest(server, bundle)
        await guest.greet()
        guest.send(samples()[0])
        await held.busy()
        for frame in range(1, 5):
            guest.send(samples()[frame], frame)
        answers = dict([await guest.response() for _ in dropped])
        assert sorted(answers) == dropped
        assert {response.status for response in answers.values()} == {Status.FULL}
        held.gate.set()
        answers = dict([await guest.response() for _ in range(3)])
        assert sorted(answers) == sorted({0, 1, 2, 3, 4} - set(dropped))
        assert {response.status for response in answers.values()} == {Status.OK}

    served(bundle, work, queue=2, queue_policy=policy)


def test_one_clients_flood_does_not_take_anothers_place(bundle):
    async def work(server):
        held, loud, calm = Held(server), Guest(server, bundle), Guest(server, bundle)
        await loud.greet()
        await calm.greet()
        loud.send(samples()[0])
        await held.busy()
        calm.send(samples()[1], 1)
        for frame in range(100):
            loud.send(samples()[2], frame)
        await asyncio.sleep(0.02)
        held.gate.set()
        _, response = await calm.response()
        assert response.status is Status.OK
        statuses = [(await loud.response())[1].status for _ in range(101)]
        assert statuses.count(Status.OK) == 1 + 7
        assert statuses.count(Status.FULL) == 93

    served(bundle, work, queue=8)


def test_an_unknown_policy_is_refused(bundle):
    with pytest.raises(LinkError, match="did you mean 'drop-oldest'"):
        Server(bundle, queue_policy="drop-olds")


def test_work_whose_deadline_has_passed_is_not_begun(bundle):
    async def work(server):
        held, guest = Held(server), Guest(server, bundle)
        await guest.greet()
        guest.send(samples()[0])
        await held.busy()
        guest.send(samples()[1], 1, time_left_s=0.01)
        guest.send(samples()[2], 2, time_left_s=10.0)
        await asyncio.sleep(0.02)
        held.gate.set()
        answers = dict([await guest.response() for _ in range(3)])
        assert [answers[frame].status for frame in range(3)] == [Status.OK, Status.LATE, Status.OK]
        assert answers[1].queued_s >= 0.01
        assert answers[1].tensors == b""
        assert len(held.batches) == 2

    served(bundle, work)


def test_a_deadline_counts_from_the_first_packet_less_half_a_round_trip():
    frame = ReceivedFrame(FrameId(Kind.FRAME, 1, 0, 0), b"", (), 0.1)
    assert deadline(Message(frame, 5.0, 6.0), 0.02) == pytest.approx(5.09)
    assert deadline(Message(frame, 5.0, 6.0), inf) == pytest.approx(5.1)
    assert deadline(Message(replace(frame, time_left_s=inf), 5.0, 6.0), 0.02) == inf


def test_gaps_are_filled_and_counted(tmp_path):
    bundle = make_bundle(tmp_path, codec="float32+zero", transport="udp")

    async def work(server):
        guest, x = Guest(server, bundle, carrier="udp"), samples()[:1]
        await guest.greet()
        guest.session.gaps = ((0, 64),)
        guest.send(x[0], time_left_s=0.0)  # used as it is when its deadline strikes, not late
        _, response = await guest.response()
        assert (response.status, response.missing_bytes, response.lost_packets) == (Status.OK, 64, 1)
        expected = middle(x)
        expected.reshape(1, -1)[:, :16] = 0
        (logits,) = result_of(response.tensors, guest.specs)
        np.testing.assert_allclose(logits, expected.reshape(-1) @ weights()[1], rtol=1e-5)

    served(bundle, work)


def test_gaps_are_filled_with_the_frame_before_of_the_same_client(tmp_path):
    bundle = make_bundle(tmp_path, codec="float32+last", transport="udp")

    async def work(server):
        guests, x = [Guest(server, bundle, carrier="udp") for _ in range(2)], samples()
        for guest in guests:
            await guest.greet()
        whole = len(guests[0].half(x[0]).payload.data)
        found = []
        for guest, sample in zip(guests, (0, 1), strict=True):
            guest.send(x[sample])
            await guest.response()
            guest.session.gaps = ((0, whole),)
            guest.send(x[5], 1)  # of which nothing is left
            _, response = await guest.response()
            found.append(result_of(response.tensors, guest.specs)[0])
        np.testing.assert_allclose(found, network(x[:2]), rtol=1e-5)

    served(bundle, work, batch=4)


def test_what_its_codec_cannot_read_is_damaged(tmp_path):
    bundle = make_bundle(tmp_path, codec="uint8+zstd")

    async def work(server):
        guest = Guest(server, bundle)
        await guest.greet()
        frames = [(guest.number, b""), (guest.number, b"no zstd"), (guest.number ^ 1, b"of another plan")]
        for number, data in [*frames, (guest.number, bytes(server.bundles.newest.largest + 1))]:
            answer = Response.from_bytes((await guest.ask(Kind.FRAME, data, number)).data)
            assert answer.status is Status.DAMAGED
        guest.send(samples()[0])
        assert (await guest.response())[1].status is Status.OK

    served(bundle, work)


def test_a_program_that_fails_is_told_and_the_server_goes_on(bundle):
    async def work(server):
        held, guest = Held(server), Guest(server, bundle)
        await guest.greet()
        whole = held.layers.program
        object.__setattr__(held.half, "layers", replace(held.layers, program=lambda _: 1 / 0))
        guest.send(samples()[0])
        assert (await guest.response())[1].status is Status.FAILED
        object.__setattr__(held.half, "layers", replace(held.layers, program=whole))
        guest.send(samples()[0])
        assert (await guest.response())[1].status is Status.OK

    served(bundle, work)


def test_an_orderly_end_answers_what_is_there_and_takes_nothing_new(bundle):
    async def work(server):
        held, guest, late = Held(server), Guest(server, bundle), Guest(server, bundle)
        await guest.greet()
        guest.send(samples()[0])
        await held.busy()
        guest.send(samples()[1], 1)
        await asyncio.sleep(0.001)
        server.stop_soon()
        serving = asyncio.create_task(server.serve())
        await asyncio.sleep(0.001)
        guest.send(samples()[2], 2)
        assert Refusal.from_bytes((await late.greet()).data).reason is Reason.STOPPING
        held.gate.set()
        await serving
        answers = dict([await guest.response() for _ in range(3)])
        assert [answers[frame].status for frame in range(3)] == [Status.OK, Status.OK, Status.STOPPING]
        assert guest.session.closed

    served(bundle, work)


def test_a_client_that_vanishes_leaves_nothing_behind(bundle):
    async def work(server):
        held, gone, stays = Held(server), Guest(server, bundle), Guest(server, bundle)
        await gone.greet()
        await stays.greet()
        for frame in range(3):
            gone.send(samples()[0], frame)
        await held.busy()
        gone.session.close()
        stays.send(samples()[1])
        await asyncio.sleep(0.001)
        held.gate.set()
        assert (await stays.response())[1].status is Status.OK
        assert len(held.batches) == 2

    served(bundle, work)


def test_a_client_that_takes_no_responses_is_closed(bundle):
    async def work(server):
        guest = Guest(server, bundle)
        await guest.greet()
        guest.there.refuses = True
        guest.send(samples()[0])
        async with asyncio.timeout(5):
            while not guest.session.closed:
                await asyncio.sleep(0.001)
        assert guest.session.came == []

    served(bundle, work)


def test_a_plan_that_runs_on_the_device_alone_is_not_served(bundle):
    with pytest.raises(BundleError, match="device alone"):
        Server(bundle, ["lc"])
    with pytest.raises(BundleError, match="has no plan 'xx'"):
        Server(bundle, ["xx"])


def test_all_plans_of_a_bundle_are_served(bundle):
    async def run():
        async with Server(bundle) as server:
            for plan in ("sc", "rc"):
                guest = Guest(server, bundle, plan)
                await guest.greet()
                guest.send(samples()[0])
                (logits,) = result_of((await guest.response())[1].tensors, guest.specs)
                np.testing.assert_allclose(logits, network(samples()[:1])[0], rtol=1e-5)

    asyncio.run(run())
