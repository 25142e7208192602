"""Answers that are NaN or infinite are refused, with the layer that makes them first."""

from __future__ import annotations

import pytest
import torch
from networks import make
from torch import nn

import splitimpera as sei
from splitimpera.core.errors import DataError, ModelError
from splitimpera.evaluation.passes import answers
from splitimpera.evaluation.requests import Intact
from splitimpera.models.datasets import Dataset, Samples
from splitimpera.records.traffic import Workload


class Layers(nn.Module):
    """Two linear layers, and a step between them."""

    def __init__(self, step=torch.relu):
        super().__init__()
        torch.manual_seed(1)
        self.first = nn.Linear(6, 6)
        self.second = nn.Linear(6, 4)
        self.step = step

    def forward(self, x):
        return self.second(self.step(self.first(x)))


def with_weight(name, value):
    model = Layers()
    with torch.no_grad():
        model.get_parameter(name).flatten()[0] = value
    return model


FAULTS = {
    "log of negative numbers": (lambda: Layers(lambda y: y.log()), r"NaN values appear first in layer 'first' \(log\)"),
    "zero by zero": (lambda: Layers(lambda y: y * 0 / (y * 0)), r"NaN values appear first in layer 'div' \(div\)"),
    "overflow": (
        lambda: Layers(lambda y: (y.abs() * 1e30).exp()),
        r"infinite values appear first in layer 'first' \(exp\)",
    ),
    "a weight": (
        lambda: with_weight("second.weight", float("nan")),
        r"layer 'second' \(linear\), whose weights have NaN values",
    ),
    "an infinite weight": (
        lambda: with_weight("first.bias", float("inf")),
        r"layer 'first' \(linear\), whose weights have infinite",
    ),
}


def bed_of(model, x):
    labels = torch.zeros(len(x), dtype=torch.int64)
    graph = sei.trace(model, x[:2])
    return sei.Testbed(graph, Dataset(*(Samples(x, labels),) * 3), Workload(10.0, 1000))


def whole(bed):
    """What the whole network's predictions are worth, sample by sample."""
    (found,) = answers(bed, "test", [Intact(())]).values()
    return found.counts


@pytest.mark.parametrize("name", FAULTS)
def test_answers_that_are_no_numbers_name_the_first_layer(name):
    make_it, message = FAULTS[name]
    x = torch.randn(5, 6)
    bed = bed_of(make_it(), x)
    with pytest.raises(ModelError, match=message):
        whole(bed)
    with pytest.raises(ModelError, match=message):
        sei.cumulative_saliency(bed.graph, x)


def test_one_image_of_many_suffices():
    x = torch.rand(300, 6) + 0.1
    x[277] = -1
    model = Layers()
    with torch.no_grad():
        model.first.weight.copy_(torch.eye(6))
        model.first.bias.zero_()
    model.step = torch.log
    bed = bed_of(model, x)
    with pytest.raises(ModelError, match=r"NaN values appear first in layer 'first' \(log\)"):
        whole(bed)


def test_inputs_that_are_no_numbers_are_the_datas_fault():
    x = torch.randn(5, 6)
    x[3, 2] = float("inf")
    bed = bed_of(Layers(), x)
    for run in (
        lambda: whole(bed),
        lambda: sei.cumulative_saliency(bed.graph, x),
    ):
        with pytest.raises(DataError, match="inputs are NaN or infinite"):
            run()


def test_a_mask_of_infinite_values_on_the_way_is_no_fault():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(6, 6)
            self.register_buffer("mask", torch.zeros(6).index_fill(0, torch.tensor([2]), float("-inf")))

        def forward(self, x):
            return (self.first(x) + self.mask).softmax(1)

    x = torch.randn(5, 6)
    bed = bed_of(Masked(), x)
    assert len(whole(bed)) == 5


def test_damaged_frames_are_not_asked():
    """What is decoded with gaps may answer anything; it is judged, not refused."""
    bed = bed_of(Layers(torch.log1p), torch.rand(5, 6))
    rows = [(torch.full((6,), -1e30).numpy(),)]
    (answer,) = bed.run(0, bed.last, iter(rows))
    assert not torch.isfinite(torch.tensor(answer[0])).all()


def test_a_sound_network_is_not_refused():
    bed = bed_of(make("Chain"), torch.randn(5, 3, 8, 8))
    assert len(whole(bed)) == 5
