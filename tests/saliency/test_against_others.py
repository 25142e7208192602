"""CS against independent implementations: ours, layer by layer and image by image, and Captum's Grad-CAM."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from other_packages import package
from torch import nn

import splitimpera as sei
from splitimpera.models.resnet import CifarResNet
from splitimpera.models.vgg import VGG, VGG11


def small_vgg():
    return VGG(VGG11, num_classes=7, width=4, hidden=16, pooled=1, batch_norm=True)


def small_resnet():
    return CifarResNet(1, num_classes=7, width=4)


def small_vit():
    return package("torchvision").models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=3, num_heads=2, hidden_dim=12, mlp_dim=24, num_classes=7
    )


def prepared(make):
    """A network with no zero weights and running statistics that matter."""
    torch.manual_seed(3)
    model = make().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.3)
    return model


CASES = {
    # the cut's name: the module whose output crosses there
    "vgg": (small_vgg, {"features.0": "features.2", "features.3": "features.3", "features.22": "features.24"}),
    "resnet": (small_resnet, {"layer1.0": "layer1.0", "layer2.0": "layer2.0", "layer3.0": "layer3.0"}),
    "vit": (small_vit, {f"encoder.layers.encoder_layer_{i}": f"encoder.layers.encoder_layer_{i}" for i in range(2)}),
}


def slow_cs(model, layer, x, tokens, labels):
    """One image, one layer at a time, in double precision, with loops over channels."""
    values = []
    for image, label in zip(x, labels, strict=True):
        kept = []
        handle = layer.register_forward_hook(lambda _m, _i, out, kept=kept: kept.append(out))
        score = model(image[None])[0, label]
        handle.remove()
        (gradient,) = torch.autograd.grad(score, kept[0])
        a, g = kept[0][0].detach(), gradient[0]
        if tokens:
            a, g = a.T, g.T
        total = torch.zeros(a.shape[1:], dtype=a.dtype)
        for k in range(len(a)):
            total += g[k].mean() * a[k]
        values.append(torch.relu(total / len(a)).mean().item())
    return np.mean(values)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("target", ["predicted", "label"])
def test_equals_the_slow_implementation(case, target):
    make, layers = CASES[case]
    model = prepared(make).double()
    x, labels = torch.randn(5, 3, 32, 32, dtype=torch.float64), torch.arange(5)
    curve = sei.cumulative_saliency(model, (x, labels), target=target)
    with torch.no_grad():
        chosen = model(x).argmax(1) if target == "predicted" else labels
    for cut, module in layers.items():
        expected = slow_cs(model, model.get_submodule(module), x, case == "vit", chosen)
        assert expected > 0
        assert curve.cs[curve.names.index(cut)] == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["vgg", "resnet"])
def test_agrees_with_captum_after_the_known_conversion(case):
    """Grad-CAM sums over channels, CS takes the mean."""
    attr = pytest.importorskip("captum.attr")
    make, layers = CASES[case]
    model = prepared(make)
    x = torch.randn(6, 3, 32, 32)
    curve = sei.cumulative_saliency(model, x)
    with torch.no_grad():
        predicted = model(x).argmax(1)
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # captum's hooks would see the tensor after it was written over
    for cut, name in layers.items():
        layer = model.get_submodule(name)
        maps = attr.LayerGradCam(model, layer).attribute(x, target=predicted, relu_attributions=True)
        channels = next(c.tensors[0].shape[0] for c in sei.trace(model, x).cuts if c.name == cut)
        expected = maps.mean((1, 2, 3)).mean().item() / channels
        assert curve.cs[curve.names.index(cut)] == pytest.approx(expected, rel=1e-4)
