"""Small language models with random weights: of the package transformers, and one of our own."""

from __future__ import annotations

import torch
from other_packages import package
from torch import nn

VOCABULARY, CONTEXT, BLOCKS = 50, 64, 3
KINDS = "gpt2", "llama", "qwen3", "mistral", "own"


def small(kind, seed=0, **more):
    """A network of three blocks."""
    torch.manual_seed(seed)
    if kind == "own":
        return Own(**more).eval()
    lib = package("transformers")
    common = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": None, "pad_token_id": None}
    if kind == "gpt2":
        config = lib.GPT2Config(n_positions=CONTEXT, n_embd=32, n_layer=BLOCKS, n_head=4, **common | more)
        return spread(lib.GPT2LMHeadModel(config).eval())
    common |= {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": BLOCKS}
    common |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": CONTEXT}
    if kind == "qwen3":
        return spread(lib.Qwen3ForCausalLM(lib.Qwen3Config(head_dim=16, **common | more)).eval())
    if kind == "mistral":
        return spread(lib.MistralForCausalLM(lib.MistralConfig(**{"sliding_window": None} | common | more)).eval())
    return spread(lib.LlamaForCausalLM(lib.LlamaConfig(**common | more)).eval())


def spread(model):
    """Larger weights, so that what a network writes changes from token to token."""
    with torch.no_grad():
        for each in model.parameters():
            if each.ndim > 1:
                each.mul_(6.0)
    return model


def turned(x, positions):
    """Pairs of channels turned by their position's angles: x is (N, H, n, D)."""
    half = x.shape[-1] // 2
    angles = positions[:, None] * 100.0 ** -(torch.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], dim=-1)


class OwnBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.RMSNorm(width), nn.RMSNorm(width)
        self.three, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))

    def forward(self, hidden, positions, keys, values):
        made = self.three(self.before(hidden)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        keys = torch.cat([keys, turned(made[1], positions)], dim=2)
        values = torch.cat([values, made[2]], dim=2)
        seen = torch.arange(keys.shape[2])[None] <= positions[:, None]
        found = nn.functional.scaled_dot_product_attention(turned(made[0], positions), keys, values, attn_mask=seen)
        hidden = hidden + self.out(found.transpose(1, 2).flatten(2))
        return hidden + self.wide(self.between(hidden)), keys, values


class Own(nn.Module):
    """An own network in the form that `decoder_of` reads."""

    def __init__(self, width=24, heads=3, context=CONTEXT):
        super().__init__()
        self.context, self.shape = context, (heads, width // heads)
        self.embed = nn.Embedding(VOCABULARY, width)
        self.blocks = nn.ModuleList(OwnBlock(width, heads) for _ in range(BLOCKS))
        self.head = nn.Sequential(nn.RMSNorm(width), nn.Linear(width, VOCABULARY, bias=False))

    def forward(self, ids):
        hidden, positions = self.embed(ids), torch.arange(ids.shape[1])
        none = torch.empty(ids.shape[0], self.shape[0], 0, self.shape[1])
        for block in self.blocks:
            hidden, _, _ = block(hidden, positions, none, none)
        return self.head(hidden)
