"""Small networks, each nasty in its own way, with an input for each. The laws must hold for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class Chain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3))
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.body(x)).mean((2, 3)))


class Skip(nn.Module):
    """A residual connection, written in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        y = self.relu(self.conv1(x))
        y = self.conv2(y)
        y += x
        return self.head(self.relu(y).mean((2, 3)))


class SkipFromInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 3, 3, padding=1)
        self.b = nn.Conv2d(3, 3, 3, padding=1)
        self.head = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.b(self.a(x)) + x).amax((2, 3)))


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3 + 2 * i, 2, 3, padding=1) for i in range(3))
        self.head = nn.Linear(9, 5)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x).relu()], 1)
        return self.head(x.mean((2, 3)))


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 2, 1)
        self.three = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1))
        self.pool = nn.MaxPool2d(3, 1, 1)
        self.head = nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([self.one(x), self.three(x), self.pool(x)], 1).mean((2, 3)))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.deep = nn.Conv2d(4, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 3, 2, stride=2)
        self.last = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.cat([x, self.up(self.deep(self.down(x)).relu())], 1))


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.squeeze = nn.Linear(8, 2)
        self.excite = nn.Linear(2, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(F.silu(self.conv(x)))
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        return self.head((x * gate[:, :, None, None]).mean((2, 3)))


class SharedModule(nn.Module):
    """One module called twice, and a weight used under a second name."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.alias = self.conv
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x)))
        x = F.relu(self.norm(self.alias(x)))
        return self.head(x.mean((2, 3)) + self.conv.bias)


class Tokens(nn.Module):
    """A small transformer with a class token: views, splits and selections of one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, stride=4)
        self.cls = nn.Parameter(torch.randn(1, 1, 8))
        self.position = nn.Parameter(torch.randn(1, 5, 8))
        self.norm1 = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.project = nn.Linear(8, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm2 = nn.LayerNorm(8)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Dropout(0.5), nn.Linear(16, 8))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.position
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        x = x + self.project(F.scaled_dot_product_attention(q, k, v))
        x = x + self.attention(x, x, x)[0]
        x = x + self.mlp(self.norm2(x))
        return self.head(x[:, 0])


class SeveralResults(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.a = nn.Linear(4, 5)
        self.b = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> dict[str, Any]:
        x = self.conv(x).relu()
        y = x.mean((2, 3))
        return {"logits": self.a(y), "more": (self.b(y), x)}


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3)
        self.b = nn.Linear(6, 4)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.head(self.a(x).mean((2, 3)) * self.b(y).tanh())


class WriteSeenThroughView(nn.Module):
    """An in-place write that a view made earlier must see."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        seen = y.view(y.shape[0], 4, -1)
        y.mul_(2.0).relu_()
        return self.head(seen.mean(2))


class GroupsAndBranches(nn.Module):
    """An activation read before and after its ReLU, a split into partition, a scale per channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.scale = nn.Parameter(torch.randn(8, 1, 1))
        self.left = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.norm = nn.GroupNorm(2, 4)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x) * self.scale
        a, b = torch.split(y, 4, dim=1)
        a = self.norm(self.left(a)).relu()
        z = torch.cat([a, b, (a * torch.sigmoid(b))], 1)
        return self.head(F.adaptive_avg_pool2d(z, 1).flatten(1))


class ResultIsView(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).flatten(1)


class Recurrent(nn.Module):
    """One operation with several results."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(6, 4, batch_first=True)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        y, (h, _) = self.rnn(x)
        return self.head(y[:, -1] + h[0])


def _image(n: int) -> tuple[Tensor, ...]:
    return (torch.randn(n, 3, 8, 8),)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], tuple[Tensor, ...]]]] = {
    network.__name__: (network, _image)
    for network in (
        *(Chain, Skip, SkipFromInput, Dense, Inception, UNet, SqueezeExcite, SharedModule, Tokens, SeveralResults),
        *(WriteSeenThroughView, GroupsAndBranches, ResultIsView),
    )
} | {
    "TwoInputs": (TwoInputs, lambda n: (torch.randn(n, 3, 8, 8), torch.randn(n, 6))),
    "Recurrent": (Recurrent, lambda n: (torch.randn(n, 7, 6),)),
}


def make(name: str) -> nn.Module:
    """A network with weights and BatchNorm statistics that are not trivial; in training mode, as users leave it."""
    torch.manual_seed(1)
    network = NETWORKS[name][0]()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]
    return network


def inputs(name: str, n: int) -> tuple[Tensor, ...]:
    torch.manual_seed(2)
    return NETWORKS[name][1](n)
