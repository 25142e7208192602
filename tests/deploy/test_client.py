"""The device half against a real server on loopback, by TCP."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from small_bundle import make_bundle, network, samples

from splitimpera.core.errors import BundleError, DataError, LinkError
from splitimpera.deploy.client import Client, parsed_address
from splitimpera.deploy.keys import make_keys
from splitimpera.deploy.security import ClientSecurity, ServerSecurity
from splitimpera.deploy.server import Server
from splitimpera.deploy.sessions import Limits


@pytest.fixture(scope="module", params=["tcp", "udp"])
def bundle(request, tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundle"), transport=request.param, deadline_s=2.0)


@pytest.fixture(scope="module")
def streamed(tmp_path_factory):
    """A bundle whose frames go by TCP."""
    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return make_keys(tmp_path_factory.mktemp("keys") / "keys")


@contextmanager
def running(bundle, security=None, port=0, **options):
    """A server in a thread of its own; yields it and its address."""
    started, ended = threading.Event(), threading.Event()
    found = {}

    async def serve():
        async with Server(bundle, **options) as server:
            found["address"] = await server.start("127.0.0.1", port, security)
            found["server"], found["loop"] = server, asyncio.get_running_loop()
            started.set()
            await server.serve()

    def run():
        try:
            asyncio.run(serve())
        finally:
            started.set()
            ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(5)
    try:
        yield found["server"], found["address"]
    finally:
        if not ended.is_set():
            found["loop"].call_soon_threadsafe(found["server"].stop_soon)
        thread.join(5)
    assert not thread.is_alive()


def test_one_frame_after_the_other(bundle):
    x = samples()
    with running(bundle) as (_, address), Client(bundle, address, insecure=True) as client:
        for sample in range(3):
            found = client.infer(x[sample])
            assert (found.frame, found.outcome, found.lost_packets) == (sample, "ok", 0)
            np.testing.assert_allclose(found.result[0], network(x[sample : sample + 1])[0], rtol=1e-5)
            assert found.name == ["cat", "dog", "emu"][found.answer]
            assert found.begun_s < found.sent_s <= found.response_s
            assert found.payload_bytes == 2 * 8 * 8 * 4
            assert 0 < found.response.total_s < found.latency_s


def test_encrypted_with_certificates_of_both_sides(bundle, keys):
    shown = ServerSecurity(keys.server, keys.server_key, keys.authority)
    trusted = ClientSecurity(keys.authority, keys.client, keys.client_key)
    with running(bundle, shown) as (_, address), Client(bundle, address, security=trusted) as client:
        assert [client.infer(one).answer for one in samples(5)] == network(samples(5)).argmax(1).tolist()
        assert client.infer(samples()[0]).lost_packets == 0


def test_encrypted_with_a_token(bundle, keys):
    shown = ServerSecurity(keys.server, keys.server_key, token="secret")
    with running(bundle, shown) as (_, address):
        with Client(bundle, address, security=ClientSecurity(keys.authority, token="secret")) as client:
            assert client.infer(samples()[0]).outcome == "ok"
        for security in (ClientSecurity(keys.authority, token="another"), ClientSecurity(keys.authority)):
            with pytest.raises(LinkError, match="token is not the one that is expected; give this machine"):
                Client(bundle, address, security=security).open()


def test_a_server_of_another_authority_is_not_trusted(bundle, keys, tmp_path):
    other = make_keys(tmp_path / "other")
    shown = ServerSecurity(other.server, other.server_key, token="secret")
    with running(bundle, shown) as (_, address), pytest.raises(LinkError, match="authority"):
        Client(bundle, address, security=ClientSecurity(keys.authority, token="secret")).open()


def test_several_frames_on_their_way_at_once(bundle):
    x = samples()
    with running(bundle, batch=8) as (_, address), Client(bundle, address, insecure=True) as client:
        found = [future.result() for future in [client.submit(one) for one in x[:10]]]
    assert [one.frame for one in found] == list(range(10))
    assert [one.answer for one in found] == network(x[:10]).argmax(1).tolist()


def test_from_an_event_loop(bundle):
    async def run(address):
        async with Client(bundle, address, insecure=True) as client:
            return await asyncio.gather(*(client.infer_async(one) for one in samples()[:5]))

    with running(bundle) as (_, address):
        found = asyncio.run(run(address))
    assert sorted(one.frame for one in found) == list(range(5))
    assert {one.outcome for one in found} == {"ok"}


def test_several_clients_with_plans_of_their_own(bundle):
    x = samples()
    with running(bundle) as (_, address):
        clients = [Client(bundle, address, plan, insecure=True) for plan in ("sc", "rc", "sc")]
        for client in clients:
            with client:
                assert client.infer(x[0]).answer == network(x[:1]).argmax()


def test_a_plan_of_the_device_alone_needs_no_server(bundle):
    with Client(bundle, plan="lc") as client:
        found = client.infer(samples()[4])
    np.testing.assert_allclose(found.result[0], network(samples()[4:5])[0], rtol=1e-5)
    assert (found.outcome, found.sent_s, found.payload_bytes, found.response) == ("ok", None, 0, None)


def test_a_response_that_never_comes_is_lost_after_its_time(bundle):
    with running(bundle) as (server, address), Client(bundle, address, insecure=True) as client:
        assert client.infer(samples()[0]).outcome == "ok"
        gate = threading.Event()
        for half in server.halves.values():
            hold(half, gate)
        found = client.infer(samples()[0], timeout_s=0.05)
        assert (found.outcome, found.result, found.answer, found.latency_s) == ("lost", None, None, None)
        gate.set()
        assert client.infer(samples()[0]).outcome == "ok"


def hold(half, gate):
    whole = half.layers.program

    def program(tensors):
        assert gate.wait(5)
        return whole(tensors)

    object.__setattr__(half, "layers", replace(half.layers, program=program))


def test_a_deadline_travels_with_its_frame(bundle):
    with running(bundle) as (server, address), Client(bundle, address, insecure=True) as client:
        gate = threading.Event()
        for half in server.halves.values():
            hold(half, gate)
        first = client.submit(samples()[0])
        second = client.submit(samples()[1], deadline_s=0.02)
        assert not threading.Event().wait(0.05)
        gate.set()
        assert (first.result().outcome, second.result().outcome) == ("ok", "late")


@pytest.mark.parametrize("asked", [False, True])
def test_where_nobody_asked_for_a_deadline_frames_have_time_to_pass_the_link(tmp_path, asked):
    bundle = make_bundle(tmp_path, transport="udp", deadline_s=1e-6 if asked else None)
    with running(bundle) as (_, address), Client(bundle, address, insecure=True) as client:
        client.plan = client.plan.model_copy(update={"fps": 1e6})
        found = [client.infer(sample) for sample in samples()]
        whole = sum(one.response is not None and one.response.missing_bytes == 0 for one in found)
        assert asked or whole > len(found) / 2  # on a busy machine some may be late
        assert not asked or whole < len(found)
        patience_s = client._way_s(64 * 64) - client.round_trip_s / 2
    assert patience_s == pytest.approx(1.5 * 8 * 64 * (64 + 48) / 1e9 + 0.01)


def test_a_server_that_ends_leaves_no_frame_without_a_word(streamed):
    with running(streamed) as (server, address), Client(streamed, address, insecure=True) as client:
        gate = threading.Event()
        for half in server.halves.values():
            hold(half, gate)
        waiting = client.submit(samples()[0])
        (session,) = server._clients
        session._loop.call_soon_threadsafe(session.close)
        assert waiting.result(5).outcome == "lost"
        assert isinstance(client.failure, LinkError)
        with pytest.raises(LinkError):
            client.infer(samples()[0])
        gate.set()


def test_a_server_that_stops_says_so(streamed):
    with running(streamed) as (server, address), Client(streamed, address, insecure=True) as client:
        assert client.infer(samples()[0]).outcome == "ok"
        (session,) = server._clients
        session._loop.call_soon_threadsafe(server.stop_soon)
        for _ in range(500):
            if client.failure is not None:
                break
            threading.Event().wait(0.01)
        assert "the server is stopping" in str(client.failure)
        with pytest.raises(LinkError, match="the server is stopping"):
            client.infer(samples()[0])


def test_nobody_answers_by_udp(tmp_path):
    bundle = make_bundle(tmp_path, transport="udp")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        with pytest.raises(LinkError, match="does not answer"):
            Client(bundle, mute.getsockname(), insecure=True, limits=Limits(greeting_s=0.1)).open()


def test_nobody_is_there(bundle):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    with pytest.raises(LinkError, match=r"127\.0\.0\.1.*" + str(address[1])):
        Client(bundle, address, insecure=True).open()


def test_something_else_answers(streamed):
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer():
            peer, _ = other.accept()
            with peer:
                peer.recv(100)
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(LinkError):
            Client(streamed, other.getsockname(), insecure=True).open()
        thread.join()


def test_something_says_nothing(streamed):
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(LinkError):
        Client(streamed, mute.getsockname(), insecure=True, limits=Limits(greeting_s=0.1)).open()


def test_another_bundle_is_refused(bundle, tmp_path):
    other = make_bundle(tmp_path, name="other")
    with running(other) as (_, address), pytest.raises(LinkError, match=r"bundle here is .*the same bundle"):
        Client(bundle, address, insecure=True).open()


def test_a_plan_that_is_not_served_is_refused(bundle):
    with running(bundle, plans=["sc"]) as (_, address), pytest.raises(LinkError, match="plans here are sc"):
        Client(bundle, address, "rc", insecure=True).open()


def test_nothing_is_sent_in_the_clear_unless_it_is_asked_for(bundle):
    with pytest.raises(LinkError, match="not be encrypted"):
        Client(bundle, "127.0.0.1:1")
    with pytest.raises(LinkError, match="needs a server"):
        Client(bundle)
    with pytest.raises(BundleError, match="no plan"):
        Client(bundle, "127.0.0.1:1", "xx", insecure=True)


def test_what_is_no_input_is_refused(bundle):
    with running(bundle) as (_, address), Client(bundle, address, insecure=True) as client:
        with pytest.raises(DataError, match="the network takes"):
            client.infer(np.zeros((2, 8, 8), np.float32))
        assert client.infer(samples()[0]).outcome == "ok"


@pytest.mark.parametrize(
    ("text", "found"), [("a.b:80", ("a.b", 80)), ("[::1]:7433", ("::1", 7433)), ("localhost:0", ("localhost", 0))]
)
def test_addresses(text, found):
    assert parsed_address(text) == found


@pytest.mark.parametrize("text", ["", "host", ":80", "host:", "host:x", "host:65536", "::1", "host:-1", "h:123456"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(LinkError, match=r"^--server: "):
        parsed_address(text, "--server")


def test_a_host_alone_takes_the_default_port():
    assert parsed_address("pi.local", port=7433) == ("pi.local", 7433)
    assert parsed_address("[::1]", port=7433) == ("::1", 7433)
