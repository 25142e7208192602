from __future__ import annotations

from math import ceil, prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from splitimpera.core.errors import CutError
from splitimpera.partition.autoencoder import Autoencoder
from splitimpera.records.graph import TensorSpec


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 21), st.integers(1, 21), st.none() | st.integers(1, 9))
def test_any_maps_go_through_a_latent_of_a_sixteenth_of_the_positions(channels, height, width, latent):
    autoencoder = Autoencoder(TensorSpec("maps", (channels, height, width)), latent).eval()
    x = torch.randn(2, channels, height, width)
    z = autoencoder.encoder(x)
    expected = latent or 2 * max(1, round(channels / 8))
    assert autoencoder.latent_shape == z.shape[1:] == (expected, ceil(height / 4), ceil(width / 4))
    assert autoencoder.decoder(z).shape == x.shape


@st.composite
def specs(draw):
    """Maps, tokens, sequences and vectors, with the channels and the batch anywhere."""
    shape = tuple(draw(st.lists(st.integers(1, 18), min_size=1, max_size=3)))
    channel_dim = draw(st.integers(0, len(shape) - 1))
    return TensorSpec("any", shape, batch_dim=draw(st.integers(0, len(shape))), channel_dim=channel_dim)


@settings(max_examples=80, deadline=None)
@given(specs(), st.none() | st.floats(1, 200))
def test_whatever_crosses_comes_back_in_its_shape_and_no_larger_than_asked_for(spec, ratio):
    sizes = list(spec.shape)
    sizes.insert(spec.batch_dim, 3)
    x = torch.randn(sizes)
    try:
        autoencoder = Autoencoder(spec, ratio=ratio)
    except CutError as error:
        assert ratio is not None
        largest = float(error.hint.split()[-1])
        assert largest < ratio
        autoencoder = Autoencoder(spec, ratio=max(1, largest))
    else:
        if ratio is not None:
            assert prod(autoencoder.latent_shape) * ratio <= spec.elements * (1 + 1e-6)
    for mode in (True, False):
        z = autoencoder.train(mode).encoder(x)
        assert z.shape == (3, *autoencoder.latent_shape)
        assert autoencoder.latent_spec.shape == autoencoder.latent_shape
        assert bool((z >= 0).all())
        assert autoencoder.decoder(z).shape == x.shape


def test_the_latent_is_64_times_smaller():
    spec = TensorSpec("maps", (64, 12, 20))
    assert prod(Autoencoder(spec).latent_shape) * 64 == spec.elements
    assert Autoencoder(spec, ratio=64).latent_shape == Autoencoder(spec).latent_shape


def test_the_layers_are_the_papers():
    kinds = "Conv2d BatchNorm2d ReLU Conv2d BatchNorm2d ReLU", "ConvTranspose2d BatchNorm2d ReLU ConvTranspose2d"
    autoencoder = Autoencoder(TensorSpec("maps", (32, 8, 8)))
    partition = autoencoder.encoder, autoencoder.decoder
    assert tuple(" ".join(type(layer).__name__ for layer in half) for half in partition) == kinds
    assert [autoencoder.encoder[i].weight.shape[:2] for i in (0, 3)] == [(4, 32), (8, 4)]
    assert [autoencoder.decoder[i].weight.shape[:2] for i in (0, 3)] == [(8, 4), (4, 32)]


@pytest.mark.parametrize(
    ("ratio", "latent"),
    [
        (256, (4, 3, 5)),
        (128, (8, 3, 5)),
        (64, (16, 3, 5)),
        (16, (64, 3, 5)),  # as many channels as the tensor has
        (8, (32, 6, 10)),  # 128 at the papers' positions would be more
        (4, (64, 6, 10)),
        (2, (32, 12, 20)),
        (1, (64, 12, 20)),
    ],
)
def test_a_ratio_changes_the_channels_first(ratio, latent):
    assert Autoencoder(TensorSpec("maps", (64, 12, 20)), ratio=ratio).latent_shape == latent


def test_a_ratio_that_leaves_no_channel_names_the_largest_possible_one():
    spec = TensorSpec("maps", (8, 8, 8))  # 512 elements, 4 positions
    assert Autoencoder(spec, ratio=128).latent_shape == (1, 2, 2)
    with pytest.raises(CutError, match="largest possible here is 128"):
        Autoencoder(spec, ratio=129)
    with pytest.raises(CutError, match="largest possible here is 24"):
        Autoencoder(TensorSpec("vector", (24,)), ratio=64)


