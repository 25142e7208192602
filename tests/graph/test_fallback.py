"""What torch.export cannot trace and torch.fx can: an operator that nobody has described to torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import splitimpera as sei
from splitimpera.core.errors import TraceError
from splitimpera.graph.tracing import evaluating

_library = torch.library.Library("splitimpera_tests", "DEF")
_library.define("soften(Tensor x) -> Tensor")
_library.impl("soften", lambda x: x / 2, "CPU")


class Opaque(nn.Module):
    """A residual network of modules, functions and methods, sizes read in Python, and the opaque operator."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.drop = nn.Dropout(0.5)
        self.scale = nn.Parameter(torch.full((4, 1, 1), 1.5))
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.relu(self.bn(self.conv1(x)))
        y = self.conv2(x) * self.scale
        y += x
        y = self.pool(F.relu(y))
        y = torch.ops.splitimpera_tests.soften(y)
        n, c, h, w = y.shape
        y = y.reshape(n, c, h * w).permute(0, 2, 1)
        y = torch.cat([y[:, :2], y.new_zeros(n, 2, c) + y[:, 2:4]], 1)
        return self.head(self.drop(y.reshape(y.size(0), -1)))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Opaque()


def test_tail_of_head_equals_model_at_every_cut(model):
    graph = sei.trace(model, torch.randn(1, 3, 8, 8))
    assert model.relu.inplace
    with torch.no_grad(), evaluating(model):
        for images in (1, 3):
            x = torch.randn(images, 3, 8, 8)
            for cut in graph.cuts:
                partition = sei.split(graph, cut)
                torch.testing.assert_close(partition.tail(partition.head(x)), model(x))


def test_layers_have_the_users_names_and_costs(model):
    graph = sei.trace(model, torch.randn(1, 3, 8, 8))
    layers = {layer.name: layer for layer in graph.layers}
    assert list(layers)[:4] == ["conv1", "conv2", "add", "pool"]
    assert layers["conv1"].macs == 8 * 8 * 4 * 3 * 9
    assert layers["conv1"].parameters == 4 * 3 * 9 + 4 + 8
    assert layers["head"].macs == 16 * 5
    assert graph.cut("pool").tensors[0].shape == (4, 4, 4)
    assert graph.cuts[-1].parameters_head == sum(parameter.numel() for parameter in model.parameters())


def test_what_neither_can_trace_names_the_line():
    class Neither(nn.Module):
        def forward(self, x):
            x = torch.ops.splitimpera_tests.soften(x)
            if x.sum() > 0:
                return x
            return -x

    with pytest.raises(TraceError, match=r"test_fallback\.py, line \d+, in forward"):
        sei.trace(Neither(), torch.randn(1, 3, 8, 8))


def test_a_write_that_is_read_later_is_refused():
    class Shared(nn.Module):
        def forward(self, x):
            x = torch.ops.splitimpera_tests.soften(x)
            y = x.mul(2)
            z = y.add_(1)
            return z + y

    with pytest.raises(TraceError):
        sei.trace(Shared(), torch.randn(1, 3, 8, 8))
