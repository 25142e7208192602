"""What candidates of a search are good for, before any training: their quality with a closed-form bottleneck."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from linear_code import SIDES, LinearCode, Moments, latent_channels
from torch import Tensor
from torch.utils import _pytree as pytree

from splitimpera.core.array_types import FloatArray
from splitimpera.graph.moving import device_of
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.samples import Samples
from splitimpera.partition.bottleneck import bottleneck_for, can_have_bottleneck
from splitimpera.partition.cutter import Partition, split
from splitimpera.records.graph import Cut, TensorSpec
from splitimpera.saliency.hooks import gradients
from splitimpera.saliency.scores import by_channel
from splitimpera.tasks.classification import Classification
from splitimpera.tasks.qualities import QUALITIES
from splitimpera.tasks.task import Task
from splitimpera.training.aims import Aims

BATCH = 64


def closed_form(
    graph: ModelGraph,
    candidates: Iterable[tuple[int, float]],
    train: Samples,
    validation: Samples,
    task: Task | None = None,
) -> dict[tuple[int, float], float]:
    """The quality with a linear code in the place of each bottleneck, and the tail as it is.

    One pass over `train` for all, with gradients of what saliency differentiates; then over `validation` the head of
    each cut, and for each of its ratios up to three tails: patches of 1, 2 and 4 positions to a side are tried, and
    the best is taken. A code has at most as many elements as the bottleneck's latent has.

    Args:
        candidates: Indices of cuts, and ratios.
        train: Samples that the codes are fitted to; a few hundred are enough.
        validation: Samples that the quality is of.
        task: What the network is for, fitted to its outputs; None: classification.

    Returns:
        by cut and ratio, the task's quality; with a minus sign where a lower one is better, so that a high number is
        always a good one.

    Raises:
        CutError: a cut that no bottleneck can be made for, or a ratio that leaves no channel.
    """
    aim: Task = Classification().fitted(graph.outputs) if task is None else task
    pairs = sorted({*candidates})
    cuts = {index: graph.cut(index) for index, _ in pairs}
    latents = {(index, ratio): bottleneck_for(cuts[index], ratio).latent_specs for index, ratio in pairs}
    moments = _moments(graph, [cut for cut in cuts.values() if can_have_bottleneck(cut)], train, aim)
    better = 1.0 if QUALITIES[aim.quality.name].better == "higher" else -1.0
    found: dict[tuple[int, float], float] = {}
    for index, group in groupby(pairs, key=lambda pair: pair[0]):
        sides = sorted({side for by_side in moments[index].values() for side in by_side})
        codes = [
            (pair, made)
            for pair in group
            for side in sides
            if (made := _codes(cuts[index], latents[pair], moments[index], side, sides[-1]))
        ]
        qualities = _qualities(graph, split(graph, cuts[index]), [made for _, made in codes], validation, aim)
        for (pair, _), quality in zip(codes, qualities, strict=True):
            found[pair] = max(found.get(pair, -float("inf")), better * quality)
    return found


_OfCut = dict[int, dict[int, Moments]]
"""By the place of a tensor among those that cross, and by side."""


def _moments(graph: ModelGraph, cuts: Sequence[Cut], samples: Samples, task: Task) -> dict[int, _OfCut]:
    """Of each tensor that a bottleneck would compress, by the cut's index."""
    found: dict[int, _OfCut] = {}
    for cut in cuts:
        coded = [place for place, is_coded in enumerate(bottleneck_for(cut).coded) if is_coded]
        found[cut.index] = {place: {side: Moments(side) for side in _sides(cut.tensors[place])} for place in coded}
    points = {cut.index: [cut.crossing[place] for place in found[cut.index]] for cut in cuts}

    def observe(index: int, name: str, activation: Tensor, gradient: Tensor) -> None:
        place = graph.cuts[index].crossing.index(name)
        spec = graph.cuts[index].tensors[place]
        for of_side in found[index][place].values():
            of_side.add(by_channel(activation, spec), by_channel(gradient, spec))

    def score(result: tuple[Any, ...]) -> Tensor:
        whole = pytree.tree_unflatten(list(result), graph.out_spec)
        return task.scalar(graph.picked(whole), None, "predicted").sum()

    for _, inputs in _batches(graph, samples):
        gradients(graph, inputs, score, points, observe)
    return found


def _sides(spec: TensorSpec) -> tuple[int, ...]:
    positions = _positions(spec)
    return tuple(side for side in SIDES if side == 1 or latent_channels(1, positions, spec.elements, side))


def _positions(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(size for dim, size in enumerate(spec.shape) if dim != spec.channel_dim) or (1,)


def _codes(cut: Cut, latents: Sequence[TensorSpec], moments: _OfCut, side: int, largest: int) -> dict[int, LinearCode]:
    """A code for each tensor that is compressed, by its place; none where patches of that side are too small for what
    may be sent. Of the `largest` there is always one, be it of a single channel."""
    made = {}
    for place, by_side in moments.items():
        spec, own = cut.tensors[place], min(side, max(by_side))
        channels = spec.shape[spec.channel_dim]
        count = latent_channels(channels, _positions(spec), latents[place].elements, own)
        if count < 1 and side != largest:
            return {}
        made[place] = by_side[own].code(max(1, count))
    return made


def _qualities(
    graph: ModelGraph, partition: Partition, codes: Sequence[dict[int, LinearCode]], samples: Samples, task: Task
) -> list[float]:
    """The quality with each of some codes; the head is run once for all."""
    aims = Aims(task, samples)
    counts: list[list[FloatArray]] = [[] for _ in codes]
    with torch.no_grad():
        for rows, inputs in _batches(graph, samples):
            crossing = partition.head(*inputs)
            wanted = () if samples.known else graph.picked(partition.tail(crossing))
            for code, own in zip(codes, counts, strict=True):
                decoded = tuple(
                    _decoded(code[place], a, spec) if place in code else a
                    for place, (a, spec) in enumerate(zip(crossing, partition.cut.tensors, strict=True))
                )
                own += aims.counts(graph.picked(partition.tail(decoded)), wanted, rows)
    return [aims.quality(own) for own in counts]


def _decoded(code: LinearCode, a: Tensor, spec: TensorSpec) -> Tensor:
    """A tensor as it comes back, in its own layout."""
    made: Tensor = code.to(a.device)(by_channel(a, spec).float())
    if len(spec.shape) > 1 and spec.channel_dim:
        made = made.movedim(1, 1 + spec.channel_dim)
    dim = spec.batch_dim or 0
    return made.reshape(a.movedim(dim, 0).shape).movedim(0, dim).to(a.dtype)


def _batches(graph: ModelGraph, samples: Samples) -> Iterator[tuple[Tensor, tuple[Tensor, ...]]]:
    """Places of samples and what the network takes of them, where it lies."""
    device = device_of(graph)
    places = torch.split(torch.arange(len(samples)), BATCH)
    for rows, read in zip(places, samples.batches(BATCH), strict=True):
        yield rows, tuple(x.to(device) for x in samples.tensors(read))
