"""Heads of early exits: trained, calibrated, kept, and what they say of samples."""

from __future__ import annotations

import numpy as np
import pytest
import splits
import torch
from networks import Dense
from torch import nn

import splitimpera as sei
from splitimpera.core.cache import cache_folder
from splitimpera.core.errors import CutError, DataError, ModelError, ScenarioError
from splitimpera.models.datasets import Samples
from splitimpera.records.graph import TensorSpec
from splitimpera.tasks.agreement import Agreement
from splitimpera.tasks.classification import Classification
from splitimpera.tasks.multilabel import Multilabel
from splitimpera.tasks.regression import Regression
from splitimpera.training.exit_head import ExitHead
from splitimpera.training.exit_heads import TrainedExits
from splitimpera.training.exit_settings import ExitTraining, auto_cuts, exit_cuts
from splitimpera.training.exit_training import exit_table, trained_exits
from splitimpera.training.joint_exits import jointly_trained
from splitimpera.training.trained import weights_of

QUICK = ExitTraining(epochs=6, batch=16, seed=1)
SAMPLES = splits.samples_of(96)


@pytest.fixture(scope="module")
def graph():
    return splits.traced()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SPLITIMPERA_CACHE", str(tmp_path))


class Epochs(list):
    """Counts those that are trained."""

    def track(self, steps, description, total):
        for step in steps:
            self.append(step)
            yield step


def same(first, second):
    for one, other in zip(first.exits, second.exits, strict=True):
        ours, theirs = one.head.state_dict(), other.head.state_dict()
        if ours.keys() != theirs.keys() or not all(torch.equal(ours[key], theirs[key]) for key in ours):
            return False
    return True


@pytest.mark.parametrize("head", ["linear", "conv"])
def test_heads_learn_and_the_network_stays_as_it_is(graph, head):
    cuts, before = graph.cuts[1:3], weights_of(graph)
    training = ExitTraining(epochs=15, batch=16, head=head)
    trained = trained_exits(graph, cuts, SAMPLES, training=training)
    assert weights_of(graph) == before == trained.network
    assert trained.cuts == (1, 2)
    for each in trained.exits:
        assert min(each.losses) < 0.6 * each.losses[0]
        assert each.accuracy > 0.6
        assert each.head.linear.weight.grad is None
        assert not each.head.linear.weight.requires_grad
    table = exit_table(graph, trained, splits.samples_of(200, seed=9))
    assert table.confidence.shape == table.answers.shape == (2, 200)
    assert table.right.shape == (3, 200)
    assert table.right[0].mean() > 0.6
    assert set(np.unique(table.right)) <= {0.0, 1.0}


def test_the_table_says_what_heads_and_network_say(graph):
    trained, samples = trained_exits(graph, [graph.cuts[1]], SAMPLES, training=QUICK), splits.samples_of(40, seed=4)
    table, network = exit_table(graph, trained, samples), splits.trained_network()
    with torch.no_grad():
        (stem,) = sei.split(graph, 1).head(samples.inputs)
        logits, unsplit = trained.at(1).head(stem), network(samples.inputs)
    np.testing.assert_allclose(table.confidence[0], logits.softmax(1).max(1).values, rtol=1e-5)
    assert (table.answers[0] == logits.argmax(1).numpy()).all()
    assert (table.right[0] == (logits.argmax(1) == samples.labels).numpy()).all()
    assert (table.right[1] == (unsplit.argmax(1) == samples.labels).numpy()).all()


def test_the_same_heads_from_the_same_arguments(graph, monkeypatch, tmp_path):
    epochs = Epochs()
    first = trained_exits(graph, graph.cuts[1:3], SAMPLES, training=QUICK, track=epochs.track)
    trained = len(epochs)
    again = trained_exits(splits.traced(), graph.cuts[1:3], SAMPLES, training=QUICK, track=epochs.track)
    assert len(epochs) == trained > 0  # from the cache
    assert same(first, again)
    assert [each.calibration for each in first.exits] == [each.calibration for each in again.exits]
    monkeypatch.setenv("SPLITIMPERA_CACHE", str(tmp_path / "other"))
    assert same(first, trained_exits(graph, graph.cuts[1:3], SAMPLES, training=QUICK))
    alone = trained_exits(graph, graph.cuts[2:3], SAMPLES, training=QUICK)
    assert torch.equal(alone.at(2).head.linear.weight, first.at(2).head.linear.weight)
    other = trained_exits(graph, graph.cuts[1:3], SAMPLES, training=ExitTraining(epochs=6, batch=16, seed=2))
    assert not same(first, other)


