from __future__ import annotations

import networks
import pytest
import torch
from torch import nn

import splitimpera as sei
from splitimpera.core.errors import CutError
from splitimpera.models.samples import Samples
from splitimpera.partition.bottleneck import can_have_bottleneck
from splitimpera.studies.closed_form import closed_form


class Wide(nn.Module):
    """Sixteen channels that are two, over and over."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 16, 1)
        self.last = nn.Conv2d(16, 4, 8)

    def forward(self, x):
        return self.last(self.stem(x)).flatten(1)


@pytest.fixture(scope="module")
def graph():
    torch.manual_seed(0)
    return sei.trace(Wide().eval(), torch.randn(2, 2, 8, 8))


def images(n, seed):
    return torch.randn(n, 2, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_what_is_redundant_costs_nothing_and_more_than_that_does(graph):
    train, validation = Samples(images(100, 1)), Samples(images(200, 2))
    found = closed_form(graph, [(1, ratio) for ratio in (1.0, 8.0, 64.0, 256.0)], train, validation)
    assert found[1, 1.0] == found[1, 8.0] == 1
    assert found[1, 8.0] > found[1, 64.0] > found[1, 256.0]


def test_with_targets_it_is_the_quality_and_nothing_is_changed(graph):
    before = {name: value.clone() for name, value in graph.program.state_dict().items()}
    x = images(200, 2)
    cut = sei.split(graph, 1)
    with torch.no_grad():
        labels = cut.tail(cut.head(x)).argmax(1)
    labels[::5] = (labels[::5] + 1) % 4  # which the network does not know
    found = closed_form(graph, [(1, 8.0)], Samples(images(50, 1)), Samples(x, labels))
    assert found[1, 8.0] == pytest.approx(0.8)
    assert all(torch.equal(value, before[name]) for name, value in graph.program.state_dict().items())


def test_what_a_candidate_is_good_for_does_not_depend_on_the_others(graph):
    train, validation = Samples(images(50, 1)), Samples(images(70, 2))
    several = closed_form(graph, [(1, 64.0), (1, 4.0), (1, 256.0)], train, validation)
    assert several[1, 64.0] == closed_form(graph, [(1, 64.0)], train, validation)[1, 64.0]


@pytest.mark.parametrize("name", ["Skip", "Dense", "Inception", "SqueezeExcite", "Tokens"])
def test_tensors_of_every_layout_come_back_where_nothing_is_compressed(name):
    x = networks.inputs(name, 40)
    made = sei.trace(networks.make(name).eval(), x[0][:2])
    cuts = [cut for cut in made.cuts[1:-1] if can_have_bottleneck(cut)]
    assert cuts
    samples = Samples(x[0])
    found = closed_form(made, [(cut.index, 1.0) for cut in cuts], samples, samples)
    assert min(found.values()) == 1
    assert len(found) == len(cuts)


def test_a_ratio_that_leaves_nothing_is_refused(graph):
    with pytest.raises(CutError, match="largest possible"):
        closed_form(graph, [(1, 1e9)], Samples(images(4, 1)), Samples(images(4, 2)))
