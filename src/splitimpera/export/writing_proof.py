"""A language model's parts against the network: the same tokens, written greedily behind prompts from the data.

The network's own tokens are what all read, so that two that are equally likely do not lead the parts astray.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter

import numpy as np
import torch

from splitimpera.bundle.manifest import PlanEntry
from splitimpera.bundle.opened import Bundle
from splitimpera.bundle.proof_entry import ProofEntry
from splitimpera.core.array_types import Array
from splitimpera.core.errors import BundleError
from splitimpera.core.units import format_fraction
from splitimpera.deploy.token_halves import token_device_half, token_server_half
from splitimpera.deploy.token_past import Past
from splitimpera.deploy.token_programs import TokenCodec, TokenProgram
from splitimpera.deploy.token_room import TokenRoom
from splitimpera.language.block_runs import BlockRun
from splitimpera.language.decoder import Decoder
from splitimpera.language.greedy import write_greedily

TIE = 1e-4
"""Two logits whose difference is a smaller share of the largest one are equally likely: either token may be written."""


@dataclass(frozen=True)
class WritingProof:
    """What was found of a plan.

    Attributes:
        compared: How many tokens.
        plain: How many the programs alone write as the network does, or another that is as likely.
        coded: The same with the codec between them.
        lossless: Whether the codec gives back what it was given.
        difference: The largest, of any logit of the programs alone.
        seconds: What the programs take for a token: the median.
    """

    plan: str
    compared: int
    plain: int
    coded: int
    lossless: bool
    difference: float
    seconds: float

    def entry(self) -> ProofEntry:
        """What the manifest says of it."""
        return ProofEntry(
            plan=self.plan,
            samples=self.compared,
            lossless=self.lossless,
            largest_difference=self.difference,
            equal=self.coded / max(self.compared, 1),
            accuracy=None,
            seconds=self.seconds,
        )

    def check(self) -> None:
        """Refuse programs, or programs with a lossless codec, that write other tokens.

        Raises:
            BundleError: with the share of equal ones.
        """
        least = min(self.plain, self.coded if self.lossless else self.plain)
        if not self.compared:
            raise BundleError("there is no prompt by which the parts could be proven", where=f"plan '{self.plan}'")
        if least < self.compared or not np.isfinite(self.difference):
            raise BundleError(
                f"the parts write the network's token {format_fraction(least / self.compared)} of the time; logits "
                f"differ by up to {self.difference:.3g}. Nothing was written",
                where=f"plan '{self.plan}'",
                hint="report the network for which this happens",
            )


def prove_writing(
    bundle: Bundle, plan: PlanEntry, decoder: Decoder, prompts: Sequence[Sequence[int]], tokens: int
) -> WritingProof:
    """Write behind all prompts by the parts of a plan, and by the network.

    Args:
        prompts: Ids; what is too long is cut at its end, so that there is room for what is written.
        tokens: How many are written behind each.

    Raises:
        BundleError: the parts do not run.
    """
    device = token_device_half(bundle, plan)
    programs = [] if device.program is None else [device.program]
    codec = None
    if plan.hops:
        server = token_server_half(bundle, plan, TokenRoom(1 << 62))
        programs, codec = [*programs, server.program], server.tokens
    whole = BlockRun(decoder, 0, len(decoder.blocks))
    compared, equal, largest = 0, [0, 0], 0.0
    exact, seconds = True, list[float]()
    for prompt in prompts:
        ids = [int(token) for token in prompt][: decoder.context - tokens]
        if not ids:
            continue
        written = write_greedily([whole], ids, tokens)
        text = np.array([*ids, *written[:-1]], np.int64)
        wanted = _logits(whole, text)[len(ids) - 1 :]
        for place, coder in enumerate((None, codec)):
            made = _Reading(programs, coder, begins_coded=device.program is None)
            found = np.stack([made.read(text[start:stop])[-1] for start, stop in _pieces(len(ids), len(text))])
            equal[place] += sum(map(_as_likely, wanted, found))
            exact &= made.exact
            if coder is None:
                largest = max(largest, float(np.abs(wanted - found).max()))
                seconds += made.seconds[1:]
        compared += tokens
    took_s = float(np.median(seconds)) if seconds else 0.0
    return WritingProof(plan.id, compared, equal[0], equal[1], exact, largest, took_s)


def _pieces(prompt: int, text: int) -> Iterator[tuple[int, int]]:
    """The prompt at once, then token by token."""
    yield 0, prompt
    yield from pairwise(range(prompt, text + 1))


def _logits(whole: BlockRun, text: Array) -> Array:
    with torch.inference_mode():
        logits, _, _ = whole(torch.from_numpy(text)[None], torch.arange(len(text)), *whole.empty())
    found: Array = logits[0].numpy()
    return found


def _as_likely(wanted: Array, found: Array) -> bool:
    """Whether what is found names the token that is wanted, or one that is as likely."""
    gap = wanted.max() - wanted[found.argmax()]
    return bool(gap <= TIE * np.abs(wanted).max())


class _Reading:
    """A text that all programs of a plan read, one behind the other.

    Attributes:
        exact: Whether the codec gave back what it was given.
        seconds: What the programs took for each piece.
    """

    def __init__(self, programs: Sequence[TokenProgram], codec: TokenCodec | None, begins_coded: bool) -> None:
        self._programs, self._codec = programs, codec
        self._coded = 0 if begins_coded else 1
        self._pasts: list[Past | None] = [None] * len(programs)
        self.exact, self.seconds = True, list[float]()

    def read(self, x: Array) -> Array:
        took_s = 0.0
        for place, program in enumerate(self._programs):
            if place == self._coded and self._codec is not None:
                crossed = self._codec.decode(self._codec.encode(x), len(x))
                self.exact &= bool(np.array_equal(crossed, x))
                x = crossed
            begun_s = perf_counter()
            x, self._pasts[place] = program(x, self._pasts[place])
            took_s += perf_counter() - begun_s
        self.seconds.append(took_s)
        return x
