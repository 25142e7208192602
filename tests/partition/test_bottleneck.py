from __future__ import annotations

from math import ceil

import networks
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import splitimpera as sei
from splitimpera.errors import CutError
from splitimpera.partition.bottleneck import Bottleneck, bottleneck_for
from splitimpera.records import TensorSpec


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 21), st.integers(1, 21), st.none() | st.integers(1, 9))
def test_any_maps_go_through_a_latent_of_a_sixteenth_of_the_positions(channels, height, width, latent):
    bottleneck = Bottleneck(TensorSpec("maps", (channels, height, width)), latent).eval()
    x = torch.randn(2, channels, height, width)
    z = bottleneck.encoder(x)
    expected = latent or 2 * max(1, round(channels / 8))
    assert bottleneck.latent_shape == z.shape[1:] == (expected, ceil(height / 4), ceil(width / 4))
    assert bottleneck.decoder(z).shape == x.shape


def test_the_latent_is_64_times_smaller():
    spec = TensorSpec("maps", (64, 12, 20))
    assert torch.Size(Bottleneck(spec).latent_shape).numel() * 64 == spec.elements


def test_the_layers_are_the_papers():
    kinds = "Conv2d BatchNorm2d ReLU Conv2d BatchNorm2d ReLU", "ConvTranspose2d BatchNorm2d ReLU ConvTranspose2d"
    bottleneck = Bottleneck(TensorSpec("maps", (32, 8, 8)))
    halves = bottleneck.encoder, bottleneck.decoder
    assert tuple(" ".join(type(layer).__name__ for layer in half) for half in halves) == kinds
    assert [bottleneck.encoder[i].weight.shape[:2] for i in (0, 3)] == [(4, 32), (8, 4)]
    assert [bottleneck.decoder[i].weight.shape[:2] for i in (0, 3)] == [(8, 4), (4, 32)]


def test_a_wide_latent_is_not_choked_by_the_layer_before_it():
    bottleneck = Bottleneck(TensorSpec("maps", (8, 4, 4)), 32)
    assert bottleneck.encoder[0].out_channels == 16


def test_channels_may_come_last():
    bottleneck = Bottleneck(TensorSpec("maps", (7, 5, 16), channel_dim=2)).eval()
    x = torch.randn(2, 7, 5, 16)
    assert bottleneck.encoder(x).shape[1:] == bottleneck.latent_shape == (4, 2, 2)
    assert bottleneck(x).shape == x.shape


def test_vectors_get_linear_layers():
    bottleneck = Bottleneck(TensorSpec("vector", (24,))).eval()
    x = torch.randn(3, 24)
    assert bottleneck.encoder(x).shape[1:] == bottleneck.latent_shape == (6,)
    assert bottleneck(x).shape == x.shape


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec("tokens", (5, 8), channel_dim=1),
        TensorSpec("numbers", (4, 4, 4), dtype="int64"),
        TensorSpec("mixed", (4, 4, 4), batch_dim=None),
    ],
)
def test_other_layouts_are_refused(spec):
    with pytest.raises(CutError, match=spec.name):
        Bottleneck(spec)


def test_a_latent_without_channels_is_refused():
    with pytest.raises(CutError, match="latent_channels"):
        Bottleneck(TensorSpec("maps", (4, 4, 4)), 0)


def test_a_cut_with_several_tensors_is_refused():
    graph = sei.trace(networks.make("Skip"), networks.inputs("Skip", 2)[0])
    cut = next(cut for cut in graph.cuts if not cut.single)
    with pytest.raises(CutError, match="2 tensors cross"):
        bottleneck_for(cut)
