"""Steps of a language model's requests: the payload of a frame whose bundle has a `language` entry.

A step brings what crosses of some tokens, one piece as each was coded, and is answered with the tokens that follow.
What a peer claims is held to the context before anything is made for it. docs/protocol.md has the layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Self

from splitimpera.core.errors import LinkError

STEP = Struct("!IIII")
PIECE = Struct("!II")
STEP_BYTES = STEP.size + PIECE.size
"""What a step of one piece adds to what crosses; the frame's header comes on top."""
PLACE = Struct("!I")
"""In a response of status LACKING: from which position on the cache lacks tokens."""
TOKEN = Struct("!I")
"""In a response of status OK: the token's id; nothing where the step asked for none."""


@dataclass(frozen=True)
class Piece:
    """What crosses of one token or of several that were coded together.

    Attributes:
        tokens: How many.
        data: The codec's payload.
    """

    tokens: int
    data: bytes


@dataclass(frozen=True)
class Step:
    """One step of one request.

    Attributes:
        request: Its number, which the client chooses; sessions have their own.
        first: Position of the first token; what a cache holds from there on is replaced.
        writes: How many tokens the server writes on, each answered by a response of its own. More than one only where
            ids cross, which the server can read by itself; 0: none, the tokens are only read.
        pieces: What crosses of the tokens, in order; none of them, with nothing to write: the request is over.

    Example:
        >>> step = Step(7, 64, 1, (Piece(1, b"abcd"),))
        >>> Step.from_bytes(step.to_bytes(), context=128) == step, step.stop
        (True, 65)
    """

    request: int
    first: int
    writes: int
    pieces: tuple[Piece, ...]

    @property
    def tokens(self) -> int:
        """How many it brings."""
        return sum(piece.tokens for piece in self.pieces)

    @property
    def stop(self) -> int:
        """The position behind its last token."""
        return self.first + self.tokens

    @property
    def over(self) -> bool:
        """Whether it says that the request is over, and its cache of no use any more."""
        return not self.pieces

    def to_bytes(self) -> bytes:
        start = STEP.pack(self.request, self.first, self.writes, len(self.pieces))
        sizes = (PIECE.pack(piece.tokens, len(piece.data)) for piece in self.pieces)
        return b"".join([start, *sizes, *(piece.data for piece in self.pieces)])

    @classmethod
    def from_bytes(cls, data: bytes, context: int) -> Self:
        """Raises LinkError where this is none, or its tokens lie beyond the context.

        Args:
            context: The most positions. The token that is written last is not read, and may lie behind them.
        """
        if len(data) < STEP.size:
            raise LinkError("the peer's step is cut short")
        request, first, writes, count = STEP.unpack_from(data)
        at = STEP.size + count * PIECE.size
        if count > context or at > len(data):
            raise LinkError("the peer's step is cut short")
        pieces = []
        for tokens, size in PIECE.iter_unpack(data[STEP.size : at]):
            if not 1 <= tokens <= context or at + size > len(data):
                raise LinkError("the peer's step has a piece that it cannot have")
            pieces.append(Piece(tokens, data[at : at + size]))
            at += size
        step = cls(request, first, writes, tuple(pieces))
        if at != len(data) or step.stop + writes > context + 1 or (step.over and (first or writes)):
            raise LinkError(f"the peer's step goes beyond its bytes or the context of {context} tokens")
        return step


def largest_step(context: int, largest_piece: int) -> int:
    """No step is larger, in bytes.

    Args:
        largest_piece: The most that a context of tokens takes, however it is cut in pieces.
    """
    return STEP.size + context * PIECE.size + largest_piece
