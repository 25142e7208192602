"""What `score_vs_accuracy` puts at a cut: a bottleneck trained by distillation alone, and a linear code, untrained."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows it by)
from torch import Tensor, nn

import splitimpera as sei
from splitimpera.core.errors import ModelError
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.datasets import Samples
from splitimpera.partition.autoencoder import Autoencoder
from splitimpera.partition.cutter import Partition
from splitimpera.records.graph import Cut, TensorSpec
from splitimpera.saliency.scores import by_channel

_BATCH = 128


def single_tensor(cut: Cut) -> TensorSpec:
    """The one tensor that crosses, which this benchmark is about."""
    (spec,) = cut.tensors
    return spec


def fit_bottleneck(
    graph: ModelGraph,
    cut: Cut | int | str,
    samples: Samples,
    *,
    epochs: int,
    latent_channels: int | None = None,
    seed: int = 0,
    batch: int = 64,
    learning_rate: float = 0.01,
) -> Autoencoder:
    """Train a bottleneck to predict as the unsplit network does: stage 1 of I-SPLIT, by distillation.

    Labels are unused.

        loss = KL(unsplit || split) + mean (A - decoded)^2 / variance of A

    The first term is BottleFit's (Matsubara et al., 2022), the second ours. Adam with a one-cycle learning rate; the
    optimiser sees the bottleneck's parameters alone, and no gradient of another parameter is computed.

    Args:
        samples: images to train on; they are shuffled anew each epoch.
        epochs: how often each image is seen.
        latent_channels: as `Autoencoder` takes it.
        seed: Seed of the first weights and of the order; the same seed gives the same weights.

    Returns:
        the bottleneck, in eval mode.
    """
    partition = sei.split(graph, cut)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        bottleneck = Autoencoder(single_tensor(partition.cut), latent_channels)
    dim = partition.cut.tensors[0].batch_dim or 0
    with torch.no_grad():  # neither side changes: what crosses and the outputs are computed once
        activations = torch.cat([partition.head(x)[0] for x in torch.split(samples.inputs, 256)], dim)
        wanted = torch.cat([as_logits(partition.tail((a,))) for a in torch.split(activations, 256, dim)]).log_softmax(1)
        variance = activations.var(correction=0).clamp_min(1e-12)
    bottleneck.to(activations)
    parameters = list(bottleneck.parameters())
    order = torch.Generator().manual_seed(seed)
    steps = -(-len(samples) // batch) * epochs
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=learning_rate, total_steps=max(1, steps))
    bottleneck.train()
    for _ in range(epochs):
        for rows in _batches(len(samples), batch, order):
            a = activations.index_select(dim, rows.to(activations.device))
            decoded = bottleneck(a)
            given = as_logits(partition.tail((decoded,))).log_softmax(1)
            loss = F.kl_div(given, wanted[rows], reduction="batchmean", log_target=True)
            loss = loss + F.mse_loss(decoded, a) / variance
            optimizer.zero_grad()
            # The user's parameters may require gradients; `inputs` keeps them from getting any.
            torch.autograd.backward(loss, inputs=parameters)
            optimizer.step()
            schedule.step()
    return bottleneck.eval()


def as_logits(result: Any) -> Tensor:
    """What a network returned, if it is logits (N, classes).

    Raises:
        ModelError: it is something else.
    """
    if not isinstance(result, Tensor) or result.ndim != 2:
        raise ModelError(f"logits (samples, classes) are expected, the network returns {type(result).__name__}")
    return result


def _batches(count: int, batch: int, order: torch.Generator) -> list[Tensor]:
    """A shuffled epoch; a last batch of one image is left out, since BatchNorm cannot train on it."""
    rows = torch.split(torch.randperm(count, generator=order), batch)
    return [part for part in rows if len(part) > 1]


class LinearCode(nn.Module):
    """The mean over patches of positions, then the leading principal components of the channels; and back. Ours.

    With `side` 4 and as many channels it is as large as the latent of `partition.autoencoder`. Of all codes that keep
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


def fit_linear_code(partition: Partition, inputs: Tensor, latent_channels: int, side: int = 4) -> nn.Module:
    """The linear code of a cut's tensor, maps or vectors, fitted to `inputs`; takes and returns (N, *its shape)."""
    spec = single_tensor(partition.cut)
    parts = []
    with torch.no_grad():
        for x in torch.split(inputs, _BATCH):
            pooled = pool(_maps(by_channel(partition.head(x)[0], spec), spec.shape), side)
            parts.append(pooled.movedim(1, -1).flatten(0, -2))
    first = parts[0]
    mean, components = principal_components(torch.cat(parts), latent_channels)
    return _InLayout(LinearCode(mean.to(first), components.to(first), side), spec.channel_dim)


def outputs(partition: Partition, between: nn.Module, inputs: Tensor) -> Tensor:
    """Logits (N, classes) of head, `between` (from the crossing tensor to one of its shape) and tail."""
    with torch.no_grad():
        batches = torch.split(inputs, _BATCH)
        return torch.cat([as_logits(partition.tail((between(partition.head(x)[0]),))) for x in batches])


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
