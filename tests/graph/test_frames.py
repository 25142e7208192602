"""Networks whose answers depend on the batch: seen once, and run image by image from then on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import NETWORKS, inputs, make
from torch import nn

import splitimpera as sei
from splitimpera.core.errors import CutError, ShapeError, TraceError
from splitimpera.evaluation.batches import Inputs
from splitimpera.evaluation.passes import answers
from splitimpera.evaluation.requests import Intact
from splitimpera.evaluation.testbed import CHUNK
from splitimpera.graph.frames import MIXED
from splitimpera.models.datasets import Dataset, Samples
from splitimpera.models.reference import REFERENCE
from splitimpera.records.traffic import Workload
from splitimpera.training.split import train_split


class Mixing(nn.Module):
    """A small classifier with one step that looks at the whole batch."""

    def __init__(self, step=lambda y: y, norm=None):
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = norm or nn.Identity()
        self.head = nn.Linear(4, 5)
        self.step = step

    def forward(self, x):
        return self.head(self.step(self.norm(self.conv(x)).relu().mean((2, 3))))


STEPS = {
    "softmax over dimension 0": lambda y: 9 * y.softmax(0),
    "the batch's mean": lambda y: y - y.mean(0),
    "the batch's largest": lambda y: y / y.amax(0, keepdim=True),
    "sorted by batch": lambda y: y.sort(0).values,
    "turned round": lambda y: y.flip(0),
    "added up": lambda y: y.cumsum(0),
    "the first of all": lambda y: y + y[:1],
}
NETWORKS_THAT_MIX = {name: lambda step=step: Mixing(step) for name, step in STEPS.items()} | {
    "batch statistics": lambda: Mixing(norm=nn.BatchNorm2d(4, track_running_stats=False)),
}


def images(count):
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(5))


def samples(model, count):
    """Labelled by the network itself, each image alone."""
    x = images(count)
    with torch.no_grad():
        return Samples(x, torch.tensor([int(model.eval()(one[None]).argmax()) for one in x]))


@pytest.mark.parametrize("name", NETWORKS_THAT_MIX)
@pytest.mark.parametrize("given", [1, 6])
def test_a_network_that_mixes_images_is_seen_and_answers_them_one_by_one(name, given):
    model, said = NETWORKS_THAT_MIX[name](), []
    data = samples(model, 30)
    graph = sei.trace(model, data.inputs[:given], say=said.append)
    assert said == [MIXED]
    assert not graph.apart
    bed = sei.Testbed(graph, Dataset(data, data, data), Workload(10.0, 1000))
    found = [int(row[0].argmax()) for row in bed.run(0, bed.last, Inputs(data))]
    assert found == data.labels.tolist()
    right = answers(bed, "test", [Intact(())])[Intact(())].counts[:, 0]
    assert right.tolist() == [1.0] * 30
    crossing = torch.tensor([row[0][0, 0] for row in bed.run(0, 1, Inputs(data))])
    assert len(crossing) == 30
    single = [sei.cumulative_saliency(graph, one[None]).cs for one in data.inputs[:6]]
    together = sei.cumulative_saliency(graph, data.inputs[:6], batch=6).cs
    torch.testing.assert_close(torch.tensor(together), torch.tensor(np.mean(single, axis=0)), rtol=1e-5, atol=1e-9)


def test_it_is_warned_where_nobody_listens():
    with pytest.warns(UserWarning, match="run one by one"):
        sei.trace(Mixing(STEPS["the batch's mean"]), images(4))


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_that_keep_images_apart_are_not_flagged(name):
    said = []
    assert sei.trace(make(name), inputs(name, 4), say=said.append).apart
    assert not said


@pytest.mark.parametrize(("name", "side"), [pytest.param("mobilenet_v2", 64, marks=pytest.mark.slow), ("resnet20", 32)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounding_is_no_mixing(name, side, dtype):
    x = torch.randn(4, 3, side, side).to(dtype)
    model = REFERENCE[name]().to(dtype)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_var.uniform_(0.5, 2.0)
    assert sei.trace(model, x).apart


def test_batches_are_larger_than_one_where_images_are_apart(monkeypatch):
    graph = sei.trace(make("Chain"), images(2))
    bed = sei.Testbed(graph, Dataset(*(Samples(images(9), torch.arange(9)),) * 3), Workload(10.0, 1000))
    sizes, call = [], bed.call
    monkeypatch.setattr(bed, "call", lambda segment, batch: (sizes.append(len(batch[0])), call(segment, batch))[1])
    assert len(list(bed.run(0, bed.last, Inputs(bed.data.test)))) == 9
    assert sizes == [min(9, CHUNK)]


def test_codes_are_not_fitted_to_batches_that_mix():
    model = Mixing(STEPS["the batch's mean"])
    data = samples(model, 20)
    graph = sei.trace(model, data.inputs, say=str)
    with pytest.raises(CutError, match="depends on the others in its batch"):
        train_split(graph, 1, data, ratio=2)


def test_a_network_that_drops_a_batch_of_one_is_refused_with_the_remedy():
    with pytest.raises(ShapeError, match=r"shape \(5,\), \(1, 5\) is expected.*squeeze\(dim\)"):
        sei.trace(Mixing(lambda y: y.squeeze()), images(2))


def test_a_network_that_refuses_a_single_image_names_the_line():
    class Pair(Mixing):
        def forward(self, x):
            if x.shape[0] == 1:
                raise ValueError("one is too few")
            return super().forward(x)

    with pytest.raises(ShapeError, match=r"a single sample: ValueError: one is too few \(test_frames\.py, line \d+"):
        sei.trace(Pair(), images(2))


def test_a_network_that_goes_another_way_for_a_single_image_is_refused():
    class Otherwise(Mixing):
        def forward(self, x):
            return super().forward(x) * (1 if x.shape[0] > 1 else -1)

    with pytest.raises(TraceError, match="another way for a single sample"):
        sei.trace(Otherwise(), images(2))
