"""The blocks of a language model by the cuts of its traced network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from splitimpera.core.errors import ScenarioError
from splitimpera.graph.tracing import ModelGraph
from splitimpera.language.block_cuts import block_cuts, blocks_before
from splitimpera.language.block_runs import BlockRun, cache_bytes
from splitimpera.language.decoder import Decoder


@dataclass(frozen=True, eq=False)
class TokenBlocks:
    """Where a language model may be split, and what runs on either side.

    Attributes:
        decoder: its blocks.
        graph: The same network, traced on windows.
    """

    decoder: Decoder
    graph: ModelGraph

    @property
    def window(self) -> int:
        """Tokens of a window on which the network was traced."""
        return self.graph.cuts[0].tensors[0].shape[0]

    @cached_property
    def cuts(self) -> Mapping[int, int]:
        """How many whole blocks are in front of each cut where it may be split; the input's has none."""
        return block_cuts(self.graph, self.decoder)

    def run(self, start: int, end: int) -> BlockRun:
        """What is between two cuts, with its caches.

        Raises:
            CutError: one of them is inside a block.
        """
        last = len(self.graph.cuts) - 1
        before, count = self.before(start), len(self.decoder.blocks)
        return BlockRun(self.decoder, before, count if end == last else self.before(end), head=end == last)

    def cache_bytes(self, start: int, end: int, tokens: int, users: int = 1) -> int:
        """What the keys and values between two cuts take of so many tokens of each user."""
        run = self.run(start, end)
        return cache_bytes(self.decoder, run.start, run.stop, tokens, users, self.decoder.dtype.itemsize)

    def laid_out_bytes(self, start: int, end: int) -> int:
        """Weights that lie in memory twice between two cuts: an engine looks ids up in the table of an embedding, and
        multiplies by a copy laid out for that where the head shares it.
        """
        whole = start == 0 and end == len(self.graph.cuts) - 1
        return sum(weight.nbytes for weight in self.decoder.tied_weights) if whole else 0

    def check_context(self, context: int) -> None:
        """Refuse requests that the network has no positions for.

        Raises:
            ScenarioError: names the key.
        """
        if context > self.decoder.context:
            raise ScenarioError(
                f"{context} tokens are asked for, the network knows {self.decoder.context} positions",
                where="workload.tokens.context",
                hint=f"write at most {self.decoder.context}",
            )

    def before(self, cut: int) -> int:
        """How many whole blocks are in front of a cut; CutError inside one."""
        return blocks_before(self.graph, self.cuts, cut)
