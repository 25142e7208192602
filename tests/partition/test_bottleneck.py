from __future__ import annotations

from math import ceil, prod

import networks
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import splitimpera as sei
from splitimpera.core.errors import CutError
from splitimpera.partition.bottleneck import Bottleneck, bottleneck_for, can_have_bottleneck
from splitimpera.records.graph import TensorSpec


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 21), st.integers(1, 21), st.none() | st.integers(1, 9))
def test_any_maps_go_through_a_latent_of_a_sixteenth_of_the_positions(channels, height, width, latent):
    bottleneck = Bottleneck(TensorSpec("maps", (channels, height, width)), latent).eval()
    x = torch.randn(2, channels, height, width)
    z = bottleneck.encoder(x)
    expected = latent or 2 * max(1, round(channels / 8))
    assert bottleneck.latent_shape == z.shape[1:] == (expected, ceil(height / 4), ceil(width / 4))
    assert bottleneck.decoder(z).shape == x.shape


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
        bottleneck = Bottleneck(spec, ratio=ratio)
    except CutError as error:
        assert ratio is not None
        largest = float(error.hint.split()[-1])
        assert largest < ratio
        bottleneck = Bottleneck(spec, ratio=max(1, largest))
    else:
        if ratio is not None:
            assert prod(bottleneck.latent_shape) * ratio <= spec.elements * (1 + 1e-6)
    for mode in (True, False):
        z = bottleneck.train(mode).encoder(x)
        assert z.shape == (3, *bottleneck.latent_shape)
        assert bottleneck.latent_spec.shape == bottleneck.latent_shape
        assert bool((z >= 0).all())
        assert bottleneck.decoder(z).shape == x.shape


def test_the_latent_is_64_times_smaller():
    spec = TensorSpec("maps", (64, 12, 20))
    assert prod(Bottleneck(spec).latent_shape) * 64 == spec.elements
    assert Bottleneck(spec, ratio=64).latent_shape == Bottleneck(spec).latent_shape


def test_the_layers_are_the_papers():
    kinds = "Conv2d BatchNorm2d ReLU Conv2d BatchNorm2d ReLU", "ConvTranspose2d BatchNorm2d ReLU ConvTranspose2d"
    bottleneck = Bottleneck(TensorSpec("maps", (32, 8, 8)))
    partition = bottleneck.encoder, bottleneck.decoder
    assert tuple(" ".join(type(layer).__name__ for layer in half) for half in partition) == kinds
    assert [bottleneck.encoder[i].weight.shape[:2] for i in (0, 3)] == [(4, 32), (8, 4)]
    assert [bottleneck.decoder[i].weight.shape[:2] for i in (0, 3)] == [(8, 4), (4, 32)]


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
    assert Bottleneck(TensorSpec("maps", (64, 12, 20)), ratio=ratio).latent_shape == latent


def test_a_ratio_that_leaves_no_channel_names_the_largest_possible_one():
    spec = TensorSpec("maps", (8, 8, 8))  # 512 elements, 4 positions
    assert Bottleneck(spec, ratio=128).latent_shape == (1, 2, 2)
    with pytest.raises(CutError, match="largest possible here is 128"):
        Bottleneck(spec, ratio=129)
    with pytest.raises(CutError, match="largest possible here is 24"):
        Bottleneck(TensorSpec("vector", (24,)), ratio=64)


@pytest.mark.parametrize("ratio", [0.5, 0, -3, float("nan")])
def test_a_latent_larger_than_its_tensor_is_refused(ratio):
    with pytest.raises(CutError, match=r"ratio.*below 1"):
        Bottleneck(TensorSpec("maps", (8, 8, 8)), ratio=ratio)


def test_channels_and_ratio_exclude_each_other():
    with pytest.raises(CutError, match="both"):
        Bottleneck(TensorSpec("maps", (8, 8, 8)), 2, 64)


def test_a_wide_latent_is_not_choked_by_the_layer_before_it():
    bottleneck = Bottleneck(TensorSpec("maps", (8, 4, 4)), 32)
    assert bottleneck.encoder[0].out_channels == 16


