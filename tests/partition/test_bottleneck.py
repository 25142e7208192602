from __future__ import annotations

from dataclasses import replace

import networks
import pytest
import task_networks
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import splitimpera as sei
from splitimpera.core.errors import CutError
from splitimpera.partition.autoencoder import Autoencoder
from splitimpera.partition.bottleneck import Bottleneck, bottleneck_for, can_have_bottleneck
from splitimpera.records.graph import TensorSpec

SKIP, DEEP = TensorSpec("skip", (8, 16, 16)), TensorSpec("deep", (32, 4, 4))
INDICES = TensorSpec("indices", (16,), dtype="int64")
MIXED = TensorSpec("windows", (4, 4, 4), batch_dim=None)


def shapes(specs, ratio=None):
    return [latent.shape for latent in Bottleneck(specs, ratio).latent_specs]


def random(spec, frames=2):
    x = torch.randn(frames, *spec.shape)
    return (x if spec.dtype == "float32" else (100 * x).to(getattr(torch, spec.dtype))).movedim(0, spec.batch_dim)


SPECS = st.one_of(
    st.builds(lambda c, h, w: TensorSpec("maps", (c, h, w)), *(st.integers(1, size) for size in (12, 9, 9))),
    st.builds(
        lambda t, c: TensorSpec("tokens", (t, c), batch_dim=1, channel_dim=1), st.integers(1, 20), st.integers(1, 8)
    ),
    st.builds(lambda k: TensorSpec("vector", (k,)), st.integers(1, 40)),
    st.builds(lambda k: TensorSpec("numbers", (k,) if k else (), dtype="int64"), st.integers(0, 9)),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(SPECS, min_size=1, max_size=4), st.floats(1, 100))
def test_whatever_crosses_comes_back_and_no_more_is_sent_than_asked_for(specs, ratio):
    total = sum(spec.elements for spec in specs)
    try:
        bottleneck = Bottleneck(specs, ratio).eval()
    except CutError as error:
        if all(spec.dtype == "int64" for spec in specs):
            return
        largest = float(error.hint.split()[-1])
        assert largest < ratio
        ratio = max(1, largest)
        bottleneck = Bottleneck(specs, ratio).eval()
    assert bottleneck.latent_elements <= total / ratio * (1 + 1e-6)
    given_tensors = [random(spec) for spec in specs]
    sent = bottleneck.encoder(*given_tensors)
    for latent, spec in zip(sent, bottleneck.latent_specs, strict=True):
        assert latent.movedim(spec.batch_dim, 0).shape == (2, *spec.shape)
        assert str(latent.dtype) == f"torch.{spec.dtype}"
    for back, tensor in zip(bottleneck.decoder(*sent), given_tensors, strict=True):
        assert back.shape == tensor.shape
        assert back.is_floating_point() or back.equal(tensor)


def test_each_tensor_gets_its_share():
    assert shapes([SKIP, DEEP], 16) == [(8, 4, 4), (32, 1, 1)]
    assert shapes([SKIP, DEEP]) == [Autoencoder(SKIP).latent_shape, Autoencoder(DEEP).latent_shape]


def test_a_tensor_too_small_for_its_share_gets_its_smallest_latent_and_the_others_what_is_left():
    maps, tiny = TensorSpec("maps", (64, 8, 8)), TensorSpec("tiny", (1, 8, 8))  # 4096 and 64 elements
    assert shapes([maps, tiny], 16) == [(64, 2, 2), (1, 2, 2)]  # 260 in all; with 4.06 channels for `maps` alone
    assert shapes([maps, tiny], 40) == [(25, 2, 2), (1, 2, 2)]  # 104 in all: the 1.6 of `tiny` become 4
    assert shapes([maps, tiny], 520) == [(1, 2, 2), (1, 2, 2)]
    with pytest.raises(
        CutError, match=r"ratio of 521 leaves no channel of each of the 2 tensors.*possible here is 520"
    ):
        Bottleneck([maps, tiny], 521)
    with pytest.raises(CutError, match=r"ratio.*below 1"):
        Bottleneck([maps, tiny], 0.5)


def test_one_tensor_has_the_layers_and_names_that_its_autoencoder_has():
    torch.manual_seed(3)
    alone = Autoencoder(SKIP, ratio=8).state_dict()
    torch.manual_seed(3)
    found = Bottleneck([SKIP], 8).state_dict()
    assert list(found) == list(alone)
    assert all(found[name].equal(value) for name, value in alone.items())


def test_layers_have_the_type_of_their_tensor():
    types = {str(p.dtype) for p in Bottleneck([SKIP, replace(DEEP, dtype="float64")]).parameters()}
    assert types == {"torch.float32", "torch.float64"}


def test_what_cannot_be_compressed_passes_and_takes_its_part_of_the_budget():
    bottleneck = Bottleneck([SKIP, INDICES], 32)
    assert bottleneck.coded == (True, False)
    assert bottleneck.latent_specs[1] == INDICES
    assert shapes([SKIP, INDICES], 32) == [(3, 4, 4), (16,)]  # 64.5 elements in all
    assert shapes([SKIP], 32) == [(4, 4, 4)]


def test_frames_mixed_with_another_dimension_are_refused_and_the_nearest_others_are_named():
    graph = sei.trace(networks.make("Skip"), networks.inputs("Skip", 2)[0])
    cut = replace(next(cut for cut in graph.cuts if not cut.single), tensors=(SKIP, MIXED))
    assert not can_have_bottleneck(cut)
    with pytest.raises(CutError, match=r"'windows' is .* frames mixed with another dimension.*choose another cut"):
        bottleneck_for(cut)
    with pytest.raises(CutError, match="nearest cuts that can have one: ") as caught:
        bottleneck_for(cut, cuts=graph.cuts)
    named = caught.value.hint.split(": ")[1].split(", ")
    assert len(named) == 4
    for name in named:
        bottleneck_for(graph.cut(int(name.split()[0])))
    with pytest.raises(CutError, match="no cut of this network can have one: leave bottlenecks out"):
        bottleneck_for(cut, cuts=[cut])


def test_a_cut_without_anything_to_compress_is_refused():
    with pytest.raises(CutError, match="'indices' is int64"):
        Bottleneck([INDICES])


@pytest.mark.parametrize("name", [*networks.NETWORKS, "FeaturePyramid"])
def test_every_cut_whose_frames_stack_can_have_a_bottleneck(name):
    pyramid = name == "FeaturePyramid"  # in which integers cross, too
    x = (torch.randn(3, 3, 16, 16),) if pyramid else networks.inputs(name, 3)
    graph = sei.trace(task_networks.FeaturePyramid().eval() if pyramid else networks.make(name), x)
    usable = [cut for cut in graph.cuts if can_have_bottleneck(cut)]
    assert any(not cut.single for cut in usable) or all(cut.single for cut in graph.cuts)
    for cut in usable:
        partition = sei.split(graph, cut)
        with torch.no_grad():
            crossing = partition.head(*x)
            decoded = bottleneck_for(cut).eval()(*crossing)
            assert [a.shape for a in decoded] == [a.shape for a in crossing]
            partition.tail(decoded)
