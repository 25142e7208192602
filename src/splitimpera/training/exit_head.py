"""The head of an early exit: from the tensors that cross a cut to logits."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod

import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows it by)
from torch import Tensor, nn

from splitimpera.core.errors import CutError
from splitimpera.models.accelerators import to_float64
from splitimpera.partition.autoencoder import fits
from splitimpera.records.graph import TensorSpec
from splitimpera.training.exit_settings import HeadKind

Features = tuple[Tensor, ...]

MOST_FEATURES = 2048
"""Of one tensor, for a linear layer."""
SIDES = {"linear": 4, "conv": 8}
WIDTH = 32


class ExitHead(nn.Module):
    """Says which class a frame belongs to, from what crosses a cut.

    Of each tensor the means over patches are taken, 4 x 4 of them at most (8 x 8 of "conv"); of many channels fewer,
    and of tokens or sequences those over neighbours. Of "linear" all of them go into one linear layer. Of "conv" a
    convolution of 3 x 3, ReLU and a mean over space come in front of it. A vector goes into the linear layer as it is.
    Tensors that are no floating-point maps, tokens or vectors are not read.

    Every feature is scaled to mean 0 and variance 1 over some of the samples that it is trained on.

    Args:
        specs: the tensors that cross, as they belong to one frame.
        classes: how many classes there are.

    `forward` takes all tensors that cross, frames stacked as the network does, and returns logits (N, classes), float32
    and divided by the temperature: their softmax is the calibrated confidence.

    Raises:
        CutError: there is nothing that it can read.

    Example:
        >>> head = ExitHead([TensorSpec("maps", (8, 16, 16)), TensorSpec("vector", (5,))], classes=10)
        >>> tuple(head(torch.rand(2, 8, 16, 16), torch.rand(2, 5)).shape), head.linear.in_features
        ((2, 10), 133)
    """

    temperature: Tensor

    def __init__(self, specs: Sequence[TensorSpec], classes: int, kind: HeadKind = "linear") -> None:
        super().__init__()
        self.kind = kind
        self.inputs = tuple(_Input(spec, kind) if fits(spec) else None for spec in specs)
        read = [each for each in self.inputs if each is not None]
        if not read:
            raise CutError("nothing crosses that a head can read", hint="choose another cut")
        self.scales = nn.ModuleList(_Scale(each.features) for each in read)
        self.convolutions = nn.ModuleList(each.convolution() for each in read)
        self.linear = nn.Linear(sum(each.read_by_linear for each in read), classes)
        self.register_buffer("temperature", torch.ones(()))

    def squeeze(self, *tensors: Tensor) -> Features:
        """The features that are read of each tensor: (N, features), or (N, C, H, W) for a convolution. Nothing in
        this is trained."""
        pairs = zip(self.inputs, tensors, strict=True)
        return tuple(each.squeezed(tensor) for each, tensor in pairs if each is not None)

    def scale_to(self, features: Features) -> None:
        """Scale features as these samples need it."""
        for scale, own in zip(self.scales, features, strict=True):
            assert isinstance(scale, _Scale)
            scale.fit(own)

    def logits(self, features: Features) -> Tensor:
        """Logits before they are divided by the temperature."""
        read = zip(features, self.scales, self.convolutions, strict=True)
        made: Tensor = self.linear(torch.cat([convolution(scale(own)) for own, scale, convolution in read], 1))
        return made

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.logits(self.squeeze(*tensors)) / self.temperature


class _Input:
    """How one tensor is read."""

    def __init__(self, spec: TensorSpec, kind: HeadKind) -> None:
        self.batch_dim, self.channel_dim = spec.batch_dim or 0, spec.channel_dim
        self.channels = spec.shape[spec.channel_dim]
        self.sizes = tuple(size for dim, size in enumerate(spec.shape) if dim != spec.channel_dim)
        self.convolves = kind == "conv" and bool(self.sizes)
        sides = [SIDES[kind]]
        while not self.convolves and sides[-1] > 1 and self.channels * prod(self._positions(sides[-1])) > MOST_FEATURES:
            sides.append(sides[-1] // 2)
        self.side = sides[-1]
        positions = self._positions(self.side)
        self.features = self.channels * (1 if self.convolves else prod(positions))
        height, width = (3 if size > 1 else 1 for size in (*positions, 1, 1)[:2])
        self.kernel = height, width
        self.read_by_linear = WIDTH if self.convolves else self.features

    def _positions(self, side: int) -> tuple[int, ...]:
        return tuple(ceil(size / ceil(size / side)) for size in self.sizes)

    def squeezed(self, tensor: Tensor) -> Tensor:
        x = tensor.movedim(self.batch_dim, 0).movedim(self.channel_dim + 1, 1).float()
        if not self.sizes:
            return x
        if len(self.sizes) == 1:
            x = x.unsqueeze(3)
        patch = [ceil(size / self.side) for size in (*self.sizes, 1)[:2]]
        x = F.avg_pool2d(x, patch, ceil_mode=True, count_include_pad=False) if max(patch) > 1 else x
        return x if self.convolves else x.flatten(1)

    def convolution(self) -> nn.Module:
        if not self.convolves:
            return nn.Identity()
        height, width = self.kernel
        convolution = nn.Conv2d(self.channels, WIDTH, self.kernel, padding=(height // 2, width // 2))
        return nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class _Scale(nn.Module):
    """Brings each feature, or each channel of maps, to mean 0 and variance 1."""

    mean: Tensor
    factor: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("factor", torch.ones(features))

    def fit(self, x: Tensor) -> None:
        over = [dim for dim in range(x.ndim) if dim != 1]
        variance, mean = torch.var_mean(to_float64(x), over, correction=0)
        self.mean.copy_(mean)
        self.factor.copy_((variance + 1e-6).rsqrt())

    def forward(self, x: Tensor) -> Tensor:
        shape = [1, -1, *[1] * (x.ndim - 2)]
        return (x - self.mean.view(shape)) * self.factor.view(shape)
