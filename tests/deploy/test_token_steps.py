"""Steps as bytes: what was said is read, and nothing is believed beyond bytes and context."""

from __future__ import annotations

import pytest

from splitimpera.core.errors import LinkError
from splitimpera.deploy.token_steps import PIECE, STEP, Piece, Step, largest_step

PROMPT = Step(1, 0, 1, (Piece(3, b"abc"), Piece(1, b"d")))


@pytest.mark.parametrize("step", [PROMPT, Step(1, 0, 13, (Piece(4, b""),)), Step(2**32 - 1, 0, 0, ())])
def test_what_was_said_is_read(step):
    assert Step.from_bytes(step.to_bytes(), 16) == step
    assert len(step.to_bytes()) <= largest_step(16, sum(len(piece.data) for piece in step.pieces))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        PROMPT.to_bytes()[:-1],
        PROMPT.to_bytes() + b"x",
        Step(1, 14, 1, (Piece(3, b"abc"),)).to_bytes(),
        Step(1, 0, 17, (Piece(1, b"a"),)).to_bytes(),
        Step(1, 2**32 - 1, 0, (Piece(1, b"a"),)).to_bytes(),
        Step(1, 0, 2**32 - 1, (Piece(1, b"a"),)).to_bytes(),
        Step(1, 3, 0, ()).to_bytes(),
        Step(1, 0, 1, ()).to_bytes(),
        STEP.pack(1, 0, 1, 2**32 - 1),
        STEP.pack(1, 0, 1, 2) + PIECE.pack(1, 1),
        STEP.pack(1, 0, 1, 1) + PIECE.pack(0, 0),
        STEP.pack(1, 0, 1, 1) + PIECE.pack(2**32 - 1, 0),
        STEP.pack(1, 0, 1, 1) + PIECE.pack(1, 2**32 - 1) + b"a",
    ],
)
def test_what_cannot_be_is_refused(data):
    with pytest.raises(LinkError, match="the peer's step"):
        Step.from_bytes(data, 16)


def test_any_bytes_are_a_step_or_refused(rng):
    for _ in range(500):
        data = bytearray(PROMPT.to_bytes())
        for _ in range(int(rng.integers(1, 4))):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
        try:
            step = Step.from_bytes(bytes(data), 16)
        except LinkError:
            continue
        assert step.stop + step.writes <= 17
