"""Models of transformers with standard blocks, read as embedding, blocks and head; their own modules do the work.

Nothing here imports transformers: whoever hands in a model of it has it.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from splitimpera.core.errors import ModelError, shown

BLOCKS = "h", "layers", "blocks"
NORMS = "ln_f", "norm", "final_layernorm", "final_layer_norm", "norm_f"
POSITIONS = "wpe", "embed_positions"
CACHES = "past_key_values", "past_key_value", "layer_past"
"""What blocks call the cache that they are given, by their age."""
ATTENTION = "eager", "sdpa"


@dataclass(frozen=True, eq=False)
class StandardParts:
    """What a model is made of.

    Attributes:
        embed: (ids (N, n), positions (n,)) -> hidden (N, n, C).
        blocks: (hidden, positions, keys, values) -> (hidden, keys, values), one a block.
        head: hidden -> logits (N, n, V).
        names: The paths of the blocks in the model.
        context: The most positions.
        key_value_shape: Heads of keys and values, and the size of each.
    """

    embed: nn.Module
    blocks: tuple[nn.Module, ...]
    head: nn.Module
    names: tuple[str, ...]
    context: int
    key_value_shape: tuple[int, int]


def is_of_transformers(model: nn.Module) -> bool:
    """Whether a model is one of the package transformers, or a subclass of one."""
    return any(kind.__module__.partition(".")[0] == "transformers" for kind in type(model).__mro__)


def standard_parts(model: nn.Module) -> StandardParts:
    """Read a model of transformers that has the standard blocks.

    Raises:
        ModelError: it is none that writes token by token, keeps no cache, or has attention of another kind.
    """
    made: Any = model
    config, kind = made.config, shown(type(model).__name__)
    _check_kind(config, kind)
    output = made.get_output_embeddings()
    if output is None:
        raise ModelError(
            f"{kind} has no output projection onto its vocabulary", hint="take its class that ends in ForCausalLM"
        )
    base = getattr(made, made.base_model_prefix, None)
    found = [(name, getattr(base, name)) for name in BLOCKS if isinstance(getattr(base, name, None), nn.ModuleList)]
    norm = next((getattr(base, name) for name in NORMS if isinstance(getattr(base, name, None), nn.Module)), None)
    if not isinstance(base, nn.Module) or not found or norm is None:
        lacking = "blocks" if not found else "final normalisation"
        raise ModelError(
            f"{kind} is built otherwise than GPT-2 and Llama: its {lacking} cannot be found",
            hint="give it as an own network with 'embed', 'blocks', 'head' and 'context' (docs/language_models.md)",
        )
    rotary = getattr(base, "rotary_emb", None)
    _check_positions(config, rotary, kind)
    learned = next((getattr(base, name) for name in POSITIONS if hasattr(base, name)), None)
    inner, layers = found[0]
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return StandardParts(
        StandardEmbedding(made.get_input_embeddings(), learned),
        tuple(StandardBlock(layer, rotary, _cache_name(layer, kind)) for layer in layers),
        nn.Sequential(norm, output),
        tuple(f"{made.base_model_prefix}.{inner}.{index}" for index in range(len(layers))),
        int(config.max_position_embeddings),
        (int(heads), int(size)),
    )


class StandardEmbedding(nn.Module):
    """ids (N, n), positions (n,) -> hidden (N, n, C): tokens, and positions where these are learned."""

    def __init__(self, tokens: nn.Module, positions: nn.Module | None) -> None:
        super().__init__()
        self.tokens = tokens
        self.positions = positions

    def forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        hidden: Tensor = self.tokens(ids)
        return hidden if self.positions is None else hidden + self.positions(positions)


class StandardBlock(nn.Module):
    """A block of a model of transformers that is told its past instead of keeping it."""

    def __init__(self, layer: nn.Module, rotary: nn.Module | None, cache: str) -> None:
        super().__init__()
        self.layer = layer
        self.rotary = rotary
        self.cache = cache

    def forward(self, hidden: Tensor, positions: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        given = _Given(keys, values)
        known = torch.arange(keys.shape[2] + hidden.shape[1], device=hidden.device)
        later = known[None, :] > positions[:, None]
        mask = torch.zeros(later.shape, dtype=hidden.dtype, device=hidden.device)
        mask = mask.masked_fill(later, torch.finfo(hidden.dtype).min)[None, None]
        options: dict[str, Any] = {self.cache: given, "attention_mask": mask, "use_cache": True}
        if self.rotary is not None:
            options["position_embeddings"] = self.rotary(hidden, positions[None])
        made = self.layer(hidden, **options)
        return made[0] if isinstance(made, tuple) else made, given.keys, given.values


class _Given:
    """What a block of transformers takes for a cache: the past that it is given, to which it appends what is new."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys = keys
        self.values = values

    def update(self, keys: Tensor, values: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        self.keys = torch.cat([self.keys, keys], dim=2)
        self.values = torch.cat([self.values, values], dim=2)
        return self.keys, self.values


def _check_kind(config: Any, kind: str) -> None:
    if getattr(config, "is_encoder_decoder", False) or getattr(config, "add_cross_attention", False):
        raise ModelError(f"{kind} has an encoder beside its decoder, a model of a decoder alone is expected")
    if not hasattr(config, "use_cache") or not hasattr(config, "max_position_embeddings"):
        raise ModelError(
            f"{kind} is a model without a cache of keys and values",
            hint="take one that writes token by token, such as GPT2LMHeadModel or LlamaForCausalLM",
        )
    if getattr(config, "final_logit_softcapping", None):
        raise ModelError(f"{kind} bends its logits behind the output projection (final_logit_softcapping)")
    attention = getattr(config, "_attn_implementation", None) or ATTENTION[0]
    if attention not in ATTENTION:
        raise ModelError(
            f"{kind} computes attention by '{shown(attention)}'", hint="load it with attn_implementation='sdpa'"
        )
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    narrow = window is not None and window < config.max_position_embeddings
    if (kinds and kinds != {"sliding_attention"}) or (narrow and (kinds or not getattr(config, "layer_types", None))):
        what = f"a sliding window of {window} positions" if narrow else shown(", ".join(sorted(kinds)))
        raise ModelError(
            f"{kind} has attention that does not reach all earlier tokens ({what})",
            hint="set sliding_window=None in its configuration, or a context no longer than the window",
        )


def _check_positions(config: Any, rotary: Any, kind: str) -> None:
    scaling = getattr(rotary, "rope_type", "default")
    if scaling in ("dynamic", "longrope"):
        raise ModelError(
            f"{kind} turns keys by angles that change with the length of the text (rope type '{shown(scaling)}'), so "
            "that keys in the cache would no longer hold",
            hint="take another rope type, such as 'linear', 'yarn' or 'llama3'",
        )


def _cache_name(layer: nn.Module, kind: str) -> str:
    taken = inspect.signature(layer.forward).parameters
    for name in CACHES:
        if name in taken:
            return name
    raise ModelError(
        f"the blocks of {kind} take no cache of keys and values (they take {shown(', '.join(taken))})",
        hint="take a model that writes token by token, and transformers 4.48 or later",
    )
