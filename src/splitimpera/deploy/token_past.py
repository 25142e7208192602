"""The keys and values of a text's tokens, in memory that has a place for each token of the context."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from splitimpera.core.array_types import Array


@dataclass(frozen=True, eq=False, slots=True)
class Past:
    """Keys and values of the first tokens of a text. A system gives memory as it is written to, so that a text takes
    what its tokens take.

    Attributes:
        keys, values: float32 (context, blocks, 1, heads, size).
        tokens: How many of these places are filled.
        touched: How many have ever been.

    Example:
        >>> past = no_past(8, (2, 1, 4, 16))
        >>> more = np.ones((3, 2, 1, 4, 16), np.float32)
        >>> past = past.with_more(more, more)
        >>> past.tokens, past.bytes, past.first(2).filled[0].shape
        (3, 3072, (2, 2, 1, 4, 16))
    """

    keys: Array
    values: Array
    tokens: int
    touched: int = 0

    @property
    def bytes(self) -> int:
        """What the places take that have ever been filled: such memory is not given back."""
        return self.touched * (self.keys[:1].nbytes + self.values[:1].nbytes)

    @property
    def filled(self) -> tuple[Array, Array]:
        """Keys and values of its tokens, (tokens, blocks, 1, heads, size)."""
        return self.keys[: self.tokens], self.values[: self.tokens]

    def first(self, tokens: int) -> Past:
        """That of fewer tokens, in the same memory."""
        return Past(self.keys, self.values, min(tokens, self.tokens), self.touched)

    def with_more(self, keys: Array, values: Array) -> Past:
        """That with further tokens, (n, blocks, 1, heads, size), in the same memory: what was there is written over.

        Raises:
            ValueError: there is no place for them, or they are of another shape.
        """
        stop = self.tokens + len(keys)
        if stop > len(self.keys) or not keys.shape[1:] == values.shape[1:] == self.keys.shape[1:]:
            raise ValueError(f"keys {keys.shape} and values {values.shape} behind {self.tokens} of {self.keys.shape}")
        self.keys[self.tokens : stop], self.values[self.tokens : stop] = keys, values
        return Past(self.keys, self.values, stop, max(stop, self.touched))


def no_past(context: int, shape: tuple[int, int, int, int]) -> Past:
    """That of no token, with places for a context of tokens of a shape, (blocks, 1, heads, size)."""
    return Past(np.empty((context, *shape), np.float32), np.empty((context, *shape), np.float32), 0)
