"""The reference networks have the published ones' parameters, name by name and shape by shape, and compute the same."""

from __future__ import annotations

import pytest
import torch
from other_packages import package

from splitimpera.models.networks import load_network
from splitimpera.models.reference import REFERENCE
from splitimpera.scenario import NetworkSection


@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("vgg11", "vgg11_bn", "vgg16", "vgg16_bn")),
        "resnet50",
        "mobilenet_v2",
    ],
)
def test_torchvisions_weights_load_unchanged_and_give_the_same_logits(name):
    theirs = package("torchvision").models.get_model(name, weights=None).eval()
    ours = REFERENCE[name]().eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


def test_resnet20_has_the_cifar_originals_parameters():
    model = REFERENCE["resnet20"]()
    assert sum(p.numel() for p in model.parameters()) == 269_722
    names = model.state_dict().keys()
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer3.2.bn2.bias", "linear.weight"} <= names
    assert not [name for name in names if "downsample" in name or "shortcut" in name]  # option A has no parameters


def test_option_a_shortcuts_subsample_and_pad_on_both_sides():
    block = REFERENCE["resnet20"]().layer2[0].eval()
    for parameter in block.parameters():
        torch.nn.init.zeros_(parameter)  # only the shortcut is left
    x = torch.rand(1, 16, 8, 8)
    y = block(x)
    assert y.shape == (1, 32, 4, 4)
    torch.testing.assert_close(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()


def test_reference_networks_are_loaded_by_name(tmp_path):
    model = load_network(NetworkSection(model="resnet20"), tmp_path)
    torch.save(model.state_dict(), tmp_path / "w.pt")
    again = load_network(NetworkSection(model="resnet20", weights="w.pt"), tmp_path)
    assert torch.equal(again.linear.weight, model.linear.weight)
