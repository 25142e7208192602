"""Train a bottleneck at a cut; the network on both sides of it stays as it is."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows it by)
from torch import Tensor

from splitimpera.core.errors import DataError
from splitimpera.core.progress import Track, no_progress
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.datasets import Samples
from splitimpera.partition.bottleneck import Bottleneck, bottleneck_for, check_apart
from splitimpera.partition.cutter import split
from splitimpera.partition.probe import as_logits
from splitimpera.records.graph import Cut


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
    track: Track[int] = no_progress,
) -> Bottleneck:
    """Train a bottleneck to answer as the unsplit network does: stage 1 of I-SPLIT, by distillation. Labels are unused.

        loss = KL(unsplit || split) + mean (A - decoded)^2 / variance of A

    The first term is BottleFit's (Matsubara et al., 2022), the second ours. Adam with a one-cycle learning rate; the
    optimiser sees the bottleneck's parameters alone, and no gradient of another parameter is computed.

    Args:
        samples: pictures to train on; they are shuffled anew each epoch.
        epochs: how often each picture is seen.
        latent_channels: as `Bottleneck` takes it.
        seed: of the first weights and of the order; the same seed gives the same weights.

    Returns:
        the bottleneck, in eval mode.

    Raises:
        CutError: no such cut, or none that a bottleneck can be made for.
        DataError: fewer than two pictures (BatchNorm needs two).
        ModelError: the network does not return logits.
    """
    if len(samples) < 2:
        raise DataError(f"a bottleneck is trained on two pictures or more, here is {len(samples)}")
    check_apart(graph)
    partition = split(graph, cut)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        bottleneck = bottleneck_for(partition.cut, latent_channels, cuts=graph.cuts)
    dim = partition.cut.tensors[0].batch_dim or 0
    with torch.no_grad():  # neither side changes: what crosses and what is answered is computed once
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
    for _ in track(range(epochs), f"Training the bottleneck at {partition.cut.name}", epochs):
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


def _batches(pictures: int, batch: int, order: torch.Generator) -> list[Tensor]:
    """A shuffled epoch; a last batch of one picture is left out, since BatchNorm cannot train on it."""
    rows = torch.split(torch.randperm(pictures, generator=order), batch)
    return [part for part in rows if len(part) > 1]
