from __future__ import annotations

import pytest
import torch

from splitimpera.partition.linear_code import Moments, latent_channels


def moments_of(a, g, side=1, parts=1):
    made = Moments(side)
    for rows, slopes in zip(torch.chunk(a, parts), torch.chunk(g, parts), strict=True):
        made.add(rows, slopes)
    return made


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(40, 6, 8, 8, generator=generator)
    return a + 2, torch.randn(40, 6, 8, 8, generator=generator)


def test_all_channels_bring_everything_back(tensors):
    a, g = tensors
    assert torch.allclose(moments_of(a, g).code(6)(a), a, atol=1e-4)


def test_batches_make_no_difference(tensors):
    a, g = tensors
    whole, parts = moments_of(a, g).code(2), moments_of(a, g, parts=7).code(2)
    assert torch.allclose(whole(a), parts(a), atol=1e-4)


def test_a_code_keeps_what_the_gradient_is_about(tensors):
    a, _ = tensors
    weights = torch.tensor([0.0, 0, 0, 1, 0, 0])
    large = a * torch.tensor([9.0, 9, 9, 1, 9, 9])[:, None, None]
    g = weights[None, :, None, None].expand_as(a)
    decoded = moments_of(large, g).code(1)(large)
    error = (decoded - large).square().mean((0, 2, 3)) / large.var((0, 2, 3))
    assert error[3] < 0.1
    assert error[[0, 1, 2, 4, 5]].min() > 0.5


def test_no_code_of_that_size_loses_less_where_gradients_are_alike(tensors):
    """Then it is plain PCA: the least mean squared error of all linear codes."""
    a, _ = tensors
    mixed = torch.einsum("lk,nkhw->nlhw", torch.randn(6, 6, generator=torch.Generator().manual_seed(1)), a)
    g = torch.randn(4000, 6, 1, 1, generator=torch.Generator().manual_seed(2))
    alike = torch.linalg.qr(g.flatten(1))[0].reshape(4000, 6, 1, 1) * 60  # E[g g^T] is a multiple of one
    made = Moments()
    made.add(mixed, torch.zeros_like(mixed))
    total, squares, _ = made._sums
    made._sums = total, squares, (alike.flatten(1).T @ alike.flatten(1)).double()
    lost = (made.code(3)(mixed) - mixed).square().sum()
    rows = mixed.movedim(1, -1).reshape(-1, 6)
    values = torch.linalg.eigvalsh(torch.cov(rows.T, correction=0))
    assert lost / len(rows) == pytest.approx(float(values[:3].sum()), rel=1e-3)


@pytest.mark.parametrize("shape", [(9, 9), (8, 6), (3, 5)])
@pytest.mark.parametrize("side", [2, 4])
def test_patches_at_the_edges_are_smaller(shape, side):
    a = torch.ones(5, 3, *shape)
    if latent_channels(3, shape, 10**6, side):
        assert torch.allclose(moments_of(a, a, side).code(3)(a), a, atol=1e-5)
    else:
        assert min(shape) < side


def test_dead_channels_and_no_gradient_at_all_are_no_obstacle():
    a = torch.zeros(4, 3, 2)
    assert torch.equal(moments_of(a, a).code(2)(a), a)
    with pytest.raises(ValueError, match="no sample"):
        Moments().code(1)


def test_a_code_is_never_larger_than_it_may_be():
    for side in (1, 2, 4):
        for elements in (1, 7, 64, 500, 10**6):
            count = latent_channels(16, (9, 8), elements, side)
            assert count <= 16
            assert count * -(-9 // side) * -(-8 // side) <= elements
    assert latent_channels(16, (9,), 64, 2) == 0
