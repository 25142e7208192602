"""Runs of whole blocks, each with the keys and values of its tokens: what either side of a cut is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from splitimpera.core.errors import CutError
from splitimpera.language.decoder import Decoder


class BlockRun(nn.Module):
    """Some consecutive blocks, behind the embedding where they begin with the first, in front of the head where they
    end with the last; they share the network's weights and are in eval mode.

    (x, positions (n,), keys (B, N, H, p, D), values) -> (y, keys (B, N, H, p + n, D), values), for B blocks, N users, n
    tokens behind p others: x is ids (N, n) int64 where the run is the `first`, else hidden states (N, n, C); y is
    logits (N, n, V) where it is the `last`, else hidden states.

    Args:
        start, stop: The blocks from `start` to before `stop`; both the number of all blocks: the head alone.
        head: False: without the head, for a cut between the last block and it.

    Raises:
        CutError: there are no such blocks.
    """

    def __init__(self, decoder: Decoder, start: int, stop: int, head: bool = True) -> None:
        super().__init__()
        count = len(decoder.blocks)
        if not (0 <= start < stop <= count or (start == stop == count and head)):
            raise CutError(
                f"there is no run from block {start} to before block {stop}",
                hint=f"this network has blocks 0 to {count - 1}, and {count} for its head alone",
            )
        self.start = start
        self.stop = stop
        self.first = start == 0
        self.last = head and stop == count
        self.embed = decoder.embed if self.first else None
        self.blocks = nn.ModuleList(decoder.blocks[start:stop])
        self.head = decoder.head if self.last else None
        self.decoder = decoder
        self.eval()

    def forward(self, x: Tensor, positions: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, kept = self.step(x, positions, [*zip(keys.unbind(), values.unbind(), strict=True)])
        if not kept:  # as many tokens more of no block
            none = keys.new_zeros(*keys.shape[:3], len(positions), keys.shape[4])
            return y, torch.cat([keys, none], dim=3), torch.cat([values, none], dim=3)
        return y, torch.stack([pair[0] for pair in kept]), torch.stack([pair[1] for pair in kept])

    def step(
        self, x: Tensor, positions: Tensor, pasts: Sequence[tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """The same with the keys and values of each block apart, each (N, H, p, D), then (N, H, p + n, D)."""
        if self.embed is not None:
            x = self.embed(x, positions)
        kept: list[tuple[Tensor, Tensor]] = []
        for block, (keys, values) in zip(self.blocks, pasts, strict=True):
            x, keys, values = block(x, positions, keys, values)
            kept.append((keys, values))
        return x if self.head is None else self.head(x), kept

    def empty(self, users: int = 1) -> tuple[Tensor, Tensor]:
        """Keys and values without a past, each (B, users, H, 0, D)."""
        past, _ = self.decoder.empty(users)
        return past.new_empty(len(self.blocks), *past.shape), past.new_empty(len(self.blocks), *past.shape)


def runs_between(decoder: Decoder, *cuts: int) -> tuple[BlockRun, ...]:
    """The network in parts, by how many blocks are in front of each cut; at 0 the ids cross: nothing is in front."""
    ends = [*(cut for cut in cuts if cut), len(decoder.blocks)]
    heads = [False] * (len(ends) - 1) + [True]
    return tuple(
        BlockRun(decoder, start, stop, head) for (start, stop), head in zip(pairwise([0, *ends]), heads, strict=True)
    )


def cache_bytes(decoder: Decoder, start: int, stop: int, context: int, users: int = 1, element_bytes: int = 4) -> int:
    """What keys and values of some blocks take, once each user's text has filled the context."""
    heads, size = decoder.key_value_shape
    return 2 * (stop - start) * context * heads * size * users * element_bytes
