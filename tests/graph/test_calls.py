"""How networks are called, what they return, and that nothing of it stays with them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from task_networks import RememberingDetect
from torch import Tensor, nn

import splitimpera as sei
from splitimpera.core.errors import ShapeError, TraceError


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(5, 3)

    def forward(self, a, b):
        return self.a(a).relu() * self.b(b)


class KeywordOnly(Pair):
    def forward(self, *, a, b, mask=None):
        return super().forward(a, b) if mask is None else super().forward(a, b) * mask


class AnyNumber(Pair):
    def forward(self, *args):
        return super().forward(*args)


class AnyName(Pair):
    def forward(self, **named):
        return super().forward(**named)


def pair(n=3):
    return torch.randn(n, 4), torch.randn(n, 5)


def test_inputs_that_only_have_names_are_given_by_name_in_any_order():
    model, (a, b) = KeywordOnly(), pair()
    graph = sei.trace(model, {"b": b, "a": a})
    assert graph.names == ("b", "a")
    for cut in graph.cuts:
        partition = sei.split(graph, cut)
        expected = model(a=a, b=b)
        torch.testing.assert_close(partition.tail(partition.head(a=a, b=b)), expected)
        torch.testing.assert_close(partition.tail(partition.head(b, a)), expected)


def test_an_optional_input_that_is_not_given_keeps_its_default():
    model, (a, b) = KeywordOnly(), pair()
    with_mask = sei.trace(model, {"a": a, "b": b, "mask": torch.ones(3, 1)})
    assert [len(graph.cuts[0].tensors) for graph in (sei.trace(model, {"a": a, "b": b}), with_mask)] == [2, 3]


def test_any_number_of_inputs():
    model, inputs = AnyNumber(), pair()
    graph = sei.trace(model, inputs)
    for cut in graph.cuts:
        partition = sei.split(graph, cut)
        torch.testing.assert_close(partition.tail(partition.head(*inputs)), model(*inputs))


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (
            KeywordOnly(),
            pair(),
            r"1 positional argument.*give the inputs by name, as a dict: 'forward' takes a, b, mask",
        ),
        (KeywordOnly(), {"a": pair()[0]}, r"missing 1 required.*'b'.*'forward' takes a, b, mask"),
        (Pair(), pair()[0], r"missing 1 required.*'b'.*'forward' takes a, b"),
        (Pair(), (pair()[0], None), "input 2 of the network is NoneType, a tensor is expected.*names of forward's"),
        (KeywordOnly(), {"a": pair()[0], "b": 1}, "input 'b' of the network is int, a tensor is expected"),
        (Pair(), ([*pair()],), "input 1 of the network is list, a tensor is expected"),
    ],
)
def test_inputs_that_do_not_fit_forward_say_which_do(model, inputs, message):
    with pytest.raises(ShapeError, match=message):
        sei.trace(model, inputs)


def test_names_that_forward_does_not_spell_out_are_refused_with_the_remedy():
    with pytest.raises(TraceError, match=r"no parameter 'a' of its own.*in place of \*\*kwargs"):
        sei.trace(AnyName(), dict(zip("ab", pair(), strict=True)))


@dataclass
class Found:
    logits: Tensor
    state: object = None


class Returns(Pair):
    def __init__(self, wrap):
        super().__init__()
        self.wrap = wrap

    def forward(self, a, b):
        return self.wrap(super().forward(a, b))


def test_a_result_of_an_unknown_type_is_refused_where_nothing_else_is_returned():
    with pytest.raises(TraceError, match="returns no tensor, but Found; return tensors, alone or in tuples"):
        sei.trace(Returns(Found), pair())


def test_a_result_of_an_unknown_type_beside_tensors_is_left_out_and_said():
    model, inputs, said = Returns(lambda y: {"logits": y, "cache": Found(y), "count": 3, "none": None}), pair(), []
    partition = sei.split(sei.trace(model, inputs, say=said.append), "a")
    assert said == ["Left out of the network's result, for they are no tensors: Found."]
    made = partition.tail(partition.head(*inputs))
    torch.testing.assert_close(made.pop("logits"), model(*inputs)["logits"])
    assert made == {"cache": None, "count": 3, "none": None}
    assert isinstance(model(*inputs)["cache"], Found)


class Grid(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)
        self.detect = RememberingDetect(2, (4,), (2,))

    def forward(self, x):
        return self.detect([self.conv(x)])[0]


@pytest.mark.parametrize("called_on", [0, 1, 2, 3])
def test_a_network_that_remembers_the_last_shape_does_not_fix_the_batch_and_is_left_as_found(called_on):
    model = Grid()
    if called_on:
        model.eval()(torch.rand(called_on, 3, 8, 8))
    found = dict(vars(model.detect))
    x = torch.rand(3, 3, 8, 8)
    graph = sei.trace(model, x)
    assert vars(model.detect).items() == found.items()
    with torch.no_grad():
        expected = model.eval()(x)
        for cut in graph.cuts:
            partition = sei.split(graph, cut)
            torch.testing.assert_close(partition.tail(partition.head(x)), expected)


def test_attributes_and_hooks_that_a_call_adds_or_removes_are_as_before():
    class Counting(Pair):
        def forward(self, a, b):
            self.seen = a
            self.hidden = {}
            self.calls.append(1)
            self.grids["of the last shape"] = a.detach() * 2
            self.b.register_forward_hook(lambda *_: None)
            self.a._forward_hooks.clear()
            return super().forward(a, b)

    model = Counting()
    model.hidden, model.calls, model.grids = {"kept": 1}, [], {"of the last shape": torch.zeros(1)}
    found = model.grids["of the last shape"]
    model.a.register_forward_hook(lambda *_: None)
    sei.trace(model, pair())
    assert not hasattr(model, "seen")
    assert model.hidden == {"kept": 1}
    assert model.calls == []
    assert model.grids["of the last shape"] is found
    assert not model.b._forward_hooks
    assert len(model.a._forward_hooks) == 1


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_weights_that_a_hook_makes_at_every_call():
    model, x = nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 3)), nn.ReLU(), nn.Linear(3, 2)), torch.randn(3, 4)
    graph = sei.trace(model, x)
    partition = sei.split(graph, 1)
    torch.testing.assert_close(partition.tail(partition.head(x)), model(x))
