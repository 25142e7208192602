"""A network -> Decoder: embedding, blocks that are told their past, head, and proof that they are the network."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from splitimpera.core.errors import ModelError, shown
from splitimpera.graph.running import evaluating
from splitimpera.language.standard_blocks import StandardParts, is_of_transformers, standard_parts
from splitimpera.models.imports import contained, telling
from splitimpera.models.kinds import check_network, unwrapped

PROBE = 0, 3, 5
"""Between which positions the tokens are read by which a network is compared with its own blocks."""
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-6}
"""By how much logits may differ, as a share of the largest; half precision: `COARSE`."""
COARSE = 0.05
OWN_FORM = (
    "an own network has 'embed': ids (N, n) and, where it takes two inputs, positions (n,) -> hidden (N, n, C); "
    "'blocks': an nn.ModuleList, each (hidden, positions (n,), keys (N, H, p, D), values) -> (hidden, keys "
    "(N, H, p + n, D), values); 'head': hidden -> logits (N, n, V); and 'context', the most positions"
)


@dataclass(frozen=True, eq=False)
class Decoder:
    """A language model as runs of its blocks take it. The modules are the network's own, so are their weights.

    Attributes:
        embed: (ids (N, n) int64, positions (n,) int64) -> hidden (N, n, C).
        blocks: (hidden, positions, keys (N, H, p, D), values) -> (hidden, keys (N, H, p + n, D), values), one a block;
            causal; p is 0 without a past.
        head: hidden (N, n, C) -> logits (N, n, V).
        names: The paths of the blocks in the network.
        vocabulary: V, how many tokens there are.
        width: C.
        context: The most positions, of prompt and output together.
        key_value_shape: Heads of keys and values, and the size of each: (H, D).
        dtype: Of hidden states, keys and values.
    """

    embed: nn.Module
    blocks: tuple[nn.Module, ...]
    head: nn.Module
    names: tuple[str, ...]
    vocabulary: int
    width: int
    context: int
    key_value_shape: tuple[int, int]
    dtype: torch.dtype = torch.float32

    @property
    def tied(self) -> bool:
        """Whether embedding and head share weights; a cut between them has these on both sides."""
        return bool(self.tied_weights)

    @property
    def tied_weights(self) -> list[Tensor]:
        """The weights that embedding and head share."""
        of_head = {id(each) for each in self.head.parameters()}
        return [each for each in self.embed.parameters() if id(each) in of_head]

    def empty(self, users: int = 1) -> tuple[Tensor, Tensor]:
        """Keys and values of a block without a past, each (users, H, 0, D)."""
        heads, size = self.key_value_shape
        device = next((each.device for each in self.head.parameters()), None)
        past = torch.empty(users, heads, 0, size, dtype=self.dtype, device=device)
        return past, past


def decoder_of(model: nn.Module) -> Decoder:
    """Read a language model as embedding, blocks and head, and make sure that these compute what it computes.

    Args:
        model: Decoder of transformers with standard blocks (GPT-2, Llama, Qwen3, Mistral and their like), or an own
            network with `embed`, `blocks`, `head` and `context`, whose `forward` takes ids (N, n) and returns logits
            (N, n, V). What its blocks keep of a token is found by asking the first one, or said by it as
            `key_value_shape`, (heads, size of a head).

    Raises:
        ModelError: it is neither, keeps no cache, or its parts compute something else than it does.

    Example:
        >>> decoder_of(nn.Linear(2, 2))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        splitimpera.core.errors.ModelError: Linear is no language model that can be split: it has no 'embed'; ...
    """
    with contained(), torch.no_grad(), telling(ModelError, "the network cannot be read as a language model"):
        model = unwrapped(check_network(model))
        with evaluating(model):
            parts = standard_parts(model) if is_of_transformers(model) else _own_parts(model)
            return _proven(model, parts)


def _own_parts(model: nn.Module) -> StandardParts:
    kind = shown(type(model).__name__)

    def lacking(what: str) -> ModelError:
        return ModelError(f"{kind} is no language model that can be split: {what}", hint=OWN_FORM)

    for name in ("embed", "blocks", "head"):
        if not isinstance(getattr(model, name, None), nn.Module):
            raise lacking(f"'{name}' is no nn.Module" if hasattr(model, name) else f"it has no '{name}'")
    made: Any = model
    if not isinstance(made.blocks, (nn.ModuleList, nn.Sequential)) or not len(made.blocks):
        raise lacking("'blocks' is no nn.ModuleList of blocks")
    context = getattr(model, "context", None)
    if not isinstance(context, int) or isinstance(context, bool) or context < 2:
        raise lacking(f"its 'context' is {shown(context)}, a number of positions from 2 on is expected")
    for block in made.blocks:
        if _inputs(block) < 4:
            raise lacking(
                f"its blocks are without a cache, they take {_inputs(block)} of (hidden, positions, keys, values)"
            )
    embed = made.embed if _inputs(made.embed) > 1 else _PlainEmbedding(made.embed)
    names = tuple(f"blocks.{index}" for index in range(len(made.blocks)))
    shape = getattr(model, "key_value_shape", None)
    if shape is None:
        shape = _asked_shape(embed, made.blocks[0], _device(model))
    elif not (isinstance(shape, tuple) and len(shape) == 2 and all(type(size) is int and size > 0 for size in shape)):
        raise lacking(f"its 'key_value_shape' is {shown(shape)}, (heads, size of a head) is expected")
    return StandardParts(embed, tuple(made.blocks), made.head, names, context, shape)


class _PlainEmbedding(nn.Module):
    """An embedding that needs no positions, such as `nn.Embedding`."""

    def __init__(self, tokens: nn.Module) -> None:
        super().__init__()
        self.tokens = tokens

    def forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        hidden: Tensor = self.tokens(ids)
        return hidden


def _inputs(module: nn.Module) -> int:
    kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    taken = inspect.signature(module.forward).parameters.values()
    return 4 if any(one.kind is one.VAR_POSITIONAL for one in taken) else sum(one.kind in kinds for one in taken)


def _asked_shape(embed: nn.Module, block: nn.Module, device: torch.device | None) -> tuple[int, int]:
    """Heads and their size, of the keys that a block makes of one token.

    torch.cat passes over an empty tensor of one dimension, whatever it is put together with.
    """
    first = torch.zeros(1, dtype=torch.int64, device=device)
    nothing = torch.empty(0, device=device)
    try:
        _, keys, _ = block(embed(first[None], first), first, nothing, nothing)
        _, heads, _, size = keys.shape
    except KeyboardInterrupt:
        raise
    except BaseException as failure:
        raise ModelError(
            "what the blocks keep of a token cannot be found by asking the first one",
            hint="give the network an attribute 'key_value_shape', (heads of keys and values, size of a head)",
        ) from failure
    return int(heads), int(size)


def _device(model: nn.Module) -> torch.device | None:
    return next((each.device for each in model.parameters()), None)


def _proven(model: nn.Module, parts: StandardParts) -> Decoder:
    """The parts as a decoder, once they computed what the network does of a few tokens, with and without a past."""
    kind = shown(type(model).__name__)
    device = _device(model)
    tokens = min(PROBE[-1], parts.context)
    ids = probe(tokens).to(device)
    options: dict[str, Any] = {"use_cache": False} if is_of_transformers(model) else {}
    result = model(ids, **options)
    whole = getattr(result, "logits", result)
    if not isinstance(whole, Tensor) or whole.shape[:2] != ids.shape or whole.ndim != 3:
        given = f"a tensor {tuple(whole.shape)}" if isinstance(whole, Tensor) else shown(type(whole).__name__)
        raise ModelError(f"{kind} returns {given} for ids {tuple(ids.shape)}, logits (N, n, V) are expected")
    first = parts.embed(ids, torch.arange(tokens, device=device))
    decoder = Decoder(**vars(parts), vocabulary=int(whole.shape[2]), width=int(first.shape[-1]), dtype=first.dtype)
    pasts = [decoder.empty() for _ in parts.blocks]
    pieces = []
    for start, stop in pairwise(sorted({min(place, tokens) for place in PROBE})):
        hidden, pasts = _read(decoder, ids[:, start:stop], torch.arange(start, stop, device=device), pasts)
        pieces.append(decoder.head(hidden))
    gap = gap_between(torch.cat(pieces, dim=1), whole)
    if gap:
        raise ModelError(
            f"the embedding, blocks and head of {kind} compute something else than the whole: logits {gap}",
            hint="blocks must be causal and use the keys and values that they are given, and nothing may happen "
            "outside embedding, blocks and head",
        )
    return decoder


def probe(tokens: int) -> Tensor:
    """Ids (1, tokens) that any vocabulary has."""
    return (torch.arange(tokens) % 2)[None]


def gap_between(made: Tensor, expected: Tensor) -> str:
    """How two tensors differ that should be the same but for rounding; empty where they are."""
    gap, largest = float((made - expected).abs().max()), float(expected.abs().max())
    same = gap <= TOLERANCE.get(expected.dtype, COARSE) * largest
    return "" if same else f"differ by up to {gap:.3g}, the largest is {largest:.3g}"


def _read(
    decoder: Decoder, ids: Tensor, positions: Tensor, pasts: list[tuple[Tensor, Tensor]]
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    hidden, grown = decoder.embed(ids, positions), []
    for index, (block, (keys, values)) in enumerate(zip(decoder.blocks, pasts, strict=True)):
        made = block(hidden, positions, keys, values)
        if not (isinstance(made, tuple) and len(made) == 3 and all(isinstance(each, Tensor) for each in made)):
            raise ModelError(f"block {index} returns no (hidden, keys, values)", hint=OWN_FORM)
        heads, size = decoder.key_value_shape
        expected = ids.shape[0], heads, keys.shape[2] + ids.shape[1], size
        hidden, *kept = made
        if any(tuple(each.shape) != expected for each in kept):
            shapes = " and ".join(str(tuple(each.shape)) for each in kept)
            raise ModelError(f"block {index} returns keys and values {shapes}, {expected} is expected", hint=OWN_FORM)
        grown.append((kept[0], kept[1]))
    return hidden, grown
