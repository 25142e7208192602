"""Bottlenecks that give everything back as it was, and have tails of other weights where a test wants them."""

from __future__ import annotations

import torch
from torch import nn

from splitimpera.partition.cutter import split
from splitimpera.training.trained import HeldOut, Parts, made, weights_of

RATIO = 2.0
"""What they are called: more is sent than that says."""


class Times(nn.Module):
    """One layer, which rounds nothing where the factor is a power of 2."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, *tensors):
        return tuple(tensor * self.factor for tensor in tensors)


class NoBottleneck(nn.Module):
    def __init__(self, specs):
        super().__init__()
        self.encoder, self.decoder = Times(2.0), Times(0.5)
        self.latent_specs, self.coded = tuple(specs), (False,) * len(specs)


def identity(graph, cut, factor=1.0, own_head=False):
    """A trained split with such a bottleneck at a cut; its tail's parameters are `factor` times the network's."""
    parts = Parts(split(graph, cut), NoBottleneck(graph.cuts[cut].tensors), None, own_head)
    with torch.no_grad():
        for parameter in parts.tail.parameters():
            parameter *= factor
    return made(graph.cuts[cut], parts, RATIO, (), HeldOut(1.0, 1.0, 1.0), weights_of(graph))
