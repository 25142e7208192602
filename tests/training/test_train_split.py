from __future__ import annotations

import networks
import pytest
import splits
import torch
from safetensors.torch import load_file
from torch import nn

import splitimpera as sei
from splitimpera.core.errors import CutError, DataError, ModelError, OutputError, ScenarioError
from splitimpera.models.datasets import DATASETS, Samples
from splitimpera.models.recipes import RECIPES, trained
from splitimpera.partition.bottleneck import can_have_bottleneck
from splitimpera.training import split as training_split
from splitimpera.training.packet_loss import lose_packets, packets_of
from splitimpera.training.settings import Training, constant, one_cycle
from splitimpera.training.split import train_split
from splitimpera.training.trained import TrainedSplit

SAMPLES = splits.samples_of(96)
QUICK = {"epochs": (2, 2), "batch": 16}


@pytest.fixture(scope="module")
def graph():
    return splits.traced()


def weights(split):
    return split.parts.state_dict()


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def accuracy(logits, samples):
    return float((logits.argmax(1) == samples.labels).double().mean())


# What training is for -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_training_brings_a_split_close_to_the_unsplit_network(graph):
    split = train_split(graph, splits.CUT, splits.samples_of(192), epochs=(10, 10), batch=16, ratio=32, bits=8)
    test = splits.samples_of(200, seed=8)
    assert split.latents[0].elements * 32 == split.cut.tensors[0].elements
    assert accuracy(split(test.inputs), test) > 0.9
    starts = [epoch for epoch in split.history if epoch.epoch == 0]
    assert [epoch.stage for epoch in starts] == [1, 2]
    for start in starts:
        rest = [epoch for epoch in split.history if epoch.stage == start.stage and epoch.epoch]
        assert min(epoch.held_out_loss for epoch in rest) < start.held_out_loss
    assert split.held_out.unsplit > 0.9


def test_without_targets_a_split_is_trained_by_distillation_and_held_to_the_network_unsplit(graph):
    alone = train_split(graph, splits.CUT, Samples(SAMPLES.inputs), **QUICK)
    assert same(weights(alone), weights(train_split(graph, splits.CUT, SAMPLES, distill=1.0, **QUICK)))
    assert alone.held_out.unsplit == 1.0
    assert 0 <= alone.held_out.trained <= 1.0


def lossy_accuracy(split, test, packets, rate):
    latents = split.encode(*split.head(test.inputs))
    generator = torch.Generator().manual_seed(0)
    rates = torch.full((len(test),), rate)
    answers = [split.predict(*lose_packets(latents, packets, rates, generator)) for _ in range(5)]
    return sum(accuracy(logits, test) for logits in answers) / len(answers)


@pytest.mark.slow
def test_training_for_loss_keeps_accuracy_where_half_of_the_packets_are_lost():
    data = DATASETS["digits"]()
    graph = sei.trace(trained(RECIPES["digits-vgg16"]), data.train.inputs[:1])
    packets = packets_of(32, 1)
    arguments = {"ratio": 64, "bits": 8, "packet_elements": 1}
    without, bought = (train_split(graph, 9, data.train, packet_loss=loss, **arguments) for loss in (0.0, 0.7))
    assert accuracy(without(data.test.inputs), data.test) > 0.93
    assert accuracy(bought(data.test.inputs), data.test) > 0.93
    found = [lossy_accuracy(split, data.test, packets, 0.5) for split in (without, bought)]
    assert found[1] > found[0] + 0.15


@pytest.mark.slow
def test_training_for_loss_helps_a_tiny_network_too(graph):
    arguments = {"epochs": (6, 12), "batch": 16, "ratio": 32, "packet_elements": 4}
    test, packets = splits.samples_of(200, seed=8), packets_of(16, 4)
    gains = []
    for seed in range(3):
        without, bought = (
            train_split(graph, splits.CUT, SAMPLES, packet_loss=loss, seed=seed, **arguments) for loss in (0.0, 0.7)
        )
        gains.append(lossy_accuracy(bought, test, packets, 0.7) - lossy_accuracy(without, test, packets, 0.7))
    assert sum(gains) / len(gains) > 0.02