def test_features_need_not_be_kept(graph, monkeypatch, tmp_path):
    kept = trained_exits(graph, graph.cuts[1:3], SAMPLES, training=QUICK)
    monkeypatch.setenv("SPLITIMPERA_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr("splitimpera.training.exit_training.CACHED_BYTES", 0)
    anew = trained_exits(graph, graph.cuts[1:3], SAMPLES, training=QUICK)
    for one, other in zip(kept.exits, anew.exits, strict=True):
        torch.testing.assert_close(one.head.linear.weight, other.head.linear.weight, rtol=1e-3, atol=1e-4)


def test_a_damaged_file_is_made_anew(graph):
    first = trained_exits(graph, [graph.cuts[1]], SAMPLES, training=QUICK)
    (path,) = cache_folder().glob("exits-*.weights")
    path.write_bytes(path.read_bytes()[:-7])
    assert same(first, trained_exits(graph, [graph.cuts[1]], SAMPLES, training=QUICK))


def test_held_out_samples_may_be_given(graph):
    unseen = splits.samples_of(50, seed=77)
    trained = trained_exits(graph, [graph.cuts[1]], SAMPLES, training=QUICK, unseen=unseen)
    assert trained.held_out == 50
    table = exit_table(graph, trained, unseen)
    assert trained.exits[0].accuracy == pytest.approx(table.right[0].mean())
    assert trained.network_accuracy == pytest.approx(table.right[1].mean())


def test_calibration_lowers_the_loss(graph):
    for each in trained_exits(graph, graph.cuts[1:3], SAMPLES, training=QUICK).exits:
        before, after = each.calibration.loss
        assert after < before
        assert each.calibration.temperature == pytest.approx(float(each.head.temperature))
        assert each.calibration.temperature != 1


def test_without_labels_heads_learn_the_networks_answers(graph):
    samples, task = Samples(SAMPLES.inputs), Agreement().fitted(graph.outputs)
    training = ExitTraining(epochs=15, batch=16)
    trained = trained_exits(graph, [graph.cuts[2]], samples, training=training, task=task)
    table = exit_table(graph, trained, Samples(splits.samples_of(100, seed=8).inputs), task)
    assert (table.right[-1] == 1).all()
    assert table.right[0].mean() > 0.6


def test_a_head_reads_all_tensors_that_cross():
    """Of a dense network: the input and what each layer adds, side by side."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        graph = sei.trace(Dense(), torch.rand(2, 3, 8, 8))
    cut = next(cut for cut in graph.cuts[1:-1] if len(cut.tensors) > 1)
    samples = Samples(SAMPLES.inputs, SAMPLES.labels)
    trained = trained_exits(graph, [cut], samples, training=QUICK)
    head = trained.exits[0].head
    assert head.linear.in_features == sum(spec.shape[0] * 16 for spec in cut.tensors)
    for place in range(len(cut.tensors)):
        given = [torch.zeros(1, *spec.shape) for spec in cut.tensors]
        zero = head(*given)
        given[place] += 1
        assert not torch.equal(head(*given), zero)
    work = trained.exits[0].work
    assert work.macs >= head.linear.weight.numel()
    assert work.parameters == head.linear.weight.numel() + head.linear.bias.numel()


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_layouts_of_what_crosses(kind):
    """Maps, tokens with channels last, sequences, vectors, batches in the second place, and numbers that are none."""
    specs = [
        TensorSpec("maps", (6, 9, 5)),
        TensorSpec("tokens", (17, 6), channel_dim=1),
        TensorSpec("sequence", (6, 30)),
        TensorSpec("vector", (7,)),
        TensorSpec("second", (11, 6), batch_dim=1, channel_dim=1),
        TensorSpec("indices", (4,), dtype="int64"),
    ]
    head = ExitHead(specs, 5, kind).eval()
    shapes = [(3, 6, 9, 5), (3, 17, 6), (3, 6, 30), (3, 7), (11, 3, 6), (3, 4)]
    given = [torch.rand(shape) for shape in shapes]
    logits = head(*given)
    assert logits.shape == (3, 5)
    one = head(*(x[:, 1:2] if place == 4 else x[1:2] for place, x in enumerate(given)))
    torch.testing.assert_close(one, logits[1:2])
    head.scale_to(head.squeeze(*given))
    assert head(*given).isfinite().all()


def test_many_channels_are_pooled_further():
    assert ExitHead([TensorSpec("maps", (512, 14, 14))], 10).linear.in_features == 512 * 4
    assert ExitHead([TensorSpec("maps", (2048, 14, 14))], 10).linear.in_features == 2048
    with pytest.raises(CutError, match="nothing crosses"):
        ExitHead([TensorSpec("indices", (4,), dtype="int64")], 10)


def test_the_temperature_is_within_the_head(graph):
    head = trained_exits(graph, [graph.cuts[1]], SAMPLES, training=QUICK).exits[0].head
    x = torch.rand(2, 8, 8, 8)
    torch.testing.assert_close(head(x) * head.temperature, head.logits(head.squeeze(x)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_a_head_is_one_onnx_graph(graph, kind):
    runtime = pytest.importorskip("onnxruntime")
    from splitimpera.export.engine_files import FILES
    from splitimpera.export.part_modules import Part

    training = ExitTraining(epochs=2, batch=16, head=kind)
    trained = trained_exits(graph, [graph.cuts[1]], SAMPLES, training=training).exits[0]

    class Module(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = trained.head

        def forward(self, *tensors):
            return (self.head(*tensors),)

    (spec,) = trained.cut.tensors
    x = torch.rand(2, *spec.shape)
    content = FILES["onnx"](Part(Module().eval(), (spec,), (TensorSpec("logits", (splits.CLASSES,)),), (x,)))
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for batch in (1, 5):
        x = torch.rand(batch, *spec.shape)
        (made,) = session.run(None, {"in0": x.numpy()})
        np.testing.assert_allclose(made, trained.head(x).numpy(), rtol=1e-4, atol=1e-5)


def test_joint_training_gives_another_network(graph):
    before = weights_of(graph)
    training, epochs = ExitTraining(epochs=5, batch=16, joint_learning_rate=0.01), Epochs()
    network, exits = jointly_trained(graph, graph.cuts[1:2], SAMPLES, training=training, track=epochs.track)
    assert weights_of(graph) == before != weights_of(network)
    assert exits.network == weights_of(network)
    alone = trained_exits(graph, graph.cuts[1:2], SAMPLES, training=training)
    assert exits.exits[0].losses[0] == pytest.approx(min(alone.exits[0].losses), rel=1e-4)
    count = len(epochs)
    again, read = jointly_trained(graph, graph.cuts[1:2], SAMPLES, training=training, track=epochs.track)
    assert len(epochs) == count
    assert weights_of(again) == weights_of(network)
    assert same(exits, read)
    x = SAMPLES.inputs[:4]
    partition = sei.split(network, 1)
    torch.testing.assert_close(partition.tail(partition.head(x)), network.program(x)[0])
    assert exit_table(network, exits, SAMPLES).right.shape == (2, 96)
    with pytest.raises(ModelError, match="other weights"):
        TrainedExits.from_bytes(exits.to_bytes(), graph)


@pytest.mark.parametrize("task", [Multilabel(), Regression()])
def test_tasks_without_one_class_a_sample(graph, task):
    with pytest.raises(ScenarioError, match="one class a sample") as caught:
        trained_exits(graph, [graph.cuts[1]], SAMPLES, task=task.fitted(graph.outputs))
    assert caught.value.where == "exits"


def test_where_exits_may_lie(graph):
    last = len(graph.cuts) - 1
    assert [cut.index for cut in exit_cuts(graph, ["body.0", "stem.0"])] == [1, 2]
    for at, words in (([0], "in front of all"), ([last], "behind all"), ([99], "no cut 99"), (["stm.0"], "stem.0")):
        with pytest.raises(CutError, match=words) as caught:
            exit_cuts(graph, at)
        assert caught.value.where == "exits.at"


def test_exits_are_spread_over_the_work():
    layers = [nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()) for _ in range(12)]
    graph = sei.trace(nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 64, 3)), torch.rand(2, 4, 8, 8))
    cuts = auto_cuts(graph)
    shares = [cut.macs_head / (cut.macs_head + cut.macs_tail) for cut in cuts]
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.75], atol=0.05)
    assert exit_cuts(graph) == cuts
    assert len(auto_cuts(graph, 1)) == 1
    single = sei.trace(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), torch.rand(2, 3, 2, 2))
    assert auto_cuts(single) == ()


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"head": "deep"}, "head"),
        ({"epochs": 0}, "epochs"),
        ({"distill": 2}, "distill"),
        ({"weight": 0}, "weight"),
        ({"batch": 1}, "batch"),
        ({"held_out": 1}, "held_out"),
        ({"patience": 0}, "patience"),
        ({"learning_rate": float("nan")}, "learning_rate"),
    ],
)
def test_settings_out_of_range(wrong, key):
    with pytest.raises(ScenarioError) as caught:
        ExitTraining(**wrong)
    assert caught.value.where == f"exits.train.{key}"


def test_too_few_samples(graph):
    with pytest.raises(DataError, match="too few"):
        trained_exits(graph, [graph.cuts[1]], splits.samples_of(2), training=QUICK)


def test_the_top_five_count_where_they_are_asked_for(graph):
    task = Classification().fitted(graph.outputs, "top5_accuracy")
    trained = trained_exits(graph, [graph.cuts[1]], SAMPLES, training=QUICK, task=task)
    assert (exit_table(graph, trained, SAMPLES, task).right == 1).all()  # of four classes
