"""A language model over loopback: the tokens are those of the network unsplit, whatever happens between."""

from __future__ import annotations

import asyncio
import time

import pytest
from small_language import BLOCKS, CONTEXT, HEADS, PROMPT, SIZE, VOCABULARY, make_language_bundle, unsplit
from test_client import running

from splitimpera.core.errors import BundleError, DataError, LinkError
from splitimpera.deploy.keys import make_keys
from splitimpera.deploy.messages import Status
from splitimpera.deploy.security import ClientSecurity, ServerSecurity
from splitimpera.deploy.server import Server
from splitimpera.deploy.token_halves import Stepped, TokenServerHalf
from splitimpera.deploy.token_room import TokenRoom
from splitimpera.deploy.token_steps import PLACE, TOKEN
from splitimpera.deploy.writing_client import WritingClient

TOKENS = 20
WANTED = unsplit(PROMPT, TOKENS)
TOKEN_BYTES = 2 * 4 * HEADS * SIZE
"""Of keys and values of one token in one block."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_language_bundle(tmp_path_factory.mktemp("bundle"))


def assert_soon(holds):
    for _ in range(200):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError


def test_the_network_writes_something():
    assert len(set(WANTED)) > 5


@pytest.mark.parametrize("plan", ["rc", "sc2", "sc5", "sc8"])
def test_the_same_tokens_at_every_cut(bundle, plan):
    with running(bundle) as (server, address), WritingClient(bundle, address, plan, insecure=True) as client:
        writing = client.write(PROMPT, TOKENS)
        assert list(writing) == WANTED
        assert writing.resumed == 0
        assert (len(writing.gaps_s), writing.ttft_s > 0) == (TOKENS - 1, True)
        assert list(client.write(PROMPT[:3], 5)) == unsplit(PROMPT[:3], 5)
        assert_soon(lambda: not len(server._dispatch.room))


def test_the_same_tokens_on_the_device_alone(bundle):
    with WritingClient(bundle, plan="lc") as client:
        assert list(client.write(PROMPT, TOKENS)) == WANTED


@pytest.mark.parametrize("plan", ["rc", "sc5"])
def test_encrypted(bundle, plan, tmp_path):
    keys = make_keys(tmp_path / "keys")
    shown = ServerSecurity(keys.server, keys.server_key, keys.authority)
    trusted = ClientSecurity(keys.authority, keys.client, keys.client_key)
    with running(bundle, shown) as (_, address), WritingClient(bundle, address, plan, security=trusted) as client:
        assert list(client.write(PROMPT, TOKENS)) == WANTED


@pytest.mark.parametrize("plan", ["rc", "sc2", "sc5"])
@pytest.mark.parametrize("at", [1, 7])
def test_a_lost_connection_is_made_good(bundle, plan, at):
    with running(bundle) as (server, address), WritingClient(bundle, address, plan, insecure=True) as client:
        writing, found = client.write(PROMPT, TOKENS), []
        for token in writing:
            found.append(token)
            if len(found) == at:
                for session in list(server._clients):
                    server._dispatch._worker._loop.call_soon_threadsafe(session.close)
        assert found == WANTED
        assert writing.resumed >= 1


@pytest.mark.parametrize("plan", ["rc", "sc5"])
def test_a_server_that_starts_again_is_found_again(bundle, plan):
    with running(bundle) as (_, address):
        client = WritingClient(bundle, address, plan, insecure=True).open()
        writing = client.write(PROMPT, TOKENS)
        found = [next(writing) for _ in range(5)]
    with running(bundle, port=address[1]), client:
        assert found + list(writing) == WANTED
        assert writing.resumed >= 1


@pytest.mark.parametrize("plan", ["rc", "sc5"])
def test_what_is_forgotten_is_sent_again(bundle, plan):
    with running(bundle) as (server, address), WritingClient(bundle, address, plan, insecure=True) as client:
        writing, found = client.write(PROMPT, TOKENS), []
        for token in writing:
            found.append(token)
            if len(found) in (4, 9):
                room = server._dispatch.room
                room._clock = lambda: 1e12
                room.tidy()
                room._clock = lambda: 0.0
        assert found == WANTED


def test_many_requests_in_a_small_room(bundle):
    """Caches of two requests have place, five are under way; all come to their end."""
    whole = BLOCKS * CONTEXT * TOKEN_BYTES
    with running(bundle, cache_bytes=whole) as (server, address):
        clients = [WritingClient(bundle, address, plan, insecure=True).open() for plan in ("rc", "sc2", "sc2")]
        try:
            writings = [client.write(PROMPT, TOKENS) for client in clients for _ in range(2)]
            found = [[] for _ in writings]
            for _ in range(TOKENS):
                for one, writing in zip(found, writings, strict=True):
                    one.append(next(writing))
                assert server._dispatch.room.bytes <= whole
            assert found == [WANTED] * len(writings)
        finally:
            for client in clients:
                client.close()


@pytest.mark.parametrize("plan", ["rc", "sc5"])
def test_a_token_that_does_not_come_is_asked_for_again(bundle, plan, monkeypatch):
    step, slow = TokenServerHalf.step, [0.0, 0.0, 0.0, 0.5]

    def held(half, data, client):
        time.sleep(slow.pop(0) if slow else 0.0)
        return step(half, data, client)

    monkeypatch.setattr(TokenServerHalf, "step", held)
    options = {"insecure": True, "timeout_s": 0.2}
    with running(bundle) as (_, address), WritingClient(bundle, address, plan, **options) as client:
        writing = client.write(PROMPT, TOKENS)
        assert list(writing) == WANTED
        assert writing.resumed >= 1


def test_a_server_that_always_forgets_is_given_up(bundle, monkeypatch):
    monkeypatch.setattr(TokenRoom, "held", lambda *_: 0)
    options = {"insecure": True, "patience_s": 0.3}
    with running(bundle) as (_, address), WritingClient(bundle, address, "sc5", **options) as client:
        assert list(client.write(PROMPT, TOKENS)) == WANTED  # all of it is sent again each time
        monkeypatch.setattr(TokenServerHalf, "step", lambda *_: Stepped(Status.LACKING, PLACE.pack(0)))
        writing = client.write(PROMPT, TOKENS)
        with pytest.raises(LinkError, match=r"no token came within 0.3 s"):
            next(writing)
        assert 3 < writing.resumed < 10


@pytest.mark.parametrize("said", [b"", b"12345", TOKEN.pack(VOCABULARY)])
def test_an_answer_that_is_no_token(bundle, said, monkeypatch):
    monkeypatch.setattr(TokenServerHalf, "step", lambda *_: Stepped(Status.OK, said))
    with running(bundle) as (_, address), WritingClient(bundle, address, "sc5", insecure=True) as client:
        writing = client.write(PROMPT, TOKENS)
        with pytest.raises(LinkError, match="the server answers"):
            next(writing)


def test_a_program_that_fails_is_said(bundle, monkeypatch):
    def broken(*_):
        raise ValueError

    with running(bundle) as (_, address), WritingClient(bundle, address, "sc5", insecure=True) as client:
        monkeypatch.setattr(TokenServerHalf, "step", broken)
        with pytest.raises(LinkError, match="the server's program failed on it"):
            next(client.write(PROMPT, TOKENS))


def test_a_client_that_leaves_takes_its_caches_along(bundle):
    with running(bundle) as (server, address):
        with WritingClient(bundle, address, "sc2", insecure=True) as client:
            writing = client.write(PROMPT, TOKENS)
            next(writing)
            assert server._dispatch.room.bytes == (BLOCKS - 1) * len(PROMPT) * TOKEN_BYTES
        assert_soon(lambda: not len(server._dispatch.room))


def test_one_that_stops_early_is_forgotten(bundle):
    with running(bundle) as (server, address), WritingClient(bundle, address, "rc", insecure=True) as client:
        writing = client.write(PROMPT, TOKENS)
        next(writing)
        writing.close()
        assert list(writing) == []
        assert list(client.write(PROMPT, TOKENS)) == WANTED
        assert_soon(lambda: not len(server._dispatch.room))


@pytest.mark.parametrize("codec", ["uint8:channel+zstd", "uint8:token", "float16", "uint4"])
def test_coarse_hidden_states_are_written_with_all_the_same(codec, tmp_path):
    bundle = make_language_bundle(tmp_path, codec=codec, cuts=(5,))
    with running(bundle) as (server, address), WritingClient(bundle, address, "sc5", insecure=True) as client:
        whole = list(client.write(PROMPT, TOKENS))
        writing, found = client.write(PROMPT, TOKENS), []
        for token in writing:
            found.append(token)
            if len(found) == 6:
                server._dispatch.room.leave(next(iter(server._clients.values())))
        assert (found, writing.resumed) == (whole, 1)
        assert len(found) == TOKENS


def test_text_goes_in(bundle):
    with WritingClient(bundle, plan="lc") as client:
        assert list(client.write(bytes(PROMPT).decode(), 4)) == WANTED[:4]


@pytest.mark.parametrize(
    ("prompt", "tokens", "problem"),
    [
        ([], 1, "the prompt has no token"),
        ([VOCABULARY], 1, "256 is no token of the network"),
        ([-1], 1, "-1 is no token"),
        ([1] * CONTEXT, 1, "a prompt of 48 tokens and 1 more are beyond the context of 48"),
        ([1], 0, "0 tokens cannot be written"),
    ],
)
def test_prompts_that_cannot_be(bundle, prompt, tokens, problem):
    with WritingClient(bundle, plan="lc") as client, pytest.raises(DataError, match=problem):
        client.write(prompt, tokens)


def test_nothing_is_drawn(bundle):
    with WritingClient(bundle, plan="lc") as client, pytest.raises(DataError, match="temperature"):
        client.write(PROMPT, 1, temperature=0.7)


def test_a_room_without_place_for_one_request(bundle):
    async def serve():
        Server(bundle, cache_bytes=100)

    with pytest.raises(BundleError, match=r"of one request take up to \d+ bytes, all together may"):
        asyncio.run(serve())


def test_nobody_is_there(bundle):
    with pytest.raises(LinkError, match="cannot be reached"):
        WritingClient(bundle, ("127.0.0.1", 1), "rc", insecure=True).open()
