"""tail(head(x)) equals model(x) at every legal cut, and the user's model is left as it was found."""

from __future__ import annotations

import pytest
import torch
from networks import NETWORKS, inputs, make
from torch.utils import _pytree as pytree

import splitimpera as sei
from splitimpera.graph.tracing import evaluating
from splitimpera.models.recipes import RECIPES


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("images", [1, 3])
def test_tail_of_head_equals_model_at_every_cut(name, images):
    model, x = make(name), inputs(name, images)
    graph = sei.trace(model, inputs(name, 2))
    with torch.no_grad(), evaluating(model):
        expected, structure = pytree.tree_flatten(model(*x))
        for cut in graph.cuts:
            partition = sei.split(graph, cut)
            made, made_structure = pytree.tree_flatten(partition.tail(partition.head(*x)))
            assert made_structure == structure
            for ours, theirs in zip(made, expected, strict=True):
                torch.testing.assert_close(ours, theirs, msg=lambda text, cut=cut: f"cut {cut.index}: {text}")


@pytest.mark.parametrize("name", NETWORKS)
def test_what_crosses_has_the_shapes_that_the_cut_says(name):
    graph = sei.trace(make(name), inputs(name, 2))
    with torch.no_grad():
        for cut in graph.cuts:
            separable = all(spec.batch_dim is not None for spec in cut.tensors)
            images = 3 if separable else 1
            for tensor, spec in zip(sei.split(graph, cut).head(*inputs(name, images)), cut.tensors, strict=True):
                shape = list(tensor.shape)
                if spec.batch_dim is not None:
                    assert shape.pop(spec.batch_dim) == images
                assert tuple(shape) == spec.shape
                assert str(tensor.dtype) == f"torch.{spec.dtype}"


@pytest.mark.parametrize("name", NETWORKS)
def test_halves_share_the_models_parameters(name):
    model = make(name)
    graph = sei.trace(model, inputs(name, 2))
    own = {id(parameter) for parameter in model.parameters()}
    partition = sei.split(graph, len(graph.cuts) // 2)
    for half in (partition.head, partition.tail):
        assert {id(parameter) for parameter in half.parameters()} <= own


@pytest.mark.parametrize("name", NETWORKS)
def test_the_model_is_left_as_it_was_found(name):
    model, x = make(name), inputs(name, 2)
    next(model.modules()).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    graph = sei.trace(model, x)
    if name not in ("SeveralResults", "UNet", "TwoInputs"):
        sei.cumulative_saliency(graph, x[0])
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())


def test_the_mode_comes_back_after_an_exception():
    model = make("Chain")
    model.body.eval()
    modes = [module.training for module in model.modules()]
    with pytest.raises(sei.SplitImperaError):
        sei.trace(model, torch.zeros(1, 4, 8, 8))
    assert [module.training for module in model.modules()] == modes


@pytest.mark.parametrize("name", RECIPES.names())
def test_built_in_networks_at_every_cut(name):
    model, x = RECIPES[name].build().eval(), torch.randn(2, 1, 32, 32)
    graph = sei.trace(model, x)
    with torch.no_grad():
        for cut in graph.cuts:
            partition = sei.split(graph, cut)
            torch.testing.assert_close(partition.tail(partition.head(x)), model(x))
