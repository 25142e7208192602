from __future__ import annotations

import networks
import pytest
import torch
from torch import nn

import splitimpera as sei
from splitimpera.core.errors import CutError, DataError, ModelError
from splitimpera.models.datasets import Samples
from splitimpera.partition.probe import answers
from splitimpera.training.reconstruction import fit_bottleneck


def samples_of(n=64):
    """Pictures of one colour each, which a small latent can hold, with a little noise."""
    generator = torch.Generator().manual_seed(3)
    colours, noise = (torch.randn(n, 3, *sizes, generator=generator) for sizes in ((1, 1), (8, 8)))
    return Samples(colours + 0.1 * noise, torch.zeros(n, dtype=torch.int64))


@pytest.fixture
def graph():
    model = networks.make("Chain")
    with torch.no_grad():
        model.head.weight *= 10  # answers that differ from picture to picture
    return sei.trace(model, samples_of(2).inputs)


def divergence(graph, cut, bottleneck, samples):
    """KL(unsplit || split), and the error of what is decoded relative to the variance of what was encoded."""
    partition = sei.split(graph, cut)
    wanted = answers(partition, nn.Identity(), samples.inputs).log_softmax(1)
    given = answers(partition, bottleneck, samples.inputs).log_softmax(1)
    with torch.no_grad():
        a = partition.head(samples.inputs)[0]
        error = (bottleneck(a) - a).square().mean() / a.var()
    return float((wanted.exp() * (wanted - given)).sum(1).mean()), float(error)


def test_training_brings_the_answers_closer_to_those_of_the_unsplit_network(graph):
    samples = samples_of()
    cut = graph.cuts[1]
    before = divergence(graph, cut, fit_bottleneck(graph, cut, samples, epochs=0), samples)
    after = divergence(graph, cut, fit_bottleneck(graph, cut, samples, epochs=10, batch=16), samples)
    assert after[0] < before[0] / 2
    assert after[1] < before[1]


def test_the_users_network_stays_as_it_is():
    model = networks.make("Skip")
    model.conv1.requires_grad_(False)  # some may be frozen, some not
    model.stem.weight.grad = torch.ones_like(model.stem.weight)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    wanted_grad = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    training = {name: module.training for name, module in model.named_modules()}
    graph = sei.trace(model, samples_of(2).inputs)
    fit_bottleneck(graph, next(cut for cut in graph.cuts[1:] if cut.single), samples_of(32), epochs=2)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == wanted_grad
    assert {name: module.training for name, module in model.named_modules()} == training
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert list(gradients) == ["stem.weight"]
    assert torch.equal(gradients["stem.weight"], torch.ones_like(model.stem.weight))


def test_the_same_seed_gives_the_same_weights_and_disturbs_no_other_randomness(graph):
    samples = samples_of(40)
    torch.manual_seed(11)
    first = fit_bottleneck(graph, 1, samples, epochs=2, seed=4).state_dict()
    drawn = torch.rand(3)
    second = fit_bottleneck(graph, 1, samples, epochs=2, seed=4).state_dict()
    other = fit_bottleneck(graph, 1, samples, epochs=2, seed=5).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
    torch.manual_seed(11)
    assert torch.equal(torch.rand(3), drawn)


def test_a_last_batch_of_one_picture_does_no_harm(graph):
    bottleneck = fit_bottleneck(graph, 1, samples_of(9), epochs=2, batch=8, latent_channels=3)
    assert bottleneck.latent_shape[0] == 3
    assert not bottleneck.training
    assert all(bool(torch.isfinite(value).all()) for value in bottleneck.state_dict().values())


def test_progress_is_shown(graph):
    seen = []

    def track(steps, description, total):
        seen.append((description, total))
        return steps

    fit_bottleneck(graph, 1, samples_of(8), epochs=2, track=track)
    assert seen == [(f"Training the bottleneck at {graph.cuts[1].name}", 2)]


def test_what_cannot_be_trained_is_refused(graph):
    skip = sei.trace(networks.make("Skip"), samples_of(2).inputs)
    with pytest.raises(CutError, match="2 tensors cross"):
        fit_bottleneck(skip, next(cut for cut in skip.cuts if not cut.single), samples_of(8), epochs=1)
    with pytest.raises(DataError, match="two pictures"):
        fit_bottleneck(graph, 1, samples_of(1), epochs=1)
    several = sei.trace(networks.make("SeveralResults"), samples_of(2).inputs)
    with pytest.raises(ModelError, match="logits"):
        fit_bottleneck(several, 1, samples_of(8), epochs=1)
