"""Greedy writing with a network in parts: a prompt at once, then token by token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from splitimpera.core.errors import ModelError
from splitimpera.language.block_runs import BlockRun


def write_greedily(runs: Sequence[BlockRun], prompt: Sequence[int] | Tensor, tokens: int) -> list[int]:
    """The most likely token again and again, of equally likely ones the first.

    Args:
        runs: All blocks of a network in order.
        prompt: Ids of at least one token.
        tokens: How many to write; the last is not read again, so that prompt and output may fill the context.

    Raises:
        ModelError: the runs do not make the network, or prompt and output go beyond its context.
    """
    ids = torch.as_tensor(prompt, dtype=torch.int64).flatten()
    _check(runs, ids, tokens)
    caches = [run.empty() for run in runs]
    written: list[int] = []
    device = next(runs[-1].parameters()).device
    x, position = ids[None].to(device), 0
    with torch.inference_mode():
        while len(written) < tokens:
            positions = torch.arange(position, position + x.shape[1], device=device)
            position += x.shape[1]
            for place, run in enumerate(runs):
                x, *kept = run(x, positions, *caches[place])
                caches[place] = kept[0], kept[1]
            written.append(int(x[0, -1].argmax()))
            x = torch.tensor([[written[-1]]], device=device)
    return written


def _check(runs: Sequence[BlockRun], ids: Tensor, tokens: int) -> None:
    ends = [0, *(run.stop for run in runs)]
    if [run.start for run in runs] != ends[:-1] or [run.last for run in runs] != [False] * (len(runs) - 1) + [True]:
        raise ModelError("these runs of blocks do not make one network, in order and without gaps")
    decoder = runs[0].decoder
    if not len(ids) or int(ids.min()) < 0 or int(ids.max()) >= decoder.vocabulary:
        raise ModelError(
            "the prompt has no tokens" if not len(ids) else "the prompt has ids that are no tokens of the network",
            hint=f"give at least one id from 0 to {decoder.vocabulary - 1}; does the tokenizer fit the vocabulary?",
        )
    if len(ids) + tokens > decoder.context:
        raise ModelError(
            f"a prompt of {len(ids)} tokens and {tokens} written ones go beyond the context of {decoder.context}",
            hint="shorten the prompt, or write fewer",
        )
