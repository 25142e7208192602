"""Bottlenecks at cuts that several tensors cross."""

from __future__ import annotations

import pytest
import skipped_masks
import torch
from task_networks import FeaturePyramid

import splitimpera as sei
from splitimpera.core.errors import DataError
from splitimpera.models.datasets import Samples
from splitimpera.models.targets import Stacked
from splitimpera.tasks.regression import Regression
from splitimpera.tasks.segmentation import Segmentation
from splitimpera.training.packet_loss import lose_packets, packets_of
from splitimpera.training.quantisation import Quantiser
from splitimpera.training.split import train_split
from splitimpera.training.trained import TrainedSplit

QUICK = {"epochs": (1, 1), "batch": 16, "ratio": 16}


@pytest.fixture(scope="module")
def skipped():
    """Traced network, its samples, its task and a cut under the skip."""
    x, y = skipped_masks.data()
    graph = sei.trace(skipped_masks.network(), x[:2])
    return graph, graph.cut("second"), Samples(x, Stacked(y)), Segmentation().fitted(graph.outputs)


def trained(skipped, **arguments):
    graph, cut, samples, task = skipped
    return train_split(graph, cut, samples, task=task, **(QUICK | arguments))


def test_training_brings_several_latents_close_to_what_crosses(skipped):
    split, untrained = trained(skipped, epochs=(8, 4), bits=8), trained(skipped, epochs=(0, 0))
    assert [spec.shape for spec in split.cut.tensors] == [(8, 16, 16), (16, 8, 8)]
    assert [spec.shape for spec in split.latents] == [(8, 4, 4), (16, 2, 2)]
    first, *_, last = [epoch.held_out_loss for epoch in split.history if epoch.stage == 1]
    assert last < 0.5 * first
    assert split.held_out.trained > untrained.held_out.trained + 0.1
    x = skipped[2].inputs
    latents = split.encode(*split.head(x))
    assert len(latents) == len(split.highs) == 2
    for latent, high in zip(latents, split.highs, strict=True):  # levels of its own
        levels = latent / (high / 255)
        torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-3)
        assert float(levels.max()) <= 255.01
    again = TrainedSplit.from_bytes(split.to_bytes(), skipped[0])
    assert again.latents == split.latents
    assert again(x).equal(split(x))


def test_a_head_of_its_own_lost_packets_and_little_memory(skipped, monkeypatch, tmp_path):
    arguments = {"finetune_head": True, "packet_loss": 0.5, "packet_elements": 30}
    kept = trained(skipped, checkpoint=tmp_path / "run.checkpoint", **arguments)
    monkeypatch.setattr("splitimpera.training.split.CACHED_BYTES", 0)
    anew = trained(skipped, **arguments)
    losses = [[epoch.held_out_loss for epoch in split.history] for split in (kept, anew)]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)
    with pytest.raises(DataError, match="the latents' 192 elements fit into one packet"):
        trained(skipped, packet_loss=0.5, packet_elements=192)


def test_what_passes_as_it_is_arrives_unchanged():
    x = torch.rand(20, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    graph = sei.trace(FeaturePyramid().eval(), x[:2])
    cut = next(cut for cut in graph.cuts if {spec.dtype for spec in cut.tensors} == {"float32", "int64"})
    task = Regression(output="scores").fitted(graph.outputs)
    targets = Stacked(torch.zeros(20, *next(output.shape for output in graph.outputs if output.name == "scores")))
    split = train_split(graph, cut, Samples(x, targets), task=task, bits=8, **QUICK)
    place = split.parts.bottleneck.coded.index(False)
    crossing = split.head(x)
    assert split.encode(*crossing)[place].equal(crossing[place])
    assert split.highs[place] is None
    assert split(x)["brightest"].equal(x.flatten(1).argmax(1))


def test_packets_go_on_from_one_latent_to_the_next():
    latents = torch.ones(300, 2, 3), torch.ones(4, 300, dtype=torch.int64), torch.ones(300, 5)
    packets = packets_of(6 + 4 + 5, 4)
    rates, generator = torch.full((300,), 0.5), torch.Generator().manual_seed(0)
    first, passed, last = lose_packets(latents, packets, rates, generator, (True, False, True))
    assert passed.equal(latents[1])
    assert bool((first.flatten(1)[:, 4] == first.flatten(1)[:, 5]).all())
    assert bool((last[:, 0] == last[:, 1]).all())  # elements 10 and 11 share packet 2
    assert not bool((last[:, 1] == last[:, 2]).all())
    (together,) = lose_packets([torch.ones(300, 15)], packets, rates, torch.Generator().manual_seed(0))
    assert together[:, :6].equal(first.flatten(1))
    assert together[:, 10:].equal(last)


def test_each_latent_has_a_range_of_its_own():
    quantiser = Quantiser(8, (True, False, True)).train()
    given = torch.tensor([0.0, 3.0]), torch.tensor([-7]), torch.tensor([0.0, 200.0])
    first, passed, last = quantiser(*given)
    assert quantiser.highs == (3, None, 200)
    assert (passed is given[1], first.tolist(), last.tolist()) == (True, [0, 3], [0, 200])
    assert quantiser.high.shape == (3,)
    assert Quantiser(8).high.shape == ()
    assert Quantiser(None, (True, True)).highs == (None, None)
