"""How well a cut bears compression, without training: the answers with a linear code in the tensor's place."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows it by)
from torch import Tensor, nn

from splitimpera.core.errors import DataError, ModelError
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.datasets import Samples
from splitimpera.partition.bottleneck import check_apart, check_layout, single_tensor
from splitimpera.partition.cutter import Partition, split
from splitimpera.records.graph import Cut
from splitimpera.saliency.scores import by_channel


class LinearCode(nn.Module):
    """The mean over patches of positions, then the leading principal components of the channels; and back. Ours.

    With `side` 4 and as many channels it is as large as the latent of `partition.bottleneck`. Of all codes that keep
    so many linear functions of a patch's mean, this one keeps the most of its variance.

    Args:
        mean: the channels' means, (K,).
        components: orthonormal columns, (K, latent channels).
        side: side of a patch; patches at the far edges are smaller.

    `forward` takes (N, K, H, W) or (N, K) and returns what decoding the code gives, of the same shape.
    """

    mean: Tensor
    components: Tensor

    def __init__(self, mean: Tensor, components: Tensor, side: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("components", components)
        self.side = side

    def forward(self, a: Tensor) -> Tensor:
        pooled = pool(a, self.side)
        centred = pooled.flatten(2) - self.mean[:, None] if a.ndim > 2 else (pooled - self.mean)[..., None]
        latent = torch.einsum("kl,nkp->nlp", self.components, centred)
        decoded = torch.einsum("kl,nlp->nkp", self.components, latent) + self.mean[:, None]
        if a.ndim == 2:
            return decoded[..., 0]
        decoded = decoded.reshape(pooled.shape)
        if self.side > 1:
            decoded = F.interpolate(decoded, scale_factor=float(self.side), mode="bilinear", align_corners=False)
        return decoded[..., : a.shape[2], : a.shape[3]]


def pool(a: Tensor, side: int) -> Tensor:
    """Means over patches of `side` x `side` positions of (N, K, H, W), smaller ones at the far edges; (N, K) stays."""
    return a if a.ndim == 2 else F.avg_pool2d(a, side, ceil_mode=True, count_include_pad=False)


def principal_components(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean (K,) and the leading `count` principal directions (K, count or K) of rows (N, K); in float64, so that
    the order of the rows does not show."""
    rows = rows.double()
    mean = rows.mean(0)
    centred = rows - mean
    _, vectors = torch.linalg.eigh(centred.T @ centred)  # ascending
    return mean, vectors.flip(1)[:, :count]


def linear_code_probe(
    graph: ModelGraph,
    cut: Cut | int | str,
    calibration_inputs: Tensor,
    samples: Samples,
    latent_channels: int,
    side: int = 4,
) -> tuple[float, float]:
    """Accuracy and cross-entropy (nats) of the network with a linear code at a cut. Nothing is trained.

    Args:
        calibration_inputs: what the code is fitted to, (N, ...); one head pass.
        samples: what accuracy and cross-entropy are taken over; one head and one tail pass.
        latent_channels: channels that the code keeps; at most the tensor's own.
        side: side of the patches that it averages over.

    Raises:
        CutError: several tensors cross, the tensor is neither maps nor a vector, or the network mixes pictures.
        DataError: no picture to calibrate or to measure on.
        ModelError: the network does not return logits.
    """
    check_apart(graph)
    partition = split(graph, cut)
    code = fit_linear_code(partition, calibration_inputs, latent_channels, side)
    return accuracy_and_cross_entropy(answers(partition, code, samples.inputs), samples.labels)


def fit_linear_code(partition: Partition, inputs: Tensor, latent_channels: int, side: int = 4) -> nn.Module:
    """The linear code of a cut's tensor, fitted to `inputs`; takes and returns (N, *shape of the tensor)."""
    spec = single_tensor(partition.cut)
    check_layout(spec)
    if not len(inputs):
        raise DataError("a linear code is fitted to at least one picture, there is none")
    parts = []
    with torch.no_grad():
        for x in torch.split(inputs, _BATCH):
            pooled = pool(_maps(by_channel(partition.head(x)[0], spec), spec.shape), side)
            parts.append(pooled.movedim(1, -1).flatten(0, -2))
    first = parts[0]
    mean, components = principal_components(torch.cat(parts), latent_channels)
    return _InLayout(LinearCode(mean.to(first), components.to(first), side), spec.channel_dim)


def answers(partition: Partition, between: nn.Module, inputs: Tensor) -> Tensor:
    """Logits (N, classes) of head, `between` (from the crossing tensor to one of its shape) and tail.

    Raises:
        ModelError: the network returns something else than logits.
    """
    with torch.no_grad():
        batches = torch.split(inputs, _BATCH)
        return torch.cat([as_logits(partition.tail((between(partition.head(x)[0]),))) for x in batches])


def accuracy_and_cross_entropy(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Share of right answers, and the mean cross-entropy in nats."""
    if not len(labels):
        raise DataError("accuracy is measured on at least one picture, there is none")
    right = (logits.argmax(1) == labels).double().mean()
    return float(right), float(F.cross_entropy(logits.double(), labels))


def as_logits(result: Any) -> Tensor:
    """What a network returned, if it is logits (N, classes)."""
    if not isinstance(result, Tensor) or result.ndim != 2:
        raise ModelError(f"logits (pictures, classes) are expected, the network returns {type(result).__name__}")
    return result


_BATCH = 128


def _maps(channels_first: Tensor, shape: tuple[int, ...]) -> Tensor:
    return channels_first if len(shape) > 1 else channels_first.flatten(1)


class _InLayout(nn.Module):
    """Hands a module channels first, whatever the tensor's layout."""

    def __init__(self, inner: nn.Module, channel_dim: int) -> None:
        super().__init__()
        self.inner = inner
        self.channel_dim = channel_dim

    def forward(self, x: Tensor) -> Tensor:
        coded: Tensor = self.inner(x.movedim(self.channel_dim + 1, 1))
        return coded.movedim(1, self.channel_dim + 1)
