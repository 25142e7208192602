"""A language model in a manifest: what its programs take besides what crosses, and how text becomes tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Annotated, Self

from pydantic import Field, model_validator

from splitimpera.bundle.entries import TENSOR_BYTES, Entry, Path, TensorEntry, Whole
from splitimpera.records.token_workload import MOST_TOKENS

FLOAT_BYTES = 4
BYTE_TOKENS = 256
MOST_BLOCKS = 10_000
Size = Annotated[int, Field(ge=1, lt=1 << 24)]


class BlocksEntry(Entry):
    """How many whole blocks are in front of a cut."""

    cut: Whole
    blocks: Annotated[int, Field(ge=0, le=MOST_BLOCKS)]


class LanguageEntry(Entry):
    """A language model that reads and writes tokens with caches.

    Each program takes (x, positions (n,) int64, keys, values) and returns (y, keys, values), for n tokens behind p
    others; it is given the keys and values of these, float32 (p, blocks of the program, 1, heads, size of a head), and
    returns those of its n tokens alone. x is ids (1, n) int64 behind cut 0, hidden states (1, n, width) behind any
    other; y is logits (1, n, vocabulary) in front of the last cut, hidden states in front of any other.

    Attributes:
        vocabulary: How many tokens there are.
        context: The most positions, of prompt and what is written together.
        width: Of hidden states.
        key_value_shape: Heads of keys and values, and the size of each.
        blocks: Of each cut where programs begin or end, in order; all of them in front of the last one.
        tokenizer: A tokenizer.json of the library "tokenizers"; None: a token is a byte.
        end: The token after which nothing is written any more; None: there is none.
    """

    vocabulary: Annotated[Size, Field(ge=2)]
    context: Annotated[int, Field(ge=2, le=MOST_TOKENS)]
    width: Size
    key_value_shape: Annotated[list[Size], Field(min_length=2, max_length=2)]
    blocks: Annotated[list[BlocksEntry], Field(min_length=2, max_length=MOST_BLOCKS)]
    tokenizer: Path | None = None
    end: Whole | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        first, *_ = self.blocks
        rising = all(one.cut < other.cut and one.blocks <= other.blocks for one, other in pairwise(self.blocks))
        if (first.cut, first.blocks) != (0, 0) or not rising:
            raise ValueError("the blocks in front of the cuts do not go up, from none at cut 0")
        if self.end is not None and self.end >= self.vocabulary:
            raise ValueError("the token that ends a text is none")
        if self.tokenizer is None and self.vocabulary < BYTE_TOKENS:
            raise ValueError("bytes are more than the tokens that there are")
        if max(self.cache_bytes(self.blocks[-1].blocks), FLOAT_BYTES * self.context * self.width) > TENSOR_BYTES:
            raise ValueError("the caches of one request are larger than any that is kept")
        return self

    def blocks_at(self, cut: int) -> int:
        """How many blocks are in front of a cut.

        Raises:
            LookupError: no program begins or ends there.
        """
        return {each.cut: each.blocks for each in self.blocks}[cut]

    def kept_shape(self, blocks: int) -> tuple[int, int, int, int]:
        """Of the keys, and of the values, that so many blocks keep of a token."""
        heads, size = self.key_value_shape
        return blocks, 1, heads, size

    def cache_bytes(self, blocks: int) -> int:
        """What keys and values of so many blocks take at the whole context."""
        heads, size = self.key_value_shape
        return 2 * FLOAT_BYTES * blocks * self.context * heads * size

    def check_cuts(self, ends: Iterable[int], last: int) -> None:
        """Raises ValueError where a program begins or ends at another cut than `blocks` has, or the last is missing."""
        known = {each.cut for each in self.blocks}
        if not known.issuperset(ends) or self.blocks[-1].cut != last:
            raise ValueError("it is not said how many blocks are in front of a cut where a program begins or ends")

    def check_crossing(self, cut: int, tensors: Sequence[TensorEntry]) -> None:
        """Raises ValueError where something else crosses a cut than ids or the hidden states of a window."""
        wanted = [] if cut == 0 else [self.width]
        whole = len(tensors) == 1 and len(tensors[0].shape) == 1 + len(wanted) and tensors[0].shape[1:] == wanted
        if not whole or tensors[0].dtype != ("float32" if wanted else "int64"):
            raise ValueError(f"what crosses cut {cut} is no window of tokens")
