from __future__ import annotations

import pytest
import torch

from splitimpera.core.errors import ScenarioError
from splitimpera.training.packet_loss import lose_packets, packets_of


def test_packets_are_blocks_in_the_order_of_sending():
    assert packets_of(7, 3).tolist() == [0, 0, 0, 1, 1, 1, 2]
    order = torch.tensor([4, 0, 5, 1, 3, 2])  # element 4 is sent first
    assert packets_of(6, 2, order).tolist() == [0, 1, 2, 2, 0, 1]


def test_whole_packets_are_lost_and_nothing_else_changes(rng):
    latent = 1 + torch.rand(400, 3, 2, 2)
    packets = packets_of(12, 5)
    (lossy,) = lose_packets([latent], packets, torch.full((400,), 0.4), torch.Generator().manual_seed(0))
    lost = lossy.flatten(1) == 0
    for packet in range(3):
        here = lost[:, packets == packet]
        assert torch.equal(here.all(1), here.any(1))
        assert 0.25 < float(here[:, 0].double().mean()) < 0.45  # all three at once are never lost
    assert torch.equal(lossy.flatten(1)[~lost], latent.flatten(1)[~lost])
    assert not bool(lost.all(1).any())


def test_rates_are_those_of_the_frames():
    packets = packets_of(1000, 1)
    rates, generator = torch.tensor([0.0, 0.2, 0.9]), torch.Generator().manual_seed(0)
    (lossy,) = lose_packets([torch.ones(3, 1000)], packets, rates, generator)
    assert (lossy == 0).double().mean(1).tolist() == pytest.approx([0, 0.2, 0.9], abs=0.04)


def test_one_packet_always_arrives():
    (lossy,) = lose_packets([torch.ones(50, 8)], packets_of(8, 8), torch.ones(50), torch.Generator().manual_seed(0))
    assert bool((lossy == 1).all())


@pytest.mark.parametrize("order", [[0, 1], [0, 1, 1], [1, 2, 3]])
def test_an_order_must_name_every_element_once(order):
    with pytest.raises(ScenarioError, match="order"):
        packets_of(3, 1, torch.tensor(order))


def test_an_empty_packet_is_refused():
    with pytest.raises(ScenarioError, match="packet_elements"):
        packets_of(3, 0)
