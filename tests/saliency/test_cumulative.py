from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import inputs, make
from torch import nn

import splitimpera as sei
from splitimpera.core.errors import DataError, ModelError
from splitimpera.graph.tracing import evaluating
from splitimpera.partition.cutter import split
from splitimpera.records.graph import Cut, TensorSpec
from splitimpera.saliency.curve import counted
from splitimpera.saliency.scores import by_channel


class TwoLayers(nn.Module):
    """Small enough for CS by hand: two channels of 1 x 2 maps, summed up into two logits."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1, bias=False)
        self.last = nn.Conv2d(2, 2, (1, 2), bias=False)
        self.conv.weight.data = torch.tensor([[[[1.0]]], [[[2.0]]]])
        self.last.weight.data = torch.tensor([[[[1.0, 3.0]], [[-1.0, 0.0]]], [[[0.0, 0.0]], [[1.0, 1.0]]]])

    def forward(self, x):
        return self.last(self.conv(x)).flatten(1)


def test_hand_computed_cs():
    x = torch.tensor([[[[1.0, 4.0]]]])
    # A = [[1, 4], [2, 8]]; logits: 1*1 + 3*4 - 1*2 = 11 and 2 + 8 = 10, so class 0 is predicted
    # gradients [[1, 3], [-1, 0]], alpha = (2, -0.5); L = ReLU((2*1 - .5*2)/2, (2*4 - .5*8)/2) = (0.5, 2); CS = 1.25
    curve = sei.cumulative_saliency(TwoLayers(), x)
    assert curve.names == ("conv",)
    assert curve.cs == pytest.approx([1.25])
    # class 1: gradients [[0, 0], [1, 1]], alpha = (0, 1); L = (1, 4); CS = 2.5
    curve = sei.cumulative_saliency(TwoLayers(), (x, torch.tensor([1])), target="label")
    assert curve.cs == pytest.approx([2.5])


def test_negative_evidence_counts_nothing():
    x = torch.tensor([[[[-1.0, -4.0]]]])
    # logits -11 and -10: class 1, alpha = (0, 1), maps negative everywhere
    assert sei.cumulative_saliency(TwoLayers(), x).cs == pytest.approx([0.0])


def slow_cs(model, layer, x):
    """CS of one layer the slow way: a forward hook, one image at a time, loops over channels."""
    values = []
    for image in x:
        kept = {}
        handle = layer.register_forward_hook(lambda _m, _i, out, kept=kept: kept.update(a=out))
        logits = model(image[None])
        handle.remove()
        (gradient,) = torch.autograd.grad(logits[0, logits.argmax()], kept["a"])
        a, g = kept["a"][0].double(), gradient[0].double()
        total = torch.zeros(a.shape[1:], dtype=torch.float64)
        for k in range(a.shape[0]):
            total += g[k].mean() * a[k]
        values.append(torch.relu(total / a.shape[0]).mean().item())
    return np.mean(values)


def slow_score(graph, cut, x, score, target):
    """A score of a cut the slow way: the tail's gradients, one image at a time; the tensors' elements side by side."""
    parts = split(graph, cut)
    specs = counted(cut, graph.cuts[0].crossing)
    values = []
    for image in x:
        crossing = [t.detach().requires_grad_(t.is_floating_point()) for t in parts.head(image[None])]
        logits = parts.tail(tuple(crossing))
        floats = [t for t in crossing if t.requires_grad]
        found = dict(zip(map(id, floats), torch.autograd.grad(target(logits), floats, allow_unused=True), strict=True))
        pairs = [
            (by_channel(t.double(), specs[name]), by_channel(found[id(t)].double(), specs[name]))
            for name, t in zip(cut.crossing, crossing, strict=True)
            if name in specs and found.get(id(t)) is not None
        ]
        values.append(score(pairs))
    return np.mean(values)


def maps(a, g):
    """L at each position of each channel, flat."""
    alpha = g.flatten(2).mean(2)[..., None]
    return torch.relu((alpha * a.flatten(2)).mean(1, keepdim=True)).expand(-1, a.shape[1], -1).flatten()


TOGETHER = {
    "cs": lambda pairs: torch.cat([maps(a, g) for a, g in pairs]).mean().item(),
    "gradient_activation": lambda pairs: torch.cat([(a * g).abs().flatten() for a, g in pairs]).mean().item(),
    "taylor": lambda pairs: torch.cat([(a * g).flatten(2).mean(2).abs().flatten() for a, g in pairs]).mean().item(),
    "fisher": lambda pairs: sum(((a * g).flatten(2).sum(2) ** 2).sum().item() for a, g in pairs) / 2,
}


@pytest.mark.parametrize(
    ("name", "several"),
    [("Skip", True), ("SkipFromInput", False), ("Dense", True), ("Inception", True), ("UNet", False)],
)
def test_where_several_tensors_cross_a_score_is_that_of_all_their_elements(name, several):
    def target(result):
        return result.flatten(1).amax(1).sum()

    model, (x,) = make(name).eval(), inputs(name, 3)
    graph = sei.trace(model, x)
    curve = sei.cumulative_saliency(graph, x, scores=tuple(TOGETHER), target=lambda result, _: target(result))
    assert several == any(len(counted(graph.cuts[index], graph.cuts[0].crossing)) > 1 for index in curve.cuts)
    for place, index in enumerate(curve.cuts):
        for score, together in TOGETHER.items():
            slow = slow_score(graph, graph.cuts[index], x, together, target)
            assert curve.scores[score][place] == pytest.approx(slow, rel=1e-4, abs=1e-9), (index, score)


def test_numbers_inputs_and_masks_count_as_bytes_alone():
    floats, tokens = TensorSpec("a", (4, 8)), TensorSpec("b", (8,), dtype="int64")
    mask, given = TensorSpec("c", (8, 8), batch_dim=None), TensorSpec("x", (3, 8))
    cut = Cut(1, "layer", (given, floats, tokens, mask), ("x", "a", "b", "c"), 0, 0, 0, 0)
    assert counted(cut, ("x",)) == {"a": floats}
    assert cut.bytes == sum(spec.bytes for spec in cut.tensors)


@pytest.mark.parametrize(("name", "layers"), [("Chain", {"body.0": "body.2", "body.3": "body.3"}), ("Inception", {})])
def test_equals_a_slow_independent_implementation(name, layers):
    model, (x,) = make(name).eval(), inputs(name, 4)
    curve = sei.cumulative_saliency(model, x)
    modules = dict(model.named_modules())
    for cut_name, module in layers.items():
        expected = slow_cs(model, modules[module], x)
        assert curve.cs[curve.names.index(cut_name)] == pytest.approx(expected, rel=1e-5)


def test_block_outputs_equal_the_slow_implementation():
    from splitimpera.models.recipes import RECIPES

    model, x = RECIPES["digits-resnet20"].build().eval(), torch.rand(3, 1, 32, 32)
    curve = sei.cumulative_saliency(model, x)
    for name in ("layer1.0", "layer2.1", "layer3.2"):
        expected = slow_cs(model, model.get_submodule(name), x)
        assert curve.cs[curve.names.index(name)] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["Chain", "Skip", "Tokens", "SqueezeExcite"])
def test_a_batch_is_the_mean_of_its_images(name):
    model, (x,) = make(name), inputs(name, 8)
    graph = sei.trace(model, x)
    together = sei.cumulative_saliency(graph, x, batch=8)
    single = np.mean([sei.cumulative_saliency(graph, image[None]).cs for image in x], axis=0)
    np.testing.assert_allclose(together.cs, single, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(sei.cumulative_saliency(graph, x, batch=3).cs, together.cs, rtol=1e-4, atol=1e-9)


def test_classes_average_their_images():
    model, (x,) = make("Chain"), inputs("Chain", 6)
    labels = torch.tensor([0, 1, 0, 1, 1, 3])
    curve = sei.cumulative_saliency(model, (x, labels))
    assert set(curve.per_class) == {0, 1, 3}
    np.testing.assert_allclose(curve.per_class[3], sei.cumulative_saliency(model, x[5:]).cs, rtol=1e-4)
    weighted = (2 * curve.per_class[0] + 3 * curve.per_class[1] + curve.per_class[3]) / 6
    np.testing.assert_allclose(weighted, curve.cs, rtol=1e-6)


@pytest.mark.slow
def test_dropout_and_batch_statistics_play_no_part():
    model, (x,) = make("Tokens"), inputs("Tokens", 4)
    model.train()
    first, second = (sei.cumulative_saliency(model, x).cs for _ in range(2))
    np.testing.assert_array_equal(first, second)
    with evaluating(model):
        np.testing.assert_array_equal(sei.cumulative_saliency(model, x).cs, first)


def test_a_network_of_token_numbers():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(10, 4)
            self.mix = nn.Linear(4, 4)
            self.head = nn.Linear(4, 3)

        def forward(self, x):
            return self.head(torch.tanh(self.mix(self.embed(x))).mean(1))

    curve = sei.cumulative_saliency(Words(), torch.randint(0, 10, (5, 6)))
    assert curve.names[:2] == ("embed", "mix")
    assert np.isfinite(curve.cs).all()


def test_bad_data():
    model, (x,) = make("Chain"), inputs("Chain", 2)
    with pytest.raises(DataError, match="empty"):
        sei.cumulative_saliency(model, x[:0])
    with pytest.raises(DataError, match="needs labels"):
        sei.cumulative_saliency(model, x, target="label")
    with pytest.raises(DataError, match="labels go from 0 to 9"):
        sei.cumulative_saliency(model, (x, torch.tensor([0, 9])), target="label")
    with pytest.raises(ModelError, match="logits"):
        sei.cumulative_saliency(make("UNet"), x)
