"""A decoder that writes docstrings byte by byte; trained at first use, then cached.

Blocks take and give keys and values, so that whoever has a part of them can go on where it stopped.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows it by)
from data import WINDOW, text
from muon import Muon
from torch import Tensor, nn

from splitimpera.models.recipes import trained_once, weights_name

VOCABULARY, WIDTH, HEADS, BLOCKS, INNER = 256, 128, 4, 5, 384
HEAD_WIDTH = WIDTH // HEADS
STEPS, BATCH = 500, 8
MATRIX_RATE, OTHER_RATE = 0.04, 0.03
WORKERS = 2
"""Threads that share each step of training; fixed, so that the weights are the same however many cores there are."""


class Block(nn.Module):
    """Causal attention, then two layers with a squared ReLU between them; each is added to what comes in.

    `forward` takes hidden (N, n, C), positions (n,) int64 that go on from the p before them, and the keys and values of
    those, (N, heads, p, C / heads); it returns hidden, and the keys and values of all p + n.
    """

    def __init__(self) -> None:
        super().__init__()
        self.queries, self.keys, self.values, self.out = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.widen, self.narrow = nn.Linear(WIDTH, INNER, bias=False), nn.Linear(INNER, WIDTH, bias=False)
        self.attention_norm, self.inner_norm = nn.RMSNorm(WIDTH, eps=1e-6), nn.RMSNorm(WIDTH, eps=1e-6)
        nn.init.zeros_(self.out.weight)  # a new block changes nothing, whatever is before and behind it
        nn.init.zeros_(self.narrow.weight)

    def forward(self, x: Tensor, positions: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = self.attention_norm(x)
        queries = turned(normalised(by_head(self.queries(found))), positions)
        keys = torch.cat([keys, turned(normalised(by_head(self.keys(found))), positions)], 2)
        values = torch.cat([values, by_head(self.values(found))], 2)
        seen = positions[:, None] >= torch.arange(keys.shape[2], device=x.device)
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        x = x + self.narrow(F.relu(self.widen(self.inner_norm(x))).square())
        return x, keys, values


class Decoder(nn.Module):
    """`forward` takes ids int64 (N, n) and returns the logits of what follows each of them, (N, n, 256)."""

    def __init__(self) -> None:
        super().__init__()
        self.context = WINDOW
        self.embed = nn.Sequential(nn.Embedding(VOCABULARY, WIDTH), nn.RMSNorm(WIDTH, eps=1e-6))
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.head = nn.Sequential(nn.RMSNorm(WIDTH, eps=1e-6), nn.Linear(WIDTH, VOCABULARY, bias=False))

    def forward(self, ids: Tensor) -> Tensor:
        positions = torch.arange(ids.shape[1], device=ids.device)
        x = self.embed(ids)
        for block in self.blocks:
            nothing = by_head(x[:, :0])
            x, _, _ = block(x, positions, nothing, nothing)
        logits: Tensor = self.head(x)
        return logits


def by_head(x: Tensor) -> Tensor:
    """(N, n, C) -> (N, heads, n, C / heads)."""
    return x.unflatten(2, (HEADS, HEAD_WIDTH)).transpose(1, 2)


def normalised(x: Tensor) -> Tensor:
    """Rows of mean square 1."""
    return F.rms_norm(x, (x.shape[-1],), eps=1e-6)


def turned(x: Tensor, positions: Tensor) -> Tensor:
    """Pairs of values turned by angles that grow with the position, each pair at a speed of its own.

    J. Su et al.: RoFormer, 2021. x is (N, heads, n, even width).
    """
    half = x.shape[-1] // 2
    speeds = 10_000.0 ** -(torch.arange(half, device=x.device) / half)
    angles = positions[:, None] * speeds
    cos, sin = angles.cos(), angles.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def build() -> nn.Module:
    """The network with its weights."""
    here = Path(__file__).parent
    sources = [(here / name).read_text() for name in ("network.py", "data.py", "muon.py")]
    return trained_once(weights_name("language", sys.version, *sources), Decoder, fit)


def fit(model: nn.Module) -> None:
    """Cross-entropy; Muon for the matrices of blocks, AdamW for the rest, with rates that fall to 0 in the end."""
    sys.stderr.write("Training the language model, once: about two minutes on two cores\n")
    ids = torch.frombuffer(bytearray(text("train")), dtype=torch.uint8).long()
    parameters = list(model.parameters())
    matrices = [each for block in model.blocks for each in block.parameters() if each.ndim == 2]
    others = [each for each in parameters if not any(each is matrix for matrix in matrices)]
    optimizers: list[torch.optim.Optimizer] = [
        *(Muon(matrices[worker::WORKERS], lr=MATRIX_RATE) for worker in range(WORKERS)),
        torch.optim.AdamW(others, lr=OTHER_RATE, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(each, lambda step: min(1, 1.5 * (1 - step / STEPS))) for each in optimizers
    ]

    def gradients(starts: Tensor) -> tuple[Tensor, ...]:
        rows = ids[starts[:, None] + torch.arange(WINDOW + 1)]
        loss = F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        return torch.autograd.grad(loss / WORKERS, parameters)

    model.train()
    with ThreadPoolExecutor(WORKERS) as threads:
        for _ in range(STEPS):
            starts = torch.randint(len(ids) - WINDOW, (BATCH,))
            found = list(threads.map(gradients, starts.chunk(WORKERS)))
            for parameter, *parts in zip(parameters, *found, strict=True):
                parameter.grad = torch.stack(parts).sum(0)
            list(threads.map(lambda optimizer: optimizer.step(), optimizers))
            for schedule in schedules:
                schedule.step()
