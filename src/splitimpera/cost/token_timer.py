"""What a run of blocks takes for tokens on this machine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from splitimpera.core.errors import ModelError
from splitimpera.cost.spread import spread_of
from splitimpera.cost.timing import sample_together_s
from splitimpera.language.block_runs import BlockRun
from splitimpera.models.threads import torch_threads
from splitimpera.records.token_times import TokenTimes

BUDGET_S = 2.0
LEAST = 7
"""Timed calls of each kind, however long they take."""
MOST = 120


def time_tokens(
    run: BlockRun, window: int, context: int, together: int = 1, budget_s: float = BUDGET_S, threads: int | None = 1
) -> TokenTimes:
    """Time prompts and single tokens on this machine.

    Prompts of a token, of a quarter, a half and the whole of the window, and of the whole context are read in turn.
    Then come steps that make a token each, in turn behind no token, half the context and all of it but one, and, behind
    half of it, for several users at once; how these steps differ is the spread.

    Args:
        run: Its hidden states are random numbers.
        window: Tokens of a long prompt.
        context: The most tokens of prompt and output together.
        together: The most users in one step; timed are 1, 2, 4 and so on up to there.
        budget_s: roughly how long to time; at least `LEAST` calls of each kind are timed.
        threads: How many PyTorch uses; None: as many as it does.

    Raises:
        ModelError: the network cannot take so many positions.
    """
    most = run.decoder.context
    if context > most:
        raise ModelError(f"a context of {context} tokens is longer than the network's, {most}", where="context")
    prompts = sorted({1, max(window // 4, 1), max(window // 2, 1), window, context} & {*range(1, context + 1)})
    pasts = sorted({0, context // 2, context - 1})
    users = [*(1 << power for power in range(together.bit_length()) if 1 << power < together), together]
    steps = [(past, 1) for past in pasts] + [(context // 2, count) for count in users if count > 1]
    with torch_threads(threads), torch.inference_mode():
        prefill = _samples([_step(run, tokens, 0, 1) for tokens in prompts], budget_s / 2)
        decode = _samples([_step(run, 1, past, count) for past, count in steps], budget_s / 2)
    step_s = {step: float(np.median(samples)) for step, samples in zip(steps, decode, strict=True)}
    alone_s = step_s[context // 2, 1]
    return TokenTimes(
        prefill=tuple((tokens, float(np.median(s))) for tokens, s in zip(prompts, prefill, strict=True)),
        decode=tuple((past, step_s[past, 1]) for past in pasts),
        how="measured",
        together=tuple(
            (count, max(step_s[context // 2, count] / alone_s, 1.0) if count > 1 else 1.0) for count in users
        ),
        spread=spread_of(decode[steps.index((context // 2, 1))]),
    )


def _samples(calls: list[Callable[[], object]], budget_s: float) -> list[list[float]]:
    return sample_together_s(calls, budget_s=budget_s, least=LEAST, most=MOST)


def _step(run: BlockRun, tokens: int, past: int, users: int) -> Callable[[], object]:
    """A call that reads some tokens of each user behind some others."""
    decoder, chance = run.decoder, torch.Generator().manual_seed(tokens + past)
    positions = torch.arange(past, past + tokens)
    if run.first:
        x = torch.randint(0, decoder.vocabulary, (users, tokens), generator=chance)
    else:
        x = torch.randn(users, tokens, decoder.width, generator=chance).to(decoder.dtype)
    empty, _ = run.empty(users)
    blocks, _, heads, _, size = empty.shape
    keys, values = (torch.randn(blocks, users, heads, past, size, generator=chance).to(empty.dtype) for _ in range(2))
    return lambda: run(x, positions, keys, values)
