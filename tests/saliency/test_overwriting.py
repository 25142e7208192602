"""Activations written over their arguments while saliency is computed: less memory, the same numbers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import splitimpera as sei
from splitimpera.saliency import hooks
from splitimpera.saliency.curve import curve_points


class Net(nn.Module):
    """`before` is what the activation reads, `again` whether something else reads it, too."""

    def __init__(self, before, activation, again=False):
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.before, self.activation, self.again = before, activation, again
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        x = self.before(self.conv(x))
        y = self.activation(x)
        x = y * x if self.again else y
        return self.head(self.last(x).mean((2, 3)))


def overwrites(graph):
    points, _ = curve_points(graph.cuts)
    sections = hooks._sections(graph, {cut.index: cut.crossing for cut in points})
    nodes = [node for _, _, program in sections for node in program.graph.nodes]
    return [node.target for node in nodes if node.target in hooks.IN_PLACE.values()]


CASES = [
    (nn.Identity(), nn.ReLU(), False, 1),
    (nn.Identity(), nn.ReLU(inplace=True), False, 1),
    (nn.BatchNorm2d(4), nn.ReLU6(inplace=True), False, 1),
    (nn.Identity(), nn.ReLU(), True, 0),  # read again
    (nn.Tanh(), nn.ReLU(), False, 0),  # its gradient needs its result
    (nn.MaxPool2d(2), nn.ReLU(), False, 0),  # a cut of its own, observed
    (nn.Identity(), nn.Tanh(), False, 0),
]


@pytest.mark.parametrize(("before", "activation", "again", "expected"), CASES)
def test_only_what_nobody_else_reads_is_written_over(before, activation, again, expected, monkeypatch):
    torch.manual_seed(0)
    model, x = Net(before, activation, again).eval(), torch.randn(3, 3, 9, 9)
    graph = sei.trace(model, x)
    code = graph.program.code
    assert len(overwrites(graph)) == expected
    curve = sei.cumulative_saliency(graph, x)
    assert graph.program.code == code
    monkeypatch.setattr(hooks, "IN_PLACE", {})
    kept = sei.cumulative_saliency(sei.trace(model, x), x)
    assert curve.cs.tolist() == kept.cs.tolist()
    assert curve.names == kept.names


def test_an_activation_by_itself_leaves_the_data_as_they_were():
    model, x = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2)), torch.randn(2, 3, 3, 3)
    before = x.clone()
    sei.cumulative_saliency(model, x)
    assert torch.equal(x, before)
