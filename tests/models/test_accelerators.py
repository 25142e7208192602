"""Names of devices, and networks that are copied there."""

from __future__ import annotations

import pytest
import torch
from networks import inputs, make
from torch.utils import _pytree as pytree

import splitimpera as sei
from splitimpera.core.errors import ModelError, ScenarioError, UnknownNameError
from splitimpera.graph.moving import device_of, moved
from splitimpera.models import accelerators
from splitimpera.models.accelerators import torch_device, torch_precision


@pytest.fixture
def machine(monkeypatch):
    """Says what devices this machine has."""

    def has(**counts):
        monkeypatch.setattr(accelerators, "_count", lambda kind: counts.get(kind, int(kind == "cpu")))

    return has


@pytest.mark.parametrize(
    ("counts", "expected"), [({}, "cpu"), ({"mps": 1}, "mps"), ({"cuda": 2}, "cuda"), ({"cuda": 1, "mps": 1}, "cuda")]
)
def test_auto_is_the_best_there_is(machine, counts, expected):
    machine(**counts)
    assert torch_device("auto") == torch.device(expected)


def test_names(machine):
    machine(cuda=2, mps=1)
    for name in ("cpu", "cuda", "cuda:1", "mps"):
        assert torch_device(name) == torch.device(name)
    assert torch_device(torch.device("cuda:7")) == torch.device("cuda:7")
    assert torch_precision("bfloat16") is torch.bfloat16
    assert torch_precision("") is None


@pytest.mark.parametrize(
    "name", ["gpu", "", "CPU", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "cuda:١", "auto:1", "x" * 9000]
)
def test_unknown_names(machine, name):
    machine(cuda=2)
    with pytest.raises(UnknownNameError, match=r"^device: no device is called '.*cuda"):
        torch_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_a_device_that_is_not_there(machine, name):
    machine()
    with pytest.raises(
        ScenarioError, match=f"^device: '{name}' is asked for.*no such device on this machine; write auto"
    ):
        torch_device(name)


@pytest.mark.parametrize("number", ["2", "9" * 5000])
def test_fewer_devices_than_asked_for(machine, number):
    machine(cuda=2)
    with pytest.raises(ScenarioError, match=r"this machine has cuda:0 to cuda:1"):
        torch_device(f"cuda:{number}")


def test_unknown_precision():
    with pytest.raises(UnknownNameError, match=r"autocast: no type of mixed precision is called 'fp16'.*float16"):
        torch_precision("fp16")


def placed(model):
    return {name: (value.data_ptr(), value.device) for name, value in model.state_dict().items()}


@pytest.mark.parametrize(
    "name", ["Chain", "SeveralResults", "SharedModule", "Tokens", "TwoInputs", "WriteSeenThroughView"]
)
def test_a_moved_network_has_nothing_left_where_it_was(name):
    """On `meta`, which every machine has and which refuses tensors of other devices."""
    model, x = make(name), inputs(name, 3)
    graph = sei.trace(model, x)
    before = placed(model), graph.program.code
    there = moved(graph, torch.device("meta"))
    assert device_of(there) == torch.device("meta")
    assert [node.name for node in there.program.graph.nodes] == [node.name for node in graph.program.graph.nodes]
    results = pytree.tree_leaves(there.program(*(tensor.to("meta") for tensor in x)))
    expected = pytree.tree_leaves(graph.program(*x))
    assert [made.shape for made in results] == [made.shape for made in expected]
    assert {made.device for made in results} == {torch.device("meta")}
    assert (placed(model), graph.program.code) == before
    assert moved(graph, torch.device("cpu")) is graph


class Positions(torch.nn.Module):
    """Makes tensors of its own in the middle, and ties two weights."""

    def __init__(self):
        super().__init__()
        self.first, self.last = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
        self.last.weight = self.first.weight

    def forward(self, x):
        return self.last(self.first(x) + torch.arange(4) + torch.zeros(x.shape[0], 4))


def test_tensors_that_a_network_makes_lie_on_the_device_as_well():
    graph = sei.trace(Positions(), torch.rand(2, 4))
    there = moved(graph, torch.device("meta"))
    assert there.program(torch.rand(3, 4, device="meta"))[0].shape == (3, 4)
    weights = [p for p in there.program.parameters() if p.ndim == 2]
    assert len({id(weight) for weight in weights}) == 1


def test_what_does_not_fit_says_so():
    graph = sei.trace(torch.nn.Linear(2, 2), torch.rand(2, 2))
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA, to which the network can be moved")
    with pytest.raises(ModelError, match="cannot be moved to cuda"):
        moved(graph, torch.device("cuda"))