@pytest.mark.parametrize("side", [1, 2])
def test_in_small_maps_the_layer_between_is_no_smaller_than_the_latent(side):
    bottleneck = Bottleneck(TensorSpec("maps", (64, side, side)))
    assert bottleneck.latent_shape == (16, 1, 1)
    assert bottleneck.encoder[0].out_channels == 16  # the papers' f is 8
    assert bottleneck.encoder[3].kernel_size == (1, 1)


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
    bottleneck = Bottleneck(TensorSpec("tokens", (tokens, 32), channel_dim=1)).eval()
    assert bottleneck.latent_shape == (latent, 8)
    assert bottleneck.latent_spec.channel_dim == 1
    x = torch.randn(2, tokens, 32)
    assert bottleneck(x).shape == x.shape


def test_the_class_token_is_kept_apart_from_the_patches():
    bottleneck = Bottleneck(TensorSpec("tokens", (17, 8), channel_dim=1)).eval()
    x = torch.randn(1, 17, 8)
    other = x.clone()
    other[:, 0] += 1
    changed = (bottleneck.encoder(x) != bottleneck.encoder(other)).any(2)
    assert changed.tolist() == [[True, False]]
    z = bottleneck.encoder(x)
    moved = z.clone()
    moved[:, 1] += 1
    changed = (bottleneck.decoder(z) != bottleneck.decoder(moved)).any(2)
    assert changed[0].tolist()[0] is False
    assert bool(changed[0, 1:].any())


def test_far_patches_do_not_share_a_latent_position():
    bottleneck = Bottleneck(TensorSpec("tokens", (1 + 16 * 16, 8), channel_dim=1)).eval()
    x = torch.randn(1, 257, 8)
    other = x.clone()
    other[:, 1 + 16 * 15 + 15] += 5  # the last patch
    changed = (bottleneck.encoder(x) != bottleneck.encoder(other)).any(2)[0]
    assert int(changed[:13].sum()) == 0


def test_sequences_with_channels_first_are_merged_along_time():
    bottleneck = Bottleneck(TensorSpec("sound", (16, 30))).eval()
    x = torch.randn(2, 16, 30)
    assert bottleneck.encoder(x).shape[1:] == bottleneck.latent_shape == (4, 8)
    assert bottleneck(x).shape == x.shape


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
        Bottleneck(spec)


def test_a_latent_without_channels_is_refused():
    with pytest.raises(CutError, match="latent_channels"):
        Bottleneck(TensorSpec("maps", (4, 4, 4)), 0)


def test_a_cut_with_several_tensors_is_refused_and_the_nearest_others_are_named():
    graph = sei.trace(networks.make("Skip"), networks.inputs("Skip", 2)[0])
    cut = next(cut for cut in graph.cuts if not cut.single)
    with pytest.raises(CutError, match="2 tensors cross"):
        bottleneck_for(cut)
    with pytest.raises(CutError, match=r"nearest cuts that can have one: 0 \(input\), 1 \(stem\)") as caught:
        bottleneck_for(cut, cuts=graph.cuts)
    named = caught.value.hint.split(": ")[1].split(", ")
    assert len(named) == 4
    for name in named:
        bottleneck_for(graph.cut(int(name.split()[0])))
    with pytest.raises(CutError, match="no cut of this network can have one: leave bottlenecks out"):
        bottleneck_for(cut, cuts=[other for other in graph.cuts if not other.single])


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_every_cut_that_one_tensor_crosses_can_have_a_bottleneck(name):
    x = networks.inputs(name, 3)
    graph = sei.trace(networks.make(name), x)
    usable = [cut for cut in graph.cuts if can_have_bottleneck(cut)]
    assert usable
    for cut in usable:
        partition = sei.split(graph, cut)
        with torch.no_grad():
            (a,) = partition.head(*x)
            decoded = bottleneck_for(cut).eval()(a)
            assert decoded.shape == a.shape
            partition.tail((decoded,))
