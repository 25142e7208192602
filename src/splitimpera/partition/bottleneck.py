"""The bottleneck of a cut: an autoencoder for each tensor that crosses, with one budget."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice

import torch
from torch import Tensor, nn

from splitimpera.core.errors import CutError
from splitimpera.graph.tracing import ModelGraph
from splitimpera.partition.autoencoder import (
    Autoencoder,
    check_layout,
    check_ratio,
    fits,
    least_elements,
    too_large,
)
from splitimpera.records.graph import Cut, TensorSpec

_ROUNDING = 1 + 1e-9


class Bottleneck(nn.Module):
    """An autoencoder for each tensor that crosses a cut; the device sends their latents.

    The ratio holds for all together. Each tensor's latent gets a share of the elements in proportion to its own. Where
    that leaves no channel, it gets its smallest latent, and the others share what is left.

    What crosses beside them and has no layout that an autoencoder is made for, such as whole numbers, passes as it is.
    It takes its part of what may be sent.

    Args:
        specs: the tensors, as they belong to one frame.
        ratio: elements of all tensors / elements of all that is sent, 1 or more; never more are sent. None: each
            tensor gets the papers' layers.

    `encoder` takes the tensors as they cross and returns a tuple of what is sent, `latent_specs`; `decoder` takes that
    and returns a tuple of tensors of the same shapes.

    Raises:
        CutError: no tensor has a layout that an autoencoder is made for; one has frames mixed with another dimension;
            the ratio is below 1, or leaves one of them without a channel.

    Example:
        >>> skip, deep = TensorSpec("skip", (8, 16, 16)), TensorSpec("deep", (32, 4, 4))
        >>> [latent.shape for latent in Bottleneck([skip, deep], ratio=32).latent_specs]
        [(4, 4, 4), (16, 1, 1)]
    """

    def __init__(self, specs: Sequence[TensorSpec], ratio: float | None = None) -> None:
        super().__init__()
        _check(specs)
        self.coded: tuple[bool, ...] = tuple(map(fits, specs))
        """Which tensors have an autoencoder; the others pass as they are."""
        ratios = [None] * len(specs) if ratio is None else _ratios(specs, ratio)
        coders = [
            Autoencoder(spec, ratio=own).to(getattr(torch, spec.dtype)) if coded else None
            for spec, own, coded in zip(specs, ratios, self.coded, strict=True)
        ]
        self.encoder = _Each([[] if coder is None else coder.encoder for coder in coders])
        self.decoder = _Each([[] if coder is None else coder.decoder for coder in coders])
        self.latent_specs: tuple[TensorSpec, ...] = tuple(
            spec if coder is None else coder.latent_spec for spec, coder in zip(specs, coders, strict=True)
        )

    @property
    def latent_elements(self) -> int:
        """Elements of all that is sent for one frame."""
        return sum(spec.elements for spec in self.latent_specs)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        decoded: tuple[Tensor, ...] = self.decoder(*self.encoder(*tensors))
        return decoded


class _Each(nn.Sequential):
    """Several tensors, each through layers of its own; through none it passes.

    The layers stand in one row, so that those of a single tensor have the names that they have alone.
    """

    def __init__(self, rows: Sequence[Sequence[nn.Module] | nn.Sequential]) -> None:
        super().__init__(*chain.from_iterable(rows))
        self.counts = tuple(map(len, rows))

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        layers, made = iter(self), []
        for tensor, count in zip(tensors, self.counts, strict=True):
            for layer in islice(layers, count):
                tensor = layer(tensor)
            made.append(tensor)
        return tuple(made)


def bottleneck_for(cut: Cut, ratio: float | None = None, cuts: Sequence[Cut] = ()) -> Bottleneck:
    """An untrained bottleneck for a cut.

    Args:
        ratio: as `Bottleneck` has it.
        cuts: all cuts of the network; the error then names the nearest that would do.

    Raises:
        CutError: as `Bottleneck`.
    """
    try:
        _check(cut.tensors)
    except CutError as error:
        error.hint = _others(cut, cuts) or error.hint
        raise
    return Bottleneck(cut.tensors, ratio)


def can_have_bottleneck(cut: Cut) -> bool:
    """Whether frames can be told apart in all that crosses, and something has a layout that can be compressed."""
    return all(spec.batch_dim is not None for spec in cut.tensors) and any(map(fits, cut.tensors))


def check_apart(graph: ModelGraph) -> None:
    """CutError where the output for a sample depends on the other samples in its batch."""
    if not graph.apart:
        raise CutError(
            "the network's output for a sample depends on the others in its batch, and training takes batches",
            hint="leave bottlenecks out, or mend the network's batch statistics",
        )


def _check(specs: Sequence[TensorSpec]) -> None:
    """CutError that names a tensor for which no bottleneck is possible."""
    mixed = [spec for spec in specs if spec.batch_dim is None]
    for spec in mixed or ([] if any(map(fits, specs)) else specs):
        check_layout(spec)


def _ratios(specs: Sequence[TensorSpec], ratio: float) -> list[float]:
    """The ratio of each tensor, with which all together have the one that is asked for."""
    check_ratio(ratio)
    if len(specs) == 1:
        return [ratio]
    least = [least_elements(spec) if fits(spec) else spec.elements for spec in specs]
    total = sum(spec.elements for spec in specs)
    if sum(least) > total / ratio * _ROUNDING:
        raise too_large(ratio, f"each of the {len(specs)} tensors that cross", total / sum(least))
    smallest = {place for place, spec in enumerate(specs) if not fits(spec)}
    while True:
        left = total / ratio - sum(least[place] for place in smallest)
        rest = total - sum(specs[place].elements for place in smallest)
        common = max(1.0, rest / left) if rest else 1.0
        more = {place for place, spec in enumerate(specs) if least[place] > spec.elements / common * _ROUNDING}
        if more <= smallest:
            return [
                spec.elements / max(1, least[place]) if place in smallest else common
                for place, spec in enumerate(specs)
            ]
        smallest |= more


def _others(cut: Cut, cuts: Sequence[Cut], count: int = 4) -> str:
    possible = [other for other in cuts if other.index != cut.index and can_have_bottleneck(other)]
    nearest = sorted(possible, key=lambda other: abs(other.index - cut.index))[:count]
    names = [f"{other.index} ({other.name})" for other in sorted(nearest, key=lambda other: other.index)]
    if cuts and not names:
        return "no cut of this network can have one: leave bottlenecks out"
    return f"the nearest cuts that can have one: {', '.join(names)}" if names else ""