@pytest.mark.parametrize("ratio", [0.5, 0, -3, float("nan")])
def test_a_latent_larger_than_its_tensor_is_refused(ratio):
    with pytest.raises(CutError, match=r"ratio.*below 1"):
        Autoencoder(TensorSpec("maps", (8, 8, 8)), ratio=ratio)


def test_channels_and_ratio_exclude_each_other():
    with pytest.raises(CutError, match="both"):
        Autoencoder(TensorSpec("maps", (8, 8, 8)), 2, 64)


def test_a_wide_latent_is_not_choked_by_the_layer_before_it():
    autoencoder = Autoencoder(TensorSpec("maps", (8, 4, 4)), 32)
    assert autoencoder.encoder[0].out_channels == 16


@pytest.mark.parametrize("side", [1, 2])
def test_in_small_maps_the_layer_between_is_no_smaller_than_the_latent(side):
    autoencoder = Autoencoder(TensorSpec("maps", (64, side, side)))
    assert autoencoder.latent_shape == (16, 1, 1)
    assert autoencoder.encoder[0].out_channels == 16  # the papers' f is 8
    assert autoencoder.encoder[3].kernel_size == (1, 1)


def test_channels_may_come_last():
    autoencoder = Autoencoder(TensorSpec("maps", (7, 5, 16), channel_dim=2)).eval()
    x = torch.randn(2, 7, 5, 16)
    assert autoencoder.encoder(x).shape[1:] == autoencoder.latent_shape == (4, 2, 2)
    assert autoencoder(x).shape == x.shape


def test_vectors_get_linear_layers():
    autoencoder = Autoencoder(TensorSpec("vector", (24,))).eval()
    x = torch.randn(3, 24)
    assert autoencoder.encoder(x).shape[1:] == autoencoder.latent_shape == (6,)
    assert autoencoder(x).shape == x.shape


@pytest.mark.parametrize(
    ("tokens", "latent"),
    [
        (197, 1 + 16),  # ViT: a class token and 14 x 14 patches
        (196, 16),
        (198, 2 + 16),  # DeiT: a distillation token as well
        (261, 5 + 16),  # DINOv2: four registers, 16 x 16
        (7, 2),  # no square in it: neighbours in the sequence
    ],
)
def test_patch_tokens_are_merged_with_their_neighbours_in_the_image(tokens, latent):
    autoencoder = Autoencoder(TensorSpec("tokens", (tokens, 32), channel_dim=1)).eval()
    assert autoencoder.latent_shape == (latent, 8)
    assert autoencoder.latent_spec.channel_dim == 1
    x = torch.randn(2, tokens, 32)
    assert autoencoder(x).shape == x.shape


def test_the_class_token_is_kept_apart_from_the_patches():
    autoencoder = Autoencoder(TensorSpec("tokens", (17, 8), channel_dim=1)).eval()
    x = torch.randn(1, 17, 8)
    other = x.clone()
    other[:, 0] += 1
    changed = (autoencoder.encoder(x) != autoencoder.encoder(other)).any(2)
    assert changed.tolist() == [[True, False]]
    z = autoencoder.encoder(x)
    moved = z.clone()
    moved[:, 1] += 1
    changed = (autoencoder.decoder(z) != autoencoder.decoder(moved)).any(2)
    assert changed[0].tolist()[0] is False
    assert bool(changed[0, 1:].any())


def test_far_patches_do_not_share_a_latent_position():
    autoencoder = Autoencoder(TensorSpec("tokens", (1 + 16 * 16, 8), channel_dim=1)).eval()
    x = torch.randn(1, 257, 8)
    other = x.clone()
    other[:, 1 + 16 * 15 + 15] += 5  # the last patch
    changed = (autoencoder.encoder(x) != autoencoder.encoder(other)).any(2)[0]
    assert int(changed[:13].sum()) == 0


def test_sequences_with_channels_first_are_merged_along_time():
    autoencoder = Autoencoder(TensorSpec("sound", (16, 30))).eval()
    x = torch.randn(2, 16, 30)
    assert autoencoder.encoder(x).shape[1:] == autoencoder.latent_shape == (4, 8)
    assert autoencoder(x).shape == x.shape


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec("video", (2, 3, 4, 4)),
        TensorSpec("number", ()),
        TensorSpec("numbers", (4, 4, 4), dtype="int64"),
        TensorSpec("mixed", (4, 4, 4), batch_dim=None),
    ],
)
def test_other_layouts_are_refused(spec):
    with pytest.raises(CutError, match=spec.name):
        Autoencoder(spec)


def test_a_latent_without_channels_is_refused():
    with pytest.raises(CutError, match="latent_channels"):
        Autoencoder(TensorSpec("maps", (4, 4, 4)), 0)
