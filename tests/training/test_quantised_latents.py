from __future__ import annotations

import pytest
import torch

from splitimpera.core.errors import ScenarioError
from splitimpera.training.quantisation import Quantiser


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_values_are_bounded_and_rounded_to_as_many_levels_as_the_bits_have(bits):
    quantiser = Quantiser(bits).train()
    quantiser(torch.tensor([0.0, 3.0]))
    assert float(quantiser.high) == 3
    quantiser.eval()
    x = torch.linspace(0, 5, 20001)
    (y,) = quantiser(x)
    assert len(y.unique()) == 2**bits
    assert float(y[0]) == 0
    assert float(y.max()) == pytest.approx(3)
    inside = x <= 3
    assert float((y - x)[inside].abs().max()) <= 3 / (2**bits - 1) / 2 + 1e-6
    assert torch.equal(*quantiser(y), y)


def test_the_range_follows_the_batches_only_while_training():
    quantiser = Quantiser(8).train()
    for high in (10.0, 20.0):
        quantiser(torch.tensor([high]))
    assert float(quantiser.high) == pytest.approx(11)  # 10 + (20 - 10) / 10
    quantiser.eval()(torch.tensor([100.0]))
    assert float(quantiser.high) == pytest.approx(11)


def test_gradients_pass_as_if_nothing_was_rounded():
    quantiser = Quantiser(2).train()
    quantiser(torch.tensor([1.0]))
    x = torch.tensor([0.1, 0.5, 0.9], requires_grad=True)
    (quantiser.eval()(x)[0] * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad.tolist() == [1, 2, 3]


def test_a_latent_of_zeros_stays_one():
    x = torch.zeros(2, 3)
    assert torch.equal(*Quantiser(8).train()(x), x)


def test_without_bits_nothing_changes():
    x = torch.randn(5)
    assert Quantiser(None)(x)[0] is x


@pytest.mark.parametrize("bits", [0, 17])
def test_other_numbers_of_bits_are_refused(bits):
    with pytest.raises(ScenarioError, match="bits"):
        Quantiser(bits)