def test_the_order_of_sending_decides_which_elements_are_lost_together(graph):
    arguments = {**QUICK, "packet_loss": 0.5, "packet_elements": 4}
    plain = train_split(graph, splits.CUT, SAMPLES, **arguments)
    elements = plain.latents[0].elements
    same_order = train_split(graph, splits.CUT, SAMPLES, order=torch.arange(elements), **arguments)
    turned = train_split(
        graph, splits.CUT, SAMPLES, order=torch.arange(elements).reshape(4, -1).T.flatten(), **arguments
    )
    assert same(weights(plain), weights(same_order))
    assert not same(weights(plain), weights(turned))


def test_the_latent_has_the_levels_of_its_bits(graph):
    split = train_split(graph, splits.CUT, SAMPLES, bits=3, **QUICK)
    (latent,), (high,) = split.encode(*split.head(SAMPLES.inputs)), split.highs
    assert latent.shape[1:] == split.latents[0].shape
    assert len(latent.unique()) <= 8
    assert float(latent.min()) >= 0
    assert float(latent.max()) <= high * (1 + 1e-6)
    assert train_split(graph, splits.CUT, SAMPLES, **QUICK).highs == (None,)


# Any network, any cut -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Chain", "Skip", "Tokens", "SharedModule", "GroupsAndBranches", "Recurrent"])
def test_any_network_can_be_trained_at_each_cut_that_one_tensor_crosses(name):
    (inputs,) = networks.inputs(name, 12)
    graph = sei.trace(networks.make(name), inputs)
    samples = Samples(inputs, torch.arange(12) % 5)
    for cut in graph.cuts:
        if cut.single and can_have_bottleneck(cut):
            split = train_split(graph, cut, samples, epochs=(1, 1), batch=8, finetune_head=cut.index % 2 == 0)
            logits = split(inputs)
            assert logits.shape == (12, 5)
            assert bool(torch.isfinite(logits).all())
            assert TrainedSplit.from_bytes(split.to_bytes(), graph)(inputs).equal(logits)


