"""Clients that say of tokens whatever they like: each step is answered, memory stays bounded, others go on."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "tests" / "deploy"))

from small_language import CONTEXT, HEADS, PROMPT, SIZE, VOCABULARY, make_language_bundle, unsplit

from splitimpera.deploy.messages import Status
from splitimpera.deploy.token_halves import token_server_half
from splitimpera.deploy.token_room import TokenRoom
from splitimpera.deploy.token_steps import PIECE, PLACE, STEP, TOKEN, Piece, Step

ROOM = 4 * 3 * CONTEXT * 2 * 4 * HEADS * SIZE


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_language_bundle(tmp_path_factory.mktemp("bundle"), cuts=(0, 5))


@pytest.fixture
def halves(bundle):
    room = TokenRoom(ROOM)
    return {plan.id: token_server_half(bundle, plan, room) for plan in bundle.manifest.plans if plan.hops}


def ids(half, tokens):
    return Piece(len(tokens), half.tokens.encode(np.array(tokens, np.int64)))


def test_a_good_step_after_all(halves):
    half = halves["rc"]
    found = half.step(Step(1, 0, 1, (ids(half, PROMPT),)).to_bytes(), "good")
    assert (found.status, TOKEN.unpack(found.said)) == (Status.OK, (unsplit(PROMPT, 1)[0],))


@pytest.mark.parametrize(
    "tokens", [[VOCABULARY], [-1], [2**62], [-(2**63)], [1, 2, 3, 10**9]], ids=["next", "below", "huge", "least", "one"]
)
def test_ids_that_are_no_tokens(halves, tokens):
    half = halves["rc"]
    assert half.step(Step(1, 0, 1, (ids(half, tokens),)).to_bytes(), "bad").status is Status.DAMAGED
    assert len(half.room) == 0


@pytest.mark.parametrize("plan", ["rc", "sc5"])
def test_sizes_that_cannot_be(halves, plan):
    half = halves[plan]
    for data in (
        b"",
        STEP.pack(1, 0, 1, 2**32 - 1),
        STEP.pack(1, 0, 1, 1) + PIECE.pack(2**31, 4) + b"abcd",
        STEP.pack(1, 0, 1, 1) + PIECE.pack(1, 2**32 - 1),
        Step(1, 2**32 - 1, 1, (Piece(1, b"abcdefgh"),)).to_bytes(),
        Step(1, 0, 1, (Piece(CONTEXT + 1, b""),)).to_bytes(),
        Step(1, 0, 1, (Piece(3, b"x"),)).to_bytes(),
        Step(1, 0, 1, (Piece(1, b"x" * 10_000),)).to_bytes(),
        Step(1, 0, 2**31, (Piece(1, b"abcdefgh"),)).to_bytes(),
    ):
        assert half.step(data, "bad").status is Status.DAMAGED
    assert len(half.room) == 0


def test_hidden_states_cannot_be_written_on_by_themselves(halves):
    half = halves["sc5"]
    piece = Piece(1, half.tokens.encode(np.zeros((1, 16), np.float32)))
    assert half.step(Step(1, 0, 2, (piece,)).to_bytes(), "bad").status is Status.DAMAGED


def test_places_that_nobody_read(halves):
    half = halves["rc"]
    found = half.step(Step(1, 40, 1, (ids(half, [1]),)).to_bytes(), "bad")
    assert (found.status, PLACE.unpack(found.said)) == (Status.LACKING, (0,))
    assert len(half.room) == 0


def test_what_is_no_number_is_answered(halves):
    half = halves["sc5"]
    for value in (np.nan, np.inf, -np.inf, 3e38):
        piece = Piece(2, half.tokens.encode(np.full((2, 16), value, np.float32)))
        found = half.step(Step(1, 0, 1, (piece,)).to_bytes(), "bad")
        assert found.status is Status.OK
        assert TOKEN.unpack(found.said)[0] < VOCABULARY


def test_many_requests_of_many_clients_stay_within_the_room(halves, rng):
    half = halves["rc"]
    for number in range(300):
        tokens = rng.integers(0, VOCABULARY, int(rng.integers(1, CONTEXT))).tolist()
        found = half.step(Step(number, 0, 1, (ids(half, tokens),)).to_bytes(), number % 7)
        assert found.status is Status.OK
        assert half.room.bytes <= ROOM


def test_any_bytes_are_answered(halves, rng):
    half = halves["rc"]
    good = bytearray(Step(1, 0, 4, (ids(half, PROMPT), ids(half, [1]))).to_bytes())
    for _ in range(300):
        data = bytearray(good)
        for _ in range(int(rng.integers(1, 5))):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
        found = half.step(bytes(data), "bad")
        assert found.status in (Status.OK, Status.DAMAGED, Status.LACKING)
        assert half.room.bytes <= ROOM
