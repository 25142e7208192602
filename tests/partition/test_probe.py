from __future__ import annotations

import networks
import pytest
import torch
from torch import nn

import splitimpera as sei
from splitimpera.core.errors import CutError, DataError, ModelError
from splitimpera.models.datasets import Samples
from splitimpera.partition.probe import (
    LinearCode,
    accuracy_and_cross_entropy,
    fit_linear_code,
    linear_code_probe,
    pool,
    principal_components,
)


@pytest.fixture
def graph():
    return sei.trace(networks.make("Chain"), networks.inputs("Chain", 2)[0])


@pytest.fixture
def samples():
    return Samples(networks.inputs("Chain", 64)[0], torch.randint(0, 5, (64,)))


def test_a_code_that_keeps_all_leaves_the_network_as_it_is(graph, samples):
    wanted = accuracy_and_cross_entropy(graph.program(samples.inputs).detach(), samples.labels)
    for cut in graph.cuts[:-1]:
        channels = cut.tensors[0].shape[0]
        accuracy, nats = linear_code_probe(graph, cut, samples.inputs[:40], samples, channels, side=1)
        assert accuracy == wanted[0]
        assert nats == pytest.approx(wanted[1], abs=1e-5)


def test_more_channels_keep_more(graph, samples):
    partition = sei.split(graph, graph.cuts[1])
    a = partition.head(samples.inputs)[0].detach()
    errors = [
        float((fit_linear_code(partition, samples.inputs, channels, side=1)(a) - a).square().mean())
        for channels in (1, 2, 3, 4)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > errors[1] > 1e3 * errors[3]


def test_patches_at_the_far_edges_are_smaller():
    a = torch.arange(30.0).reshape(1, 1, 5, 6)
    pooled = pool(a, 4)
    assert pooled.shape == (1, 1, 2, 2)
    assert float(pooled[0, 0, 1, 1]) == float(a[0, 0, 4, 4:].mean())
    assert LinearCode(torch.zeros(1), torch.ones(1, 1), 4)(a).shape == a.shape


def test_a_smooth_map_comes_back_smooth():
    ramp = torch.linspace(0, 1, 16).expand(1, 1, 16, 16)
    decoded = LinearCode(torch.zeros(1), torch.ones(1, 1), 4)(ramp)
    assert torch.allclose(decoded[..., 2:-2], ramp[..., 2:-2], atol=1e-5)  # the borders have a neighbour on one side


def test_principal_components_are_orthonormal_and_ordered():
    rows = torch.randn(500, 4) * torch.tensor([1.0, 3.0, 0.1, 2.0]) + 5
    mean, directions = principal_components(rows, 2)
    assert torch.allclose(directions.T @ directions, torch.eye(2, dtype=torch.float64))
    assert directions.abs().argmax(0).tolist() == [1, 3]
    assert mean.tolist() == pytest.approx([5] * 4, abs=0.5)


def test_vectors_and_channels_that_come_last():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(6)
            self.hidden = nn.Linear(6, 8)
            self.head = nn.Linear(8, 5)

        def forward(self, x):
            return self.head(self.hidden(self.norm(x.permute(0, 2, 3, 1)).mean((1, 2))).relu())

    x = torch.randn(30, 6, 8, 8)
    graph = sei.trace(Last(), x[:2])
    samples = Samples(x, torch.randint(0, 5, (30,)))
    shapes = {cut.tensors[0].shape for cut in graph.cuts}
    assert {(8, 8, 6), (8,)} <= shapes
    wanted = accuracy_and_cross_entropy(graph.program(x).detach(), samples.labels)
    for cut in graph.cuts[:-1]:
        assert linear_code_probe(graph, cut, x, samples, 8, side=1) == pytest.approx(wanted, abs=1e-5)


def test_what_cannot_be_probed_is_refused(samples):
    skip = sei.trace(networks.make("Skip"), samples.inputs[:2])
    with pytest.raises(CutError, match="2 tensors cross"):
        linear_code_probe(skip, next(cut for cut in skip.cuts if not cut.single), samples.inputs, samples, 1)
    with pytest.raises(DataError, match="at least one picture"):
        linear_code_probe(skip, 1, samples.inputs[:0], samples, 1)
    with pytest.raises(DataError, match="at least one picture"):
        accuracy_and_cross_entropy(torch.zeros(0, 5), samples.labels[:0])
    several = sei.trace(networks.make("SeveralResults"), samples.inputs[:2])
    cut = next(cut for cut in several.cuts[1:] if cut.single)
    with pytest.raises(ModelError, match="logits"):
        linear_code_probe(several, cut, samples.inputs, samples, 1)