class TimeFirst(nn.Module):
    """Its tokens are (T, N, C)."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x):
        x = self.first(x.flatten(2).permute(2, 0, 1)).relu()
        return self.head(self.second(x).relu().mean(0))


def test_frames_may_be_stacked_at_another_dimension():
    graph = sei.trace(TimeFirst(), SAMPLES.inputs[:2])
    cut = next(cut for cut in graph.cuts if cut.tensors[0].batch_dim == 1)
    split = train_split(graph, cut, SAMPLES, **QUICK)
    (latent,) = split.encode(*split.head(SAMPLES.inputs))
    assert latent.shape == (96, *split.latents[0].shape)
    assert split(SAMPLES.inputs).shape == (96, 4)


def test_a_tensor_too_large_to_keep_is_computed_again_for_each_batch(graph, monkeypatch):
    kept = train_split(graph, splits.CUT, SAMPLES, **QUICK)
    monkeypatch.setattr(training_split, "CACHED_BYTES", 0)
    anew = train_split(graph, splits.CUT, SAMPLES, **QUICK)
    assert all(torch.allclose(weights(kept)[name], value, atol=1e-4) for name, value in weights(anew).items())


# The user's network ---------------------------------------------------------------------------------------------------


def photograph(model):
    return (
        {key: value.clone() for key, value in model.state_dict().items()},
        {name: (p.requires_grad, None if p.grad is None else p.grad.clone()) for name, p in model.named_parameters()},
        {name: module.training for name, module in model.named_modules()},
    )


def assert_unchanged(model, before):
    state, parameters, modes = photograph(model)
    assert same(state, before[0])
    assert modes == before[2]
    for name, (wanted, gradient) in parameters.items():
        assert wanted == before[1][name][0]
        assert (gradient is None) == (before[1][name][1] is None)
        assert gradient is None or torch.equal(gradient, before[1][name][1])


def users_model():
    model = splits.trained_network().train()
    model.stem[0].requires_grad_(False)
    model.body[0].weight.grad = torch.ones_like(model.body[0].weight)
    return model


@pytest.mark.parametrize("finetune_head", [False, True])
def test_the_users_network_stays_as_it_is(finetune_head):
    model = users_model()
    before = photograph(model)
    split = train_split(sei.trace(model, SAMPLES.inputs[:2]), splits.CUT, SAMPLES, finetune_head=finetune_head, **QUICK)
    assert_unchanged(model, before)
    own = {parameter.data_ptr() for parameter in split.parts.parameters()}
    assert own.isdisjoint(parameter.data_ptr() for parameter in model.parameters())
    # the copies were trained, frozen weights among them, and their statistics were not
    tail = split.tail.state_dict()
    assert not torch.equal(tail["program.head.weight"], model.head.weight)
    assert torch.equal(tail["program.body.1.running_mean"], model.body[1].running_mean)
    head = split.head.state_dict()["program.stem.0.weight"]
    assert torch.equal(head, model.stem[0].weight) is not finetune_head


def test_the_users_network_stays_as_it_is_after_an_exception():
    model = users_model()
    before = photograph(model)
    graph = sei.trace(model, SAMPLES.inputs[:2])

    def track(steps, description, total):
        yield next(iter(steps))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_split(graph, splits.CUT, SAMPLES, finetune_head=True, track=track, **QUICK)
    assert_unchanged(model, before)


def test_a_trained_split_cannot_be_trained_by_accident(graph):
    split = train_split(graph, splits.CUT, SAMPLES, **QUICK)
    assert not any(parameter.requires_grad for parameter in split.parts.parameters())
    assert not any(module.training for module in split.parts.modules())
    assert split.head is split.parts.head
    assert all(parameter.requires_grad for parameter in split.head.parameters())  # the network's own


# Seeds, early stopping ------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_weights_and_disturbs_no_other_randomness(graph):
    arguments = {**QUICK, "packet_loss": 0.4, "packet_elements": 2, "bits": 6}
    torch.manual_seed(11)
    first = train_split(graph, splits.CUT, SAMPLES, seed=4, **arguments)
    drawn = torch.rand(3)
    second = train_split(graph, splits.CUT, SAMPLES, seed=4, **arguments)
    other = train_split(graph, splits.CUT, SAMPLES, seed=5, **arguments)
    assert same(weights(first), weights(second))
    assert first.history == second.history
    assert not same(weights(first), weights(other))
    torch.manual_seed(11)
    assert torch.equal(torch.rand(3), drawn)


def test_a_stage_ends_when_held_out_images_gain_nothing_and_the_best_weights_are_kept(graph):
    generator = torch.Generator().manual_seed(0)
    noise = Samples(SAMPLES.inputs, torch.randint(0, splits.CLASSES, (len(SAMPLES),), generator=generator))
    split = train_split(graph, splits.CUT, noise, epochs=(1, 40), patience=2, distill=0, learning_rates=(0.01, 0.01))
    losses = [epoch.held_out_loss for epoch in split.history if epoch.stage == 2]
    assert len(losses) < 41
    assert min(losses[:-2]) <= min(losses[-2:])
    # its accuracy is that of the best epoch
    best = min((epoch for epoch in split.history if epoch.stage == 2), key=lambda epoch: epoch.held_out_loss)
    assert split.held_out.trained == best.held_out_accuracy


def test_stage_1_does_not_end_before_losses_have_begun(graph):
    split = train_split(
        graph,
        splits.CUT,
        SAMPLES,
        epochs=(8, 0),
        patience=1,
        packet_loss=0.5,
        packet_elements=2,
        learning_rates=(1e-9, 1e-9),
    )
    assert max(epoch.epoch for epoch in split.history if epoch.stage == 1) > 4


def test_only_the_given_images_are_seen(graph, monkeypatch):
    """Training and held-out images are disjoint, and together all that were given."""
    seen = {True: set(), False: set()}
    objective = training_split._Run._objective

    def watch(self, rows, stage, rates, generator):
        seen[torch.is_grad_enabled()].update(rows.tolist())
        return objective(self, rows, stage, rates, generator)

    monkeypatch.setattr(training_split._Run, "_objective", watch)
    train_split(graph, splits.CUT, SAMPLES, held_out=0.25, **QUICK)
    assert seen[True].isdisjoint(seen[False])
    assert seen[True] | seen[False] == set(range(len(SAMPLES)))
    assert len(seen[False]) == len(SAMPLES) / 4


def test_no_epochs_give_an_untrained_split(graph):
    split = train_split(graph, splits.CUT, SAMPLES, epochs=(0, 0))
    assert [epoch.epoch for epoch in split.history] == [0, 0]
    assert torch.equal(split.tail.state_dict()["program.head.weight"], graph.program.get_parameter("head.weight"))


def test_progress_is_shown_for_both_stages(graph):
    seen = []

    def track(steps, description, total):
        seen.append((description, total))
        return steps

    train_split(graph, splits.CUT, SAMPLES, track=track, **QUICK)
    assert seen == [(f"Training the split at stem.0, stage {stage} of 2", 2) for stage in (1, 2)]


def test_the_learning_rate_goes_up_and_comes_down():
    rates = [one_cycle(step, 100) for step in range(100)]
    assert rates[29] == max(rates) == 1
    assert rates[0] == pytest.approx(1 / 25)
    assert rates[-1] < 1e-4
    assert all(0 < one_cycle(step, steps) <= 1 for steps in range(1, 6) for step in range(steps))


def test_a_constant_learning_rate_does_not_depend_on_how_many_epochs_there_will_be():
    rates = Training(schedule="constant", learning_rates=(0.01, 0.002))
    for step in (0, 5, 100):
        assert rates.rate(1, step, 7) == rates.rate(1, step, 7000) == 0.01 * constant(step)
        assert rates.rate(2, step, 50) == 0.002 * constant(step)
    assert 0 < constant(0) < constant(5) < constant(50) == constant(5000) == 1
    assert Training().rate(2, 3, 100) == 0.002 * one_cycle(3, 100)


# Checkpoints ----------------------------------------------------------------------------------------------------------


def interrupting(after):
    done = 0

    def track(steps, description, total):
        nonlocal done
        for step in steps:
            if done == after:
                raise KeyboardInterrupt
            yield step
            done += 1

    return track


RESUMABLE = {"epochs": (3, 3), "batch": 16, "packet_loss": 0.4, "packet_elements": 2, "bits": 5, "finetune_head": True}


@pytest.mark.parametrize("after", [1, 3, 4, 5])
def test_a_resumed_training_equals_an_uninterrupted_one(graph, tmp_path, after):
    checkpoint = tmp_path / "run.checkpoint"
    with pytest.raises(KeyboardInterrupt):
        train_split(graph, splits.CUT, SAMPLES, checkpoint=checkpoint, track=interrupting(after), **RESUMABLE)
    assert list(tmp_path.iterdir()) == [checkpoint]
    counted = []

    def count(steps, description, total):
        for step in steps:
            counted.append(step)
            yield step

    resumed = train_split(graph, splits.CUT, SAMPLES, checkpoint=checkpoint, track=count, **RESUMABLE)
    whole = train_split(graph, splits.CUT, SAMPLES, **RESUMABLE)
    assert len(counted) == 6 - after
    assert same(weights(resumed), weights(whole))
    assert resumed.history == whole.history
    assert resumed.held_out == whole.held_out


@pytest.mark.parametrize("first", [0, 1])
def test_with_a_constant_rate_a_longer_training_goes_on_from_a_shorter_one(graph, tmp_path, first):
    checkpoint = tmp_path / "run.checkpoint"
    arguments = RESUMABLE | {"schedule": "constant", "epochs": (2, first)}
    counted = []

    def count(steps, description, total):
        for step in steps:
            counted.append(step)
            yield step

    train_split(graph, splits.CUT, SAMPLES, checkpoint=checkpoint, **arguments)
    arguments["epochs"] = (2, 3)
    longer = train_split(graph, splits.CUT, SAMPLES, checkpoint=checkpoint, track=count, **arguments)
    whole = train_split(graph, splits.CUT, SAMPLES, **arguments)
    assert len(counted) == 3 - first
    assert same(weights(longer), weights(whole))
    assert longer.history == whole.history
    arguments["epochs"] = (2, 2)
    with pytest.raises(OutputError, match="has come to epoch 3 of stage 2"):
        train_split(graph, splits.CUT, SAMPLES, checkpoint=checkpoint, **arguments)


def test_with_one_cycle_a_longer_training_is_another(graph, tmp_path):
    checkpoint = tmp_path / "run.checkpoint"
    train_split(graph, splits.CUT, SAMPLES, checkpoint=checkpoint, epochs=(1, 1))
    with pytest.raises(OutputError, match="other arguments"):
        train_split(graph, splits.CUT, SAMPLES, checkpoint=checkpoint, epochs=(1, 2))


def test_a_training_that_stopped_early_is_not_taken_up_again(graph, tmp_path):
    arguments = {"epochs": (0, 30), "patience": 1, "learning_rates": (1e-9, 1e-9)}
    checkpoint = tmp_path / "run.checkpoint"
    first = train_split(graph, splits.CUT, SAMPLES, checkpoint=checkpoint, **arguments)
    epochs = first.history[-1].epoch
    assert epochs < 30
    again = train_split(graph, splits.CUT, SAMPLES, checkpoint=checkpoint, **arguments)
    assert again.history == first.history
    assert same(weights(again), weights(first))


def test_a_checkpoint_of_another_training_is_refused_and_kept(graph, tmp_path):
    checkpoint = tmp_path / "run.checkpoint"
    train_split(graph, splits.CUT, SAMPLES, checkpoint=checkpoint, epochs=(1, 0))
    content = checkpoint.read_bytes()
    with pytest.raises(OutputError, match="other arguments"):
        train_split(graph, splits.CUT, SAMPLES, checkpoint=checkpoint, epochs=(1, 0), seed=1)
    assert checkpoint.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"my notes", b"\xff" * 100, None])
def test_a_file_that_is_no_checkpoint_is_refused_and_kept(graph, tmp_path, content):
    checkpoint = tmp_path / "run.checkpoint"
    if content is None:
        train_split(graph, splits.CUT, SAMPLES, checkpoint=checkpoint, epochs=(1, 0))
        content = checkpoint.read_bytes()[:-10]
    checkpoint.write_bytes(content)
    with pytest.raises(OutputError, match="is no checkpoint"):
        train_split(graph, splits.CUT, SAMPLES, checkpoint=checkpoint, epochs=(1, 0))
    assert checkpoint.read_bytes() == content


def test_a_checkpoint_that_cannot_be_written_is_a_clear_error(graph, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="checkpoint"):
        train_split(graph, splits.CUT, SAMPLES, checkpoint=tmp_path / "file" / "run.checkpoint", epochs=(1, 0))


# The file -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("finetune_head", [False, True])
def test_a_saved_split_comes_back(graph, tmp_path, finetune_head):
    split = train_split(graph, splits.CUT, SAMPLES, finetune_head=finetune_head, bits=4, ratio=20, **QUICK)
    path = tmp_path / "split.safetensors"
    split.save(path)
    loaded = TrainedSplit.load(path, graph)
    assert same(weights(loaded), weights(split))
    fields = "cut latents ratio bits finetune_head history held_out network highs"
    assert all(getattr(loaded, name) == getattr(split, name) for name in fields.split())
    assert torch.equal(loaded(SAMPLES.inputs), split(SAMPLES.inputs))
    stored = load_file(path)
    assert any(name.startswith("own_head") for name in stored) is finetune_head


def test_a_split_of_another_network_is_refused(graph, tmp_path):
    path = tmp_path / "split.safetensors"
    train_split(graph, splits.CUT, SAMPLES, epochs=(0, 0)).save(path)
    other = sei.trace(splits.Tiny(), SAMPLES.inputs[:2])
    with pytest.raises(ModelError, match=r"split\.safetensors.*other weights"):
        TrainedSplit.load(path, other)


def test_a_damaged_split_is_refused(graph, tmp_path):
    path = tmp_path / "split.safetensors"
    train_split(graph, splits.CUT, SAMPLES, epochs=(0, 0)).save(path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="damaged"):
        TrainedSplit.load(path, graph)
    with pytest.raises(ModelError, match="cannot be read"):
        TrainedSplit.load(tmp_path / "absent", graph)


# Mistakes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"epochs": (-1, 2)},
        {"epochs": (1, 2, 3)},
        {"learning_rates": (0.0, 0.1)},
        {"schedule": "cosine"},
        {"batch": 1},
        {"held_out": 0.0},
        {"held_out": 1.0},
        {"patience": 0},
        {"distill": 1.5},
        {"bits": 0},
        {"packet_loss": 1.0, "packet_elements": 1},
        {"packet_loss": -0.1},
        {"packet_elements": 0},
    ],
)
def test_values_out_of_range_are_refused(arguments):
    with pytest.raises(ScenarioError, match=next(iter(arguments))):
        Training(**arguments)


def test_a_loss_needs_packets_of_which_some_can_be_lost(graph):
    with pytest.raises(ScenarioError, match="packet_elements"):
        train_split(graph, splits.CUT, SAMPLES, packet_loss=0.5)
    with pytest.raises(DataError, match="fit into one packet"):
        train_split(graph, splits.CUT, SAMPLES, packet_loss=0.5, packet_elements=10**6)
    with pytest.raises(ScenarioError, match="order"):
        train_split(graph, splits.CUT, SAMPLES, packet_loss=0.5, packet_elements=2, order=torch.arange(3))


def test_cuts_and_ratios_that_cannot_be_are_refused(graph):
    with pytest.raises(CutError, match="largest possible"):
        train_split(graph, splits.CUT, SAMPLES, ratio=1e6)
    skip = sei.trace(networks.make("Skip"), SAMPLES.inputs[:2])
    with pytest.raises(CutError, match=r"each of the 2 tensors.*largest possible"):
        train_split(skip, next(cut for cut in skip.cuts if not cut.single), SAMPLES, ratio=1e6)


def test_images_and_labels_that_cannot_be_are_refused(graph):
    with pytest.raises(DataError, match="too few"):
        train_split(graph, splits.CUT, SAMPLES.take(slice(2)))
    with pytest.raises(DataError, match="the label 7, the network tells 4 classes apart"):
        train_split(graph, splits.CUT, Samples(SAMPLES.inputs, torch.full((len(SAMPLES),), 7)))
    maps = sei.trace(torch.nn.Conv2d(SAMPLES.inputs.shape[1], 4, 3), SAMPLES.inputs[:2])
    with pytest.raises(ModelError, match="one logit a class is expected"):
        train_split(maps, 0, SAMPLES)


def test_a_training_that_diverges_keeps_the_weights_that_it_began_with(graph):
    split = train_split(graph, splits.CUT, SAMPLES, epochs=(1, 3), batch=16, learning_rates=(0.01, 1e30))
    assert all(bool(torch.isfinite(value).all()) for value in weights(split).values())
