"""Training and saliency on a named device."""

from __future__ import annotations

import numpy as np
import pytest
import splits
import torch
from accelerators import ACCELERATORS
from networks import inputs, make

import splitimpera as sei
from splitimpera.core.errors import ScenarioError
from splitimpera.saliency.scores import SCORES, STATISTICS
from splitimpera.training import split as training_split
from splitimpera.training.settings import Training
from splitimpera.training.split import train_split, training_key
from splitimpera.training.trained import Parts

QUICK = splits.ARGUMENTS | {"epochs": (1, 1)}
SAMPLES = splits.samples_of(48)


@pytest.fixture(scope="module")
def graph():
    return splits.traced()


def placed(graph):
    return [(p.data_ptr(), p.device, p.detach().cpu().clone()) for p in graph.program.parameters()]


def untouched(graph, before):
    return all(
        p.data_ptr() == pointer and p.device == device and torch.equal(p.detach().cpu(), value)
        for p, (pointer, device, value) in zip(graph.program.parameters(), before, strict=True)
    )


# On the CPU -----------------------------------------------------------------------------------------------------------


def test_the_cpu_by_name_is_the_cpu(graph):
    named, plain = (train_split(graph, splits.CUT, SAMPLES, **QUICK, device=device) for device in ("cpu", None))
    assert named.history == plain.history
    for name, value in plain.parts.state_dict().items():
        assert torch.equal(named.parts.state_dict()[name], value)
    model, (x,) = make("Chain"), inputs("Chain", 5)
    curves = [sei.cumulative_saliency(model, x, device=device).cs for device in ("cpu", torch.device("cpu"), None)]
    assert curves[0].tolist() == curves[1].tolist() == curves[2].tolist()


@pytest.mark.parametrize("finetune_head", [False, True])
def test_what_was_trained_elsewhere_comes_back_whole(graph, monkeypatch, finetune_head):
    """As if the network lay elsewhere: the result is put together anew, beside it."""
    arguments = {**QUICK, "finetune_head": finetune_head}
    here = train_split(graph, splits.CUT, SAMPLES, **arguments)
    random, made = torch.get_rng_state(), []
    monkeypatch.setattr(training_split, "Parts", lambda *given: made.append(Parts(*given)) or made[-1])
    monkeypatch.setattr(training_split, "device_of", lambda _graph: torch.device("meta"))
    back = train_split(graph, splits.CUT, SAMPLES, device="cpu", **arguments)
    assert torch.equal(torch.get_rng_state(), random)
    assert len(made) == 2
    assert back.parts is made[1]
    assert back.parts.state_dict().keys() == here.parts.state_dict().keys()
    assert torch.equal(back(SAMPLES.inputs), here(SAMPLES.inputs))


def test_mixed_precision_trains_and_leaves_float32(graph):
    before = placed(graph)
    mixed = train_split(
        graph, splits.CUT, splits.samples_of(128), autocast=torch.bfloat16, **QUICK | {"epochs": (4, 4)}
    )
    assert {value.dtype for value in mixed.parts.state_dict().values() if value.ndim} <= {torch.float32, torch.int64}
    first, last = mixed.history[0], mixed.history[-1]
    assert last.held_out_loss < first.held_out_loss
    full = train_split(graph, splits.CUT, splits.samples_of(128), **QUICK | {"epochs": (4, 4)})
    assert mixed.history != full.history
    assert untouched(graph, before)
    with pytest.raises(ScenarioError, match=r"autocast: gradients of torch.float16 vanish; give torch.bfloat16"):
        train_split(graph, splits.CUT, SAMPLES, autocast=torch.float16, **QUICK)


def test_other_rounding_is_another_training(graph):
    """But a CPU by name is no other one."""
    arguments = graph, graph.cut(splits.CUT), SAMPLES, Training(**QUICK)
    keys = [
        training_key(*arguments, device, autocast)
        for device in (torch.device("cuda"), torch.device("mps"), torch.device("cpu"))
        for autocast in (None, torch.bfloat16)
    ]
    assert len(set(keys)) == 6
    assert training_key(*arguments) in keys
    assert training_key(*arguments, torch.device("cuda:1")) in keys


def test_a_device_that_is_not_there_is_said(graph, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for run in (
        lambda: train_split(graph, splits.CUT, SAMPLES, device="cuda"),
        lambda: sei.cumulative_saliency(graph, SAMPLES, device="cuda"),
    ):
        with pytest.raises(ScenarioError, match="device: 'cuda' is asked for"):
            run()


# On accelerators ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ACCELERATORS)
@pytest.mark.parametrize("name", ["Chain", "Skip", "Tokens", "SqueezeExcite", "GroupsAndBranches"])
def test_saliency_on_an_accelerator_is_near(name, device):
    model, (x,) = make(name), inputs(name, 6)
    graph, labels = sei.trace(model, x), torch.arange(6) % 2
    before = placed(graph)
    scores = (*SCORES.names(), *STATISTICS.names())
    there, here = (
        sei.cumulative_saliency(graph, (x, labels), scores=scores, classes=[1], batch=4, device=place)
        for place in (device, "cpu")
    )
    for score in scores:
        np.testing.assert_allclose(there.scores[score], here.scores[score], rtol=2e-2, atol=1e-5, err_msg=score)
    assert untouched(graph, before)
    mixed = sei.cumulative_saliency(graph, x, device=device, autocast=torch.bfloat16)
    np.testing.assert_allclose(mixed.cs, sei.cumulative_saliency(graph, x).cs, rtol=0.1, atol=1e-3)


@pytest.mark.parametrize("device", ACCELERATORS)
@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
@pytest.mark.parametrize("finetune_head", [False, True])
def test_a_split_trained_on_an_accelerator_comes_back(graph, device, autocast, finetune_head, tmp_path):
    before = placed(graph)
    arguments = {**splits.ARGUMENTS, "epochs": (4, 4), "finetune_head": finetune_head}
    samples = splits.samples_of(128)
    trained = train_split(
        graph, splits.CUT, samples, device=device, autocast=autocast, checkpoint=tmp_path / "c", **arguments
    )
    assert untouched(graph, before)
    assert {value.device.type for value in trained.parts.state_dict().values()} == {"cpu"}
    here = train_split(graph, splits.CUT, samples, **arguments)
    assert trained.held_out.unsplit == here.held_out.unsplit
    assert abs(trained.held_out.trained - here.held_out.trained) <= 0.25
    predicted = trained(samples.inputs)
    assert predicted.device.type == "cpu"
    assert torch.isfinite(predicted).all()
